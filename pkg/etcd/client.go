package etcd

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Client is a road to a cluster: one connection per endpoint, made when first
// needed. It is safe for concurrent use.
//
// One connection per endpoint, and not the library's balancer over all of them,
// because the balancer knows neither health nor latency: with one of three
// members black-holed, calls hang to their deadline and leases die of it.
//
// It has to do with one cluster: that of the first answer. What another cluster
// says counts as no answer.
type Client struct {
	cfg    Config
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // calls that lost to another member and are ending
	login  *login
	pin    *pin
	names  names // where the endpoints come from
	survey *survey

	answered  atomic.Bool // a member has answered a question
	roster    atomic.Pointer[roster]
	preferred atomic.Pointer[Member] // that last answered first

	mu    sync.Mutex
	moved chan struct{} // closed when preferred changes
	gone  []*Member     // that are in no roster any more
}

// roster is the members as they are at present.
type roster struct {
	members  []*Member
	replaced chan struct{} // closed when there is another
}

// Open checks cfg, looks up what it points to and connects to the first
// endpoint that lets itself be connected to, within cfg.DialTimeout. It asks
// etcd nothing (but for a token, where a user is set), so a nil error does not
// yet mean that etcd answers.
//
// Errors: *ConfigError, *Refused, *Unreachable.
func Open(ctx context.Context, cfg Config) (*Client, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.DialTimeout)
	defer cancel()
	cfg, err := cfg.resolve(ctx)
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, login: newLogin(cfg), pin: newPin(cfg.Cluster), moved: make(chan struct{})}
	c.survey = newSurvey()
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	c.roster.Store(&roster{replaced: make(chan struct{})})
	c.enlist(cfg.Endpoints)
	c.preferred.Store(c.list().members[0])
	c.wg.Go(warm)
	if cfg.Survey {
		c.survey.begin(c)
	}
	_, err = c.do(ctx, func(ctx context.Context, m *Member) (any, error) {
		if err := m.connect(ctx); err != nil {
			return nil, err
		}
		return nil, m.logIn(ctx)
	})
	close(c.survey.connected)
	if err != nil {
		c.Close()
		return nil, err
	}
	c.answered.Store(false) // a connection is no answer
	return c, nil
}

// Close ends every connection and waits for what was under way.
func (c *Client) Close() {
	c.cancel()
	c.wg.Wait()
	for _, m := range slices.Concat(c.list().members, c.gone) {
		m.close()
	}
}

// list returns the members as they are at present.
func (c *Client) list() *roster { return c.roster.Load() }

// Preferred returns the member that last answered first, and a channel that is
// closed when that changes: what watches through it should move then.
func (c *Client) Preferred() (*Member, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.preferred.Load(), c.moved
}

// RoundTrip estimates a round trip to the preferred member by the time that its
// connection took to come up. Zero: not connected yet.
func (c *Client) RoundTrip() time.Duration {
	return time.Duration(c.preferred.Load().rtt.Load())
}

func (c *Client) prefer(m *Member) {
	if c.preferred.Load() == m {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.preferred.Store(m)
	close(c.moved)
	c.moved = make(chan struct{})
}

// inlineLimit is how much of certificates and keys a helper is handed in words.
const inlineLimit = 256 << 10

// Config returns the configuration as it was resolved, for a helper process that has
// neither the files nor the names that it came from: not the pipe of a password, not
// the answer of DNS. Only where these do not help any more are files read again that
// can be, and names looked up. It is about the same cluster. Of authorities that are longer
// than inlineLimit, with certificate and key, the helper gets the file's name alone.
func (c *Client) Config() Config {
	cfg := c.cfg
	cfg.Resolved, cfg.Endpoints = true, nil
	for _, m := range c.list().members {
		cfg.Endpoints = append(cfg.Endpoints, m.Endpoint)
	}
	cfg.Cluster = c.Cluster()
	if cfg.User != "" {
		cfg.Password, cfg.Session = c.login.known()
	}
	if len(cfg.CAPEM)+len(cfg.CertPEM)+len(cfg.KeyPEM) > inlineLimit {
		cfg.CAPEM = ""
	}
	return cfg
}
