package proc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"conch/pkg/clock"
)

// The test binary, run again with this variable set, is a supervisor that can
// be killed and stopped from outside. Its value is a plan.
const planVar = "PROC_TEST_PLAN"

type plan struct {
	Script   string
	Args     []string // instead of Script
	Tag      string
	Deadline time.Duration
	Extend   time.Duration // push the deadline to now + Deadline this often, until told not to
	WaitTree bool
	Contain  bool
	Epilogue string // a script
	Stay     bool
	Journal  string // events are written here, one JSON object a line
	Ballast  int    // bytes of live heap
	Root     string // the supervisor's root directory
	Await    string // prepare, and wait for ever; "old" without pidfds
}

// event is what a supervisor writes to its journal.
type event struct {
	Pid, Sentinel int      // of a start
	Stopped       int      // of a change
	Change        bool     `json:",omitempty"`
	Unkilled      int      `json:",omitempty"`
	Err           string   `json:",omitempty"`
	End           *summary `json:",omitempty"`
}

type summary struct {
	Status           int
	Cause            Cause
	Killed, Leftover int
	Empty            bool
	Err              string
}

func TestMain(m *testing.M) {
	if text := os.Getenv(planVar); text != "" {
		os.Exit(supervise(text))
	}
	if name := os.Getenv(actVar); name != "" {
		os.Exit(act(name))
	}
	os.Exit(m.Run())
}

func supervise(text string) int {
	os.Unsetenv(planVar)
	var p plan
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		panic(err)
	}
	journal, err := os.OpenFile(p.Journal, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		panic(err)
	}
	say := func(e event) { _ = json.NewEncoder(journal).Encode(e) }
	ballast := bytes.Repeat([]byte{1}, p.Ballast)
	c := p.cmd()
	if p.Await != "" {
		prepared := new(Prepared)
		if err := prepared.open(c); err != nil {
			panic(err)
		}
		if p.Await == "old" {
			prepared.arena.Parent = -1
		}
		if err := prepared.fork(c); err != nil {
			panic(err)
		}
		if c.Epilogue != nil {
			if err := prepared.Arm(c.Epilogue); err != nil {
				panic(err)
			}
		}
		say(event{Sentinel: prepared.tree.sentinel})
		select {}
	}
	t, err := Start(c)
	if err != nil {
		say(event{Err: err.Error()})
		return 126
	}
	say(event{Pid: t.Pid(), Sentinel: t.SentinelPid()})
	var tick <-chan time.Time
	if p.Extend > 0 {
		tick = time.Tick(p.Extend)
	}
	for {
		select {
		case <-tick:
			t.Extend(clock.System{}.Now().Add(p.Deadline))
			continue
		case ch := <-t.Changes():
			say(event{Change: true, Stopped: int(ch.Stopped)})
			continue
		case n := <-t.Unkilled():
			say(event{Unkilled: n})
			continue
		case <-t.Done():
		}
		break
	}
	r := t.Result()
	end := &summary{int(r.Status), r.Cause, r.Killed, r.Leftover, r.Empty, fmt.Sprint(r.Err)}
	say(event{End: end})
	if p.Stay {
		select {} // clearing up, for ever
	}
	_ = ballast
	if r.Status.Signaled() {
		Raise(r.Status.Signal())
	}
	return r.Status.ExitStatus()
}

func (p *plan) cmd() *Cmd {
	args := p.Args
	if args == nil {
		args = []string{"sh", "-c", p.Script}
	}
	paths, err := Look(args[0], os.Getenv("PATH"))
	if err != nil {
		panic(err)
	}
	deadline := p.Deadline
	if deadline == 0 {
		deadline = time.Minute
	}
	c := &Cmd{
		Args:     args,
		Paths:    paths,
		Env:      append(os.Environ(), "TAG="+p.Tag),
		Deadline: clock.System{}.Now().Add(deadline),
		WaitTree: p.WaitTree,
		Contain:  p.Contain,
	}
	if p.Epilogue != "" {
		c.Epilogue = &Epilogue{Path: "/bin/sh", Args: []string{"sh", "-c", p.Epilogue}, Env: os.Environ(), Stay: p.Stay}
	}
	return c
}

// supervisor is a process of the test's that runs a plan.
type supervisor struct {
	t   testing.TB
	cmd *exec.Cmd
	plan
	read int
}

// supervised starts the test binary on a plan; tweak may change the process first.
func supervised(t testing.TB, p plan, tweak ...func(*exec.Cmd)) *supervisor {
	t.Helper()
	dir := p.Root
	if dir == "" {
		dir = t.TempDir()
	}
	s := &supervisor{t: t, plan: p}
	s.Tag = filepath.Base(dir) + t.Name() + strconv.FormatInt(time.Now().UnixNano(), 36)
	write(t, filepath.Join(dir, "journal"), "", 0o666)
	openUp(t, dir)
	s.Journal = filepath.Join(dir, "journal")
	if p.Root != "" {
		s.Journal = "/journal"
	}
	text, err := json.Marshal(s.plan)
	if err != nil {
		t.Fatal(err)
	}
	s.Journal = filepath.Join(dir, "journal")
	s.cmd = exec.Command("/proc/self/exe")
	s.cmd.Env = append(os.Environ(), planVar+"="+string(text), "GORACE=atexit_sleep_ms=10")
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stdout, s.cmd.Stderr = out, out
	for _, f := range tweak {
		f(s.cmd)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		s.cmd.Process.Wait()
		for _, pid := range tagged(s.Tag) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		if t.Failed() {
			out.Seek(0, io.SeekStart)
			text, _ := io.ReadAll(out)
			t.Logf("output of the supervisor:\n%s", text)
		}
		out.Close()
	})
	return s
}

// next returns the next event in the journal.
func (s *supervisor) next() event {
	s.t.Helper()
	var e event
	await(s.t, "an event", func() bool {
		text, err := os.ReadFile(s.Journal)
		if err != nil {
			s.t.Fatal(err)
		}
		line, _, whole := bytes.Cut(text[s.read:], []byte("\n"))
		if !whole {
			return false
		}
		s.read += len(line) + 1
		if err := json.Unmarshal(line, &e); err != nil {
			s.t.Fatal(err)
		}
		return true
	})
	return e
}

// started waits until the tree runs and n processes of it have been seen.
func (s *supervisor) started(n int) event {
	s.t.Helper()
	e := s.next()
	if e.Pid == 0 {
		s.t.Fatalf("not started: %s", e.Err)
	}
	await(s.t, fmt.Sprint(n, " processes"), func() bool { return len(tagged(s.Tag)) >= n })
	return e
}

// empty waits until nothing of the tree is left.
func (s *supervisor) empty() {
	s.t.Helper()
	await(s.t, "an empty tree", func() bool { return len(tagged(s.Tag)) == 0 })
}

// state waits until the process pid is in a state, as /proc has it.
func (s *supervisor) state(pid int, state byte) {
	s.t.Helper()
	await(s.t, "state "+string(state), func() bool {
		line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		p, ok := parseStat(line)
		return err == nil && ok && p.state == state
	})
}

func (s *supervisor) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// tagged returns the living processes that have tag in their environment. The
// supervisor and the sentinel do not.
func tagged(tag string) []int {
	var found []int
	for _, p := range processes() {
		env, err := os.ReadFile(fmt.Sprint("/proc/", p.pid, "/environ"))
		if err == nil && p.state != 'Z' && bytes.Contains(env, []byte("TAG="+tag+"\x00")) {
			found = append(found, p.pid)
		}
	}
	return found
}

// patience is how long a condition may take on a busy machine. It only bounds
// how long a failing test takes.
const patience = time.Minute

func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("no %s in %v", what, patience)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func write(t testing.TB, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// openUp lets other users into dir and the directory above, which is the
// test's own.
func openUp(t testing.TB, dir string) {
	t.Helper()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// start starts a script in this process.
func start(t *testing.T, script string, tweak ...func(*Cmd)) *Tree {
	t.Helper()
	c := (&plan{Script: script, Tag: t.Name()}).cmd()
	for _, f := range tweak {
		f(c)
	}
	tree, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Kill(); <-tree.Done(); tree.Dismiss() })
	return tree
}

// output collects what a tree writes to its standard output.
func output(t *testing.T) (w *os.File, text func() string) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, func() string {
		b, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSuffix(string(b), "\n")
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}
