package hold

import (
	"context"
	"errors"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/clock"
	"conch/pkg/etcd"
	"conch/pkg/fence"
	"conch/pkg/keys"
	"conch/pkg/lease"
)

// What is spent on an etcd that does not answer; what is left behind lapses.
const (
	// releaseTimeout outlasts the election of a new leader.
	releaseTimeout = 5 * time.Second
	// lateTimeout is for a release after the deadline, when others need not
	// wait for it.
	lateTimeout = time.Second
	// explainTimeout is what the cause of a loss is worth; the release comes after.
	explainTimeout = 2 * time.Second
)

// Turn is a turn that we have. It must be given up with Release or Abandon, also
// after it was lost.
type Turn struct {
	me   *candidacy
	also *also // a second turn that this one rests on, or nil

	marking sync.WaitGroup
	unmark  context.CancelFunc // ends that
}

// newTurn makes a turn of a candidacy whose running record is written.
func newTurn(me *candidacy) *Turn {
	me.turned = true
	t := &Turn{me: me, unmark: func() {}}
	if me.recorded { // the key says still that we wait
		t.mark()
	}
	return t
}

// mark has our key say that we have the turn, until stop.
func (t *Turn) mark() {
	var ctx context.Context
	ctx, t.unmark = context.WithCancel(context.Background())
	t.marking.Go(func() { t.me.markHeld(ctx) })
}

// markHeld says in our key that we have the turn, if that is as we put it, or has
// only got the word that somebody asks for the place, which is kept. Nobody needs it
// for anything but the next in line, to be ready, and people; our own start comes
// first. If our record was put under a lease meanwhile, it is taken from there: see
// entrust, which does that to nobody whose key says this.
func (me *candidacy) markHeld(ctx context.Context) {
	makeWay(ctx)
	waits, held := me.holder(Waiting).line(), me.holder(Held).line()
	for {
		as := clientv3.Compare(clientv3.Value(me.key), "=", waits)
		t, err := etcd.Do(ctx, me.c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
			return m.KV().Txn(ctx).If(me.token.Compare()).
				Then(clientv3.OpGet(me.runAt),
					clientv3.OpTxn([]clientv3.Cmp{as}, []clientv3.Op{clientv3.OpPut(me.key, held, me.lease.With())}, []clientv3.Op{clientv3.OpGet(me.key)})).Commit()
		})
		if err != nil || !t.Succeeded {
			return
		}
		if done := t.Responses[1].GetResponseTxn(); !done.Succeeded {
			now := rangeIn(done, 0).Kvs[0].Value
			by := parse(now).Ask
			if by != "" && string(now) == with([]byte(waits), "ask", by) {
				waits, held = string(now), with([]byte(held), "ask", by)
				continue
			}
		}
		if record := rangeOf(t, 0).Kvs; len(record) > 0 && record[0].Lease != 0 {
			me.reclaim(ctx, record[0].Lease)
		}
		return
	}
}

// reclaim takes our record from under a lease. The release may have come first, and
// may end this at any time; it makes sure of the rest.
func (me *candidacy) reclaim(ctx context.Context, from int64) {
	me.doubt = from
	there := clientv3.Compare(clientv3.CreateRevision(me.runAt), ">", 0)
	_, err := etcd.Do(ctx, me.c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		return m.KV().Txn(ctx).If(there).Then(clientv3.OpPut(me.runAt, me.run)).Commit()
	})
	if err == nil {
		me.undoubt(ctx)
	}
}

// undoubt revokes the lease that may be there with nothing under it.
func (me *candidacy) undoubt(ctx context.Context) {
	if me.doubt != 0 && lease.Revoke(ctx, me.c, me.doubt) == nil {
		me.doubt = 0
	}
}

// stop ends what is done for the turn in this process.
func (t *Turn) stop() {
	t.unmark()
	t.marking.Wait()
	t.me.lease.Stop()
}

// Lost is closed when the turn is known to be gone.
func (t *Turn) Lost() <-chan struct{} {
	if t.also != nil {
		return t.also.lost
	}
	return t.me.lease.Lost()
}

// Deadline returns the instant by which everything under the turn must have
// ended, and a channel that is closed when it moves.
func (t *Turn) Deadline() (clock.Instant, <-chan struct{}) {
	d, moved := t.me.lease.Deadline()
	if t.also != nil {
		if other, othersMoved := t.also.turn.Deadline(); other.Before(d) {
			return other, othersMoved
		}
	}
	return d, moved
}

// Token returns the fencing token.
func (t *Turn) Token() fence.Token { return t.me.token }

// TTL returns the TTL that etcd granted.
func (t *Turn) TTL() time.Duration { return t.me.lease.TTL() }

// Usable returns how long the turn can be used after a renewal: its TTL, or less
// by Unverified.
func (t *Turn) Usable() time.Duration { return t.me.lease.Usable() }

// Unverified returns how much of each renewal is given away because this version
// of etcd cannot verify it; nothing, if it can.
func (t *Turn) Unverified() (margin time.Duration, version string) { return t.me.lease.Unverified() }

// NoteUnkilled has our key say how many processes of the command do not end though
// they were killed, to whoever asks who holds.
func (t *Turn) NoteUnkilled(ctx context.Context, n int) error {
	me := t.me
	for {
		r, err := etcd.Do(ctx, me.c, func(ctx context.Context, m *etcd.Member) (*clientv3.GetResponse, error) {
			return m.KV().Get(ctx, me.key)
		})
		if err != nil || len(r.Kvs) == 0 || r.Kvs[0].CreateRevision != me.token.Rev {
			return err
		}
		kv := r.Kvs[0]
		if parse(kv.Value).Unkilled == n {
			return nil
		}
		_, err = etcd.Do(ctx, me.c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
			return m.KV().Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(me.key), "=", kv.ModRevision)).
				Then(clientv3.OpPut(me.key, with(kv.Value, "unkilled", n), me.lease.With())).Commit()
		})
		if err != nil {
			return err
		}
	}
}

// Loss says why the turn was lost, asking etcd where that is not known. Of one
// that is not lost yet it says what it is being lost by: silence. Everything
// under the turn must have ended before.
func (t *Turn) Loss(ctx context.Context, space keys.Space) error {
	if t.also != nil && t.also.first(t) {
		return t.also.turn.Loss(ctx, space)
	}
	select {
	case <-t.me.lease.Lost():
	default:
		return t.me.lease.Silence()
	}
	limit := explainTimeout
	if end, any := ctx.Deadline(); any {
		limit = min(limit, time.Until(end)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	t.me.lease.Explain(ctx, space.Evict(t.me.lease.ID))
	return t.me.lease.Loss()
}

// After says what a release leaves behind.
type After struct {
	Linger time.Duration // keep the place in line this long, under a lease that nobody renews; see Request.Linger
	Done   string        // a done-marker to put, if not empty, ...
	Value  string        // ... with this value
}

// Release gives the turn up: one transaction deletes our key and our running
// record, and the lease is revoked behind it. Everything under the turn must be
// proven dead. An error means that etcd did not answer in time, and the lease will
// lapse; time is until the deadline, within releaseTimeout, and while ctx lasts.
func (t *Turn) Release(ctx context.Context, after After) error {
	d, _ := t.Deadline()
	limit := min(max(d.Sub(clock.System{}.Now()), lateTimeout), releaseTimeout)
	all := ctx
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	t.unmark()
	left := t.me.remains()
	kept, err, unlinger := left.release(ctx, t.me.c, after)
	t.stop()
	t.me.undoubt(ctx) // else it lapses
	if t.also != nil {
		other := After{}
		if kept {
			other.Linger = after.Linger
		}
		err = errors.Join(err, t.also.release(all, other))
	}
	if err == nil && !kept {
		left.dispel(ctx, t.me.c)
	}
	return errors.Join(err, unlinger)
}

// Abandon gives the turn up without a word to etcd: the lease lapses, and the
// running record stays. It is for a command that could not be proven dead.
func (t *Turn) Abandon() {
	t.stop()
	if t.also != nil {
		t.also.stop()
		t.also.turn.Abandon()
	}
}

// Slot returns the number of the slot that the turn has of a semaphore.
func (t *Turn) Slot() (n int, ok bool) { return t.me.slot, t.me.pool != nil }
