package lease

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/clock"
	"conch/pkg/etcd"
	"conch/pkg/etcdtest"
)

func TestMain(m *testing.M) { etcdtest.M{M: m}.Run() }

// fixture is a lease being kept over roads that can be cut.
type fixture struct {
	*Lease
	key   string
	note  string
	rev   int64
	roads []*etcdtest.Proxy
	admin *clientv3.Client
}

func keep(t *testing.T, ttl time.Duration, servers ...*etcdtest.Server) *fixture {
	t.Helper()
	f := granted(t, ttl, servers...)
	f.Keep(f.key, f.rev, min(ttl/8, 500*time.Millisecond))
	t.Cleanup(f.Stop)
	return f
}

// granted is a lease with a key under it, before it is kept.
func granted(t *testing.T, ttl time.Duration, servers ...*etcdtest.Server) *fixture {
	t.Helper()
	f := &fixture{key: "/test/lease/" + t.Name(), note: "/test/note/" + t.Name(), admin: etcdtest.Client(t, servers[0])}
	var endpoints []string
	for _, s := range servers {
		road := etcdtest.Road(t, s)
		f.roads = append(f.roads, road)
		endpoints = append(endpoints, "http://"+road.Addr())
	}
	ctx := within(t, 20*time.Second)
	c, err := etcd.Open(ctx, etcd.Config{Endpoints: endpoints, DialTimeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if f.Lease, err = New(c, ttl); err != nil {
		t.Fatal(err)
	}
	if err := f.Grant(ctx); err != nil {
		t.Fatal(err)
	}
	r, err := f.admin.Put(ctx, f.key, "", f.With())
	if err != nil {
		t.Fatal(err)
	}
	f.rev = r.Header.Revision
	return f
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// loss waits for the loss and explains it.
func (f *fixture) loss(t *testing.T) *Loss {
	t.Helper()
	select {
	case <-f.Lost():
	case <-time.After(30 * time.Second):
		t.Fatal("not lost")
	}
	f.Explain(within(t, 10*time.Second), f.note)
	return f.Loss()
}

// renewed waits until the deadline has moved n times.
func (f *fixture) renewed(t *testing.T, n int) {
	t.Helper()
	for range n {
		_, moved := f.Deadline()
		select {
		case <-moved:
		case <-f.Lost():
			t.Fatalf("lost: %v", f.Loss())
		case <-time.After(30 * time.Second):
			t.Fatal("no renewal")
		}
	}
}

func TestTTLBounds(t *testing.T) {
	for _, ttl := range []time.Duration{0, time.Second, MinTTL - 1, MaxTTL + 1, -time.Second} {
		if _, err := New(nil, ttl); err == nil {
			t.Errorf("a TTL of %v was taken", ttl)
		}
	}
}

// On an etcd whose reads do not verify a renewal a part of each is given away,
// and a TTL of which too little remains is refused.
func TestJudge(t *testing.T) {
	old, sound := etcd.ReleaseOf("3.4.23"), etcd.ReleaseOf("3.4.42")
	for _, c := range []struct {
		on          etcd.Release
		ttl, usable time.Duration // usable 0: refused
	}{
		{sound, 2 * time.Second, 2 * time.Second},
		{sound, 3500 * time.Millisecond, 4 * time.Second},
		{old, 2 * time.Second, 0},
		{old, 3900 * time.Millisecond, 0},
		{old, 4 * time.Second, 2500 * time.Millisecond},
		{old, 4100 * time.Millisecond, 3500 * time.Millisecond},
		{old, 300 * time.Second, 298500 * time.Millisecond},
	} {
		l, err := New(nil, c.ttl)
		if err != nil {
			t.Fatal(err)
		}
		l.ttl = l.ask // as if granted
		var short *TooShort
		switch err := l.judge(c.on); {
		case errors.As(err, &short):
			if c.usable != 0 || short.Least != 4*time.Second || short.Version != "3.4.23" {
				t.Errorf("%v on %s: %v", c.ttl, c.on.Version, err)
			}
		case err != nil || l.Usable() != c.usable:
			t.Errorf("%v on %s: %v are usable, %v", c.ttl, c.on.Version, l.Usable(), err)
		}
	}
}

// What Judge says is usable is what the deadlines of renewals count on, whatever
// the server.
func TestUsable(t *testing.T) {
	f := keep(t, 10*time.Second, etcdtest.Shared(t))
	if err := f.Judge(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	before := clock.System{}.Now()
	r, err := etcd.Do(within(t, 10*time.Second), f.c, func(ctx context.Context, m *etcd.Member) (renewal, error) {
		return f.verify(ctx, m, f.key, f.rev)
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.sent.Before(before) || r.deadline != Deadline(r.sent, f.Usable()) {
		t.Errorf("sent %v after the beginning: %v until the deadline, with %v usable", r.sent.Sub(before), r.deadline.Sub(r.sent), f.Usable())
	}
	margin, version := f.Unverified()
	if old := !etcd.ReleaseOf(etcdtest.Version(t, etcdtest.Shared(t))).Verifies; old != (margin > 0) || old != (version != "") {
		t.Errorf("%v are given away on etcd %q", margin, version)
	}
}

// The deadline counts from the send, and lies before the lease's end by the
// clocks' error and the time that a kill takes.
func TestDeadlineCountsFromTheSend(t *testing.T) {
	f := keep(t, 10*time.Second, etcdtest.Shared(t))
	f.renewed(t, 1)
	const delay = 300 * time.Millisecond
	f.roads[0].Delay(delay) // each way: a renewal takes four of them
	f.renewed(t, 2)
	d, _ := f.Deadline()
	left := d.Sub(clock.System{}.Now())
	if most := Deadline(0, f.TTL()).Sub(0) - 4*delay; left > most {
		t.Errorf("%v are left of a lease of %v, renewed over a road that took 4 times %v: at most %v", left, f.TTL(), delay, most)
	}
}

func TestLapsed(t *testing.T) {
	f := keep(t, 6*time.Second, etcdtest.Shared(t))
	gone := make(chan clock.Instant, 1)
	deleted := f.admin.Watch(within(t, time.Minute), f.key, clientv3.WithRev(f.rev+1))
	go func() { // the event may come late, which only hides a fault
		<-deleted
		gone <- clock.System{}.Now()
	}()
	f.renewed(t, 1)
	f.roads[0].Cut()
	if l := f.loss(t); l.Kind != Lapsed || l.Silent <= 0 {
		t.Errorf("%+v: %v", l, l)
	}
	if deadline, _ := f.Deadline(); !deadline.Before(<-gone) {
		t.Error("the key went before the deadline")
	}
	if err := f.roads[0].Heal(); err != nil {
		t.Fatal(err)
	}
}

func TestRevoked(t *testing.T) {
	f := keep(t, 10*time.Second, etcdtest.Shared(t))
	if _, err := f.admin.Revoke(within(t, 10*time.Second), clientv3.LeaseID(f.ID)); err != nil {
		t.Fatal(err)
	}
	if l := f.loss(t); l.Kind != Revoked {
		t.Errorf("%+v: %v", l, l)
	}
}

func TestDeleted(t *testing.T) {
	f := keep(t, 10*time.Second, etcdtest.Shared(t))
	if _, err := f.admin.Delete(within(t, 10*time.Second), f.key); err != nil {
		t.Fatal(err)
	}
	if l := f.loss(t); l.Kind != Deleted {
		t.Errorf("%+v: %v", l, l)
	}
}

// Somebody else's value in the place of ours is a loss, too.
func TestReplaced(t *testing.T) {
	f := keep(t, 10*time.Second, etcdtest.Shared(t))
	if _, err := f.admin.Put(within(t, 10*time.Second), f.key, "foreign"); err != nil {
		t.Fatal(err)
	}
	if l := f.loss(t); l.Kind != Deleted {
		t.Errorf("%+v: %v", l, l)
	}
}

func TestEvicted(t *testing.T) {
	f := keep(t, 10*time.Second, etcdtest.Shared(t))
	_, err := f.admin.Txn(within(t, 10*time.Second)).Then(
		clientv3.OpPut(f.note, "somebody", f.With()), clientv3.OpDelete(f.key)).Commit()
	if err != nil {
		t.Fatal(err)
	}
	if l := f.loss(t); l.Kind != Evicted || l.By != "somebody" {
		t.Errorf("%+v: %v", l, l)
	}
}

// The deletion is found by the read of a renewal where the watch is dead.
func TestDeletedUnwatched(t *testing.T) {
	srv := etcdtest.Shared(t)
	f := keep(t, 10*time.Second, srv, srv)
	f.renewed(t, 1)
	f.roads[0].Cut() // with the watch on it; the renewals go over the other
	f.renewed(t, 1)
	if _, err := f.admin.Delete(within(t, 10*time.Second), f.key); err != nil {
		t.Fatal(err)
	}
	if l := f.loss(t); l.Kind != Deleted {
		t.Errorf("%+v: %v", l, l)
	}
}

// A lost connection before the deadline is no loss.
func TestShortCut(t *testing.T) {
	f := keep(t, 10*time.Second, etcdtest.Shared(t))
	f.roads[0].Cut()
	time.Sleep(2 * time.Second) // the length of the fault, not a wait for something
	if err := f.roads[0].Heal(); err != nil {
		t.Fatal(err)
	}
	f.renewed(t, 2)
	f.roads[0].Drop()
	f.renewed(t, 2)
}

// A watch whose history was compacted meanwhile goes on.
func TestCompacted(t *testing.T) {
	srv, err := etcdtest.Start(etcdtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	f := keep(t, 10*time.Second, srv)
	f.roads[0].Drop()
	f.roads[0].Refuse()
	ctx := within(t, 20*time.Second)
	var last int64
	for range 10 {
		r, err := f.admin.Put(ctx, "/test/other", "")
		if err != nil {
			t.Fatal(err)
		}
		last = r.Header.Revision
	}
	if _, err := f.admin.Compact(ctx, last); err != nil {
		t.Fatal(err)
	}
	if err := f.roads[0].Heal(); err != nil {
		t.Fatal(err)
	}
	f.renewed(t, 2)
	if _, err := f.admin.Delete(ctx, f.key); err != nil {
		t.Fatal(err)
	}
	if l := f.loss(t); l.Kind != Deleted {
		t.Errorf("%+v: %v", l, l)
	}
}

// Of three members one that is stopped, or behind which packets are dropped,
// costs a hedge and not the lease; without a quorum the lease is lost at its
// deadline and not before.
func TestMembers(t *testing.T) {
	servers, err := etcdtest.StartCluster(3, etcdtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		defer s.Close()
	}
	f := keep(t, 10*time.Second, servers...)
	for i, s := range servers {
		f.roads[i].Cut()
		f.renewed(t, 3)
		if err := f.roads[i].Heal(); err != nil {
			t.Fatal(err)
		}
		if err := s.Pause(); err != nil {
			t.Fatal(err)
		}
		f.renewed(t, 3)
		if err := s.Resume(); err != nil {
			t.Fatal(err)
		}
		f.renewed(t, 3)
	}
	for _, s := range servers[1:] {
		if err := s.Pause(); err != nil {
			t.Fatal(err)
		}
		defer s.Resume()
	}
	if l := f.loss(t); l.Kind != Lapsed {
		t.Errorf("%+v: %v", l, l)
	}
}

// A renewal whose answer comes after the deadline does not bring the lease back.
func TestLateAnswerIsRefused(t *testing.T) {
	clk := &manual{now: 100}
	l := &Lease{clk: clk, pushed: make(chan struct{}), lost: make(chan struct{}), deadline: 200}
	if !l.accept(150, 300) {
		t.Fatal("a renewal in time was refused")
	}
	clk.now = 300
	if l.accept(290, 400) {
		t.Error("a renewal was accepted at the deadline")
	}
	if d, _ := l.Deadline(); d != 300 {
		t.Errorf("the deadline is %v", d)
	}
}

type manual struct{ now clock.Instant }

func (m *manual) Now() clock.Instant { return m.now }

// Revoking what is gone already is no error.
func TestRevokeTwice(t *testing.T) {
	f := keep(t, 5*time.Second, etcdtest.Shared(t))
	for range 2 {
		if err := f.Revoke(within(t, 10*time.Second)); err != nil {
			t.Error(err)
		}
	}
	if _, err := f.admin.TimeToLive(within(t, 10*time.Second), clientv3.LeaseID(f.ID)); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// A grpc-proxy answers keepalives that it has not passed on.
func TestProxyIsRefused(t *testing.T) {
	srv := etcdtest.Shared(t)
	proxy := etcdtest.GRPCProxy(t, srv)
	ctx := within(t, 30*time.Second)
	c, err := etcd.Open(ctx, etcd.Config{Endpoints: []string{proxy}, DialTimeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	le, err := New(c, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := le.Grant(ctx); err != nil {
		t.Fatal(err)
	}
	put, err := etcdtest.Client(t, srv).Put(ctx, "/test/lease/proxy", "", le.With())
	if err != nil {
		t.Fatal(err)
	}
	le.Keep("/test/lease/proxy", put.Header.Revision, 100*time.Millisecond)
	defer le.Stop()
	select {
	case <-le.Lost():
		if l := le.Loss(); l.Kind != Proxied {
			t.Errorf("%+v: %v", l, l)
		}
	case <-ctx.Done():
		t.Error("a grpc-proxy was relied on")
	}
}

// A loss for which etcd has given a reason is not blamed on silence, also while the
// password could still be changed.
func TestRefusedLoss(t *testing.T) {
	t.Parallel()
	srv, err := etcdtest.Start(etcdtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	ctx := within(t, 60*time.Second)
	if err := srv.EnableAuth(ctx, "/test"); err != nil {
		t.Fatal(err)
	}
	root, err := srv.Client(etcdtest.RootUser, etcdtest.RootUser)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(etcdtest.AppUser), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := etcd.Open(ctx, etcd.Config{Endpoints: []string{srv.Endpoint()}, User: etcdtest.AppUser, PasswordFile: file, DialTimeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	l, err := New(c, 4*time.Second)
	if err == nil {
		err = l.Grant(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	const key = "/test/refused"
	put, err := root.Put(ctx, key, "", l.With())
	if err != nil {
		t.Fatal(err)
	}
	l.Keep(key, put.Header.Revision, 500*time.Millisecond)
	t.Cleanup(l.Stop)
	_, moved := l.Deadline()
	<-moved
	if _, err := root.UserChangePassword(ctx, etcdtest.AppUser, "other"); err != nil {
		t.Fatal(err)
	}
	for s := l.Silence(); s.Kind != Refused; s = l.Silence() {
		select {
		case <-l.Lost():
			t.Fatalf("lost: %v", l.Loss())
		case <-time.After(10 * time.Millisecond):
		}
	}
	select {
	case <-l.Lost():
	case <-ctx.Done():
		t.Fatal("not lost")
	}
	if loss := l.Loss(); loss.Kind != Refused || !strings.HasPrefix(loss.Error(), `refused by etcd: user "app": authentication failed`) {
		t.Errorf("%v", loss)
	}
}
