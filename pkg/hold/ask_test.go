package hold

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/clock"
	"conch/pkg/lease"
)

// ask asks whoever has the turn, or is next, and says who that was.
func (w *world) ask(by string) Candidate {
	w.t.Helper()
	who, err := Ask(within(w.t, 10*time.Second), w.c, w.line, by)
	if err != nil {
		w.t.Fatal(err)
	}
	return who
}

// leaves waits until who is gone.
func (w *world) leaves(who Candidate, by string) <-chan error {
	gone := make(chan error, 1)
	go func() { gone <- AwaitGone(within(w.t, 30*time.Second), w.c, w.line, who, by) }()
	return gone
}

// hears waits until the turn has been asked for.
func (w *world) hears(t *Turn, by string) {
	w.t.Helper()
	select {
	case <-t.Asked():
	case <-t.Lost():
		w.t.Fatal("lost")
	case <-time.After(20 * time.Second):
		w.t.Fatal("not heard")
	}
	if t.AskedBy() != by {
		w.t.Errorf("asked by %q", t.AskedBy())
	}
}

// Who has the turn hears who asks, once, has it until it is released, and is the same
// to whoever looks; who asks waits for that.
func TestAsk(t *testing.T) {
	w := newWorld(t)
	if _, err := Ask(within(t, 10*time.Second), w.c, w.line, "me"); !errors.Is(err, ErrVacant) {
		t.Errorf("%v", err)
	}
	now := w.join(w.request())
	next := w.later(w.request())
	before, err := List(within(t, 10*time.Second), w.c, w.line)
	if err != nil {
		t.Fatal(err)
	}
	who := w.ask("me")
	gone := w.leaves(who, "me")
	w.hears(now, "me")
	w.ask("another")
	after, err := List(within(t, 10*time.Second), w.c, w.line)
	if err != nil {
		t.Fatal(err)
	}
	want := before.Candidates[0]
	want.Ask = "me"
	if after.Candidates[0] != want || who.Rev != now.Token().Rev {
		t.Errorf("%+v, not %+v", after.Candidates[0], want)
	}
	select {
	case <-now.Lost():
		t.Error("lost")
	case err := <-gone:
		t.Errorf("gone: %v", err)
	default:
	}
	w.release(now)
	if err := <-gone; err != nil {
		t.Error(err)
	}
	w.release(<-next)
	w.empty()
}

// Who is asked while it waits gives up its place, be that the first, for the sake of
// the lock-delay, or any other; nothing is left of it.
func TestAskWaiter(t *testing.T) {
	w := newPoolWorld(t)
	now := w.take(w.share(1, 1))
	waiting, asked := make(chan struct{}, 100), make(chan error)
	wait := func(join func(context.Context, Request) (*Turn, error)) {
		r := w.request()
		r.OnWait = func(Place) { waiting <- struct{}{} }
		_, err := join(within(t, 60*time.Second), r)
		asked <- err
	}
	go wait(func(ctx context.Context, r Request) (*Turn, error) { return JoinPool(ctx, w.c, r, w.share(1, 1)) })
	<-waiting
	all, err := AskAll(within(t, 10*time.Second), w.c, w.pool, func(c Candidate) bool { return c.State == Waiting }, true, "me")
	if err != nil || len(all) != 1 {
		t.Fatalf("%v, %v", all, err)
	}
	var why *Asked
	if err := <-asked; !errors.As(err, &why) || why.By != "me" {
		t.Errorf("%v", err)
	}
	if err := <-w.leaves(all[0], "me"); err != nil {
		t.Error(err)
	}
	w.release(now)
	w.empty()

	w.line = space.Office(t.Name())
	if _, err := w.admin.Put(within(t, 10*time.Second), w.line.Record(1), "dirt"); err != nil {
		t.Fatal(err)
	}
	go wait(func(ctx context.Context, r Request) (*Turn, error) {
		r.LockDelay = time.Hour
		return Join(ctx, w.c, r)
	})
	<-waiting
	who := w.ask("me")
	if err := <-asked; !errors.As(err, &why) {
		t.Errorf("%v", err)
	}
	if err := <-w.leaves(who, "me"); err != nil {
		t.Error(err)
	}
	w.gone(w.line.Dir)
}

// Who is asked as soon as it waits does not get the turn that comes right after, also
// where others write: there its watch may hear of that late.
func TestAskNewcomer(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(context.Background())
	var writer sync.WaitGroup
	defer writer.Wait()
	defer cancel()
	writer.Go(func() {
		for ctx.Err() == nil {
			_, _ = w.admin.Put(ctx, "/test/ask", "")
		}
	})
	for range 10 {
		now := w.join(w.request())
		waiting, asked := make(chan struct{}, 100), make(chan error, 1)
		r := w.request()
		r.OnWait = func(Place) { waiting <- struct{}{} }
		go func() {
			turn, err := Join(within(t, 60*time.Second), w.c, r)
			if err == nil {
				w.release(turn)
			}
			asked <- err
		}()
		<-waiting
		w.recorded(2) // it is ready
		l, err := List(within(t, 10*time.Second), w.c, w.line)
		if err != nil || len(l.Candidates) != 2 {
			t.Fatalf("%+v, %v", l, err)
		}
		if _, err := ask(within(t, 10*time.Second), w.c, l.Candidates[1], w.line.RecordOf(l.Candidates[1].Key), "me"); err != nil {
			t.Fatal(err)
		}
		w.release(now)
		if err := <-asked; !errors.As(err, new(*Asked)) {
			t.Errorf("%v", err)
		}
		w.empty()
	}
}

// Who is asked while it waits does not get the turn though its watch has not told it,
// as it never does here: whatever it does to have the turn, it hears of that by it.
func TestAskUnheard(t *testing.T) {
	for name, ask := range map[string]func(u *unheard, ask func()) (*Turn, error){
		"before it is ready": func(u *unheard, ask func()) (*Turn, error) {
			ask()
			over := u.waits()
			u.recorded(2)
			u.release(u.now)
			return over()
		},
		"when it is ready": func(u *unheard, ask func()) (*Turn, error) {
			over := u.waits()
			u.recorded(2)
			ask()
			u.release(u.now)
			return over()
		},
		"before it looks": func(u *unheard, ask func()) (*Turn, error) {
			ask()
			u.release(u.now)
			return u.waits()()
		},
		"in the lock-delay": func(u *unheard, ask func()) (*Turn, error) {
			u.dies(ask)
			turn, err := u.waits()()
			if err := Clear(within(u.t, 20*time.Second), u.c, u.now.Remains()); err != nil {
				u.t.Error(err)
			}
			return turn, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUnheard(t)
			turn, err := ask(u, func() { u.asks(u.me) })
			u.gives(u.me, turn, err)
			u.empty()
		})
	}
	t.Run("at a semaphore", func(t *testing.T) {
		w, me, now, e := poolUnheard(t)
		w.asks(me.candidacy)
		w.release(now)
		turn, err := me.wait(within(t, 20*time.Second), e)
		w.gives(me.candidacy, turn, err)
		w.empty()
	})
}

// What others than who asks write over the key of who waits does not cost it the turn.
func TestOverwritten(t *testing.T) {
	u := newUnheard(t)
	u.dies(func() { u.overwrite(u.me) })
	turn, err := u.waits()()
	if err != nil {
		t.Fatal(err)
	}
	u.release(turn)
	u.empty()

	w, me, now, e := poolUnheard(t)
	w.overwrite(me.candidacy)
	w.release(now)
	if turn, err = me.wait(within(t, 20*time.Second), e); err != nil {
		t.Fatal(err)
	}
	w.release(turn)
	w.empty()
}

// Who is evicted while it waits does not get the turn either, whatever it has heard,
// also where somebody stands behind it, who has not cleared its record yet.
func TestEvictUnheard(t *testing.T) {
	u := newUnheard(t)
	behind := u.line.Dir + "behind"
	if _, err := u.admin.Put(within(t, 10*time.Second), behind, Self(nil).in(Waiting).line()); err != nil {
		t.Fatal(err)
	}
	over := u.waits()
	u.recorded(2)
	l, err := List(within(t, 10*time.Second), u.c, u.line)
	if err != nil || len(l.Candidates) != 3 {
		t.Fatalf("%+v, %v", l, err)
	}
	who := l.Candidates[1]
	if err := l.evict(within(t, 10*time.Second), u.c, space, who, u.line.RecordOf(who.Key), "me"); err != nil {
		t.Fatal(err)
	}
	u.release(u.now)
	if turn, err := over(); !errors.Is(err, errOusted) {
		t.Errorf("%v, %v", turn, err)
	}
	u.me.abandon(within(t, 10*time.Second), nil)
	if _, err := u.admin.Delete(within(t, 10*time.Second), behind); err != nil {
		t.Fatal(err)
	}
	u.empty()
}

// unheard is a candidate behind one who has the turn; see ready.
type unheard struct {
	*world
	now *Turn
	me  *candidacy
	e   entry
}

func newUnheard(t *testing.T) *unheard {
	u := &unheard{world: newWorld(t)}
	u.line = space.Office(strings.ReplaceAll(t.Name(), "/", "."))
	u.now = u.join(u.request())
	u.me, u.e = u.ready(within(t, 60*time.Second), u.now)
	return u
}

// waits has it wait, and returns what waits for what comes of that.
func (u *unheard) waits() (over func() (*Turn, error)) {
	var turn *Turn
	var err error
	done := make(chan struct{})
	go func() {
		turn, err = u.me.wait(within(u.t, 20*time.Second), u.e)
		close(done)
	}()
	return func() (*Turn, error) { <-done; return turn, err }
}

// dies has the one in front die, and meanwhile happen once its lock-delay is waited for.
func (u *unheard) dies(meanwhile func()) {
	u.t.Helper()
	u.me.req.OnWait = func(p Place) {
		if p.Delay > 0 {
			meanwhile()
		}
	}
	u.now.Abandon()
	if _, err := u.admin.Revoke(within(u.t, 10*time.Second), clientv3.LeaseID(u.now.Token().Lease)); err != nil {
		u.t.Fatal(err)
	}
}

// poolUnheard is the same at a semaphore.
func poolUnheard(t *testing.T) (*poolWorld, *poolCandidacy, *Turn, poolEntry) {
	w := newPoolWorld(t)
	w.pool = space.Pool(strings.ReplaceAll(t.Name(), "/", "."))
	w.line = w.pool.Line
	now := w.take(w.share(1, 1))
	r := w.request()
	r.TTL = lease.MaxTTL
	me, err := newPoolCandidacy(w.c, r, w.share(1, 1))
	if err != nil {
		t.Fatal(err)
	}
	e, err := me.enter(within(t, 20*time.Second))
	if err != nil || e.acquired {
		t.Fatalf("%+v, %v", e, err)
	}
	me.token = e.token
	return w, me, now, e
}

// asks asks one who waits.
func (w *world) asks(me *candidacy) {
	record := ""
	if me.pool == nil {
		record = me.runAt
	}
	a, err := ask(within(w.t, 10*time.Second), w.c, Candidate{Key: me.key, Rev: me.token.Rev}, record, "me")
	if err != nil || a.gone {
		w.t.Errorf("%+v, %v", a, err)
	}
}

// gives checks that one who was asked gives its place up.
func (w *world) gives(me *candidacy, turn *Turn, err error) {
	w.t.Helper()
	var asked *Asked
	if !errors.As(err, &asked) || asked.By != "me" {
		w.t.Errorf("%+v, %v", turn, err)
	}
	if turn != nil {
		turn.stop()
	}
	me.abandon(within(w.t, 10*time.Second), err)
}

// overwrite puts the key of one who waits as others would.
func (w *world) overwrite(me *candidacy) {
	if _, err := w.admin.Put(within(w.t, 10*time.Second), me.key, "other", clientv3.WithIgnoreLease()); err != nil {
		w.t.Error(err)
	}
}

// With a turn of the host's, too, who is asked in either line hears it.
func TestAskSpread(t *testing.T) {
	w := newPoolWorld(t)
	host := space.PoolHost(w.pool.Name, "host")
	now, err := JoinSpread(within(t, 30*time.Second), w.c, w.request(), w.share(1, 1), host)
	if err != nil {
		t.Fatal(err)
	}
	w.line = host
	w.ask("me")
	w.hears(now, "me")
	w.release(now)
	w.empty()
}

// A place is not kept if somebody has asked for it, though that was not heard any
// more: who asks may not wait to see. Who asks when it is only kept ends that.
func TestAskKept(t *testing.T) {
	w := newWorld(t)
	r := w.request()
	r.Linger = true
	now := w.join(r)
	w.ask("me")
	if err := now.Release(context.Background(), After{Linger: time.Hour}); err != nil {
		t.Error(err)
	}
	w.empty()
	now = w.join(r)
	if err := now.Release(context.Background(), After{Linger: time.Hour}); err != nil {
		t.Error(err)
	}
	if who := w.ask("me"); who.State != Lingering {
		t.Errorf("%+v", who)
	}
	w.empty()

	p := newPoolWorld(t)
	host := space.PoolHost(p.pool.Name, "host")
	for _, end := range []string{"release", "clear", "kept"} {
		now, err := JoinSpread(within(t, 30*time.Second), p.c, r, p.share(1, 1), host)
		if err != nil {
			t.Fatal(err)
		}
		release := func() error { return now.Release(context.Background(), After{Linger: time.Hour}) }
		state := Held
		if end == "kept" {
			state, err = Lingering, release()
		}
		all, asked := AskAll(within(t, 10*time.Second), p.c, p.pool, func(Candidate) bool { return true }, false, "me")
		if err != nil || asked != nil || len(all) != 1 || all[0].State != state {
			t.Errorf("%v, %+v, %v", err, all, asked)
		}
		switch end {
		case "release":
			err = release()
		case "clear":
			left := now.Remains()
			for i := range left {
				left[i].Until = clock.System{}.Now().Add(time.Hour)
			}
			err = Clear(within(t, 20*time.Second), p.c, left)
			now.Abandon()
		}
		if err != nil {
			t.Error(err)
		}
		p.empty()
		p.gone(host.Dir)
		p.gone(host.Runs)
	}
}

// A word that was written over is left again; a place that is only kept is ended; and
// what others have put there cannot be asked.
func TestAskAgain(t *testing.T) {
	w := newWorld(t)
	r := w.request()
	r.Linger = true
	now := w.join(r)
	who := w.ask("me")
	w.hears(now, "me")
	gone := w.leaves(who, "me")
	if _, err := w.admin.Put(within(t, 10*time.Second), who.Key, who.Holder.line(), clientv3.WithIgnoreLease()); err != nil {
		t.Fatal(err)
	}
	for {
		l, err := List(within(t, 10*time.Second), w.c, w.line)
		if err != nil {
			t.Fatal(err)
		}
		if l.Candidates[0].Ask == "me" {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := now.Release(context.Background(), After{Linger: time.Minute}); err != nil {
		t.Fatal(err)
	}
	if err := <-gone; err != nil {
		t.Error(err)
	}
	w.empty()
	if _, err := w.admin.Put(within(t, 10*time.Second), w.line.Dir+"x", `{"host":"other"}`); err != nil {
		t.Fatal(err)
	}
	defer w.admin.Delete(within(t, 10*time.Second), w.line.Dir+"x")
	if _, err := Ask(within(t, 10*time.Second), w.c, w.line, "me"); !errors.Is(err, ErrDeaf) {
		t.Errorf("%v", err)
	}
}
