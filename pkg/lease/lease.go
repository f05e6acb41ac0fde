// Package lease is an etcd lease with a deadline that its holder may trust.
//
// It does not promise that the lease lasts until the deadline: an operator can
// revoke it, and an etcd leader that was stopped for longer than the TTL and
// then resumed can revoke leases that were renewed all along. Both remove the
// key, and the holder hears of it by its watch, if it is connected. What is
// promised is that a lease which nobody revokes outlives the deadline, on
// these assumptions: linearizable reads are linearizable, and the clocks of
// etcd's hosts and ours advance at the same rate within one per cent.
//
// An acknowledged keepalive alone is not enough for that: a leader that was
// paused, deposed and resumed goes on acknowledging. So a renewal is verified on
// one member: a linearizable read of our own key sent at s, and when it shows
// the key as ours, a keepalive on the same member. Any leader elected after the
// one that confirmed the read was elected after s and gives the lease its whole
// TTL anew, so the lease lasts until s + TTL on etcd's clocks, and
//
//	D = s + TTL x (1 - 1 %) - 200 ms
//
// on ours is before that, with the time it takes to kill.
//
// In etcd before 3.4.42, 3.5.28 and 3.6.9 such a read can be answered from before
// a pause of the member. There the keepalive counts alone, for 1.5 seconds less
// (see Usable), on the further assumptions that no process of etcd is paused and
// that its election timeout is not longer than the default.
package lease

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/clock"
	"conch/pkg/etcd"
)

const (
	// MinTTL is the shortest TTL that leaves room for renewals.
	MinTTL = 2 * time.Second
	// MaxTTL is the longest: etcd checkpoints leases above five minutes, and
	// a checkpoint can outlive the renewal after it.
	MaxTTL = 300 * time.Second

	// KillLatency is what a SIGKILL may take to take effect.
	KillLatency = 200 * time.Millisecond

	// unverified is what is given away on a member whose reads do not verify:
	// an election timeout, two ticks and the delay of an acknowledgement, with
	// etcd's default timers. It holds only while etcd's processes are not
	// paused, and is too little by as much as the election timeout is set longer
	// than its default of a second: nothing in etcd's API says how long it is.
	unverified = 1500 * time.Millisecond

	// minUnverified is MinTTL there, in the whole seconds that etcd counts in.
	minUnverified = (MinTTL + unverified + time.Second - 1) / time.Second * time.Second
)

// Deadline is when the holder of a lease with this TTL must have stopped, for a
// verified renewal whose first request was sent at s.
func Deadline(s clock.Instant, ttl time.Duration) clock.Instant {
	return s.Add(ttl - ttl/100 - KillLatency)
}

// Lease is a lease being held. It is made by New, has a deadline from Grant on,
// and is renewed from Keep on. Its methods are safe for concurrent use.
type Lease struct {
	// ID is chosen here, so that a grant whose answer was lost can be sent
	// again: "already exists" then means ours.
	ID int64

	c    *etcd.Client
	want time.Duration // the TTL wanted, and ...
	ask  time.Duration // ... asked for, in whole seconds
	clk  clock.Clock
	wg   sync.WaitGroup
	stop context.CancelFunc
	heed func(value []byte) // see Heed

	underWay atomic.Int32 // grants that were sent and not answered

	mu       sync.Mutex
	ttl      time.Duration // what is relied on: not more than was asked for
	old      string        // the version of etcd, if its reads do not verify
	deadline clock.Instant
	pushed   chan struct{} // closed when deadline moves
	verified clock.Instant // s of the last accepted renewal
	gone     bool
	refused  error // the last renewal was, with this
	granted  clock.Instant

	lost chan struct{}
	loss *Loss // set before lost is closed
}

// New returns a lease that is not granted yet. It refuses a ttl outside MinTTL
// to MaxTTL.
func New(c *etcd.Client, ttl time.Duration) (*Lease, error) {
	if ttl < MinTTL || ttl > MaxTTL {
		return nil, fmt.Errorf("a TTL of %v is impossible: %v <= ttl <= %v", ttl, MinTTL, MaxTTL)
	}
	return Unkept(c, ttl), nil
}

// Unkept returns a lease, not granted yet, that nobody is going to renew: it lasts
// ttl, or MinTTL if that is longer, and nothing may be relied on after that.
func Unkept(c *etcd.Client, ttl time.Duration) *Lease {
	ttl = max(ttl, MinTTL)
	return &Lease{
		ID: newID(), c: c, want: ttl, ask: seconds(ttl), clk: clock.System{},
		pushed: make(chan struct{}), lost: make(chan struct{}), stop: func() {}, heed: func([]byte) {},
	}
}

// seconds rounds ttl up to what etcd counts in.
func seconds(ttl time.Duration) time.Duration {
	return (ttl + time.Second - 1) / time.Second * time.Second
}

// newID returns a random positive id, as etcd's own are, and an odd one.
func newID() int64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return int64(binary.BigEndian.Uint64(b[:])>>1 | 1)
}

// Grant asks for the lease until the answer is definite or ctx ends. The
// deadline counts from the first time of asking.
func (l *Lease) Grant(ctx context.Context) error {
	sent := l.clk.Now()
	ttl, err := etcd.Do(ctx, l.c, func(ctx context.Context, m *etcd.Member) (time.Duration, error) {
		l.underWay.Add(1)
		r, err := m.Lease().LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: l.ID, TTL: int64(l.ask / time.Second)})
		if err == nil || errors.Is(rpctypes.Error(err), rpctypes.ErrLeaseExist) {
			l.underWay.Add(-1)
		}
		if errors.Is(rpctypes.Error(err), rpctypes.ErrLeaseExist) {
			return l.grantedTTL(ctx, m)
		}
		if err != nil {
			return 0, err
		}
		return time.Duration(r.TTL) * time.Second, nil
	})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ttl = min(ttl, l.ask)
	l.verified = sent
	l.deadline = Deadline(sent, l.ttl)
	l.granted = l.clk.Now()
	return nil
}

// lateAt is how long a question may be under way that another member has answered.
const lateAt = 2 * time.Second

// MayCome reports whether a grant may be under way still, through a member that is
// slow: it would make the lease anew after it was revoked.
func (l *Lease) MayCome() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ttl == 0 || l.underWay.Load() > 0 && l.clk.Now().Sub(l.granted) < lateAt
}

// TooShort is the refusal of a TTL of which nothing is left for renewals on an
// etcd whose reads do not verify them.
type TooShort struct {
	TTL, Least time.Duration
	Version    string // of etcd
}

func (e *TooShort) Error() string {
	return fmt.Sprintf("ttl %v is too short for etcd %s, whose reads cannot verify a renewal: ttl >= %v (or %s)", e.TTL, e.Version, e.Least, etcd.Verifying)
}

// Judge asks what etcd's reads are worth, and refuses a TTL that is too short
// where they do not verify a renewal, with *TooShort, and a grpc-proxy, through which
// nothing does, with *etcd.Unfit. It may run beside Grant, so
// that it costs no time. It answers for the member that it asked: should that be
// replaced by an older one, deadlines are as much nearer from then on.
func (l *Lease) Judge(ctx context.Context) error {
	r, err := etcd.Do(ctx, l.c, func(ctx context.Context, m *etcd.Member) (etcd.Release, error) {
		return m.Examine(ctx)
	})
	if err != nil {
		return err
	}
	return l.judge(r)
}

func (l *Lease) judge(r etcd.Release) error {
	if r.Verifies {
		return nil
	}
	if l.want < minUnverified {
		return &TooShort{TTL: l.want, Least: minUnverified, Version: r.Version}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.old = r.Version
	return nil
}

// Unverified returns how much of each renewal is given away because etcd's reads
// do not verify it, and etcd's version; nothing, if they do. See Judge.
func (l *Lease) Unverified() (margin time.Duration, version string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.old == "" {
		return 0, ""
	}
	return unverified, l.old
}

// Usable returns how long after a renewal the lease can be used: TTL, less what
// is given away where renewals are not verified. The interval of renewals and
// the time to stop in are parts of it.
func (l *Lease) Usable() time.Duration {
	margin, _ := l.Unverified()
	return l.TTL() - margin
}

// grantedTTL asks what an earlier attempt was granted.
func (l *Lease) grantedTTL(ctx context.Context, m *etcd.Member) (time.Duration, error) {
	r, err := m.Lease().LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: l.ID})
	if err != nil {
		return 0, err
	}
	if r.GrantedTTL <= 0 {
		return 0, rpctypes.ErrLeaseNotFound
	}
	return time.Duration(r.GrantedTTL) * time.Second, nil
}

// Asked returns the TTL that is asked for, in whole seconds. No deadline counts
// on more, whatever is granted.
func (l *Lease) Asked() time.Duration { return l.ask }

// TTL returns what was asked for, in whole seconds. Where etcd grants more, as
// it does when its election timeout is long, the lease outlives a dead holder
// by as much longer, but deadlines do not count on it: others were told of this
// one.
func (l *Lease) TTL() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ttl
}

// Deadline returns the instant by which everything done under the lease must
// have ended, and a channel that is closed when a renewal moves it.
func (l *Lease) Deadline() (clock.Instant, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.deadline, l.pushed
}

// Lost is closed when the lease, or the key that it was kept for, is known to
// be gone, or the deadline has passed. See Loss.
func (l *Lease) Lost() <-chan struct{} { return l.lost }

// Loss says why the lease was lost. Call it only after Lost is closed.
func (l *Lease) Loss() *Loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.loss
}

// lose records the first cause of loss.
func (l *Lease) lose(k Kind) { l.loseTo(k, nil) }

// loseTo is lose where an error says more.
func (l *Lease) loseTo(k Kind, cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return
	}
	l.gone = true
	l.loss = l.lapse()
	if k != Lapsed {
		l.loss.Kind, l.loss.Cause = k, cause
	}
	close(l.lost)
}

// refuse notes that etcd refuses renewals, if that is what the error says.
func (l *Lease) refuse(err error) {
	if !errors.As(err, new(*etcd.Refused)) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused = err
}

// lapse is the loss by silence, or by etcd's refusals. l.mu is held.
func (l *Lease) lapse() *Loss {
	loss := &Loss{Kind: Lapsed, Silent: l.clk.Now().Sub(l.verified), Cause: l.refused}
	if loss.Cause != nil {
		loss.Kind = Refused
	}
	return loss
}

// accept moves the deadline to d, for a renewal verified at s, unless the old
// one has passed: then whoever waits for it may already have begun.
func (l *Lease) accept(s, d clock.Instant) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone || !l.clk.Now().Before(l.deadline) {
		return false
	}
	if l.verified.Before(s) {
		l.verified, l.refused = s, nil
	}
	if l.deadline.Before(d) {
		l.deadline = d
		close(l.pushed)
		l.pushed = make(chan struct{})
	}
	return true
}

// Stop ends the renewals and waits for them; the lease is left to lapse.
func (l *Lease) Stop() {
	l.stop()
	l.wg.Wait()
}

// Revoke ends the renewals and the lease, and with it every key that was put
// under it. That the lease is gone already is no error.
func (l *Lease) Revoke(ctx context.Context) error {
	l.Stop()
	return Revoke(ctx, l.c, l.ID)
}

// Revoke ends the lease id, of this process or another. That it is gone already
// is no error.
func Revoke(ctx context.Context, c *etcd.Client, id int64) error {
	_, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*pb.LeaseRevokeResponse, error) {
		return m.Lease().LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: id})
	})
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return nil
	}
	return err
}

// With is the option that puts a key under the lease.
func (l *Lease) With() clientv3.OpOption { return clientv3.WithLease(clientv3.LeaseID(l.ID)) }
