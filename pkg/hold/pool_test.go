package hold

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcdtest"
	"conch/pkg/keys"
	"conch/pkg/lease"
)

// poolWorld is a client and a semaphore of the test's own.
type poolWorld struct {
	*world
	pool keys.Pool
}

func newPoolWorld(t *testing.T) *poolWorld {
	w := newWorld(t)
	p := space.Pool(t.Name())
	w.line = p.Line
	return &poolWorld{w, p}
}

func (w *poolWorld) share(max, weight int) Share {
	return Share{Pool: w.pool, Max: max, Weight: weight}
}

func (w *poolWorld) take(s Share) *Turn {
	w.t.Helper()
	return w.takeAs(w.request(), s)
}

func (w *poolWorld) takeAs(r Request, s Share) *Turn {
	w.t.Helper()
	t, err := JoinPool(within(w.t, 30*time.Second), w.c, r, s)
	if err != nil {
		w.t.Fatal(err)
	}
	return t
}

func (w *poolWorld) later(s Share) <-chan *Turn {
	w.t.Helper()
	return w.laterAs(w.request(), s)
}

func (w *poolWorld) laterAs(r Request, s Share) <-chan *Turn {
	w.t.Helper()
	turns := make(chan *Turn, 1)
	waiting := make(chan struct{}, 100)
	r.OnWait = func(Place) { waiting <- struct{}{} }
	go func() {
		t, err := JoinPool(within(w.t, 60*time.Second), w.c, r, s)
		if err != nil {
			w.t.Error(err)
		}
		turns <- t
	}()
	<-waiting
	return turns
}

func (w *poolWorld) empty() {
	w.t.Helper()
	w.gone(w.pool.Dir)
	w.gone(w.pool.State)
}

func slotOf(t *Turn) int {
	n, _ := t.Slot()
	return n
}

// A slot in the middle is given to the head of the line at once: the reference
// starts C only when A has ended.
func TestPoolConservesWork(t *testing.T) {
	w := newPoolWorld(t)
	a, b := w.take(w.share(2, 1)), w.take(w.share(2, 1))
	c, d := w.later(w.share(2, 1)), w.later(w.share(2, 1))
	w.release(b)
	third := <-c
	if !none(d) {
		t.Fatal("three of two")
	}
	if slotOf(a) != 0 || slotOf(third) != slotOf(b) || slotOf(b) != 1 {
		t.Errorf("slots %d, %d, %d", slotOf(a), slotOf(b), slotOf(third))
	}
	if !(a.Token().Rev < b.Token().Rev && b.Token().Rev < third.Token().Rev) {
		t.Error("tokens do not rise")
	}
	w.release(a)
	fourth := <-d
	if slotOf(fourth) != 0 {
		t.Errorf("not the lowest free slot, but %d", slotOf(fourth))
	}
	w.release(third)
	w.release(fourth)
	w.empty()
}

// A heavy waiter at the head is not passed by light ones.
func TestPoolWeights(t *testing.T) {
	w := newPoolWorld(t)
	a, b := w.take(w.share(3, 1)), w.take(w.share(3, 1))
	heavy := w.later(w.share(3, 3))
	light := w.later(w.share(3, 1))
	w.release(a)
	if !none(heavy) || !none(light) {
		t.Fatal("somebody has passed")
	}
	w.release(b)
	h := <-heavy
	if !none(light) {
		t.Fatal("four of three")
	}
	w.release(h)
	w.release(<-light)
	w.empty()
}

func TestPoolNonBlock(t *testing.T) {
	w := newPoolWorld(t)
	a := w.take(w.share(2, 1))
	r := w.request()
	r.NonBlock = true
	b, err := JoinPool(within(t, 10*time.Second), w.c, r, w.share(2, 1))
	if err != nil {
		t.Fatal(err)
	}
	var busy *Busy
	if _, err := JoinPool(within(t, 10*time.Second), w.c, r, w.share(2, 1)); !errors.As(err, &busy) || busy.Holder.Key == "" {
		t.Errorf("%v", err)
	}
	w.release(a)
	w.release(b)
	w.empty()
}

// One capacity while it is in use; idle, the newest caller's counts.
func TestPoolCapacity(t *testing.T) {
	w := newPoolWorld(t)
	a := w.take(w.share(2, 1))
	var use *InUse
	if _, err := JoinPool(within(t, 10*time.Second), w.c, w.request(), w.share(3, 1)); !errors.As(err, &use) || use.Cap != 2 || use.By.Key != a.Token().Key {
		t.Errorf("%v", err)
	}
	w.release(a)
	w.empty()
	b := w.take(w.share(3, 1))
	a2, c := w.take(w.share(3, 1)), w.later(w.share(3, 3))
	w.release(b)
	w.release(a2)
	w.release(<-c)
	w.empty()
}

// Over a long road the revoke travels beside the release and may come first.
func TestPoolFarAway(t *testing.T) {
	w := newPoolWorld(t)
	road := etcdtest.Road(t, etcdtest.Shared(t))
	road.Delay(10 * time.Millisecond)
	w.c = connect(t, "http://"+road.Addr())
	for range 20 {
		a := w.take(w.share(2, 1))
		ctx, cancel := context.WithCancel(context.Background())
		r := w.request()
		r.OnWait = func(Place) { cancel() }
		if _, err := JoinPool(ctx, w.c, r, w.share(2, 2)); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		w.release(a)
		w.empty()
	}
}

// Growing admits at once, shrinking lets holders finish.
func TestPoolResize(t *testing.T) {
	w := newPoolWorld(t)
	a := w.take(w.share(1, 1))
	b, c := w.later(w.share(1, 1)), w.later(w.share(1, 1))
	w.resize(3, 1)
	second, third := <-b, <-c
	w.resize(1, 3)
	d := w.later(w.share(1, 1))
	w.release(a)
	w.release(second)
	if !none(d) {
		t.Error("two of one")
	}
	w.release(third)
	w.release(<-d)
	w.empty()
	if _, err := Resize(within(t, 10*time.Second), w.c, w.pool, 2); !errors.Is(err, ErrVacant) {
		t.Errorf("%v", err)
	}
}

// Who lost its place in line, and finds the semaphore resized, takes it as it is.
func TestPoolResizedMeanwhile(t *testing.T) {
	w := newPoolWorld(t)
	a := w.take(w.share(1, 1))
	b := w.later(w.share(1, 1))
	p, err := ReadPool(within(t, 10*time.Second), w.c, w.pool)
	if err != nil || len(p.Candidates) != 2 {
		t.Fatalf("%+v, %v", p, err)
	}
	lost := p.Candidates[1].Lease
	if _, err := w.admin.Revoke(within(t, 10*time.Second), clientv3.LeaseID(lost)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.admin.Put(within(t, 10*time.Second), w.pool.Cap(), "2"); err != nil {
		t.Fatal(err)
	}
	w.release(<-b)
	w.release(a)
	w.empty()
	heavy := w.take(w.share(3, 1))
	c := w.later(w.share(3, 3))
	var tooHeavy *TooHeavy
	if _, err := Resize(within(t, 10*time.Second), w.c, w.pool, 2); !errors.As(err, &tooHeavy) || tooHeavy.By.Weight != 3 {
		t.Errorf("%v", err)
	}
	w.release(heavy)
	w.release(<-c)
	w.empty()
}

func (w *poolWorld) resize(n, was int) {
	w.t.Helper()
	if old, err := Resize(within(w.t, 10*time.Second), w.c, w.pool, n); err != nil || old != was {
		w.t.Fatalf("%d, %v", old, err)
	}
}

// A holder that died without a word takes its share until the lock-delay is over,
// and only its own.
func TestPoolDirt(t *testing.T) {
	w := newPoolWorld(t)
	a, b := w.take(w.share(2, 1)), w.take(w.share(2, 1))
	r := w.request()
	r.LockDelay = 2 * time.Second
	waiting := make(chan Place, 100)
	r.OnWait = func(p Place) { waiting <- p }
	turns := make(chan *Turn, 2)
	for range 2 {
		go func() {
			c, err := JoinPool(within(t, 60*time.Second), w.c, r, w.share(2, 1))
			if err != nil {
				t.Error(err)
			}
			turns <- c
		}()
		<-waiting
	}
	began := time.Now()
	if _, err := w.admin.Revoke(within(t, 10*time.Second), clientv3.LeaseID(a.Token().Lease)); err != nil {
		t.Fatal(err)
	}
	w.release(b)
	first := <-turns
	if slotOf(first) != 1 {
		t.Errorf("slot %d, whose last holder may be alive", slotOf(first))
	}
	second := <-turns
	if d := time.Since(began); d < r.LockDelay {
		t.Errorf("the lock-delay was cut short to %v", d)
	}
	if slotOf(second) != 0 {
		t.Errorf("slot %d", slotOf(second))
	}
	w.release(first)
	w.release(second)
	w.empty()
}

// die leaves the record of a turn behind, as a host does that loses its power.
func (w *poolWorld) die(t *Turn) {
	w.t.Helper()
	t.Abandon()
	if _, err := w.admin.Revoke(within(w.t, 10*time.Second), clientv3.LeaseID(t.Token().Lease)); err != nil {
		w.t.Fatal(err)
	}
}

// Who must not wait for others waits for a lock-delay that is due: else nobody of
// that kind would ever have a turn again.
func TestPoolNonBlockAfterDeath(t *testing.T) {
	w := newPoolWorld(t)
	w.die(w.take(w.share(1, 1)))
	r := w.request()
	r.NonBlock = true
	next, err := JoinPool(within(t, 20*time.Second), w.c, r, w.share(1, 1))
	if err != nil {
		t.Fatal(err)
	}
	w.release(next)
	w.empty()
}

// A capacity that replaces that of the dead counts at once, for more and for less.
func TestPoolCapacityAfterDeath(t *testing.T) {
	for _, c := range []struct{ before, after int }{{2, 1}, {1, 3}} {
		w := newPoolWorld(t)
		w.die(w.take(w.share(c.before, 1)))
		r := w.request()
		r.LockDelay = 1500 * time.Millisecond
		r.TTL = 30 * time.Second // nobody is to be saved by looking again
		began := time.Now()
		next, err := JoinPool(within(t, 20*time.Second), w.c, r, w.share(c.after, c.after))
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d < r.LockDelay {
			t.Errorf("%d, then %d: started after %v beside somebody who may be alive", c.before, c.after, d)
		}
		if slotOf(next) != 0 {
			t.Errorf("slot %d of %d", slotOf(next), c.after)
		}
		w.release(next)
		w.empty()
	}
}

// More records than one transaction can take away.
func TestPoolManyDead(t *testing.T) {
	w := newPoolWorld(t)
	for n := range 150 {
		if _, err := w.admin.Put(within(t, 10*time.Second), w.pool.RunIn(n), running{Owner: "dead"}.line()); err != nil {
			t.Fatal(err)
		}
	}
	r := w.request()
	r.LockDelay = 0
	for range 4 {
		next, err := JoinPool(within(t, 20*time.Second), w.c, r, w.share(150, 1))
		if err != nil {
			t.Fatal(err)
		}
		w.release(next)
	}
	w.empty()
}

// Where a lower slot was given back since the look, nothing is taken, and nobody is
// refused or stands in line for it: a look at how it is now is all that it costs.
func TestPoolLowerGivenBack(t *testing.T) {
	for _, nonBlock := range []bool{false, true} {
		w := newPoolWorld(t)
		a, b := w.take(w.share(3, 1)), w.take(w.share(3, 1))
		ctx := within(t, 30*time.Second)
		req, share := w.request(), w.share(3, 1)
		req.Line, req.NonBlock = share.Pool.Line, nonBlock
		me, err := newPoolCandidacy(w.c, req, share)
		if err == nil {
			err = me.grant(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		e, err := me.peek(ctx)
		if err != nil {
			t.Fatal(err)
		}
		w.release(a)
		if e, err = me.join(ctx, e, 2); err != nil || e.token.Rev != 0 || e.acquired {
			t.Fatalf("%+v, %v", e, err)
		}
		if p, err := ReadPool(ctx, w.c, w.pool); err != nil || len(p.Candidates) != 1 {
			t.Errorf("%+v, %v", p, err)
		}
		slot, room := me.room(e)
		if slot != 0 || !room {
			t.Errorf("slot %d, %v", slot, room)
		}
		if e, err = me.join(ctx, e, slot); err != nil || !e.acquired || e.slot != 0 {
			t.Fatalf("%+v, %v", e, err)
		}
		me.keep(e.token)
		w.release(newTurn(me.candidacy))
		w.release(b)
		w.empty()
	}
}

// More holders than one transaction can compare, taken as they come and in turn.
func TestPoolManyHolders(t *testing.T) {
	w := newPoolWorld(t)
	const n = 3 * maxCompare / 2
	var all []*Turn
	for i := range n {
		all = append(all, w.take(w.share(n, 1)))
		if slotOf(all[i]) != i {
			t.Fatalf("holder %d has slot %d", i, slotOf(all[i]))
		}
	}
	for _, i := range []int{n - 1, maxCompare + 10, maxCompare - 10, 0} {
		next := w.later(w.share(n, 1))
		w.release(all[i])
		if all[i] = <-next; slotOf(all[i]) != i {
			t.Errorf("slot %d was free, and %d is taken", i, slotOf(all[i]))
		}
	}
	for _, turn := range all {
		w.release(turn)
	}
	w.empty()
}

// A place that is kept with --hold-for leaves nothing when it lapses.
func TestPoolLingers(t *testing.T) {
	w := newPoolWorld(t)
	stays := w.request()
	stays.Linger = true
	a, err := JoinPool(within(t, 30*time.Second), w.c, stays, w.share(2, 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Release(context.Background(), After{Linger: 6 * time.Second}); err != nil {
		t.Fatal(err)
	}
	b := w.take(w.share(2, 1))
	if slotOf(b) != 1 {
		t.Errorf("slot %d is not free", slotOf(b))
	}
	c := w.later(w.share(2, 2))
	w.release(b)
	w.release(<-c)
	w.empty()
}

// One waiter wakes for each slot that is given back, and a hand-over is two
// commits, however many wait: a release and a claim; the revoke of a lease without
// keys is none. Where the connection was slow to come up, as over a long way or on
// a busy machine, the revoke does not wait for the release, and may come first.
//
// Nor do those who go on waiting look. To each hand-over belong the two, what the
// next in line reads when he comes to its head, and his look at who was in front,
// which may come late after he joined; and one more for a request sent again. If all
// who wait read, twenty of them would read ten times as a mean.
func TestPoolWakesOne(t *testing.T) {
	for _, waiters := range []int{2, 20} {
		w := newPoolWorld(t)
		r := w.request()
		r.TTL = lease.MaxTTL // nobody renews, or looks again
		turns := []*Turn{w.takeAs(r, w.share(2, 1)), w.takeAs(r, w.share(2, 1))}
		var line []<-chan *Turn
		for range waiters {
			line = append(line, w.laterAs(r, w.share(2, 1)))
		}
		before, asked := w.revision(), etcdtest.Requests(t, etcdtest.Shared(t), "Range", "Txn")
		for _, next := range line {
			w.release(turns[0])
			turns = append(turns[1:], <-next)
		}
		asked = etcdtest.Requests(t, etcdtest.Shared(t), "Range", "Txn") - asked
		least, most := 2*waiters, 2*waiters
		if w.c.RoundTrip() >= farAway {
			most += waiters
		}
		if n := w.commits(before); n < least || n > most {
			t.Errorf("%d commits for %d hand-overs", n, waiters)
		}
		if asked < least || asked > 5*waiters {
			t.Errorf("%d requests for %d hand-overs", asked, waiters)
		}
		for _, turn := range turns {
			w.release(turn)
		}
		w.empty()
	}
}

// commits counts the revisions after one that have changed the semaphore, up to
// its latest claim.
func (w *poolWorld) commits(after int64) int {
	w.t.Helper()
	r, err := w.admin.Get(within(w.t, 20*time.Second), w.pool.State, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend), clientv3.WithLimit(1))
	if err != nil || len(r.Kvs) == 0 {
		w.t.Fatalf("no claim: %v", err)
	}
	return len(w.changes(after, r.Kvs[0].ModRevision))
}

// changes are what has changed the semaphore after one revision, up to another, at
// which something has: the events of each revision.
func (w *poolWorld) changes(after, last int64) (revs [][]*clientv3.Event) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(within(w.t, 20*time.Second))
	defer cancel()
	at := after
	for answer := range w.admin.Watch(ctx, w.pool.State, clientv3.WithRange(clientv3.GetPrefixRangeEnd(w.pool.Dir)), clientv3.WithRev(after+1)) {
		for _, e := range answer.Events {
			k, rev := string(e.Kv.Key), e.Kv.ModRevision
			switch ours := strings.HasPrefix(k, w.pool.State) || strings.HasPrefix(k, w.pool.Dir); {
			case rev > last:
				return revs
			case ours && rev > at:
				at, revs = rev, append(revs, nil)
				fallthrough
			case ours:
				revs[len(revs)-1] = append(revs[len(revs)-1], e)
			}
		}
		if at == last {
			return revs
		}
	}
	w.t.Fatal("the watch has ended")
	return nil
}

func (w *poolWorld) revision() int64 {
	r, err := w.admin.Get(within(w.t, 10*time.Second), "x")
	if err != nil {
		w.t.Fatal(err)
	}
	return r.Header.Revision
}
