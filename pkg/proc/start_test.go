package proc

import (
	"debug/elf"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"conch/pkg/clock"
)

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		script string
		want   syscall.WaitStatus
	}{
		{"exit 0", 0},
		{"exit 7", 7 << 8},
		{"kill -TERM $$", 15},
		{"kill -INT $$", 2},
		{"kill -KILL $$", 9},
		{"kill -40 $$", 40},
	} {
		tree := start(t, c.script)
		r := tree.Result()
		// The core flag depends on the limits of the machine.
		if r.Status&^0x80 != c.want || !r.Empty || r.Cause != None || r.Err != nil {
			t.Errorf("%s: %+v", c.script, r)
		}
		select {
		case <-tree.Exited():
		default:
			t.Errorf("%s: done, but not exited", c.script)
		}
	}
}

func TestStreams(t *testing.T) {
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	feed.WriteString("line\n")
	feed.Close()
	out, text := output(t)
	// Standard output and error trade places on the way: 2 goes to out.
	tree := start(t, "cat >&2", func(c *Cmd) { c.Stdio = [3]*os.File{in, os.Stdout, out} })
	if r := tree.Result(); r.Status != 0 || text() != "line" {
		t.Errorf("%+v, %q", r, text())
	}
}

// TestSwappedStreams has each stream come from the place of another.
func TestSwappedStreams(t *testing.T) {
	saved, err := syscall.Dup(2)
	if err != nil {
		t.Fatal(err)
	}
	out, text := output(t)
	syscall.Dup3(int(out.Fd()), 2, 0)
	defer syscall.Close(saved)
	tree := start(t, "echo to out", func(c *Cmd) { c.Stdio = [3]*os.File{nil, os.Stderr, os.Stdout} })
	syscall.Dup3(saved, 2, 0)
	if r := tree.Result(); r.Status != 0 || text() != "to out" {
		t.Errorf("%+v, %q", r, text())
	}
}

func TestEnvironmentAndArguments(t *testing.T) {
	out, text := output(t)
	args := []string{"sh", "-c", `printf '<%s>' "$@"; env -0 | tr '\0' '\n'`, "0", "", "a b", "\n", "*", "--", "\xff"}
	tree := start(t, "", func(c *Cmd) {
		c.Args, c.Env = args, []string{"A=\xff", "bad name=1", "=odd", "PATH=" + os.Getenv("PATH")}
		c.Stdio[1] = out
	})
	tree.Result()
	if want := "<><a b><\n><*><--><\xff>"; !strings.HasPrefix(text(), want) || !strings.Contains(text(), "\nbad name=1\n") && !strings.Contains(text(), "A=\xff\n") {
		t.Errorf("got %q", text())
	}
}

func TestHugeEnvironment(t *testing.T) {
	big := strings.Repeat("x", 120_000)
	tree := start(t, `test ${#BIG} = 120000 && test $# = 20000`, func(c *Cmd) {
		c.Env = append(c.Env, "BIG="+big)
		c.Args = append(append(c.Args, "0"), strings.Split(strings.Repeat("a ", 20_000)[:39_999], " ")...)
	})
	if r := tree.Result(); r.Status != 0 {
		t.Errorf("%+v", r)
	}
}

func TestDir(t *testing.T) {
	dir := t.TempDir()
	tree := start(t, `test "$(pwd -P)" = "$WANT"`, func(c *Cmd) { c.Dir, c.Env = dir, append(c.Env, "WANT="+dir) })
	if r := tree.Result(); r.Status != 0 {
		t.Errorf("%+v", r)
	}
	c := (&plan{Script: "exit"}).cmd()
	c.Dir = dir + "/none"
	_, err := Start(c)
	if err == nil || !errors.Is(err, syscall.ENOENT) || errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestLook(t *testing.T) {
	dir := t.TempDir()
	plain := write(t, filepath.Join(dir, "plain"), "", 0o644)
	good := write(t, filepath.Join(dir, "good"), "", 0o755)
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path string
		is         error
		text       string
	}{
		{"nosuch", dir, ErrNotFound, "nosuch: command not found"},
		{"", dir, ErrNotFound, ": command not found"},
		{"sub", dir, ErrNotFound, "sub: command not found"},
		{"plain", dir, ErrNotExecutable, plain + ": permission denied"},
		{plain, "", ErrNotExecutable, plain + ": permission denied"},
		{dir, "", ErrNotExecutable, dir + ": is a directory"},
		{dir + "/none", "", ErrNotFound, dir + "/none: no such file or directory"},
		{plain + "/x", "", ErrNotFound, plain + "/x: not a directory"},
	} {
		_, err := Look(c.name, c.path)
		if !errors.Is(err, c.is) || errors.Is(err, ErrNotFound) == errors.Is(err, ErrNotExecutable) || err.Error() != c.text {
			t.Errorf("%q: %v", c.name, err)
		}
	}
	other := t.TempDir()
	second := write(t, filepath.Join(other, "good"), "", 0o755)
	got, err := Look("good", dir+":/nonexistent:"+other)
	if err != nil || len(got) != 2 || got[0] != good || got[1] != second {
		t.Errorf("%q, %v", got, err)
	}
}

func TestExecRules(t *testing.T) {
	dir := t.TempDir()
	script := write(t, filepath.Join(dir, "script"), "exit $#\n", 0o755)
	orphan := write(t, filepath.Join(dir, "orphan"), "#!/nonexistent\n", 0o755)
	windows := write(t, filepath.Join(dir, "windows"), "#!/bin/sh\r\nexit 0\r\n", 0o755)
	loaderless := write(t, filepath.Join(dir, "loaderless"), withoutLoader(t, "/bin/sh"), 0o755)
	plain := write(t, filepath.Join(dir, "plain"), "", 0o644)
	tree := start(t, "", func(c *Cmd) { c.Args, c.Paths = []string{"script", "a", "b"}, []string{plain, script} })
	if r := tree.Result(); r.Status.ExitStatus() != 2 {
		t.Errorf("a script without #!, after a file that cannot be executed: %+v", r)
	}
	for _, c := range []struct {
		paths []string
		is    error
		text  string
	}{
		{[]string{orphan}, ErrNotFound, orphan + ": its interpreter /nonexistent: no such file or directory"},
		{[]string{windows}, ErrNotFound, windows + `: its interpreter "/bin/sh\r": no such file or directory`},
		{[]string{loaderless}, ErrNotFound, loaderless + ": its dynamic loader: no such file or directory"},
		{[]string{plain, dir + "/none"}, ErrNotExecutable, "x: permission denied"},
		{[]string{dir + "/none"}, ErrNotFound, "x: no such file or directory"},
	} {
		_, err := Start(&Cmd{Args: []string{"x"}, Paths: c.paths, Deadline: clock.System{}.Now().Add(time.Minute)})
		var se *StartError
		if !errors.Is(err, c.is) || !errors.As(err, &se) || err.Error() != c.text {
			t.Errorf("%q: %v", c.paths, err)
		}
	}
}

// withoutLoader returns a dynamic program, changed so that its loader is not found.
func withoutLoader(t *testing.T, file string) string {
	t.Helper()
	f, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			copy(b[p.Off:], "/nonexistent\x00")
			return string(b)
		}
	}
	t.Skipf("NOT TESTED, for want of a dynamic program: %s is static", file)
	return ""
}

func TestLate(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	c := (&plan{Script: "touch " + mark}).cmd()
	c.Deadline = clock.System{}.Now()
	if _, err := Start(c); !errors.Is(err, ErrLate) {
		t.Errorf("got %v", err)
	}
	if exists(mark) {
		t.Error("the command was started")
	}
}

func TestPidVariables(t *testing.T) {
	self := os.Getpid()
	out, text := output(t)
	tree := start(t, `echo $LISTEN_PID $WATCHDOG_PID $OTHER_PID ${LISTEN_PIDFDID-gone}; echo $$`, func(c *Cmd) {
		id := "=" + itoa(self)
		c.Env = append(c.Env, "LISTEN_PID"+id, "LISTEN_PIDFDID=1", "WATCHDOG_PID=999999", "OTHER_PID"+id)
		c.Stdio[1] = out
	})
	pid := tree.Pid()
	tree.Result()
	if want := itoa(pid) + " 999999 " + itoa(self) + " gone\n" + itoa(pid); text() != want {
		t.Errorf("got %q, want %q", text(), want)
	}
}

func TestSignal(t *testing.T) {
	out, text := output(t)
	tree := start(t, `trap 'echo usr1' USR1; trap 'echo term; exit 3' TERM; echo ready; while :; do sleep 0.01; done`, func(c *Cmd) { c.Stdio[1] = out })
	await(t, "trap", func() bool { return text() == "ready" })
	tree.Signal(syscall.SIGUSR1)
	await(t, "first signal", func() bool { return text() == "ready\nusr1" })
	tree.Signal(syscall.SIGTERM)
	if r := tree.Result(); r.Status.ExitStatus() != 3 || text() != "ready\nusr1\nterm" {
		t.Errorf("%+v, %q", r, text())
	}
	tree.Signal(syscall.SIGTERM) // has nobody to go to, and does no harm
}

func TestSignalAll(t *testing.T) {
	out, text := output(t)
	one := `trap "echo $0; exit" TERM; echo ready; while :; do sleep 0.01; done`
	tree := start(t, `sh -c "$ONE" a & setsid sh -c "$ONE" b & exec sh -c "$ONE" c`, func(c *Cmd) {
		c.Env, c.Stdio[1], c.WaitTree = append(c.Env, "ONE="+one), out, true
		c.Stdio[2] = out // sh says what its sleep has died of
	})
	await(t, "traps", func() bool { return strings.Count(text(), "ready") == 3 })
	if n := tree.SignalAll(0); n < 3 {
		t.Errorf("%d descendants", n)
	}
	tree.SignalAll(syscall.SIGTERM)
	if r := tree.Result(); r.Cause != None || !r.Empty {
		t.Errorf("%+v", r)
	}
	for _, name := range []string{"a", "b", "c"} {
		if strings.Count(text(), name+"\n")+strings.Count(text()+"\n", "\n"+name+"\n") == 0 {
			t.Errorf("%s was not signalled: %q", name, text())
		}
	}
}

// TestAsk asks twice, and whoever clears up after the first time is not disturbed:
// neither by the second, nor are the programs that it starts for that.
func TestAsk(t *testing.T) {
	out, text := output(t)
	one := `trap "echo asked $0; sleep 0.2 && sleep 0.2 && echo cleared $0; exit" TERM; echo ready; while :; do sleep 0.01; done`
	tree := start(t, `sh -c "$ONE" a & setsid sh -c "$ONE" b & exec sh -c "$ONE" c`, func(c *Cmd) {
		c.Env, c.Stdio[1], c.WaitTree = append(c.Env, "ONE="+one), out, true
	})
	await(t, "traps", func() bool { return strings.Count(text(), "ready") == 3 })
	if n := tree.Ask(syscall.SIGTERM); n < 3 {
		t.Errorf("reached %d", n)
	}
	await(t, "an answer", func() bool { return strings.Contains(text(), "asked") })
	tree.Ask(syscall.SIGTERM)
	tree.Result()
	for _, name := range []string{"a", "b", "c"} {
		if strings.Count(text(), "asked "+name) != 1 || strings.Count(text(), "cleared "+name) != 1 {
			t.Errorf("%s: %q", name, text())
		}
	}
}

func TestLater(t *testing.T) {
	for _, c := range []struct {
		pid, other int
		want       bool
	}{{5, 4, true}, {4, 5, false}, {4, 4, false}, {2, 32767, true}, {32767, 2, false}, {20000, 300, false}} {
		if got := later(c.pid, c.other, 32768); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestSpare leaves alone what a command leaves behind, until the kill.
func TestSpare(t *testing.T) {
	out, text := output(t)
	tree := start(t, `(trap "" TERM; echo up; while :; do sleep 0.01; done) & wait`, func(c *Cmd) { c.Stdio[1] = out })
	await(t, "a child", func() bool { return text() == "up" })
	tree.Spare(true)
	tree.Signal(syscall.SIGTERM)
	<-tree.Exited()
	select {
	case <-tree.Done():
		t.Fatal("it was not spared")
	case <-time.After(200 * time.Millisecond):
	}
	if tree.SignalAll(0) == 0 {
		t.Error("it is gone")
	}
	tree.Kill()
	if r := tree.Result(); !r.Empty || r.Status.Signal() != syscall.SIGTERM {
		t.Errorf("%+v", r)
	}
	tree.Spare(true) // has no Arena to write to, and does no harm
}

func TestChanges(t *testing.T) {
	tree := start(t, "sleep 1000")
	tree.Signal(syscall.SIGSTOP)
	if c := <-tree.Changes(); c.Stopped != syscall.SIGSTOP {
		t.Errorf("got %+v", c)
	}
	tree.Signal(syscall.SIGCONT)
	if c := <-tree.Changes(); c.Stopped != 0 {
		t.Errorf("got %+v", c)
	}
}

func TestLeavesNoDescriptor(t *testing.T) {
	start(t, "exit").Result()
	before := len(descriptors())
	for range 20 {
		start(t, "exit").Result()
		Start(&Cmd{Args: []string{"x"}, Paths: []string{"/none"}, Deadline: clock.System{}.Now().Add(time.Minute)})
		prepare(t, Cmd{Args: []string{"x"}, Paths: []string{"/none"}}).Drop()
	}
	if after := len(descriptors()); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func TestPrepared(t *testing.T) {
	c := (&plan{Script: `echo "$LATE"; exit 3`}).cmd()
	p, err := Prepare(c)
	if err != nil {
		t.Fatal(err)
	}
	w, text := output(t)
	other := start(t, "exit 4") // does not take its place
	tree := start(t, `echo "$LATE"; exit 3`, func(c *Cmd) {
		c.Stdio[1], c.Env = w, append(c.Env, "LATE=known late")
		c.Prepared = prepare(t, *c)
	})
	if r := tree.Result(); r.Status.ExitStatus() != 3 || !r.Empty || r.Err != nil {
		t.Errorf("%+v", r)
	}
	if got := text(); got != "known late" {
		t.Errorf("got %q", got)
	}
	if s := other.Result().Status.ExitStatus(); s != 4 {
		t.Errorf("the other's status is %d", s)
	}
	p.Drop()
	p.Drop()
	if err := syscall.Kill(p.tree.sentinel, 0); err != syscall.ESRCH {
		t.Errorf("the sentinel that was dropped: %v", err)
	}
}

// prepare prepares c as it was before what comes late was known.
func prepare(t *testing.T, c Cmd) *Prepared {
	t.Helper()
	c.Env, c.Epilogue, c.Deadline = nil, nil, 0
	p, err := Prepare(&c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A sentinel that was killed while it waited is replaced, and one that was stopped
// is not in the way of anything.
func TestPreparedInVain(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGTERM} {
		tree := start(t, "exit 3", func(c *Cmd) {
			c.Prepared = prepare(t, *c)
			if err := syscall.Kill(c.Prepared.tree.sentinel, sig); err != nil {
				t.Fatal(err)
			}
			if sig == syscall.SIGKILL {
				<-c.Prepared.tree.done
			}
		})
		if r := tree.Result(); r.Status.ExitStatus() != 3 || !r.Empty || r.Err != nil {
			t.Errorf("%v: %+v", sig, r)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	var trees []*Tree
	for range 20 {
		trees = append(trees, start(t, "sleep 0.05; exit 5"))
	}
	for _, tree := range trees {
		if r := tree.Result(); r.Status.ExitStatus() != 5 || !r.Empty {
			t.Errorf("%+v", r)
		}
	}
}

func BenchmarkStart(b *testing.B) {
	c := (&plan{Args: []string{"true"}}).cmd()
	for b.Loop() {
		tree, err := Start(c)
		if err != nil {
			b.Fatal(err)
		}
		tree.Result()
	}
}

// TestSession: what is sent to our process group does not reach the command.
func TestSession(t *testing.T) {
	out, text := output(t)
	tree := start(t, `read -r _ _ _ _ group session _ </proc/self/stat; [ "$group" = $$ ] && [ "$session" = $$ ] && echo own`, func(c *Cmd) {
		c.Session = true
		c.Stdio[1] = out
	})
	<-tree.Done()
	if text() != "own" {
		t.Errorf("the command says %q", text())
	}
}
