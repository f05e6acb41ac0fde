package etcd

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
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

	index  int
	client *Client
	spec   *clientv3.Config
	rtt    atomic.Int64 // nanoseconds until the connection was ready

	mu     sync.Mutex // guards the making of the connection and the stream
	v3     *clientv3.Client
	stream *keepalive

	release atomic.Pointer[Release]
	origin  atomic.Int32 // whether it is a proxy; see Verifies
}

// connect makes the connection and waits until it is up or has failed once.
// A failure is left for the first call to report.
func (m *Member) connect(ctx context.Context) error {
	v3, err := m.dial(ctx)
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

// dial makes the library's client once. With a user and a password that call
// fetches a token, so it can block; it ends with ctx.
func (m *Member) dial(ctx context.Context) (*clientv3.Client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.v3 != nil {
		return m.v3, nil
	}
	life, cancel := context.WithCancel(m.client.ctx)
	stop := context.AfterFunc(ctx, cancel)
	spec := *m.spec
	spec.Context = life
	spec.DialOptions = []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
		MinConnectTimeout: time.Second,
	})}
	if spec.Username != "" {
		spec.DialOptions = append(spec.DialOptions, grpc.WithChainUnaryInterceptor(tokenAnew(spec)))
	}
	v3, err := clientv3.New(spec)
	if !stop() && err == nil {
		v3.Close()
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		if ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), err)
		}
		return nil, err
	}
	m.v3 = v3
	return v3, nil
}

// tokenAnew asks for a token over a connection without one where etcd refuses to
// give it for the sake of the last one: 3.4 does so when that is a JWT that has
// expired, and the library, which shows it, would ask for ever.
func tokenAnew(spec clientv3.Config) grpc.UnaryClientInterceptor {
	spec.Username, spec.Password = "", ""
	return func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		err := invoke(ctx, method, req, reply, conn, opts...)
		if method != pb.Auth_Authenticate_FullMethodName || !errors.Is(rpctypes.Error(err), rpctypes.ErrInvalidAuthToken) {
			return err
		}
		c, err := clientv3.New(spec)
		if err != nil {
			return err
		}
		defer c.Close()
		return c.ActiveConnection().Invoke(ctx, method, req, reply)
	}
}

func (m *Member) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stream != nil {
		m.stream.cancel()
		m.stream = nil
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
