package hold

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/clock"
	"conch/pkg/etcd"
	"conch/pkg/etcdtest"
	"conch/pkg/keys"
	"conch/pkg/lease"
)

func TestMain(m *testing.M) { etcdtest.M{M: m}.Run() }

const space = keys.Space("/test/hold")

// world is a client to a server, and an office of the test's own.
type world struct {
	t     *testing.T
	c     *etcd.Client
	line  keys.Line
	admin *clientv3.Client
}

func newWorld(t *testing.T) *world {
	t.Helper()
	srv := etcdtest.Shared(t)
	return &world{t, connect(t, srv.Endpoint()), space.Office(t.Name()), etcdtest.Client(t, srv)}
}

func connect(t *testing.T, endpoint string) *etcd.Client {
	t.Helper()
	c, err := etcd.Open(within(t, 20*time.Second), etcd.Config{Endpoints: []string{endpoint}, DialTimeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func (w *world) request() Request {
	return Request{Line: w.line, Holder: Self([]string{"test"}), TTL: 30 * time.Second, LockDelay: time.Second, Contact: 20 * time.Second}
}

// join takes a turn, or fails the test.
func (w *world) join(r Request) *Turn {
	w.t.Helper()
	t, err := Join(within(w.t, 30*time.Second), w.c, r)
	if err != nil {
		w.t.Fatal(err)
	}
	return t
}

func (w *world) release(t *Turn) {
	w.t.Helper()
	if err := t.Release(context.Background(), After{}); err != nil {
		w.t.Error(err)
	}
}

// later joins in the background, and returns once it stands in line.
func (w *world) later(r Request) <-chan *Turn {
	w.t.Helper()
	turns := make(chan *Turn, 1)
	waiting := make(chan struct{}, 100)
	r.OnWait = func(Place) { waiting <- struct{}{} }
	go func() {
		t, err := Join(within(w.t, 60*time.Second), w.c, r)
		if err != nil {
			w.t.Error(err)
		}
		turns <- t
	}()
	<-waiting
	return turns
}

func (w *world) empty() {
	w.t.Helper()
	w.gone(w.line.Dir)
	w.gone(w.line.Runs)
}

// gone waits until there is nothing below a prefix, for a third of the TTL of a
// request: on a busy machine a revoke may be given up, and come late.
func (w *world) gone(prefix string) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		r, err := w.admin.Get(within(w.t, 10*time.Second), prefix, clientv3.WithPrefix())
		if err != nil {
			w.t.Fatal(err)
		}
		if len(r.Kvs) == 0 {
			return
		}
		if time.Now().After(end) {
			w.t.Errorf("left behind: %v", r.Kvs)
			return
		}
	}
}

func none(turns <-chan *Turn) bool {
	select {
	case <-turns:
		return false
	default:
		return true
	}
}

// First come, first served, with tokens that grow, and nothing left behind.
func TestLine(t *testing.T) {
	w := newWorld(t)
	now := w.join(w.request())
	var line []<-chan *Turn
	for range 5 {
		line = append(line, w.later(w.request()))
	}
	last := now.Token().Rev
	for i, next := range line {
		if !none(next) {
			t.Fatalf("number %d did not wait", i)
		}
		w.release(now)
		now = <-next
		if rev := now.Token().Rev; rev <= last {
			t.Errorf("token %d after %d", rev, last)
		} else {
			last = rev
		}
		for _, later := range line[i+1:] {
			if !none(later) {
				t.Error("somebody behind has a turn, too")
			}
		}
	}
	w.release(now)
	w.empty()
}

// A holder that did not release is waited for, from when its key was seen to
// go; and not longer than until its record goes.
func TestLockDelay(t *testing.T) {
	for name, c := range map[string]struct {
		delay, least time.Duration
		clear        bool
	}{
		"default":    {delay: time.Second, least: time.Second},
		"ttl":        {delay: LockDelayTTL, least: 5 * time.Second},
		"cleared":    {delay: time.Hour, clear: true},
		"not at all": {delay: 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.line = space.Office(strings.ReplaceAll(t.Name(), "/", "."))
			r := w.request()
			if c.delay == LockDelayTTL {
				r.TTL = c.least
			}
			old := w.join(r)
			r = w.request()
			r.LockDelay = c.delay
			next := w.later(r)
			old.Abandon()
			began := clock.System{}.Now()
			if _, err := w.admin.Revoke(within(t, 10*time.Second), clientv3.LeaseID(old.Token().Lease)); err != nil {
				t.Fatal(err)
			}
			if c.clear {
				if err := Clear(within(t, 10*time.Second), w.c, old.Remains()); err != nil {
					t.Fatal(err)
				}
			}
			turn := <-next
			if took := (clock.System{}).Now().Sub(began); took < c.least {
				t.Errorf("took over after %v, not %v", took, c.least)
			}
			w.release(turn)
			w.empty()
		})
	}
}

// A waiter whose lease dies never wins with it: it joins again, at the end.
func TestOustedJoinsAgain(t *testing.T) {
	w := newWorld(t)
	now := w.join(w.request())
	ousted, behind := w.later(w.request()), w.later(w.request())
	l, err := List(within(t, 10*time.Second), w.c, w.line)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.admin.Revoke(within(t, 10*time.Second), clientv3.LeaseID(l.Candidates[1].Lease)); err != nil {
		t.Fatal(err)
	}
	for len(l.Candidates) != 3 || l.Candidates[2].Rev <= l.Rev {
		rev := l.Rev
		if l, err = List(within(t, 10*time.Second), w.c, w.line); err != nil {
			t.Fatal(err)
		}
		if len(l.Candidates) == 3 && l.Candidates[2].Rev > rev {
			break
		}
		l.Rev = rev
	}
	w.release(now)
	now = <-behind
	if !none(ousted) {
		t.Error("it won with a dead lease")
	}
	w.release(now)
	w.release(<-ousted)
	w.empty()
}

func TestNonBlock(t *testing.T) {
	w := newWorld(t)
	r := w.request()
	r.NonBlock = true
	now := w.join(r) // a vacant office is to be had
	_, err := Join(within(t, 20*time.Second), w.c, r)
	var busy *Busy
	if !errors.As(err, &busy) || busy.Holder.Rev != now.Token().Rev {
		t.Errorf("%v", err)
	}
	if l, err := List(within(t, 20*time.Second), w.c, w.line); err != nil || len(l.Candidates) != 1 {
		t.Errorf("a refusal left a trace: %+v, %v", l, err)
	}
	// A holder that died does not shut the office for ever.
	now.Abandon()
	if _, err := w.admin.Revoke(within(t, 10*time.Second), clientv3.LeaseID(now.Token().Lease)); err != nil {
		t.Fatal(err)
	}
	w.release(w.join(r))
	w.empty()
}

func TestLinger(t *testing.T) {
	w := newWorld(t)
	stays := w.request()
	stays.Linger = true
	now := w.join(stays)
	if err := now.Release(context.Background(), After{Linger: 6 * time.Second}); err != nil {
		t.Fatal(err)
	}
	r := w.request()
	r.NonBlock = true
	var busy *Busy
	if _, err := Join(within(t, 20*time.Second), w.c, r); !errors.As(err, &busy) || busy.Holder.State != Lingering {
		t.Errorf("%v", err)
	}
	w.release(w.join(w.request())) // in line, until it lapses
	w.empty()
}

// Where there is no place to keep any more, no lease is left that was to keep it: it
// may be one of many hours.
func TestLingerInVain(t *testing.T) {
	w := newWorld(t)
	before := w.leases()
	r := w.request()
	r.Linger = true
	for _, gone := range []string{"key", "record"} {
		now := w.join(r)
		at := map[string]string{"key": now.Token().Key, "record": now.Remains()[0].RunKey}[gone]
		if _, err := w.admin.Delete(within(t, 10*time.Second), at); err != nil {
			t.Fatal(err)
		}
		if err := now.Release(context.Background(), After{Linger: time.Hour}); err != nil {
			t.Error(err)
		}
		w.empty()
		for id, ttl := range w.leases() {
			if _, had := before[id]; !had {
				t.Errorf("without its %s a lease of %d s is left", gone, ttl)
			}
		}
	}
}

// leases returns the leases that there are, with their TTL.
func (w *world) leases() map[clientv3.LeaseID]int64 {
	w.t.Helper()
	ctx := within(w.t, 10*time.Second)
	r, err := w.admin.Leases(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	all := make(map[clientv3.LeaseID]int64)
	for _, l := range r.Leases {
		ttl, err := w.admin.TimeToLive(ctx, l.ID)
		if err != nil {
			w.t.Fatal(err)
		}
		if ttl.TTL > 0 {
			all[l.ID] = ttl.GrantedTTL
		}
	}
	return all
}

func TestEvict(t *testing.T) {
	w := newWorld(t)
	if _, err := Evict(within(t, 10*time.Second), w.c, space, w.line, "me"); !errors.Is(err, ErrVacant) {
		t.Errorf("%v", err)
	}
	now := w.join(w.request())
	if who, err := Evict(within(t, 10*time.Second), w.c, space, w.line, "me"); err != nil || who.Rev != now.Token().Rev {
		t.Errorf("%+v, %v", who, err)
	}
	<-now.Lost()
	if err := now.Loss(within(t, 10*time.Second), space); err == nil || err.Error() != "evicted by me" {
		t.Errorf("%v", err)
	}
	if err := Holds(within(t, 10*time.Second), w.c, now.Token()); !errors.Is(err, ErrFenced) {
		t.Errorf("%v", err)
	}
	w.release(now)
	w.empty()
}

// Giving up leaves nothing, and the next in line does not stay behind it.
func TestGiveUp(t *testing.T) {
	w := newWorld(t)
	now := w.join(w.request())
	ctx, cancel := context.WithCancel(context.Background())
	r := w.request()
	waiting := make(chan struct{}, 10)
	r.OnWait = func(Place) { waiting <- struct{}{} }
	gave := make(chan error)
	go func() {
		_, err := Join(ctx, w.c, r)
		gave <- err
	}()
	<-waiting
	behind := w.later(w.request())
	cancel()
	if err := <-gave; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	w.release(now)
	w.release(<-behind)
	w.empty()
}

// slowly runs a test with a client of two members, of which the preferred one has
// become slow; near, and where both are far. In the end nothing may be left.
func slowly(t *testing.T, test func(w *world)) {
	for name, trip := range map[string]time.Duration{"near": 0, "far": 2 * farAway} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			before := w.leases()
			srv := etcdtest.Shared(t)
			slow, fast := etcdtest.Road(t, srv), etcdtest.Road(t, srv)
			slow.Delay(trip / 2)
			fast.Delay(trip / 2)
			c, err := etcd.Open(within(t, 20*time.Second), etcd.Config{Endpoints: []string{"http://" + slow.Addr(), "http://" + fast.Addr()}, DialTimeout: 20 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			w.c = c
			w.look()
			slow.Delay(400 * time.Millisecond)
			test(w)
			time.Sleep(600 * time.Millisecond) // what is slow has come by then
			w.empty()
			for id, ttl := range w.leases() {
				if _, had := before[id]; !had {
					t.Errorf("a lease of %d s is left", ttl)
				}
			}
		})
	}
}

// look asks for something.
func (w *world) look() {
	if _, err := List(within(w.t, 20*time.Second), w.c, w.line); err != nil {
		w.t.Error(err)
	}
}

// Who gives up before etcd has answered leaves nothing either, though what it has asked
// for comes only after that: it went to a member that is slow, and the giving up to
// another.
func TestGiveUpEarly(t *testing.T) {
	slowly(t, func(w *world) {
		looked := make(chan struct{})
		go func() { w.look(); close(looked) }() // after 200 ms the other member, which is preferred from then on
		time.Sleep(100 * time.Millisecond)
		ctx, cancel := context.WithCancel(w.t.Context())
		gave := make(chan error)
		go func() {
			_, err := Join(ctx, w.c, w.request())
			gave <- err
		}()
		<-looked
		cancel()
		if err := <-gave; !errors.Is(err, context.Canceled) {
			w.t.Errorf("%v", err)
		}
	})
}

// A turn that was had and given up by way of another member does not come again when
// the slow one gets to it.
func TestReleaseEarly(t *testing.T) {
	slowly(t, func(w *world) { w.release(w.join(w.request())) })
	slowly(t, func(w *world) {
		if err := Clear(within(w.t, 20*time.Second), w.c, w.die(w.join(w.request()))); err != nil {
			w.t.Error(err)
		}
	})
}

// die ends what keeps a turn, and returns what is left of it.
func (w *world) die(t *Turn) []Remains {
	t.Abandon()
	return t.Remains()
}

// What other software has put into the line is waited for, and shown.
func TestForeign(t *testing.T) {
	w := newWorld(t)
	if _, err := w.admin.Put(within(t, 10*time.Second), w.line.Dir+"x", "not JSON"); err != nil {
		t.Fatal(err)
	}
	next := w.later(w.request())
	l, err := List(within(t, 10*time.Second), w.c, w.line)
	if err != nil {
		t.Fatal(err)
	}
	if h, ok := l.Holder(); !ok || h.Host != "unknown-host" {
		t.Errorf("%+v, %v", h, ok)
	}
	if _, err := w.admin.Delete(within(t, 10*time.Second), w.line.Dir+"x"); err != nil {
		t.Fatal(err)
	}
	w.release(<-next)
	w.empty()
}

// From the connection to the turn it takes two round trips where etcd is far,
// three when the join overtook the grant; one more for the release. They are
// counted by the clock: the road's delay is longer than most of the machine's stalls.
func TestRoundTrips(t *testing.T) {
	srv := etcdtest.Shared(t)
	road := etcdtest.Road(t, srv)
	const trip = 300 * time.Millisecond
	road.Delay(trip / 2)
	w := newWorld(t)
	var counts, more []int
	for range 7 {
		began := time.Now()
		c := connect(t, "http://"+road.Addr())
		turn, err := Join(within(t, 30*time.Second), c, w.request())
		if err != nil {
			t.Fatal(err)
		}
		trips := int(time.Since(began) / trip)
		if err := turn.Release(context.Background(), After{}); err != nil {
			t.Fatal(err)
		}
		counts, more = append(counts, trips), append(more, int(time.Since(began)/trip)-trips)
	}
	slices.Sort(counts)
	slices.Sort(more)
	if counts[len(counts)/2] > 2 || more[len(more)/2] > 1 {
		t.Errorf("round trips to the turn: %v, and for the release: %v", counts, more)
	}
	w.empty()
}

// A TTL that is too short for an etcd that cannot verify renewals is refused
// before a place in line is taken. It may be taken where etcd seems far, as on a
// busy machine it does; so one of many tries must do.
func TestTooShort(t *testing.T) {
	if etcd.ReleaseOf(etcdtest.Version(t, etcdtest.Shared(t))).Verifies {
		t.Skip("this etcd verifies renewals")
	}
	srv, err := etcdtest.Start(etcdtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	admin := etcdtest.Client(t, srv)
	left := func() (revision int64) {
		r, err := admin.Get(within(t, 10*time.Second), "/", clientv3.WithPrefix())
		if err != nil || r.Count > 0 {
			t.Fatalf("left behind: %v, %v", r, err)
		}
		return r.Header.Revision
	}
	for range 50 {
		before := left()
		_, err := Join(within(t, 20*time.Second), connect(t, srv.Endpoint()), Request{
			Line: space.Office(t.Name()), Holder: Self([]string{"test"}), TTL: lease.MinTTL, Contact: 20 * time.Second})
		if !errors.As(err, new(*lease.TooShort)) {
			t.Fatal(err)
		}
		if left() == before {
			return
		}
	}
	t.Error("each time a place in line was taken")
}

// A waiter gets its turn though, while it could not hear of anything, history
// was compacted past where it watched from.
func TestCompactedWhileWaiting(t *testing.T) {
	srv, err := etcdtest.Start(etcdtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	road := etcdtest.Road(t, srv)
	direct := &world{t, connect(t, srv.Endpoint()), space.Office(t.Name()), etcdtest.Client(t, srv)}
	waiter := &world{t, connect(t, "http://"+road.Addr()), direct.line, direct.admin}
	r := waiter.request()
	r.TTL = 60 * time.Second
	now := direct.join(direct.request())
	next := waiter.later(r)
	road.Refuse()
	road.Drop()
	direct.release(now)
	put, err := direct.admin.Put(within(t, 10*time.Second), "/test/hold/other", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := direct.admin.Compact(within(t, 10*time.Second), put.Header.Revision); err != nil {
		t.Fatal(err)
	}
	if err := road.Heal(); err != nil {
		t.Fatal(err)
	}
	select {
	case turn := <-next:
		waiter.release(turn)
	case <-time.After(30 * time.Second):
		t.Fatal("it waits for ever")
	}
	direct.empty()
}
