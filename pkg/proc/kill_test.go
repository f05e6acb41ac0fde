package proc

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"conch/pkg/clock"
	"conch/pkg/proc/sentinel"
)

func itoa(n int) string { return strconv.Itoa(n) }

// hostile is a command with a child, a grandchild and a daemon that has called
// setsid and forked twice. All ignore TERM; there are at least five processes.
const hostile = `trap '' TERM HUP INT
(setsid sh -c 'sleep 1000 & sleep 1000' >/dev/null 2>&1 &)
sh -c 'sleep 1000 & sleep 1000' &
sleep 1000`

func TestSupervisorKilled(t *testing.T) {
	s := supervised(t, plan{Script: hostile})
	s.started(6)
	s.signal(syscall.SIGKILL)
	s.empty()
}

func TestGroupKilled(t *testing.T) {
	s := supervised(t, plan{Script: hostile}, func(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} })
	s.started(6)
	if err := syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.empty()
}

func TestSentinelKilled(t *testing.T) {
	s := supervised(t, plan{Script: hostile})
	e := s.started(6)
	syscall.Kill(e.Sentinel, syscall.SIGKILL)
	end := s.next().End
	if end == nil || end.Err != ErrSentinel.Error() || end.Cause != SentinelDied || !end.Empty || end.Status != int(syscall.SIGKILL) {
		t.Errorf("%+v", end)
	}
	if left := tagged(s.Tag); len(left) > 0 {
		t.Errorf("done, but %v live", left)
	}
}

// TestBothKilled holds what is left without Contain: the command itself dies.
func TestBothKilled(t *testing.T) {
	s := supervised(t, plan{Script: "exec sleep 1000"})
	e := s.started(1)
	s.signal(syscall.SIGKILL)
	syscall.Kill(e.Sentinel, syscall.SIGKILL)
	s.empty()
}

// TestSentinelOfStoppedKilled kills a sentinel that nobody seems to be watching.
func TestSentinelOfStoppedKilled(t *testing.T) {
	for _, contain := range []bool{false, os.Geteuid() == 0} {
		s := supervised(t, plan{Script: hostile, Contain: contain})
		e := s.started(6)
		s.signal(syscall.SIGSTOP)
		s.state(s.cmd.Process.Pid, 'T')
		syscall.Kill(e.Sentinel, syscall.SIGKILL)
		s.empty()
		if end := s.next().End; end == nil || end.Err != ErrSentinel.Error() || !end.Empty {
			t.Errorf("%+v", end)
		}
	}
}

// TestSupervisorOfStoppedKilled kills the supervisor of a sentinel that is
// stopped, and stays so while both are.
func TestSupervisorOfStoppedKilled(t *testing.T) {
	for _, contain := range []bool{false, os.Geteuid() == 0} {
		s := supervised(t, plan{Script: hostile, Contain: contain})
		e := s.started(6)
		s.signal(syscall.SIGSTOP)
		s.state(s.cmd.Process.Pid, 'T')
		syscall.Kill(e.Sentinel, syscall.SIGSTOP)
		s.state(e.Sentinel, 'T')
		s.signal(syscall.SIGKILL)
		s.empty()
	}
}

// TestSentinelOfManyKilled has the supervisor tell the orphans of one tree from
// the sentinels of others, and from a child of its own.
func TestSentinelOfManyKilled(t *testing.T) {
	own := exec.Command("sleep", "1000")
	if err := own.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { own.Process.Kill(); own.Wait() }()
	time.Sleep(20 * time.Millisecond) // ages are compared in ticks of 10 ms
	a, b := start(t, hostile), start(t, "exec sleep 1000")
	await(t, "processes", func() bool { return a.SignalAll(0) >= 6 })
	syscall.Kill(a.SentinelPid(), syscall.SIGKILL)
	if r := a.Result(); r.Err != ErrSentinel || !r.Empty {
		t.Errorf("%+v", r)
	}
	if n := b.SignalAll(0); n != 1 {
		t.Errorf("%d processes in the other tree", n)
	}
	if err := own.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("own child: %v", err)
	}
}

func TestSentinelStopped(t *testing.T) {
	tree := start(t, hostile)
	syscall.Kill(tree.SentinelPid(), syscall.SIGSTOP)
	tree.Kill()
	if r := tree.Result(); r.Cause != Order || !r.Empty {
		t.Errorf("%+v", r)
	}
}

func TestSupervisorStopped(t *testing.T) {
	s := supervised(t, plan{Script: hostile, Deadline: 5 * time.Second, Extend: 50 * time.Millisecond})
	s.started(6)
	s.signal(syscall.SIGSTOP)
	s.empty()
	s.signal(syscall.SIGCONT)
	if end := s.next().End; end == nil || end.Cause != Deadline || !end.Empty {
		t.Errorf("%+v", end)
	}
}

func TestDeadline(t *testing.T) {
	deadline := clock.System{}.Now().Add(3 * time.Second)
	tree := start(t, hostile, func(c *Cmd) { c.Deadline = deadline })
	await(t, "processes", func() bool { return tree.SignalAll(0) >= 6 })
	r := tree.Result()
	if r.Cause != Deadline || !r.Empty || r.Status.Signal() != syscall.SIGKILL || r.Killed < 5 {
		t.Errorf("%+v", r)
	}
	if left := deadline.Sub(clock.System{}.Now()); left > 0 {
		t.Errorf("killed %v before", left)
	}
}

func TestExtend(t *testing.T) {
	var now clock.System
	tree := start(t, "sleep 4; exit 4", func(c *Cmd) { c.Deadline = now.Now().Add(3 * time.Second) })
	tree.Extend(now.Now().Add(time.Hour))
	tree.Extend(now.Now()) // never nearer
	tree.Extend(1 << 62)   // as far as anyone can ask for
	if r := tree.Result(); r.Cause != None || r.Status.ExitStatus() != 4 {
		t.Errorf("%+v", r)
	}
}

func TestKill(t *testing.T) {
	tree := start(t, hostile)
	await(t, "processes", func() bool { return tree.SignalAll(0) >= 6 })
	tree.Kill()
	if r := tree.Result(); r.Cause != Order || !r.Empty || r.Killed < 5 || r.Status.Signal() != syscall.SIGKILL {
		t.Errorf("%+v", r)
	}
}

func TestStragglers(t *testing.T) {
	s := supervised(t, plan{Script: "(setsid sleep 1000 >/dev/null 2>&1 &); exit 3"})
	s.next()
	if end := s.next().End; end == nil || end.Status != 3<<8 || end.Cause != None || !end.Empty {
		t.Errorf("%+v", end)
	}
	if left := tagged(s.Tag); len(left) > 0 {
		t.Errorf("done, but %v live", left)
	}
}

func TestWaitTree(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	tree := start(t, `(setsid sh -c "sleep 0.2; touch `+mark+`" >/dev/null 2>&1 &); exit 3`, func(c *Cmd) { c.WaitTree = true })
	<-tree.Exited()
	if r := tree.Result(); r.Status.ExitStatus() != 3 || !r.Empty || r.Killed != 0 {
		t.Errorf("%+v", r)
	}
	if !exists(mark) {
		t.Error("the daemon was not waited for")
	}
}

func TestEpilogue(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	// What the epilogue finds: no process of the tree, and streams that work.
	s := supervised(t, plan{Script: hostile, Epilogue: "cat && echo x && grep SigBlk /proc/self/status >" + mark + ".new && mv " + mark + ".new " + mark})
	s.started(6)
	s.signal(syscall.SIGKILL)
	await(t, "mark of the epilogue", func() bool { return exists(mark) })
	if left := tagged(s.Tag); len(left) > 0 {
		t.Errorf("epilogue, but %v live", left)
	}
	if text, err := os.ReadFile(mark); err != nil || string(text) != "SigBlk:\t0000000000000000\n" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestEpilogueIsNotRun(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	s := supervised(t, plan{Script: "exit 0", Epilogue: "touch " + mark})
	sentinel := s.next().Sentinel
	s.cmd.Wait()
	await(t, "end of the sentinel", func() bool { return !exists("/proc/" + itoa(sentinel)) })
	if exists(mark) {
		t.Error("it was run after an orderly end")
	}
}

func TestEpilogueStays(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	s := supervised(t, plan{Script: "exit 0", Epilogue: "touch " + mark, Stay: true})
	s.next()
	if end := s.next().End; end == nil || !end.Empty {
		t.Errorf("%+v", end)
	}
	s.signal(syscall.SIGKILL)
	await(t, "mark of the epilogue", func() bool { return exists(mark) })
}

func TestThousand(t *testing.T) {
	s := supervised(t, plan{Script: "i=0; while [ $i -lt 1000 ]; do setsid sleep 1000 & i=$((i+1)); done; wait"})
	s.started(1001)
	s.signal(syscall.SIGKILL)
	s.empty()
}

// storm starts eight processes that each start the next, in a session of its own,
// and exit; it returns when a hundred have.
func storm(t *testing.T, tweak ...func(*exec.Cmd)) *supervisor {
	t.Helper()
	dir := t.TempDir()
	links := filepath.Join(dir, "links")
	write(t, links, "", 0o666)
	openUp(t, dir)
	s := supervised(t, plan{Script: `exec 3>>` + links + `; export S='printf . >&3; setsid sh -c "eval \"\$S\"" & exit'
for i in 1 2 3 4 5 6 7 8; do sh -c "eval \"\$S\"" & done; sleep 1000`}, tweak...)
	await(t, "storm", func() bool {
		info, err := os.Stat(links)
		return err == nil && info.Size() > 100
	})
	return s
}

func TestForkStorm(t *testing.T) {
	s := storm(t)
	s.signal(syscall.SIGKILL)
	s.empty()
}

// TestZombies keeps the sentinel busy with reaping.
func TestZombies(t *testing.T) {
	s := supervised(t, plan{Script: "for i in 1 2 3; do (while :; do (/bin/true &) ; done) & done; sleep 1000"})
	s.started(4)
	s.signal(syscall.SIGKILL)
	s.empty()
}

func TestNested(t *testing.T) {
	s := supervised(t, plan{Script: `n=0; export n; s='n=$((n+1)); if [ $n -lt 100 ]; then setsid sh -c "$s" & fi; sleep 1000'; export s; eval "$s"`})
	s.started(150)
	s.signal(syscall.SIGKILL)
	s.empty()
}

// TestKilledWaiting kills a supervisor whose sentinel has no command to start yet.
func TestKilledWaiting(t *testing.T) {
	for _, kernel := range []string{"new", "old"} {
		s := supervised(t, plan{Script: "exit", Await: kernel})
		sentinel := s.next().Sentinel
		s.signal(syscall.SIGKILL)
		await(t, "the sentinel's end", func() bool {
			stat, err := os.ReadFile("/proc/" + itoa(sentinel) + "/stat")
			return err != nil || strings.Contains(string(stat), ") Z ")
		})
	}
}

// TestKilledEarly kills the supervisor at any moment of a start.
func TestKilledEarly(t *testing.T) {
	for i := range 40 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		s := supervised(t, plan{Script: "(setsid sleep 1000 &) ; sleep 1000"}, func(c *exec.Cmd) { c.ExtraFiles = []*os.File{w} })
		w.Close()
		time.Sleep(time.Duration(i) * 500 * time.Microsecond)
		s.signal(syscall.SIGKILL)
		// The end of the pipe: nobody holds it any more.
		if _, err := r.Read(make([]byte, 1)); err == nil {
			t.Error("no end of file")
		}
		r.Close()
		if left := tagged(s.Tag); len(left) > 0 {
			t.Errorf("%v live", left)
		}
	}
}

// TestOldKernel does without what only newer kernels have: pidfds, close_range
// and lists of children.
func TestOldKernel(t *testing.T) {
	c := (&plan{Script: hostile}).cmd()
	p := new(Prepared)
	if err := p.open(c); err != nil {
		t.Fatal(err)
	}
	a := p.arena
	a.Parent, a.CloseRange, a.Listing = -1, 0, 0
	a.Keep(a.Timer, a.Ctl, a.Parent, a.Child, a.Report)
	if err := p.fork(c); err != nil {
		t.Fatal(err)
	}
	p.close()
	c.Prepared = p
	tree, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "processes", func() bool { return tree.SignalAll(0) >= 6 })
	fds, err := readNames("/proc/" + itoa(tree.SentinelPid()) + "/fd")
	if err != nil || len(fds) != 4 {
		t.Errorf("the sentinel has %q, %v", fds, err)
	}
	tree.Kill()
	if r := tree.Result(); r.Cause != Order || !r.Empty {
		t.Errorf("%+v", r)
	}
}

// BenchmarkSupervisorKilled takes the time from the SIGKILL of a supervisor to
// the death of a child, a grandchild and a daemon.
func BenchmarkSupervisorKilled(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		r, w, err := os.Pipe()
		if err != nil {
			b.Fatal(err)
		}
		s := supervised(b, plan{Script: "(setsid sleep 1000 &) ; sh -c 'sleep 1000 & wait' & wait"}, func(c *exec.Cmd) { c.ExtraFiles = []*os.File{w} })
		w.Close()
		s.started(4)
		b.StartTimer()
		s.signal(syscall.SIGKILL)
		r.Read(make([]byte, 1))
		b.StopTimer()
		r.Close()
		s.cmd.Wait()
		b.StartTimer()
	}
}

func TestMemory(t *testing.T) {
	s := supervised(t, plan{Script: "sleep 1000", Ballast: 32 << 20})
	e := s.started(1)
	text, err := os.ReadFile("/proc/" + itoa(e.Sentinel) + "/smaps_rollup")
	if err != nil {
		t.Skip(err)
	}
	_, rest, _ := strings.Cut(string(text), "\nPss:")
	pss, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the sentinel has a PSS of %d KiB", pss)
	if !instrumented && pss > 256 {
		t.Errorf("more than 256 KiB")
	}
}

func TestName(t *testing.T) {
	tree := start(t, "sleep 1000")
	for _, file := range []string{"comm", "cmdline"} {
		text, err := os.ReadFile("/proc/" + itoa(tree.SentinelPid()) + "/" + file)
		if err != nil || strings.Trim(string(text), "\x00\n") != "leasewarden" {
			t.Errorf("%s: %q, %v", file, text, err)
		}
	}
}

// TestImpostor kills a tree in which a process calls itself a sentinel: it is spared,
// but not past the deadline, nor for long once what the tree runs under is lost.
func TestImpostor(t *testing.T) {
	for _, c := range []struct {
		name     string
		deadline time.Duration
		how      func(*Tree)
	}{
		{"deadline", 2 * time.Second, (*Tree).Kill},
		{"deadline, sentinel killed", 2 * time.Second, func(tree *Tree) { syscall.Kill(tree.SentinelPid(), syscall.SIGKILL) }},
		{"lost", time.Hour, func(tree *Tree) { tree.Lose(); tree.Kill() }},
		{"lost, sentinel killed", time.Hour, func(tree *Tree) { tree.Lose(); syscall.Kill(tree.SentinelPid(), syscall.SIGKILL) }},
		{"lost later", time.Hour, func(tree *Tree) { tree.Kill(); tree.Lose() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := start(t, "bash -c 'exec -a "+SentinelName+" sleep 1000' & sleep 1000", func(cmd *Cmd) {
				cmd.Deadline = clock.System{}.Now().Add(c.deadline)
			})
			await(t, "the impostor", func() bool {
				return slices.ContainsFunc(tagged(t.Name()), isSentinel)
			})
			c.how(tree)
			began := time.Now()
			if r := tree.Result(); !r.Empty {
				t.Errorf("%+v", r)
			}
			if took := time.Since(began); took > sentinel.SpareFor-time.Second {
				t.Errorf("it was spared for %v", took)
			}
		})
	}
}

// A process whose arguments are empty may be becoming a sentinel's program.
func TestBecomingSentinel(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }() // it has no arguments once it is a zombie
	await(t, "its end", func() bool {
		return slices.ContainsFunc(processes(), func(p process) bool { return p.pid == cmd.Process.Pid && p.state == 'Z' })
	})
	if !isSentinel(cmd.Process.Pid) || isSentinel(os.Getpid()) {
		t.Error("only a name tells")
	}
}
