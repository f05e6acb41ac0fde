package proc

import (
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
	s.signal(syscall.SIGSTOP) // lest it clear up after the sentinel
	syscall.Kill(e.Sentinel, syscall.SIGKILL)
	s.empty()
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
	s := supervised(t, plan{Script: hostile, Deadline: 1500 * time.Millisecond, Extend: 50 * time.Millisecond})
	s.started(6)
	s.signal(syscall.SIGSTOP)
	s.empty()
	s.signal(syscall.SIGCONT)
	if end := s.next().End; end == nil || end.Cause != Deadline || !end.Empty {
		t.Errorf("%+v", end)
	}
}

func TestDeadline(t *testing.T) {
	tree := start(t, hostile, func(c *Cmd) { c.Deadline = clock.System{}.Now().Add(300 * time.Millisecond) })
	began := time.Now()
	r := tree.Result()
	if r.Cause != Deadline || !r.Empty || r.Status.Signal() != syscall.SIGKILL || r.Killed < 5 {
		t.Errorf("%+v", r)
	}
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("killed after %v", took)
	}
}

func TestExtend(t *testing.T) {
	var now clock.System
	tree := start(t, "sleep 0.6; exit 4", func(c *Cmd) { c.Deadline = now.Now().Add(300 * time.Millisecond) })
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

func TestForkStorm(t *testing.T) {
	s := supervised(t, plan{Script: `export S='setsid sh -c "eval \"\$S\"" & exit'
for i in 1 2 3 4 5 6 7 8; do sh -c "eval \"\$S\"" & done; sleep 1000`})
	s.started(3)
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

func TestOrdinaryUser(t *testing.T) {
	needRoot(t)
	exe := copyOfTest(t)
	for _, contain := range []bool{false, true} {
		s := supervised(t, plan{Script: hostile, Contain: contain}, func(c *exec.Cmd) { asNobody(c, exe) })
		if e := s.next(); e.Pid == 0 && contain {
			t.Skip(e.Err)
		}
		await(t, "processes", func() bool { return len(tagged(s.Tag)) >= 6 })
		s.signal(syscall.SIGKILL)
		s.empty()
	}
}

// TestOtherUser has a descendant that the sentinel may not kill.
func TestOtherUser(t *testing.T) {
	needRoot(t)
	exe := copyOfTest(t)
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Skip(err)
	}
	text, err := os.ReadFile(setpriv)
	if err != nil {
		t.Fatal(err)
	}
	tool := write(t, filepath.Join(filepath.Dir(exe), "suid"), string(text), 0o755|os.ModeSetuid)
	s := supervised(t, plan{Script: tool + " --reuid=1 --regid=1 --clear-groups sleep 1000 & sleep 0.3; exit 6"}, func(c *exec.Cmd) { asNobody(c, exe) })
	s.next()
	end := s.next().End
	if end == nil || end.Empty || end.Leftover != 1 || end.Status != 6<<8 {
		t.Errorf("%+v", end)
	}
}

func TestContain(t *testing.T) {
	needRoot(t)
	s := supervised(t, plan{Script: hostile, Contain: true})
	e := s.started(6)
	if !exists("/proc/" + itoa(e.Pid) + "/stat") {
		t.Errorf("no process %d", e.Pid)
	}
	// Both at once: what only the kernel can answer.
	s.signal(syscall.SIGKILL)
	syscall.Kill(e.Sentinel, syscall.SIGKILL)
	s.empty()
}

func TestContainedStatus(t *testing.T) {
	needRoot(t)
	tree := start(t, "(setsid sleep 1000 &); exit 7", func(c *Cmd) { c.Contain = true })
	if r := tree.Result(); r.Status.ExitStatus() != 7 || !r.Empty || r.Cause != None {
		t.Errorf("%+v", r)
	}
	tree = start(t, hostile, func(c *Cmd) { c.Contain = true })
	await(t, "processes", func() bool { return tree.SignalAll(0) >= 6 })
	tree.Kill()
	if r := tree.Result(); r.Cause != Order || !r.Empty {
		t.Errorf("%+v", r)
	}
}

// TestForeignProc is a supervisor, the init of a pid namespace, whose /proc is
// that of another.
func TestForeignProc(t *testing.T) {
	needRoot(t)
	unshared := func(c *exec.Cmd) {
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	}
	s := supervised(t, plan{Script: "(setsid sleep 1000 >/dev/null 2>&1 &); sleep 0.1; exit 3"}, unshared)
	if e := s.next(); e.Pid == 0 {
		t.Fatal(e.Err)
	}
	if end := s.next().End; end == nil || end.Status != 3<<8 || !end.Empty {
		t.Errorf("%+v", end)
	}
	s = supervised(t, plan{Script: hostile}, unshared)
	s.started(6)
	// Its own number of the sentinel is not ours: find it by its name.
	for _, p := range processes() {
		if p.parent == s.cmd.Process.Pid {
			syscall.Kill(p.pid, syscall.SIGKILL)
		}
	}
	end := s.next().End
	if end == nil || end.Cause != SentinelDied || !end.Empty {
		t.Errorf("%+v", end)
	}
}

// TestNoProc is a supervisor in a root directory with nothing in it but the
// program: no /proc, no /dev, no shell.
func TestNoProc(t *testing.T) {
	needRoot(t)
	exe := copyOfTest(t)
	s := supervised(t, plan{Args: []string{"/proc.test"}, Root: filepath.Dir(exe)}, func(c *exec.Cmd) {
		c.Path, c.Dir = "/proc.test", "/"
		c.SysProcAttr = &syscall.SysProcAttr{Chroot: filepath.Dir(exe)}
		c.Env = append(c.Env, actVar+"=daemon")
	})
	s.started(3)
	if end := s.next().End; end == nil || end.Status != 3<<8 || !end.Empty {
		t.Errorf("%+v", end)
	}
	s.empty()
}

// TestKilledEarly kills the supervisor at any moment of a start.
func TestKilledEarly(t *testing.T) {
	for i := range 40 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		s := supervised(t, plan{Script: "(setsid sleep 1000 &) ; sleep 1000"}, func(c *exec.Cmd) { c.Stdin = w })
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

// BenchmarkSupervisorKilled takes the time from the SIGKILL of a supervisor to
// the death of a child, a grandchild and a daemon.
func BenchmarkSupervisorKilled(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		r, w, err := os.Pipe()
		if err != nil {
			b.Fatal(err)
		}
		s := supervised(b, plan{Script: "(setsid sleep 1000 &) ; sh -c 'sleep 1000 & wait' & wait"}, func(c *exec.Cmd) { c.Stdin = w })
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

func copyOfTest(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	openUp(t, dir)
	text, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	return write(t, filepath.Join(dir, "proc.test"), string(text), 0o755)
}

func asNobody(c *exec.Cmd, exe string) {
	c.Path = exe
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
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
	if !instrumented && pss > 1024 {
		t.Errorf("more than 1 MiB")
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
