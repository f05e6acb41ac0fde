package etcd

import (
	"context"
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
type Client struct {
	cfg     Config
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	wg      sync.WaitGroup // calls that lost to another member and are ending
	members []*Member

	answered  atomic.Bool  // a member has answered a question
	preferred atomic.Int32 // index of the member that last answered first

	mu    sync.Mutex
	moved chan struct{} // closed when preferred changes
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
	c := &Client{cfg: cfg, moved: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for i, e := range cfg.Endpoints {
		spec, err := cfg.spec(e)
		if err != nil {
			c.cancel()
			return nil, err
		}
		c.members = append(c.members, &Member{Endpoint: e, index: i, client: c, spec: spec})
	}
	c.wg.Go(warm)
	_, err = Do(ctx, c, func(ctx context.Context, m *Member) (struct{}, error) {
		return struct{}{}, m.connect(ctx)
	})
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
	for _, m := range c.members {
		m.close()
	}
}

// Config returns the configuration as it was resolved, for a helper process.
func (c *Client) Config() Config { return c.cfg }

// Preferred returns the member that last answered first, and a channel that is
// closed when that changes: what watches through it should move then.
func (c *Client) Preferred() (*Member, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.members[c.preferred.Load()], c.moved
}

// RoundTrip estimates a round trip to the preferred member by the time that its
// connection took to come up. Zero: not connected yet.
func (c *Client) RoundTrip() time.Duration {
	m, _ := c.Preferred()
	return time.Duration(m.rtt.Load())
}

func (c *Client) prefer(i int) {
	if int(c.preferred.Load()) == i {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.preferred.Store(int32(i))
	close(c.moved)
	c.moved = make(chan struct{})
}
