package etcd

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"
)

const (
	// A connection that is silent this long is asked whether it is alive; the
	// library's floor is 10 s. Only one with a call or a stream on it: etcd hangs
	// up on who asks without ("too many pings").
	pingAfter = 10 * time.Second

	// Also what TCP_USER_TIMEOUT becomes: bytes unacknowledged this long end
	// the connection.
	pingTimeout = time.Second
)

// Member is one endpoint of a cluster, and the connection to it.
type Member struct {
	Endpoint string

	client *Client
	spec   *clientv3.Config
	rtt    atomic.Int64 // nanoseconds until the connection was ready

	mu    sync.Mutex // guards the making of the connection and the stream
	v3    *clientv3.Client
	alive *keepalive

	loggingIn chan struct{} // one place: see login

	// Who is behind the endpoint may change with each connection.
	conns   atomic.Int64  // how many there were, which is the number of the last
	vouched atomic.Int64  // the one over which an answer of our cluster came
	id      atomic.Uint64 // the member that answered last, ...
	began   atomic.Uint64 // ... and the cluster that answered first
	who     atomic.Pointer[identity]
	release atomic.Pointer[releaseOf]
}

func newMember(c *Client, endpoint string) *Member {
	return &Member{Endpoint: endpoint, client: c, spec: c.cfg.spec(endpoint), loggingIn: make(chan struct{}, 1)}
}

// connect makes the connection and waits until it is up or has failed once.
// A failure is left for the first call to report.
func (m *Member) connect(ctx context.Context) error {
	v3, err := m.dial()
	if err != nil {
		return err
	}
	conn := v3.ActiveConnection()
	began := time.Now()
	conn.Connect()
	for {
		switch s := conn.GetState(); s {
		case connectivity.Ready:
			m.rtt.CompareAndSwap(0, max(1, int64(time.Since(began))))
			return nil
		case connectivity.TransientFailure:
			return m.lastError(ctx, conn)
		case connectivity.Shutdown:
			return context.Canceled
		default:
			if s == connectivity.Idle {
				conn.Connect()
			}
			if !conn.WaitForStateChange(ctx, s) {
				return ctx.Err()
			}
		}
	}
}

// lastError asks a connection that is down something, for gRPC tells why it is
// down only in the answer to a call.
func (m *Member) lastError(ctx context.Context, conn *grpc.ClientConn) error {
	err := conn.Invoke(ctx, "/etcdserverpb.Maintenance/Status", &pb.StatusRequest{}, &pb.StatusResponse{})
	if err == nil { // it came up meanwhile
		return nil
	}
	return err
}

// dial makes the library's client once.
func (m *Member) dial() (*clientv3.Client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.v3 != nil {
		return m.v3, nil
	}
	spec := *m.spec
	spec.Context = m.client.ctx
	spec.DialOptions = []grpc.DialOption{
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: time.Second,
		}),
		grpc.WithTransportCredentials(m.transport()),
		grpc.WithPerRPCCredentials(perCall{m}),
		grpc.WithChainUnaryInterceptor(m.unary),
		grpc.WithChainStreamInterceptor(m.stream),
	}
	v3, err := clientv3.New(spec)
	if err != nil {
		return nil, err
	}
	m.v3 = v3
	return v3, nil
}

// logIn gets a token over a connection that is up, if there is none.
func (m *Member) logIn(ctx context.Context) error {
	_, err := m.client.login.ensure(ctx, m, m.v3.ActiveConnection())
	return err
}

func (m *Member) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.alive != nil {
		m.alive.cancel()
		m.alive = nil
	}
	if m.v3 != nil {
		m.v3.Close()
	}
}

// KV reads and writes through this member.
func (m *Member) KV() clientv3.KV { return m.v3.KV }

// Watch watches through this member; see the library's Watcher. Unlike that it
// does not wait for the member to take the watch on, which one that hangs never
// does. It ends with ctx, and then, or when the stream breaks, the channel is
// closed.
func (m *Member) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	events := make(chan clientv3.WatchResponse)
	m.client.wg.Add(1)
	go func() {
		defer m.client.wg.Done()
		defer close(events)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stop := context.AfterFunc(m.client.ctx, cancel)
		defer stop()
		// The library puts watches on one stream that have the same metadata, and a
		// stream has the token that it began with.
		ctx = metadata.AppendToOutgoingContext(ctx, "conch-login", m.client.login.count())
		for r := range m.v3.Watch(clientv3.WithRequireLeader(ctx), key, opts...) {
			select {
			case events <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	return events
}

// Lease returns the lease service of this member, which unlike the library's
// client lets the caller choose an id.
func (m *Member) Lease() pb.LeaseClient { return pb.NewLeaseClient(m.v3.ActiveConnection()) }
