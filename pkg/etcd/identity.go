package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Unfit is an endpoint whose answers are none: it is a grpc-proxy (ErrProxy) where
// that matters, or of another cluster than ours (*OtherCluster).
type Unfit struct {
	Endpoint string
	Cause    error
}

func (e *Unfit) Error() string { return fmt.Sprintf("endpoint %s: %v", e.Endpoint, e.Cause) }

// Unwrap returns Cause.
func (e *Unfit) Unwrap() error { return e.Cause }

// ErrProxy means that a member is a grpc-proxy: it answers a keepalive from one
// that it has sent before, so that no deadline can be counted from ours.
var ErrProxy = errors.New("it is a grpc-proxy, through which renewals cannot be verified; use etcd's own endpoints")

// OtherCluster means that a member is of another cluster than that whose answer
// came first: what it says is about other keys, and a lock there excludes nobody.
type OtherCluster struct {
	Cluster uint64 // the one that it is of
	Ours    uint64
	First   string // the endpoint that answered first; empty: we were told
	Before  bool   // it was of ours: it has been replaced
}

func (e *OtherCluster) Error() string {
	if e.Before {
		return fmt.Sprintf("it is of etcd cluster %x now, and was of %x: it has been replaced", e.Cluster, e.Ours)
	}
	if e.First == "" {
		return fmt.Sprintf("it is of etcd cluster %x, and not of %x", e.Cluster, e.Ours)
	}
	return fmt.Sprintf("it is of etcd cluster %x, and %s, which answered first, of %x", e.Cluster, e.First, e.Ours)
}

// pin is the cluster that a client has to do with: that of the first answer, or the
// one that it was told.
type pin struct {
	mu      sync.Mutex
	cluster uint64        // 0: nobody has answered yet
	by      string        // the endpoint that has answered
	set     chan struct{} // closed when that changes
	said    map[string]bool
}

func newPin(cluster uint64) *pin {
	p := &pin{set: make(chan struct{}), said: map[string]bool{}}
	if cluster != 0 {
		p.take(cluster, "")
	}
	return p
}

func (p *pin) get() (cluster uint64, by string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cluster, p.by
}

// take pins a cluster, by the answer of an endpoint, if none is.
func (p *pin) take(cluster uint64, by string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cluster == 0 {
		p.cluster, p.by = cluster, by
		close(p.set)
	}
}

// first reports whether this is the first time that it is asked about an endpoint.
func (p *pin) first(endpoint string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	had := p.said[endpoint]
	p.said[endpoint] = true
	return !had
}

// Adopt goes over to another cluster, for who has made sure that nothing depends on
// the one before any more.
func (c *Client) Adopt(cluster uint64) {
	p := c.pin
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cluster == 0 {
		close(p.set)
	}
	p.cluster, p.by, p.said = cluster, "", map[string]bool{}
	for _, m := range c.list().members {
		m.vouched.Store(0)
		m.began.Store(0)
		m.who.Store(nil)
	}
}

// Cluster returns the id of the cluster whose answers count, 0 before the first.
func (c *Client) Cluster() uint64 {
	cluster, _ := c.pin.get()
	return cluster
}

// headerOf returns the header of an answer, nil if it has none.
func headerOf(reply any) *pb.ResponseHeader {
	if r, ok := reply.(interface{ GetHeader() *pb.ResponseHeader }); ok {
		return r.GetHeader()
	}
	return nil
}

// heard looks whose answer came over a connection. That of another cluster than
// ours is none, and becomes an error.
func (m *Member) heard(conn int64, h *pb.ResponseHeader) error {
	if h.GetClusterId() == 0 { // the header is a grpc-proxy's own, or there is none
		return nil
	}
	m.client.pin.take(h.ClusterId, m.Endpoint)
	if err := m.compare(h); err != nil {
		return err
	}
	m.id.Store(h.MemberId)
	for before := m.vouched.Load(); before < conn && !m.vouched.CompareAndSwap(before, conn); {
		before = m.vouched.Load()
	}
	return nil
}

// compare compares the cluster of an answer with ours.
func (m *Member) compare(h *pb.ResponseHeader) error {
	ours, first := m.client.pin.get()
	m.began.CompareAndSwap(0, h.ClusterId)
	if h.ClusterId == ours {
		return nil
	}
	err := &Unfit{m.Endpoint, &OtherCluster{h.ClusterId, ours, first, m.began.Load() == ours}}
	m.client.unfit(err)
	return err
}

func (c *Client) note(format string, args ...any) {
	if c.cfg.Note != nil {
		c.cfg.Note(fmt.Sprintf(format, args...))
	}
}

// vouched puts a question to a member that is of our cluster: a grant or a join
// would leave something behind in another. It is asked once for each connection, and
// before the question, but for the very first one, which goes to a member that is
// ours whatever it is, or comes from a helper, who does no harm elsewhere. There
// it is asked after a refusal, for that does not say whose it is.
func vouched(ctx context.Context, m *Member, f func(context.Context, *Member) (any, error)) (any, error) {
	first, _ := m.client.Preferred()
	if first != m || m.client.answered.Load() {
		if err := m.vouch(ctx); err != nil {
			return nil, err
		}
		if m.vouched.Load() > 0 { // else it is a grpc-proxy
			return f(context.WithValue(ctx, oursKey{}, true), m)
		}
	}
	v, err := f(ctx, m)
	if err == nil {
		return v, nil
	}
	if _, retry := m.client.classify(err); !retry {
		if verr := m.vouch(ctx); errors.As(verr, new(*Unfit)) {
			return nil, verr
		}
	}
	return v, err
}

// vouch makes sure that it is a member of our cluster that answers.
func (m *Member) vouch(ctx context.Context) error {
	if m.vouched.Load() == m.conns.Load() {
		return nil
	}
	_, err := m.identify(ctx)
	return err
}

// identity is who answers over one connection to an endpoint.
type identity struct {
	conn   int64
	member uint64 // 0: a grpc-proxy
}

// identify asks who it is that answers, unless that is known.
func (m *Member) identify(ctx context.Context) (*identity, error) {
	if known := m.who.Load(); known != nil && known.conn == m.conns.Load() && (known.member == 0 || known.member == m.id.Load()) {
		return known, nil
	}
	ctx, cancel := context.WithCancel(context.WithValue(ctx, bareKey{}, true))
	defer cancel()
	h, conn, err := askWho(ctx, m.v3.ActiveConnection())
	if err != nil {
		return nil, err
	}
	known := &identity{conn, h.GetMemberId()}
	m.who.Store(known)
	return known, nil
}
