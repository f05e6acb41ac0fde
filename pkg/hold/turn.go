package hold

import (
	"context"
	"errors"
	"fmt"
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
	t := &Turn{me: me, unmark: func() {}}
	if me.recorded { // the key says still that we wait
		var ctx context.Context
		ctx, t.unmark = context.WithCancel(context.Background()) // until stop
		t.marking.Go(func() { me.markHeld(ctx) })
	}
	return t
}

// markHeld says in our key, if that is as we put it, that we have the turn. Nobody
// needs it for anything but the next in line, to be ready, and people; our own start
// comes first.
func (me *candidacy) markHeld(ctx context.Context) {
	makeWay(ctx)
	waits := clientv3.Compare(clientv3.Value(me.key), "=", me.holder(Waiting).line())
	_, _ = etcd.Do(ctx, me.c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		return m.KV().Txn(ctx).If(me.token.Compare(), waits).
			Then(clientv3.OpPut(me.key, me.holder(Held).line(), me.lease.With())).Commit()
	})
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
	Linger time.Duration // keep the place in line this long, with a lease of its own; see Request.Linger
	Done   string        // a done-marker to put, if not empty, ...
	Value  string        // ... with this value

	// Left, if not nil, may be called once there is nothing left of the turn but
	// a lease, which is being revoked.
	Left func()
}

// Release gives the turn up: one transaction deletes our key and our running
// record, and the lease is revoked behind it. Everything under the turn must be
// proven dead. An error means that etcd did not answer in time, and the lease will
// lapse; time is until the deadline, within releaseTimeout, and while ctx lasts.
func (t *Turn) Release(ctx context.Context, after After) error {
	d, _ := t.Deadline()
	left := min(max(d.Sub(clock.System{}.Now()), lateTimeout), releaseTimeout)
	all := ctx
	ctx, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	stay, unlinger, err := t.linger(ctx, after)
	if t.also != nil {
		after.Left = nil
	}
	if err == nil {
		t.unmark()
		err = t.Remains().clear(ctx, t.me.c, stay, after)
	}
	t.stop()
	if t.also != nil {
		err = errors.Join(err, t.also.release(all, After{Linger: after.Linger}))
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

// linger returns the operations with which the place is kept, or none where it is
// given up. One that cannot be kept is given up: unlinger says why.
func (t *Turn) linger(ctx context.Context, after After) (stay []clientv3.Op, unlinger, _ error) {
	switch {
	case after.Linger <= 0:
		return nil, nil, nil
	case !t.me.req.Linger: // the next in line believes that
		return nil, errors.New("the place could not be kept: that was not asked for with the turn"), nil
	}
	l, err := lease.New(t.me.c, min(max(after.Linger, lease.MinTTL), lease.MaxTTL))
	if err == nil {
		err = l.Grant(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("the place could not be kept: %w", err), nil
	}
	stay = []clientv3.Op{clientv3.OpPut(t.me.key, t.me.holder(Lingering).line(), l.With())}
	if r := t.Remains(); r.SlotKey != "" {
		stay = append(stay, clientv3.OpPut(r.SlotKey, r.Run, l.With()))
	}
	return stay, nil, nil
}

// Remains is what a holder leaves in etcd, for a helper process that clears it
// after the holder was killed and its command is proven dead.
type Remains struct {
	Key    string `json:"key"`
	Lease  int64  `json:"lease"`
	RunKey string `json:"run_key"`
	Run    string `json:"run"`

	Dir  string `json:"dir"`            // of the line
	Runs string `json:"runs,omitempty"` // of an office: the running records
	Rev  int64  `json:"rev"`            // create-revision of Key

	// Of a semaphore: the slot, whose value is that of the running record; and
	// the capacity, which goes with the last in line.
	SlotKey string `json:"slot_key,omitempty"`
	CapKey  string `json:"cap_key,omitempty"`

	Also *Remains `json:"also,omitempty"` // of the turn that this one rests on
}

// Remains returns what this turn would leave behind.
func (t *Turn) Remains() Remains {
	me := t.me
	r := Remains{Key: me.key, Lease: me.lease.ID, RunKey: me.runAt, Run: me.run, Dir: me.req.Line.Dir, Runs: me.req.Line.Runs, Rev: me.token.Rev}
	if me.pool != nil {
		r.SlotKey, r.CapKey = me.pool.Slot(me.slot), me.pool.Cap()
	}
	if t.also != nil {
		also := t.also.turn.Remains()
		r.Also = &also
	}
	return r
}

// Slot returns the number of the slot that the turn has of a semaphore.
func (t *Turn) Slot() (n int, ok bool) { return t.me.slot, t.me.pool != nil }

// Clear removes the remains as a release would have.
func (r Remains) Clear(ctx context.Context, c *etcd.Client) error {
	err := r.clear(ctx, c, nil, After{})
	if r.Also != nil {
		err = errors.Join(err, r.Also.Clear(ctx, c))
	}
	return err
}

// errPassed means that somebody else has taken over, so that a done-marker is no
// longer ours to put.
var errPassed = errors.New("the turn has passed on")

// clear deletes the record and puts the done-marker, provided that the record is
// ours: so long, nobody has taken over. It deletes the key, or does what makes it
// stay, provided that the key exists: after an eviction it does not. Otherwise it
// makes sure only that the key is gone. The revoke comes after that, so that key
// and record go in one revision and the next in line need not wait for the
// record; where etcd is far it is sent close behind. A key that is to stay must
// have its new lease first.
func (r Remains) clear(ctx context.Context, c *etcd.Client, stay []clientv3.Op, after After) error {
	then, orElse := r.going(stay)
	if after.Done != "" {
		then = append(then, clientv3.OpPut(after.Done, after.Value))
		orElse = append(orElse, clientv3.OpGet(after.Done))
	}
	then = append(then, clientv3.OpGet(r.Dir, clientv3.WithPrefix(), clientv3.WithCountOnly()))
	revoked := make(chan error, 1)
	far := c.RoundTrip() >= farAway && stay == nil
	if far {
		time.AfterFunc(sendApart, func() { revoked <- lease.Revoke(ctx, c, r.Lease) })
	}
	t, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		return m.KV().Txn(ctx).If(clientv3.Compare(clientv3.Value(r.RunKey), "=", r.Run)).
			Then(then...).Else(orElse...).Commit()
	})
	switch {
	case err != nil && far:
		<-revoked // where both fail they say the same
		return err
	case err != nil:
		return err
	case !t.Succeeded && after.Done != "" && rangeOf(t, len(orElse)-1).Count == 0:
		err = errPassed
	}
	if after.Left != nil {
		after.Left()
	}
	if far {
		return errors.Join(err, <-revoked)
	}
	if t.Succeeded && rangeOf(t, len(then)-1).Count > 0 {
		makeWay(ctx)
	}
	return errors.Join(err, lease.Revoke(ctx, c, r.Lease))
}

// makeWay keeps us from asking more of etcd, and of this machine, while a turn
// passes from one to the next: what we would ask for can wait, and that cannot.
func makeWay(ctx context.Context) {
	select {
	case <-time.After(5 * time.Millisecond):
	case <-ctx.Done():
	}
}

// going returns what a release does if the record is ours, and else.
func (r Remains) going(stay []clientv3.Op) (then, orElse []clientv3.Op) {
	exists := []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(r.Key), ">", 0)}
	then = []clientv3.Op{clientv3.OpDelete(r.RunKey)}
	last := clientv3.Compare(clientv3.CreateRevision(r.Dir), "=", r.Rev).WithPrefix()
	asLast := func(op clientv3.Op) clientv3.Op { // the revoke may have come first, or an eviction, and our key be gone
		return clientv3.OpTxn([]clientv3.Cmp{last}, []clientv3.Op{op}, []clientv3.Op{ifVacant(r.Dir, op)})
	}
	if stay != nil { // else this may be the second time of asking, and the key shall stay
		then = append(then, clientv3.OpTxn(exists, stay, nil))
		if r.SlotKey != "" { // nobody will be there to take it away; who comes puts it again
			then = append(then, asLast(clientv3.OpDelete(r.CapKey)))
		}
		return then, nil
	}
	gone := clientv3.OpDelete(r.Key)
	then = append(then, clientv3.OpTxn(exists, []clientv3.Op{gone}, nil))
	if r.Runs != "" { // of those who died ready, behind us and nobody else
		then = append(then, asLast(clientv3.OpDelete(r.Runs, clientv3.WithPrefix())))
	}
	if r.SlotKey != "" {
		ours := clientv3.Compare(clientv3.Value(r.SlotKey), "=", r.Run)
		then = append(then,
			clientv3.OpTxn([]clientv3.Cmp{ours}, []clientv3.Op{clientv3.OpDelete(r.SlotKey)}, nil),
			asLast(clientv3.OpDelete(r.CapKey)))
	}
	return then, []clientv3.Op{gone}
}

// ifVacant is op in a line where nobody is.
func ifVacant(dir string, op clientv3.Op) clientv3.Op {
	empty := clientv3.Compare(clientv3.CreateRevision(dir), "=", 0).WithPrefix()
	return clientv3.OpTxn([]clientv3.Cmp{empty}, []clientv3.Op{op}, nil)
}
