package status

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/cron"
	"conch/pkg/etcd"
	"conch/pkg/etcdtest"
	"conch/pkg/hold"
	"conch/pkg/keys"
)

func TestMain(m *testing.M) { os.Exit(etcdtest.M{M: m}.Run()) }

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
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

// keep runs a Keeper until the end of the test.
func keep(t *testing.T, c *etcd.Client, s keys.Space) *Keeper {
	k := NewKeeper(s)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := k.Run(ctx, c); !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return k
}

func eventually(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", d, what)
		}
	}
}

// What is kept and what is read is the same, through a day in the life of an
// office, a semaphore and a job.
func TestKeeper(t *testing.T) {
	srv := etcdtest.Shared(t)
	c, admin := connect(t, srv.Endpoint()), etcdtest.Client(t, srv)
	s := keys.Space("/test/keeper")
	k := NewKeeper(s)
	if k.Ready() || k.Snapshot().Stale == "" {
		t.Error("ready before anything was read")
	}
	k = keep(t, c, s)
	eventually(t, 20*time.Second, "ready", k.Ready)

	now := time.Now()
	write := func(s Snapshot) string {
		var b strings.Builder
		s.Rev, s.At = 0, time.Time{}
		if err := s.WriteJSON(&b, now); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	same := func() (got Snapshot) {
		t.Helper()
		eventually(t, 20*time.Second, "what is kept is what is there", func() bool {
			// Each time: holders write that they hold when they come to it.
			want, err := Read(within(t, 20*time.Second), c, s, 20*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			got = k.Snapshot()
			return write(got) == write(want)
		})
		return got
	}

	ctx := within(t, 60*time.Second)
	request := hold.Request{Line: s.Office("db"), Holder: hold.Self([]string{"test"}), TTL: 5 * time.Second, LockDelay: time.Second, Contact: 20 * time.Second}
	first, err := hold.Join(ctx, c, request)
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan struct{}, 100)
	behind := request
	behind.OnWait = func(hold.Place) { waiting <- struct{}{} }
	second := make(chan *hold.Turn)
	go func() {
		turn, err := hold.Join(ctx, c, behind)
		if err != nil {
			t.Error(err)
		}
		second <- turn
	}()
	<-waiting
	if o := same().Offices; len(o) != 1 || o[0].Holder == nil || len(o[0].Waiters) != 1 {
		t.Errorf("%s", marshal(o))
	}
	share, err := hold.JoinPool(ctx, c, request, hold.Share{Pool: s.Pool("jobs"), Max: 3, Weight: 2})
	if err != nil {
		t.Fatal(err)
	}
	put := func(key, value string) {
		t.Helper()
		if _, err := admin.Put(ctx, key, value); err != nil {
			t.Fatal(err)
		}
	}
	put(s.Cron().Job("j"), job("j", "* * * * *"))
	put(s.Cron().Node("n"), marshal(cron.Node{ID: "n", Host: "h", Slots: 2}))
	put(s.Once("db", "k"), "{}") // between the ranges
	if got := same(); len(got.Semaphores) != 1 || got.Semaphores[0].Held() != 2 || len(got.Jobs) != 1 || len(got.Runners) != 1 || got.Cluster == 0 {
		t.Errorf("%+v", got)
	}
	if err := first.Release(ctx, hold.After{}); err != nil {
		t.Error(err)
	}
	turn := <-second
	if o := same().Offices; len(o) != 1 || o[0].Holder == nil || len(o[0].Waiters) != 0 {
		t.Errorf("%s", marshal(o))
	}
	if err := errors.Join(turn.Release(ctx, hold.After{}), share.Release(ctx, hold.After{})); err != nil {
		t.Error(err)
	}
	if _, err := admin.Delete(ctx, string(s)+"/cron/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	if got := same(); len(got.Offices)+len(got.Semaphores)+len(got.Jobs)+len(got.Runners) != 0 {
		t.Errorf("%+v", got)
	}
}

// What is asked of etcd grows neither with clients nor with what there is: fifty
// clients poll, while jobs come and go, and etcd is asked whether it is there.
func TestReadsDoNotGrow(t *testing.T) {
	srv, err := etcdtest.Start(etcdtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	admin := etcdtest.Client(t, srv)
	k := keep(t, connect(t, srv.Endpoint()), space)
	eventually(t, 20*time.Second, "ready", k.Ready)
	web := httptest.NewServer(Handler(k, nil, nil))
	defer web.Close()
	ranges, watches := etcdtest.Requests(t, srv, "Range"), etcdtest.Requests(t, srv, "Watch")
	began := time.Now()
	var polls sync.WaitGroup
	for i := range 50 {
		path := []string{"/cron", "/elect", "/sema", "/metrics", "/readyz"}[i%5]
		polls.Go(func() {
			for range 40 {
				r, err := http.Get(web.URL + path)
				if err != nil {
					t.Error(err)
					return
				}
				_, err = io.Copy(io.Discard, r.Body)
				r.Body.Close()
				if err != nil || r.StatusCode != http.StatusOK {
					t.Errorf("%s: %s, %v", path, r.Status, err)
				}
			}
		})
	}
	for i := range 100 {
		name := fmt.Sprintf("j%d", i)
		if _, err := admin.Put(within(t, 10*time.Second), space.Cron().Job(name), job(name, "@hourly")); err != nil {
			t.Fatal(err)
		}
	}
	polls.Wait()
	eventually(t, 10*time.Second, "100 jobs", func() bool { return len(k.Snapshot().Jobs) == 100 })
	most := 2*int(time.Since(began)/(5*time.Second)) + 1 // Follow's checks, each asked again where the machine stalls
	if n := etcdtest.Requests(t, srv, "Range") - ranges; n > most {
		t.Errorf("etcd was asked to read %d times, not %d", n, most)
	}
	if n := etcdtest.Requests(t, srv, "Watch") - watches; n != 0 {
		t.Errorf("%d more watches", n)
	}
	if etcdtest.Requests(t, srv, "Put") < 100 {
		t.Error("etcd does not count what it is sent, or not where this test looks")
	}
}

// Cut off, a Keeper says so, and is ready again when it is not.
func TestStale(t *testing.T) {
	t.Parallel()
	srv := etcdtest.Shared(t)
	road := etcdtest.Road(t, srv)
	s := keys.Space("/test/stale")
	k := keep(t, connect(t, "http://"+road.Addr()), s)
	h := Handler(k, nil, nil)
	get := func(path string) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code
	}
	eventually(t, 20*time.Second, "ready", func() bool { return get("/readyz") == 200 })
	road.Cut()
	eventually(t, 30*time.Second, "not ready", func() bool { return get("/readyz") == 503 })
	for path, want := range map[string]int{"/elect": 503, "/sema": 503, "/cron": 503, "/ready": 503, "/livez": 200, "/metrics": 200, "/cluster/status": 200, "/failover/status": 200} {
		if got := get(path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	if why := k.Snapshot().Stale; !strings.HasPrefix(why, "etcd has not answered for 1") {
		t.Errorf("stale: %q", why)
	}
	if err := road.Heal(); err != nil {
		t.Fatal(err)
	}
	if _, err := etcdtest.Client(t, srv).Put(within(t, 10*time.Second), s.Cron().Job("j"), job("j", "@hourly")); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "ready again", func() bool { return get("/cron") == 200 && len(k.Snapshot().Jobs) == 1 })
}

// raceEnabled says that the tests were built with the race detector.
var raceEnabled bool

// A hundred thousand jobs, each with a latest run, do not cost much to keep, and
// all of them can be shown.
func TestManyJobs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector needs memory of its own")
	}
	const n = 100_000
	k := NewKeeper(space)
	before := heap()
	s := newStore()
	c := space.Cron()
	tick := time.Unix(1_800_000_000, 0).UTC()
	exit := 1
	last := marshal(cron.Last{ID: keys.Tick(tick), State: cron.Failed, Began: tick, Ended: tick.Add(time.Second), OK: tick, Tick: tick, Exit: &exit, Runs: 5, Failures: 1})
	for i := range n {
		name := fmt.Sprintf("job-number-%06d", i)
		s.set(c.Job(name), job(name, fmt.Sprintf("%d %d * * *", i%60, i%24)))
	}
	for i := range n {
		s.set(c.Last(fmt.Sprintf("job-number-%06d", i)), last)
	}
	k.now, k.heard, k.rev = s.state, time.Now(), s.rev
	snap := k.Snapshot()
	h := Handler(k, nil, nil)
	for path, most := range map[string]time.Duration{"/cron": 20 * time.Second, "/metrics": 20 * time.Second, "/elect": 20 * time.Second} {
		began := time.Now()
		var w counter
		h.ServeHTTP(&w, httptest.NewRequest(http.MethodGet, path, nil))
		took := time.Since(began)
		t.Logf("%s: %d bytes in %v", path, w.n, took)
		if took > most || path != "/elect" && w.n < 100*n {
			t.Errorf("%s: %d bytes in %v", path, w.n, took)
		}
	}
	began := time.Now()
	var w counter
	if err := snap.WriteJSON(&w, time.Now()); err != nil || w.n < 100*n {
		t.Errorf("%d bytes, %v", w.n, err)
	}
	t.Logf("WriteJSON: %d bytes in %v", w.n, time.Since(began))
	cost := heap() - before
	t.Logf("%d jobs are kept in %.1f MB", n, float64(cost)/1e6)
	if cost > 60e6 {
		t.Errorf("%d jobs are kept in %d bytes", n, cost)
	}
	runtime.KeepAlive(k)
	runtime.KeepAlive(snap)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// counter is a ResponseWriter that counts.
type counter struct {
	header http.Header
	n      int
}

func (c *counter) Header() http.Header {
	if c.header == nil {
		c.header = http.Header{}
	}
	return c.header
}
func (c *counter) WriteHeader(int)             {}
func (c *counter) Write(b []byte) (int, error) { c.n += len(b); return len(b), nil }
