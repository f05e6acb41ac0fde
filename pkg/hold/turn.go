package hold

import (
	"context"
	"errors"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/clock"
	"conch/pkg/etcd"
	"conch/pkg/fence"
	"conch/pkg/keys"
	"conch/pkg/lease"
)

// releaseTimeout bounds what is spent on tidying up in an etcd that does not
// answer; what is left behind lapses.
const releaseTimeout = time.Second

// Turn is a turn that we have. It must be given up with Release, also after it
// was lost.
type Turn struct {
	me        *candidacy
	confirmed chan struct{} // closed when the running record is written, or will not be
	wg        sync.WaitGroup
	stop      context.CancelFunc

	mu   sync.Mutex
	lost chan struct{}
	loss error
}

// newTurn makes a turn of a candidacy that has come to the head. confirm, if not
// nil, writes the running record.
func newTurn(me *candidacy, confirm func(context.Context) error) *Turn {
	ctx, cancel := context.WithCancel(context.Background()) // ended by Release
	t := &Turn{me: me, stop: cancel, lost: make(chan struct{}), confirmed: make(chan struct{})}
	t.wg.Go(func() {
		select {
		case <-me.lease.Lost():
			t.lose(me.lease.Loss())
		case <-ctx.Done():
		}
	})
	if confirm == nil {
		close(t.confirmed)
	} else {
		t.wg.Go(func() {
			defer close(t.confirmed)
			// No timeout but the deadline: the lease's loss ends it through lose.
			if err := confirm(ctx); err != nil && ctx.Err() == nil {
				t.lose(&lease.Loss{Kind: lease.Gone})
			}
		})
	}
	return t
}

func (t *Turn) lose(why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.loss == nil {
		t.loss = why
		close(t.lost)
	}
}

// Lost is closed when the turn is known to be gone.
func (t *Turn) Lost() <-chan struct{} { return t.lost }

// Deadline returns the instant by which everything under the turn must have
// ended, and a channel that is closed when it moves.
func (t *Turn) Deadline() (clock.Instant, <-chan struct{}) { return t.me.lease.Deadline() }

// Token returns the fencing token.
func (t *Turn) Token() fence.Token { return t.me.token }

// TTL returns the TTL that etcd granted.
func (t *Turn) TTL() time.Duration { return t.me.lease.TTL() }

// Loss says why the turn was lost, asking etcd where that is not known; nil
// while it is not. Everything under the turn must have ended before.
func (t *Turn) Loss(ctx context.Context, space keys.Space) error {
	t.mu.Lock()
	why := t.loss
	t.mu.Unlock()
	if l, ok := why.(*lease.Loss); ok && l == t.me.lease.Loss() {
		ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
		defer cancel()
		t.me.lease.Explain(ctx, space.Evict(t.me.lease.ID))
	}
	return why
}

// After says what a release leaves behind.
type After struct {
	Linger time.Duration // keep the place in line this long, with a lease of its own
	Done   string        // a done-marker to put, if not empty, ...
	Value  string        // ... with this value
}

// Release gives the turn up: one transaction deletes our key and our running
// record, and the lease is revoked beside it. Everything under the turn must be
// proven dead. It takes a second at most; an error means that etcd did not
// answer and the lease will lapse.
func (t *Turn) Release(ctx context.Context, after After) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	select { // a record written after the release would stay for ever
	case <-t.confirmed:
	case <-t.lost:
	case <-ctx.Done():
	}
	t.stop()
	key, err := t.leave(ctx, after)
	t.me.lease.Stop()
	if err == nil {
		err = t.Remains().clear(ctx, t.me.c, key, after)
	}
	t.wg.Wait()
	return err
}

// Abandon gives the turn up without a word to etcd: the lease lapses, and the
// running record stays. It is for a command that could not be proven dead.
func (t *Turn) Abandon() {
	t.stop()
	t.me.lease.Stop()
	t.wg.Wait()
}

// leave returns the operation with which the key stays or goes.
func (t *Turn) leave(ctx context.Context, after After) (clientv3.Op, error) {
	if after.Linger <= 0 {
		return clientv3.OpDelete(t.me.key), nil
	}
	l, err := lease.New(t.me.c, min(max(after.Linger, lease.MinTTL), lease.MaxTTL))
	if err == nil {
		err = l.Grant(ctx)
	}
	if err != nil {
		return clientv3.Op{}, err
	}
	return clientv3.OpPut(t.me.key, t.me.req.Holder.in(Lingering).line(), l.With()), nil
}

// Remains is what a holder leaves in etcd, for a helper process that clears it
// after the holder was killed and its command is proven dead.
type Remains struct {
	Key    string `json:"key"`
	Lease  int64  `json:"lease"`
	RunKey string `json:"run_key"`
	Run    string `json:"run"`
}

// Remains returns what this turn would leave behind.
func (t *Turn) Remains() Remains {
	return Remains{Key: t.me.key, Lease: t.me.lease.ID, RunKey: t.me.req.Line.Run, Run: t.me.run}
}

// Clear removes the remains as a release would have.
func (r Remains) Clear(ctx context.Context, c *etcd.Client) error {
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	return r.clear(ctx, c, clientv3.OpDelete(r.Key), After{})
}

// errPassed means that somebody else has taken over, so that a done-marker is no
// longer ours to put.
var errPassed = errors.New("the turn has passed on")

// clear deletes the record and puts the done-marker, provided that the record is
// ours: so long, nobody has taken over. It does key, provided that the key
// exists: after an eviction it does not. Otherwise it makes sure only that the
// key is gone. The revoke runs beside it; whichever comes first, both are
// harmless to others.
func (r Remains) clear(ctx context.Context, c *etcd.Client, key clientv3.Op, after After) error {
	exists := clientv3.Compare(clientv3.CreateRevision(r.Key), ">", 0)
	then := []clientv3.Op{clientv3.OpDelete(r.RunKey), clientv3.OpTxn([]clientv3.Cmp{exists}, []clientv3.Op{key}, nil)}
	var orElse []clientv3.Op
	if key.IsDelete() { // else this may be the second time of asking, and the key shall linger
		orElse = append(orElse, key)
	}
	if after.Done != "" {
		then = append(then, clientv3.OpPut(after.Done, after.Value))
		orElse = append(orElse, clientv3.OpGet(after.Done))
	}
	cleared := make(chan error, 1)
	go func() {
		t, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
			return m.KV().Txn(ctx).If(clientv3.Compare(clientv3.Value(r.RunKey), "=", r.Run)).
				Then(then...).Else(orElse...).Commit()
		})
		if err == nil && !t.Succeeded && after.Done != "" && rangeOf(t, len(orElse)-1).Count == 0 {
			err = errPassed
		}
		cleared <- err
	}()
	if !key.IsDelete() { // it must have its new lease before the old one goes
		err := <-cleared
		if err != nil && err != errPassed {
			return err
		}
		cleared <- err
	}
	_, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (struct{}, error) {
		_, err := m.Lease().LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: r.Lease})
		if errors.Is(rpctypes.Error(err), rpctypes.ErrLeaseNotFound) {
			err = nil
		}
		return struct{}{}, err
	})
	return errors.Join(<-cleared, err)
}
