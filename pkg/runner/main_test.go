package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/cron"
	"conch/pkg/etcd"
	"conch/pkg/etcdtest"
	"conch/pkg/keys"
	"conch/pkg/proc"
	"conch/pkg/proc/hear"
)

// TestMain is also what the tests start: a runner, which can be killed, and the
// helpers that a runner starts itself.
func TestMain(m *testing.M) {
	switch os.Args[0] {
	case EpilogueName:
		exitWith(Epilogue(context.Background(), proc.Joined(EpilogueVar, os.LookupEnv)))
	case BecomeName:
		exitWith(Become(os.Args[1:], os.Environ()))
	}
	if text := os.Getenv(settingsVar); text != "" {
		exitWith(serveTest(text))
	}
	os.Exit(etcdtest.M{M: m}.Run())
}

func exitWith(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

const settingsVar = "CONCH_RUNNER_TEST"

// settings are those of a runner in a process of its own.
type settings struct {
	Endpoints []string
	Space     keys.Space
	Host      string
	Labels    map[string]string
	Slots     int
	Placement string
	TTL       time.Duration
	Hedge     time.Duration
	Drain     time.Duration
	Spool     string
	Replay    time.Duration
	Crash     string // the point of Config.Seam at which it kills itself
	Clock     string // a file with the nanoseconds that its wall clock is ahead
	CheckDate bool
	Scarce    string // a file: while it is there, no file can be opened to start a command
	Events    string // a file: a line of JSON for each step
}

func serveTest(text string) error {
	var s settings
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	ctx := context.Background()
	c, err := etcd.Open(ctx, etcd.Config{Endpoints: s.Endpoints, DialTimeout: 20 * time.Second, Survey: true})
	if err != nil {
		return err
	}
	defer c.Close()
	events, err := os.OpenFile(s.Events, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	signals, err := hear.Listen(hear.All())
	if err != nil {
		return err
	}
	r, err := New(Config{
		Etcd: c, Space: s.Space, Host: s.Host, Labels: s.Labels, Slots: s.Slots, Placement: s.Placement, TTL: s.TTL, KillAfter: time.Second,
		Hedge: s.Hedge, Drain: s.Drain, Spool: s.Spool, Replay: s.Replay, Env: os.Environ(), SkipClock: !s.CheckDate, Signals: signals.C,
		Now: func() time.Time { return time.Now().Add(offset(s.Clock)) },
		Seam: func(point string) {
			if point == s.Crash {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
			if point == Claimed && s.Scarce != "" {
				scarce(s.Scarce)
			}
		},
		Said: func(e Event) {
			b, err := json.Marshal(e)
			if err == nil {
				events.Write(append(b, '\n'))
			}
		},
	})
	if err != nil {
		return err
	}
	return r.Run(ctx)
}

// scarce lets the process open no further file while that one is there.
func scarce(file string) {
	limit := syscall.Rlimit{}
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		panic(err)
	}
	if limit.Cur = limit.Max; exists(file) {
		limit.Cur = 3
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		panic(err)
	}
}

func exists(file string) bool { return syscall.Access(file, 0) == nil }

// offset reads by how much the clock is ahead.
func offset(file string) time.Duration {
	b, err := os.ReadFile(file)
	if file == "" || err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return time.Duration(n)
}

// world is an etcd, a place in it, and a directory.
type world struct {
	testing.TB
	srv   *etcdtest.Server
	space keys.Space
	keys  keys.Cron
	admin *clientv3.Client
	c     *etcd.Client
	store cron.Store
	dir   string

	mu sync.Mutex
	n  int
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	return worldOn(tb, etcdtest.Shared(tb), etcdtest.Shared(tb).Endpoint())
}

// server is an etcd of the test's own.
func server(tb testing.TB) *etcdtest.Server {
	tb.Helper()
	srv, err := etcdtest.Start(etcdtest.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(srv.Close)
	return srv
}

func worldOn(tb testing.TB, srv *etcdtest.Server, endpoints ...string) *world {
	tb.Helper()
	c, err := etcd.Open(context.Background(), etcd.Config{Endpoints: endpoints, DialTimeout: 20 * time.Second})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	space := keys.Space("/test/runner/" + strings.ReplaceAll(tb.Name(), "/", "-"))
	admin := etcdtest.Client(tb, srv)
	if _, err := admin.Delete(context.Background(), string(space)+"/", clientv3.WithPrefix()); err != nil { // of -count=2
		tb.Fatal(err)
	}
	return &world{TB: tb, srv: srv, space: space, keys: space.Cron(), admin: admin, c: c,
		store: cron.Store{C: c, Keys: space.Cron()}, dir: tempDir(tb)}
}

// tempDir is a directory that is removed in the end, though what has just been killed
// may write to it until it is dead.
func tempDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "runner")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		err := os.RemoveAll(dir)
		for end := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			err = os.RemoveAll(dir)
		}
		if err != nil {
			tb.Error(err)
		}
	})
	return dir
}

// path returns a file of the world's.
func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// process is a runner in a process of its own.
type process struct {
	w   *world
	cmd *exec.Cmd
	set settings

	done chan struct{}
}

// start starts a runner.
func (w *world) start(tweak ...func(*settings)) *process {
	w.Helper()
	w.mu.Lock()
	w.n++
	s := settings{Endpoints: []string{w.srv.Endpoint()}, Space: w.space, Host: "host" + strconv.Itoa(w.n), Slots: 16, Placement: Spread,
		TTL: 4 * time.Second, Hedge: 500 * time.Millisecond, Drain: 5 * time.Second, Events: w.path("events" + strconv.Itoa(w.n))}
	w.mu.Unlock()
	for _, f := range tweak {
		f(&s)
	}
	text, err := json.Marshal(s)
	if err != nil {
		w.Fatal(err)
	}
	p := &process{w: w, set: s, cmd: exec.Command("/proc/self/exe"), done: make(chan struct{})}
	p.cmd.Args[0] = "runner"
	p.cmd.Env = append(os.Environ(), settingsVar+"="+string(text), "WORLD="+w.dir, "GORACE=atexit_sleep_ms=10")
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		w.Fatal(err)
	}
	go func() { p.cmd.Wait(); close(p.done) }()
	w.Cleanup(func() {
		p.kill()
		if w.Failed() {
			w.Logf("%s said:\n%s", s.Host, p.log())
		}
	})
	return p
}

func (p *process) log() string {
	b, _ := os.ReadFile(p.set.Events)
	return string(b)
}

// kill kills the runner and returns when it is dead.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// ends waits for the runner's end.
func (p *process) ends() {
	p.w.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.w.Fatalf("%s goes on", p.set.Host)
	}
}

// signal sends the runner a signal.
func (p *process) signal(s syscall.Signal) { syscall.Kill(p.cmd.Process.Pid, s) }

// events returns what the runner has said by that name.
func (p *process) events(name string) []Event {
	f, err := os.Open(p.set.Events)
	if err != nil {
		return nil
	}
	defer f.Close()
	var all []Event
	for d := json.NewDecoder(f); ; {
		var e Event
		if err := d.Decode(&e); err != nil {
			return all
		}
		if name == "" || e.Event == name {
			all = append(all, e)
		}
	}
}

// ready waits until the runner takes jobs on.
func (p *process) ready() *process {
	p.w.Helper()
	p.w.wait("the runner to be ready", func() bool { return len(p.events("ready")) > 0 })
	return p
}

// patience is how long anything may take on a machine that stalls.
const patience = 40 * time.Second

// wait waits for a condition.
func (w *world) wait(what string, is func() bool) {
	w.Helper()
	for end := time.Now().Add(patience); !is(); {
		if time.Now().After(end) {
			w.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// add puts a job.
func (w *world) add(j cron.Job) {
	w.Helper()
	if _, err := w.store.Put(context.Background(), &j, 0); err != nil {
		w.Fatal(err)
	}
}

// note is a script that writes down that it was started, and what for.
const note = `echo "$CONCH_RUN $CONCH_ATTEMPT $CONCH_REV $$" >>"$WORLD/starts"; `

// started is a line that note has written.
type startNote struct {
	run     string
	attempt int
	rev     int64
	pid     int
}

func (w *world) starts() []startNote {
	f, err := os.Open(w.path("starts"))
	if err != nil {
		return nil
	}
	defer f.Close()
	var all []startNote
	for {
		var n startNote
		if _, err := fmt.Fscanln(f, &n.run, &n.attempt, &n.rev, &n.pid); err != nil {
			if err != io.EOF {
				w.Error(err)
			}
			return all
		}
		all = append(all, n)
	}
}

// runs returns the records of a job's runs, oldest first.
func (w *world) runs(job string) []*cron.Run {
	w.Helper()
	all, err := w.store.History(context.Background(), job, 100000)
	if err != nil {
		w.Fatal(err)
	}
	slices.Reverse(all)
	return slices.DeleteFunc(all, func(r *cron.Run) bool { return r.Ticks() })
}

// over waits until a job has so many runs that are over, and returns all.
func (w *world) over(job string, n int) []*cron.Run {
	w.Helper()
	var all []*cron.Run
	w.wait(fmt.Sprintf("%d runs of %s to be over", n, job), func() bool {
		all = w.runs(job)
		over := 0
		for _, r := range all {
			if r.State.Final() {
				over++
			}
		}
		return over >= n
	})
	return all
}

// goesOn waits until a runner has run another job: what was due before has been
// seen to by then.
func (w *world) goesOn() {
	w.Helper()
	w.add(cron.Job{Name: "after", Schedule: soon(3 * time.Second), Script: "exit 0"})
	w.over("after", 1)
}

// soon is a schedule of one tick, that far away.
func soon(d time.Duration) string {
	return "@at " + time.Now().Add(d).Truncate(time.Second).UTC().Format(time.RFC3339)
}

// alive reports whether a process lives.
func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// number reads a file of the world's that holds one number; 0: it does not.
func (w *world) number(name string) int {
	b, err := os.ReadFile(w.path(name))
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return n
}

// touch makes an empty file.
func (w *world) touch(name string) {
	w.Helper()
	if err := os.WriteFile(w.path(name), nil, 0o666); err != nil {
		w.Fatal(err)
	}
}

// rewrite makes a state of the spool say that etcd has been further, and reports
// whether there is one.
func (w *world) rewrite(name string) bool {
	b, err := os.ReadFile(w.path(name))
	var s state
	if err != nil || json.Unmarshal(b, &s) != nil || s.Node == "" {
		return false
	}
	s.Rev = 1 << 40
	b, err = json.Marshal(s)
	if err == nil {
		err = os.WriteFile(w.path(name), b, 0o600)
	}
	return err == nil
}

// tick is the next tick of a job.
func (w *world) tick(name string) time.Time {
	w.Helper()
	j, err := w.store.Job(context.Background(), name)
	if err != nil {
		w.Fatal(err)
	}
	s, err := j.Schedules()
	if err != nil {
		w.Fatal(err)
	}
	return s.Next(time.Now())
}

// at is the instant that far away.
func at(d time.Duration) *time.Time {
	t := time.Now().Add(d).UTC().Truncate(time.Second)
	return &t
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}

func verifies(tb testing.TB, s *etcdtest.Server) bool {
	return etcd.ReleaseOf(etcdtest.Version(tb, s)).Verifies
}
