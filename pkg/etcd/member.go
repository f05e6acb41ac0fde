package etcd

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-semver/semver"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
)

const (
	// A connection that is silent this long is asked whether it is alive; the
	// library's floor is 10 s.
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

	mu      sync.Mutex // guards the making of the connection and the stream
	v3      *clientv3.Client
	stream  *keepalive
	verdict atomic.Int32 // see Verifies
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

// verified are the first releases, by minor version of etcd 3, in which a
// linearizable read cannot be answered from before a pause of the member
// (PRs 21385/21423, 21387/21421, 21378/21417).
var verified = map[int64]int64{4: 42, 5: 28, 6: 9}

// ErrProxy means that a member is a grpc-proxy: it answers a keepalive from one
// that it has sent before, so that no deadline can be counted from ours.
var ErrProxy = errors.New("it is a grpc-proxy, through which renewals cannot be verified; use etcd's own endpoints")

// Verifies reports whether this member's linearizable reads may be relied on to
// verify a renewal. It asks the member once; until that has answered, the
// answer is no. The only error is ErrProxy.
func (m *Member) Verifies(ctx context.Context) (bool, error) {
	const yes, no, proxy = 1, 2, 3
	verdict := m.verdict.Load()
	if verdict == 0 {
		switch isProxy, version, err := m.identify(ctx); {
		case err != nil:
			return false, nil
		case isProxy:
			verdict = proxy
		case sound(version):
			verdict = yes
		default:
			verdict = no
		}
		m.verdict.Store(verdict)
	}
	if verdict == proxy {
		return false, ErrProxy
	}
	return verdict == yes, nil
}

// identify asks for the version, and for a watch from a revision that cannot
// be: whatever the answer, etcd's own bears a member's id, and a proxy's none.
func (m *Member) identify(ctx context.Context) (isProxy bool, version string, _ error) {
	s, err := m.v3.Maintenance.Status(ctx, m.Endpoint)
	if err != nil {
		return false, "", err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := pb.NewWatchClient(m.v3.ActiveConnection()).Watch(ctx)
	if err != nil {
		return false, "", err
	}
	err = w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{Key: []byte{0}, StartRevision: -1}}})
	if err != nil {
		return false, "", err
	}
	r, err := w.Recv()
	if err != nil {
		return false, "", err
	}
	return r.Header.GetMemberId() == 0, s.Version, nil
}

func sound(version string) bool {
	v, err := semver.NewVersion(version)
	if err != nil || v.Major != 3 {
		return err == nil && v.Major > 3
	}
	first, known := verified[v.Minor]
	return v.Minor >= 7 || known && v.Patch >= first
}
