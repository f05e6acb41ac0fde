package etcd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcdtest"
)

// follower is what a Feed has told, and what is wrong with it.
type follower struct {
	t *testing.T

	mu     sync.Mutex
	keys   map[string]string
	resets int
	told   map[string]bool // "key@revision" since the reset
	at     int64           // of the event last told
	synced int64
	heard  int
	wrong  []string
}

func (f *follower) feed() Feed {
	return Feed{
		Reset: func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.resets++
			f.keys, f.told, f.at, f.synced = map[string]string{}, map[string]bool{}, 0, 0
		},
		Put:    func(kv *mvccpb.KeyValue) { f.event(string(kv.Key), string(kv.Value), kv.ModRevision, false) },
		Delete: func(key string, rev int64) { f.event(key, "", rev, true) },
		Synced: func(rev int64) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if rev <= f.synced {
				f.wrong = append(f.wrong, fmt.Sprintf("synced to %d after %d", rev, f.synced))
			}
			f.synced = rev
		},
		Heard: func(a Answer) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if a.Cluster != 0 && a.Rev != 0 {
				f.heard++
			}
		},
	}
}

func (f *follower) event(key, value string, rev int64, gone bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := key + "@" + strconv.FormatInt(rev, 10)
	if f.told[id] {
		f.wrong = append(f.wrong, "told twice: "+id)
	}
	f.told[id] = true
	if f.synced != 0 && (rev < f.at || rev <= f.synced) { // a reading comes in the order of keys
		f.wrong = append(f.wrong, fmt.Sprintf("%s after %d, synced to %d", id, f.at, f.synced))
	}
	f.at = rev
	if gone {
		delete(f.keys, key)
	} else {
		f.keys[key] = value
	}
}

// state is what is known, once it is in step with revision rev.
func (f *follower) state(rev int64) (keys map[string]string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.keys), f.synced >= rev
}

// follow follows the ranges until the end of the test.
func follow(t *testing.T, c *Client, ranges ...Range) *follower {
	f := &follower{t: t}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := Follow(ctx, c, ranges, f.feed()); !errors.Is(err, context.Canceled) {
			t.Errorf("Follow: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		for _, w := range f.wrong {
			t.Error(w)
		}
	})
	return f
}

// same waits until f knows what is in etcd below prefix.
func (f *follower) same(admin *clientv3.Client, prefix string) {
	f.t.Helper()
	r, err := admin.Get(within(f.t, 20*time.Second), prefix, clientv3.WithPrefix())
	if err != nil {
		f.t.Fatal(err)
	}
	want, last := map[string]string{}, int64(0)
	for _, kv := range r.Kvs {
		want[string(kv.Key)] = string(kv.Value)
		last = max(last, kv.ModRevision)
	}
	var got map[string]string
	for range 3000 {
		var ok bool
		if got, ok = f.state(last); ok && maps.Equal(got, want) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	f.t.Fatalf("%d keys are known, %d are there", len(got), len(want))
}

func (f *follower) count() (resets, heard int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.resets, f.heard
}

// fill puts n keys below prefix, a hundred at a time.
func fill(t *testing.T, admin *clientv3.Client, prefix string, n int) {
	t.Helper()
	for i := 0; i < n; i += 100 {
		var ops []clientv3.Op
		for j := i; j < min(n, i+100); j++ {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("%s%06d", prefix, j), "v"))
		}
		if _, err := admin.Txn(within(t, 20*time.Second)).Then(ops...).Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

func put(t *testing.T, admin *clientv3.Client, key, value string) int64 {
	t.Helper()
	r, err := admin.Put(within(t, 30*time.Second), key, value)
	if err != nil {
		t.Fatal(err)
	}
	return r.Header.Revision
}

// down takes a road away.
func down(road *etcdtest.Proxy) {
	road.Refuse()
	road.Drop()
}

// Several pages, of several ranges, with keys between them that are not read.
func TestFollowPages(t *testing.T) {
	srv := etcdtest.Shared(t)
	admin := etcdtest.Client(t, srv)
	const dir = "/test/follow/pages/"
	if _, err := admin.Delete(within(t, 20*time.Second), dir, clientv3.WithPrefix()); err != nil { // of -count
		t.Fatal(err)
	}
	n := 2*pageSize + 1
	fill(t, admin, dir+"a/", n)
	fill(t, admin, dir+"b/", 300)
	fill(t, admin, dir+"c/", pageSize)
	c := open(t, Config{Endpoints: []string{srv.Endpoint()}})
	ranges := []Range{Prefix(dir + "a/"), Prefix(dir + "c/")}

	var all follower
	at, err := Read(within(t, 20*time.Second), c, ranges, 20*time.Second, all.feed())
	if keys, ok := all.state(at.Rev); err != nil || !ok || len(keys) != n+pageSize || at.Cluster == 0 {
		t.Fatalf("%d keys at %+v, %v", len(keys), at, err)
	}
	if all.wrong != nil {
		t.Error(all.wrong)
	}

	f := follow(t, c, ranges...)
	put(t, admin, dir+"b/x", "1") // between the ranges: may be told of
	rev := put(t, admin, dir+"c/x", "1")
	for range 2000 {
		if _, ok := f.state(rev); ok {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	keys, _ := f.state(rev)
	delete(keys, dir+"b/x")
	if len(keys) != n+pageSize+1 {
		t.Errorf("%d keys", len(keys))
	}
}

// What etcd does not keep any more is read again, and what is gone by then is
// known to be.
func TestFollowCompaction(t *testing.T) {
	srv, err := etcdtest.Start(etcdtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	admin := etcdtest.Client(t, srv)
	road := etcdtest.Road(t, srv)
	const dir = "/test/"
	fill(t, admin, dir, 200)
	f := follow(t, open(t, Config{Endpoints: []string{"http://" + road.Addr()}}), Prefix(dir))
	f.same(admin, dir)
	down(road)
	for i := range 50 {
		if _, err := admin.Delete(within(t, 10*time.Second), fmt.Sprintf("%s%06d", dir, i)); err != nil {
			t.Fatal(err)
		}
	}
	rev := put(t, admin, dir+"new", "1")
	if _, err := admin.Compact(within(t, 10*time.Second), rev, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	if err := road.Heal(); err != nil {
		t.Fatal(err)
	}
	f.same(admin, dir)
	put(t, admin, dir+"newer", "1")
	f.same(admin, dir)
	if resets, _ := f.count(); resets != 2 {
		t.Errorf("it was read %d times, not twice", resets)
	}
}

// A history that was compacted while the pages were read.
func TestReadCompacted(t *testing.T) {
	srv, err := etcdtest.Start(etcdtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	admin := etcdtest.Client(t, srv)
	const dir = "/test/"
	fill(t, admin, dir, pageSize+10)
	c := open(t, Config{Endpoints: []string{srv.Endpoint()}})
	var f follower
	feed := f.feed()
	tell, once := feed.Put, sync.Once{}
	feed.Put = func(kv *mvccpb.KeyValue) {
		once.Do(func() {
			if _, err := admin.Compact(within(t, 10*time.Second), put(t, admin, dir+"new", "1")); err != nil {
				t.Error(err)
			}
		})
		tell(kv)
	}
	at, err := Read(within(t, 20*time.Second), c, []Range{Prefix(dir)}, 0, feed)
	if keys, ok := f.state(at.Rev); err != nil || !ok || len(keys) != pageSize+11 || f.resets != 2 || f.wrong != nil {
		t.Errorf("%d keys, %d readings, %v, %v", len(keys), f.resets, f.wrong, err)
	}
}

// Nothing is lost and nothing told twice while the member restarts, is cut off
// and refuses connections, and writes go on.
func TestFollowFaults(t *testing.T) {
	srv, err := etcdtest.Start(etcdtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	admin := etcdtest.Client(t, srv)
	road := etcdtest.Road(t, srv)
	const dir = "/test/"
	fill(t, admin, dir, 10)
	f := follow(t, open(t, Config{Endpoints: []string{"http://" + road.Addr()}}), Prefix(dir))
	f.same(admin, dir)
	before, _ := f.state(0)
	var revs []string
	write := func(n int) {
		for i := range n {
			key := dir + strconv.Itoa(i%7)
			revs = append(revs, key+"@"+strconv.FormatInt(put(t, admin, key, strconv.Itoa(len(revs))), 10))
			if i%11 == 0 {
				r, err := admin.Delete(within(t, 10*time.Second), key)
				if err != nil {
					t.Fatal(err)
				}
				revs = append(revs, key+"@"+strconv.FormatInt(r.Header.Revision, 10))
			}
		}
	}
	for range 3 {
		write(50)
		road.Drop()
		write(50)
		down(road)
		write(50)
		if err := road.Heal(); err != nil {
			t.Fatal(err)
		}
		write(20)
		srv.Kill()
		if err := srv.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	write(10)
	f.same(admin, dir)
	if resets, _ := f.count(); resets != 1 {
		t.Errorf("it was read %d times", resets)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range revs {
		if !f.told[id] {
			t.Errorf("never told of %s", id)
		}
	}
	if n := len(f.told); n != len(before)+len(revs) {
		t.Errorf("told of %d, not %d", n, len(before)+len(revs))
	}
}

// The member that is watched through dies, and nobody but Follow uses the
// client: it must find another one by itself.
func TestFollowMoves(t *testing.T) {
	t.Parallel()
	members, err := etcdtest.StartCluster(3, etcdtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		defer m.Close()
	}
	var ends []string
	var roads []*etcdtest.Proxy
	for _, m := range members {
		roads = append(roads, etcdtest.Road(t, m))
		ends = append(ends, "http://"+roads[len(roads)-1].Addr())
	}
	const dir = "/test/"
	admin := etcdtest.Client(t, members[1])
	fill(t, admin, dir, 10)
	c := open(t, Config{Endpoints: ends})
	f := follow(t, c, Prefix(dir))
	f.same(admin, dir)
	m, _ := c.Preferred()
	at := slices.Index(ends, m.Endpoint)
	watched := members[at]
	admin = etcdtest.Client(t, members[(at+1)%3])
	watched.Kill()
	for { // if it led, another has to be elected
		_, err := admin.Put(within(t, 30*time.Second), dir+"a", "1")
		if err == nil {
			break
		}
		t.Log(err)
	}
	f.same(admin, dir)
	if err := watched.Restart(); err != nil {
		t.Fatal(err)
	}
	m, _ = c.Preferred()
	roads[slices.Index(ends, m.Endpoint)].Cut() // silent, with the connection open
	put(t, admin, dir+"b", "1")
	f.same(admin, dir)
	if resets, _ := f.count(); resets != 1 {
		t.Errorf("it was read %d times", resets)
	}
}

// Whoever may not read on is told so: a watch that is refused must not be tried
// for ever.
func TestFollowRefused(t *testing.T) {
	srv, err := etcdtest.Start(etcdtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	const dir = "/test/"
	ctx := within(t, 60*time.Second)
	if err := srv.EnableAuth(ctx, dir); err != nil {
		t.Fatal(err)
	}
	root, err := srv.Client(etcdtest.RootUser, etcdtest.RootUser)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	c := open(t, Config{Endpoints: []string{srv.Endpoint()}, User: etcdtest.AppUser, Password: etcdtest.AppUser})
	f := &follower{t: t}
	synced := make(chan struct{}, 1)
	feed := f.feed()
	feed.Synced = func(int64) { synced <- struct{}{} }
	ended := make(chan error, 1)
	go func() { ended <- Follow(ctx, c, []Range{Prefix(dir)}, feed) }()
	<-synced
	if _, err := root.UserRevokeRole(ctx, etcdtest.AppUser, etcdtest.AppUser); err != nil {
		t.Fatal(err)
	}
	var refused *Refused
	if err := <-ended; !errors.As(err, &refused) {
		t.Errorf("%v", err)
	}
}

// Reading the ranges does not do: what lies between them is watched too.
func TestFollowRefusedBetween(t *testing.T) {
	srv, err := etcdtest.Start(etcdtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	ctx := within(t, 60*time.Second)
	if err := srv.EnableAuth(ctx, "/test/a"); err != nil {
		t.Fatal(err)
	}
	root, err := srv.Client(etcdtest.RootUser, etcdtest.RootUser)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	c := Prefix("/test/c/")
	if _, err := root.RoleGrantPermission(ctx, etcdtest.AppUser, c.From, c.To, clientv3.PermissionType(clientv3.PermRead)); err != nil {
		t.Fatal(err)
	}
	client := open(t, Config{Endpoints: []string{srv.Endpoint()}, User: etcdtest.AppUser, Password: etcdtest.AppUser})
	f := &follower{t: t}
	err = Follow(ctx, client, []Range{Prefix("/test/a/"), c}, f.feed())
	var refused *Refused
	if !errors.As(err, &refused) || f.resets != 1 {
		t.Errorf("%v, after %d readings", err, f.resets)
	}
}

// A backup that is older than an answer is older, though it has all that was told.
func TestJudgesByAnswers(t *testing.T) {
	w := watch{last: 100, cluster: 1}
	if err := w.judge(check{Answer: Answer{Cluster: 1, Rev: 120}, since: w.known()}); err != nil {
		t.Fatal(err)
	}
	if err := w.judge(check{Answer: Answer{Cluster: 1, Rev: 110}, since: w.known()}); !errors.Is(err, errHistory) {
		t.Errorf("%v", err)
	}
}

// An etcd that was restored from a backup has another history, though it may be
// found at the same place.
func TestFollowRestored(t *testing.T) {
	t.Parallel()
	old, err := etcdtest.Start(etcdtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	restored, err := etcdtest.Start(etcdtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	const dir = "/test/"
	fill(t, etcdtest.Client(t, old), dir, 100)
	admin := etcdtest.Client(t, restored)
	fill(t, admin, dir+"x", 10)
	road := etcdtest.Road(t, old)
	c := open(t, Config{Endpoints: []string{"http://" + road.Addr()}, Observer: true})
	f := follow(t, c, Prefix(dir))
	f.same(etcdtest.Client(t, old), dir)
	road.Lead(restored.Addr())
	f.same(admin, dir)
	if resets, _ := f.count(); resets != 2 {
		t.Errorf("it was read %d times", resets)
	}
}
