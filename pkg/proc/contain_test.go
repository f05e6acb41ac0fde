package proc

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

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

// untilOther waits until the last process in the background has changed its user.
const untilOther = `until grep -q "^Uid:.1" /proc/$!/status; do :; done`

// TestOtherUser has a descendant that the sentinel may not kill.
func TestOtherUser(t *testing.T) {
	needRoot(t)
	exe := copyOfTest(t)
	tool := setUser(t, exe)
	s := supervised(t, plan{Script: tool + " sleep 1000 & " + untilOther + "; exit 6"}, func(c *exec.Cmd) { asNobody(c, exe) })
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

// TestForeignProcContained is a supervisor that is contained itself, and an ordinary
// user: what it writes in /proc is about its own sentinel.
func TestForeignProcContained(t *testing.T) {
	needRoot(t)
	exe := copyOfTest(t)
	s := supervised(t, plan{Script: "(setsid sleep 1000 >/dev/null 2>&1 &); id -u; exit 3", Contain: true}, func(c *exec.Cmd) {
		asNobody(c, exe)
		c.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID
	})
	if e := s.next(); e.Pid == 0 {
		t.Fatal(e.Err)
	}
	if end := s.next().End; end == nil || end.Status != 3<<8 || !end.Empty {
		t.Errorf("%+v", end)
	}
	s.empty()
	if text, err := os.ReadFile(filepath.Join(filepath.Dir(s.Journal), "out")); string(text) != "65534\n" {
		t.Errorf("user %q, %v", text, err)
	}
}

// TestNoProcContained is an ordinary user without a /proc, in which to say who the
// command is to be: it is refused, and nobody waits.
func TestNoProcContained(t *testing.T) {
	needRoot(t)
	exe := copyOfTest(t)
	s := supervised(t, plan{Script: "exit 3", Contain: true}, func(c *exec.Cmd) {
		path, err := exec.LookPath("unshare")
		if err != nil {
			t.Fatal(err)
		}
		c.Path = path
		c.Args = []string{"unshare", "--mount", "sh", "-c",
			`mount -t tmpfs none /proc && exec setpriv --reuid=65534 --regid=65534 --clear-groups "$0"`, exe}
	})
	if e := s.next(); e.Pid != 0 || !strings.Contains(e.Err, "cannot be contained: ") {
		t.Errorf("%+v", e)
	}
}

// TestNoProc is a supervisor in a root directory with nothing in it but the
// program: no /proc, no /dev, no shell.
func TestNoProc(t *testing.T) {
	needRoot(t)
	if instrumented {
		t.Skip("the race detector needs a C library")
	}
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
