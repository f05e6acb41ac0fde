package guard

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"conch/pkg/clock"
	"conch/pkg/lease"
	"conch/pkg/proc"
	"conch/pkg/proc/hear"
	"conch/pkg/proctest"
)

// fake is a hold whose deadline and loss a test decides. No etcd is needed to
// see that a command never outlives its hold.
type fake struct {
	mu       sync.Mutex
	deadline clock.Instant
	moved    chan struct{}
	lost     chan struct{}
}

func held(d time.Duration) *fake {
	return &fake{deadline: clock.System{}.Now().Add(d), moved: make(chan struct{}), lost: make(chan struct{})}
}

func (f *fake) Lost() <-chan struct{} { return f.lost }

func (f *fake) Deadline() (clock.Instant, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.deadline, f.moved
}

func (f *fake) extend(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deadline = clock.System{}.Now().Add(d)
	close(f.moved)
	f.moved = make(chan struct{})
}

func shell(t *testing.T, script string) proc.Cmd {
	t.Helper()
	return proc.Cmd{Args: []string{"sh", "-c", script}, Paths: []string{"/bin/sh"}, Env: os.Environ()}
}

// started returns a channel that is closed once the script has made the file.
func await(t *testing.T, path string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no %s", path)
		}
	}
}

func TestFinished(t *testing.T) {
	o, err := Guard{KillAfter: time.Second}.Run(held(time.Minute), shell(t, "exit 7"))
	if err != nil || o.Cause != Finished || o.Status.ExitStatus() != 7 || !o.Empty {
		t.Errorf("%+v, %v", o, err)
	}
}

// Apart says in the environment that a process has one test to run, which needs no
// etcd.
const Apart = "CONCH_TEST_APART"

// ranApart runs a test in a process of its own, again where that is killed: on a
// machine that stalls, the timer with which a supervisor kills itself after the
// deadline may come before its kill of the command is known to have worked. In that
// process it returns false.
func ranApart(t *testing.T) bool {
	t.Helper()
	if os.Getenv(Apart) != "" {
		return false
	}
	for try := 0; ; try++ {
		cmd := exec.Command(os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), Apart+"=1")
		log := filepath.Join(t.TempDir(), "log") // and no pipe, which what is left behind holds open
		file, err := os.Create(log)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout, cmd.Stderr = file, file
		err = cmd.Run()
		file.Close()
		out, _ := os.ReadFile(log)
		if rerr := proctest.Release(cmd.Process.Pid); rerr != nil {
			t.Error(rerr)
		}
		status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
		switch {
		case err == nil:
			return true
		case !status.Signaled() || status.Signal() != syscall.SIGKILL || try == 2:
			t.Fatalf("%v\n%s", err, out)
		}
		t.Logf("%v\n%s", err, out)
	}
}

// The stop signal comes at the deadline less the grace, and the kill not after
// the deadline.
func TestDeadline(t *testing.T) {
	if ranApart(t) {
		return
	}
	term := filepath.Join(t.TempDir(), "term")
	h := held(6 * time.Second)
	var termLeft time.Duration
	g := Guard{KillAfter: time.Minute, LossGrace: 3 * time.Second, Said: func(e Event) {
		if e.Name == "term-sent" {
			termLeft = h.deadline.Sub(clock.System{}.Now())
		}
	}}
	o, err := g.Run(h, shell(t, `trap 'echo >"`+term+`"' TERM; setsid sh -c 'trap "" TERM; while :; do sleep 1; done' & while :; do sleep 0.05; done`))
	over := clock.System{}.Now()
	if err != nil || o.Cause != Lost || !o.Empty {
		t.Errorf("%+v, %v", o, err)
	}
	if termLeft <= 0 || termLeft > 3*time.Second {
		t.Errorf("the stop signal came %v before the deadline, not three seconds", termLeft)
	}
	if late := over.Sub(h.deadline); late > 2*time.Second {
		t.Errorf("known to be over %v after the deadline", late)
	}
	if _, err := os.Stat(term); err != nil {
		t.Error("no TERM came before the kill")
	}
}

// A deadline that is moved on is not a loss.
func TestExtended(t *testing.T) {
	h := held(4 * time.Second)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 10 {
			h.extend(4 * time.Second)
			time.Sleep(500 * time.Millisecond) // the pace of renewals
		}
		h.extend(time.Minute)
	}()
	o, err := Guard{KillAfter: time.Second, LossGrace: 100 * time.Millisecond}.Run(h, shell(t, "sleep 4.5; exit 3"))
	<-done
	if err != nil || o.Cause != Finished || o.Status.ExitStatus() != 3 {
		t.Errorf("%+v, %v", o, err)
	}
}

// A hold that is known to be gone is no time for a grace.
func TestLostKillsAtOnce(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "ready")
	h := held(time.Hour)
	go func() {
		await(t, ready)
		close(h.lost)
	}()
	g := Guard{KillAfter: time.Hour, LossGrace: time.Minute, Said: func(e Event) {
		if e.Name == "term-sent" {
			t.Error("asked to end, though somebody else may have begun")
		}
	}}
	o, err := g.Run(h, shell(t, `trap "" TERM; setsid sleep 3600 & >"`+ready+`"; sleep 3600`))
	if err != nil || o.Cause != Lost || !o.Empty || o.Status.Signal() != syscall.SIGKILL {
		t.Errorf("%+v, %v", o, err)
	}
}

// No proof of the hold, no command.
func TestNotStarted(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	gone := held(time.Hour)
	close(gone.lost)
	for name, h := range map[string]Hold{"lost": gone, "past": held(-time.Second), "too near": held(500 * time.Millisecond)} {
		if _, err := (Guard{LossGrace: time.Second}).Run(h, shell(t, ">"+ran)); !errors.Is(err, ErrLost) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the command ran")
	}
}

func TestMaxRun(t *testing.T) {
	o, err := Guard{KillAfter: 200 * time.Millisecond, MaxRun: 2 * time.Second}.Run(held(time.Hour), shell(t, `trap "" TERM; while :; do sleep 1; done`))
	if err != nil || o.Cause != TimedOut || o.Status.Signal() != syscall.SIGKILL {
		t.Errorf("%+v, %v", o, err)
	}
}

// The first TERM asks, one that comes within a second is the same again, and one that
// comes later kills.
func TestSecondSignalKills(t *testing.T) {
	dir := t.TempDir()
	signals := make(chan hear.Signal)
	go func() {
		await(t, dir+"/ready")
		now := time.Now()
		signals <- hear.Signal{Sig: syscall.SIGTERM, At: now}
		await(t, dir+"/term")
		signals <- hear.Signal{Sig: syscall.SIGTERM, At: now.Add(Insist - 1)}
		signals <- hear.Signal{Sig: syscall.SIGHUP}
		await(t, dir+"/hup")
		signals <- hear.Signal{Sig: syscall.SIGINT, At: now.Add(Insist)}
	}()
	o, err := Guard{KillAfter: time.Hour, Signals: signals}.Run(held(time.Hour),
		shell(t, `trap '>>"`+dir+`/term"; echo >>"`+dir+`/terms"' TERM; trap '>"`+dir+`/hup"' HUP; >"`+dir+`/ready"; while :; do sleep 0.05; done`))
	if err != nil || o.Cause != Stopped || o.Request != syscall.SIGTERM || o.Status.Signal() != syscall.SIGKILL {
		t.Errorf("%+v, %v", o, err)
	}
	if terms, err := os.ReadFile(dir + "/terms"); string(terms) != "\n" {
		t.Errorf("the command got TERM %d times, %v", len(terms), err)
	}
}

func TestGrace(t *testing.T) {
	for _, c := range []struct{ ttl, killAfter, grace, renew time.Duration }{
		{10 * time.Second, 5 * time.Second, 5 * time.Second, 1250 * time.Millisecond},
		{10 * time.Second, time.Second, time.Second, 2250 * time.Millisecond},
		{2 * time.Second, 5 * time.Second, time.Second, 250 * time.Millisecond},
	} {
		if g, r := Grace(c.ttl, c.killAfter), Renew(c.ttl, c.killAfter); g != c.grace || r != c.renew {
			t.Errorf("TTL %v, kill after %v: grace %v, renew %v", c.ttl, c.killAfter, g, r)
		}
	}
}

// Whatever is usable of a TTL, and whatever --kill-after: renewals have at least
// half of it, and the third in a row is begun before the stop signal is due.
func TestTimingsFit(t *testing.T) {
	for usable := lease.MinTTL; usable <= lease.MaxTTL; usable += 500 * time.Millisecond {
		for _, killAfter := range []time.Duration{0, 500 * time.Millisecond, time.Second, 5 * time.Second, time.Hour} {
			grace := Grace(usable, killAfter)
			if grace > usable/2 || grace > killAfter {
				t.Errorf("%v usable, kill after %v: grace %v", usable, killAfter, grace)
			}
			stop := lease.Deadline(0, usable).Add(-grace).Sub(0)
			if third := 3 * Renew(usable, killAfter); third >= stop {
				t.Errorf("%v usable, kill after %v: the third renewal comes after %v, the stop signal after %v", usable, killAfter, third, stop)
			}
		}
	}
}
