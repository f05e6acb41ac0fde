package hold

import (
	"context"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcdtest"
	"conch/pkg/keys"
	"conch/pkg/lease"
)

// records returns the running records of w's line: where each lies, and the
// revision in which it first was written.
func (w *world) records() map[string]int64 {
	w.t.Helper()
	r, err := w.admin.Get(within(w.t, 10*time.Second), w.line.Runs, clientv3.WithPrefix())
	if err != nil {
		w.t.Fatal(err)
	}
	at := make(map[string]int64)
	for _, kv := range r.Kvs {
		at[string(kv.Key)] = kv.CreateRevision
	}
	return at
}

// recorded waits until there are n running records.
func (w *world) recorded(n int) {
	w.t.Helper()
	w.until(func(at map[string]int64) bool { return len(at) == n })
}

// until waits until the running records are as wanted.
func (w *world) until(wanted func(map[string]int64) bool) {
	w.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for at := w.records(); !wanted(at); at = w.records() {
		if time.Now().After(deadline) {
			w.t.Fatalf("records: %v", at)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// A turn that is waited for is taken without a write: what it needs was written
// while somebody else had it.
func TestHandOverWritesNothing(t *testing.T) {
	w := newWorld(t)
	now := w.join(w.request())
	next := w.later(w.request())
	after := w.later(w.request())
	for _, waiting := range []<-chan *Turn{next, after} {
		w.recorded(2) // of who has the turn and who is next, and of nobody behind
		before := w.head()
		w.release(now)
		now = <-waiting
		if waiting == after { // its key will never say that it has the turn
			now.unmark()
		}
		if l, err := List(within(t, 10*time.Second), w.c, w.line); err != nil {
			t.Error(err)
		} else if c, ok := l.Holder(); !ok || c.Rev != now.Token().Rev {
			t.Errorf("the holder is %+v, %v", c, ok)
		}
		if rev := w.records()[now.Remains()[0].RunKey]; rev == 0 || rev > before {
			t.Errorf("the record was written in revision %d; the turn was released after %d", rev, before)
		}
		if !none(after) {
			t.Error("both have a turn")
		}
	}
	w.release(now)
	w.empty()
}

// head returns the revision that the cluster is at.
func (w *world) head() int64 {
	w.t.Helper()
	r, err := w.admin.Get(within(w.t, 10*time.Second), "x")
	if err != nil {
		w.t.Fatal(err)
	}
	return r.Header.Revision
}

// Who is ready and loses its place leaves a record: it costs nobody a delay, for
// its command cannot have run.
func TestReadyAndDead(t *testing.T) {
	w := newWorld(t)
	now := w.join(w.request())
	const dead = "dead"
	if _, err := w.admin.Put(within(t, 10*time.Second), w.line.Runs+dead, running{Owner: dead, TTL: 5}.line()); err != nil {
		t.Fatal(err)
	}
	slow := w.request()
	slow.LockDelay = time.Minute
	next := w.later(slow)
	w.until(func(at map[string]int64) bool { return at[w.line.Runs+dead] == 0 })
	w.recorded(2)
	w.release(now)
	w.release(<-next)
	w.empty()
}

// A turn whose key went without its record was not released, however ready the
// next one is.
func TestReadyWaitsForRelease(t *testing.T) {
	w := newWorld(t)
	now := w.join(w.request())
	careful := w.request()
	careful.LockDelay = 2 * time.Second
	next := w.later(careful)
	w.recorded(2)
	began := time.Now()
	if _, err := w.admin.Delete(within(t, 10*time.Second), now.Remains()[0].Key); err != nil {
		t.Fatal(err)
	}
	turn := <-next
	if took := time.Since(began); took < careful.LockDelay {
		t.Errorf("a turn after %v", took)
	}
	now.Abandon()
	w.release(turn)
	w.empty()
}

// A place that is kept after its turn is not free, although the record has gone.
func TestReadyBehindLinger(t *testing.T) {
	w := newWorld(t)
	stays := w.request()
	stays.Linger = true
	now := w.join(stays)
	next := w.later(w.request())
	w.recorded(2)
	const linger = 3 * time.Second
	began := time.Now()
	if err := now.Release(context.Background(), After{Linger: linger}); err != nil {
		t.Fatal(err)
	}
	turn := <-next
	if took := time.Since(began); took < linger {
		t.Errorf("a turn after %v", took)
	}
	w.release(turn)
	w.empty()
}

// Who was ready and lost its key does not start when the holder releases, although
// it has not heard of that yet: the one behind it has cleared its record.
func TestReadyWithoutKey(t *testing.T) {
	w := newWorld(t)
	now := w.join(w.request())
	ctx := within(t, 60*time.Second)
	me, e := w.ready(ctx, now)
	defer me.abandon(ctx, nil)
	over := make(chan bool, 1)
	go func() {
		head, _ := me.follow(ctx, e)
		over <- head
	}()
	w.recorded(2)
	if _, err := w.admin.Delete(ctx, me.key); err != nil { // it does not watch that: see ready
		t.Fatal(err)
	}
	behind := w.later(w.request())
	w.until(func(at map[string]int64) bool { return at[me.runAt] == 0 })
	w.release(now)
	turn := <-behind
	if <-over {
		t.Error("it took the turn")
	}
	w.release(turn)
	w.empty()
}

// ready puts a candidate behind holder, whose lease is not kept, and which so does
// not hear what becomes of its key.
func (w *world) ready(ctx context.Context, holder *Turn) (*candidacy, entry) {
	w.t.Helper()
	l, err := lease.New(w.c, lease.MaxTTL)
	if err != nil {
		w.t.Fatal(err)
	}
	me := newCandidacy(w.c, w.request(), l)
	me.runAt = w.line.Record(l.ID)
	e, err := me.enter(ctx)
	if err != nil || e.ahead.Rev != holder.Token().Rev {
		w.t.Fatalf("%+v, %v", e, err)
	}
	me.token = e.token
	return me, e
}

// The only one in line clears with its release what others who died ready have
// left, also if its lease is revoked first.
func TestReleaseClearsTheDead(t *testing.T) {
	for _, revoked := range []bool{false, true} {
		w := newWorld(t)
		now := w.join(w.request())
		if _, err := w.admin.Put(within(t, 10*time.Second), w.line.Runs+"dead", running{Owner: "dead", TTL: 5}.line()); err != nil {
			t.Fatal(err)
		}
		if revoked {
			if _, err := w.admin.Revoke(within(t, 10*time.Second), clientv3.LeaseID(now.Remains()[0].Lease)); err != nil {
				t.Fatal(err)
			}
		}
		w.release(now)
		w.empty()
	}
}

// Who releases sees to it that the record of the next in line, who was ready and is
// dead, goes too, though its key is still there and nobody else will ever come.
func TestReleaseBeforeTheDead(t *testing.T) {
	w := newWorld(t)
	now := w.join(w.request())
	l := w.dead(2)
	w.release(now)
	w.empty()
	if _, err := w.admin.Revoke(within(t, 10*time.Second), l); err == nil {
		t.Error("the lease of the dead has outlived its key")
	}
}

// Who was taken for dead, being slow, has its record without a lease again once it
// says that it has the turn; and whenever it gives that up, whatever has come of its
// words by then, no lease is left.
func TestReleaseBeforeTheSlow(t *testing.T) {
	for name, give := range map[string]func(*slow){
		"before a word": (*slow).release,
		"after all": func(s *slow) {
			s.turn.mark()
			s.turn.marking.Wait()
			s.record(0)
			s.release()
		},
		"while it is said": func(s *slow) {
			s.road.CutIn()
			s.turn.mark()
			s.says(Held)
			s.answer()
			s.release()
		},
		"while the record is taken back": func(s *slow) {
			s.takeBack()
			s.road.CutIn()
			s.answer()
			s.release()
		},
		"without the answer to that": func(s *slow) {
			s.takeBack()
			s.road.CutIn()
			s.lose()
			s.release()
		},
		"without an answer to the release": func(s *slow) {
			s.road.CutIn()
			released := make(chan error)
			go func() { released <- s.turn.Release(context.Background(), After{}) }()
			s.until(func(at map[string]int64) bool { return len(at) == 0 })
			s.lose()
			if err := <-released; err != nil {
				s.t.Error(err)
			}
		},
		"by somebody else": func(s *slow) {
			s.road.Cut()
			s.clear()
		},
		"by somebody else, having taken it back": func(s *slow) {
			s.takeBack()
			s.road.Cut()
			s.clear()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSlow(t)
			give(s)
			s.empty()
			s.revoked(s.heir)
		})
	}
}

// slow has had its turn from somebody who takes it for dead, and has not said yet that
// it has it.
type slow struct {
	*world
	road *etcdtest.Proxy
	turn *Turn
	heir int64
}

func newSlow(t *testing.T) *slow {
	srv := etcdtest.Shared(t)
	road, err := etcdtest.NewProxy(srv.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(road.Close)
	w := newWorld(t)
	now := w.join(w.request())
	far := &world{t, connect(t, "http://"+road.Addr()), w.line, w.admin}
	next := far.later(w.request())
	w.recorded(2)
	w.release(now)
	s := &slow{world: w, road: road, turn: <-next}
	s.turn.unmark()
	s.turn.marking.Wait()
	me := s.turn.me
	// As it was, and as entrust does, whether it has or not.
	if _, err := w.admin.Put(within(t, 10*time.Second), me.key, me.holder(Waiting).line(), clientv3.WithIgnoreLease()); err != nil {
		t.Fatal(err)
	}
	now.me.remains().entrust(within(t, 10*time.Second), w.c)
	r, err := w.admin.Get(within(t, 10*time.Second), me.runAt)
	if err != nil || len(r.Kvs) != 1 || r.Kvs[0].Lease == 0 {
		t.Fatalf("%v, %v", r, err)
	}
	s.heir = r.Kvs[0].Lease
	return s
}

// takeBack has the record taken back, of which the answer is on its way.
func (s *slow) takeBack() {
	s.t.Helper()
	s.road.Delay(300 * time.Millisecond)
	s.turn.mark()
	s.record(0)
}

// release gives the turn up.
func (s *slow) release() { s.world.release(s.turn) }

// clear is what happens after the process that has the turn was killed.
func (s *slow) clear() {
	s.t.Helper()
	if err := Clear(within(s.t, 20*time.Second), s.c, s.turn.Remains()); err != nil {
		s.t.Error(err)
	}
	s.turn.Abandon()
}

// answer lets the answers through that were held, once nobody waits for them any more.
func (s *slow) answer() {
	s.turn.unmark()
	s.turn.marking.Wait()
	s.road.Delay(0)
	s.heal()
}

// lose loses the answers that were held.
func (s *slow) lose() {
	s.road.Drop()
	s.road.Delay(0)
	s.heal()
}

func (s *slow) heal() {
	s.t.Helper()
	if err := s.road.Heal(); err != nil {
		s.t.Fatal(err)
	}
}

// record waits until the record is under that lease.
func (s *slow) record(lease int64) {
	s.t.Helper()
	s.reads(s.turn.me.runAt, func(kv *mvccpb.KeyValue) bool { return kv.Lease == lease && string(kv.Value) == s.turn.me.run })
}

// says waits until the key is in that state.
func (s *slow) says(state string) {
	s.t.Helper()
	s.reads(s.turn.me.key, func(kv *mvccpb.KeyValue) bool { return parse(kv.Value).State == state })
}

func (s *slow) reads(key string, wanted func(*mvccpb.KeyValue) bool) {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		r, err := s.admin.Get(within(s.t, 10*time.Second), key)
		if err != nil {
			s.t.Fatal(err)
		}
		if len(r.Kvs) == 1 && wanted(r.Kvs[0]) {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("%s: %v", key, r.Kvs)
		}
	}
}

// A turn that was given up before it came, by who was taken for dead, leaves no lease
// either.
func TestAbandonBeforeTheSlow(t *testing.T) {
	w := newWorld(t)
	now := w.join(w.request())
	ctx := within(t, 60*time.Second)
	me, e := w.ready(ctx, now)
	if _, _, err := me.record(ctx, e.ahead); err != nil {
		t.Fatal(err)
	}
	w.release(now)
	record, err := w.admin.Get(ctx, me.runAt)
	if err != nil || len(record.Kvs) != 1 || record.Kvs[0].Lease == 0 {
		t.Fatalf("%v, %v", record, err)
	}
	me.recorded = false // the answer may not have come
	me.abandon(ctx, context.Canceled)
	w.empty()
	w.revoked(record.Kvs[0].Lease)
}

// revoked checks that there is no such lease.
func (w *world) revoked(id int64) {
	w.t.Helper()
	r, err := w.admin.TimeToLive(within(w.t, 10*time.Second), clientv3.LeaseID(id))
	if err != nil {
		w.t.Fatal(err)
	}
	if r.TTL > 0 {
		w.t.Errorf("the lease %x is left, for %d s", id, r.TTL)
	}
}

// A record that goes with a lease says nothing of its holder's turn. No conch leaves it
// there that says that it has the turn, but others may, as one from before it was ever
// put there does.
func TestReadyBehindLease(t *testing.T) {
	w := newWorld(t)
	now := w.join(w.request())
	g, err := w.admin.Grant(within(t, 10*time.Second), 60)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.admin.Put(within(t, 10*time.Second), now.Remains()[0].RunKey, now.me.run, clientv3.WithLease(g.ID)); err != nil {
		t.Fatal(err)
	}
	next := w.later(w.request())
	w.recorded(2)
	if _, err := w.admin.Revoke(within(t, 10*time.Second), g.ID); err != nil {
		t.Fatal(err)
	}
	select {
	case turn := <-next:
		w.release(turn)
		t.Fatal("both have a turn")
	case <-time.After(time.Second): // it would have seen that
	}
	w.release(now)
	w.release(<-next)
	w.empty()
}

// dead puts what a candidate with that TTL has that was ready for its turn and died.
func (w *world) dead(ttl int64) clientv3.LeaseID {
	w.t.Helper()
	g, err := w.admin.Grant(within(w.t, 10*time.Second), ttl)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.admin.Put(within(w.t, 10*time.Second), w.line.Candidate(int64(g.ID)), Self(nil).in(Waiting).line(), clientv3.WithLease(g.ID)); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.admin.Put(within(w.t, 10*time.Second), w.line.Record(int64(g.ID)), running{Owner: keys.Hex(int64(g.ID)), TTL: ttl}.line()); err != nil {
		w.t.Fatal(err)
	}
	return g.ID
}
