package proc

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// wrapper builds testdata/wrap.
func wrapper(t *testing.T, flags ...string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "wrap")
	args := append([]string{"build", "-o", bin}, flags...)
	cmd := exec.Command("go", append(args, "./testdata/wrap")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// TestGiven compares what a command is given by a wrapper with what it is given
// without one.
func TestGiven(t *testing.T) {
	const signals = `trap '' PIPE QUIT USR1 TERM HUP TSTP; exec "$@"`
	const limit = `ulimit -S -n 300; exec "$@"`
	show := []string{"sh", "-c", "grep '^Sig[BI]' /proc/self/status; ulimit -S -n; ulimit -H -n; umask"}
	cases := []struct {
		name, setup string
		show        []string
	}{
		{"signals", signals, show},
		{"limit", limit, show},
		{"hard limit", `ulimit -n 200; exec "$@"`, show},
		{"plain", `umask 027; exec "$@"`, show},
		{"descriptors", `exec 9</dev/null; exec "$@"`, []string{"ls", "/proc/self/fd"}},
		{"closed input", `exec <&-; exec "$@"`, []string{"cat"}},
		{"closed output", `exec >&-; exec "$@"`, []string{"echo", "hi"}},
		{"closed error", `exec 2>&-; exec "$@"`, []string{"ls", "/proc/self/fd"}},
		{"mask", `exec python3 -c 'import os,signal,sys
signal.pthread_sigmask(signal.SIG_BLOCK,signal.valid_signals())
os.execvp(sys.argv[1],sys.argv[1:])' "$@"`, []string{"grep", "^Sig[BI]", "/proc/self/status"}}, // sh would unblock them
	}
	for _, flags := range [][]string{{"-ldflags=-E conch_entry"}, {"-buildmode=pie", "-ldflags=-E conch_entry"}} {
		wrap := wrapper(t, flags...)
		for _, c := range cases {
			bare := shown(t, c.setup, c.show)
			wrapped := shown(t, c.setup, append([]string{wrap}, c.show...))
			if bare != wrapped {
				t.Errorf("%s: bare:\n%s\nwrapped:\n%s", c.name, bare, wrapped)
			}
		}
	}
}

// TestGivenWithoutEntry holds what can be had in any program.
func TestGivenWithoutEntry(t *testing.T) {
	wrap := wrapper(t)
	show := []string{"sh", "-c", "grep '^Sig[BI]' /proc/self/status"}
	const setup = `trap '' HUP INT TSTP TTIN TTOU; exec "$@"`
	if bare, wrapped := shown(t, setup, show), shown(t, setup, append([]string{wrap}, show...)); bare != wrapped {
		t.Errorf("bare:\n%s\nwrapped:\n%s", bare, wrapped)
	}
}

func shown(t *testing.T, setup string, args []string) string {
	t.Helper()
	cmd := exec.Command("bash", append([]string{"-c", setup, "bash"}, args...)...)
	out, err := cmd.CombinedOutput()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	return string(out) + cmd.ProcessState.String()
}

// TestTransparent runs the wrapper in shell lines.
func TestTransparent(t *testing.T) {
	wrap := wrapper(t, "-ldflags=-E conch_entry")
	for _, c := range []struct{ script, want string }{
		{`echo hi | W cat`, "hi"},
		{`printf 'a\nb\n' | { W head -n0; cat; }`, "a\nb"},
		{`W yes | head -1; echo ${PIPESTATUS[0]}`, "y\n141"},
		{`yes | W sh -c 'exec <&-; sleep 0.2'; echo ${PIPESTATUS[0]}`, "141"},
		{`x=$(W sh -c 'sleep 1000 & echo hi'); echo $x`, "hi"},
		{`W W W sh -c 'exit 9'; echo $?`, "9"},
		{`{ W sh -c 'kill -TERM $$'; } 2>/dev/null; echo $?`, "143"},
		{`W nosuch; echo $?`, "nosuch: command not found\n127"},
		{`W /tmp; echo $?`, "/tmp: is a directory\n126"},
		{`W cat <(echo x)`, "x"},
		{`W cat <<<x`, "x"},
		{`W sh -c 'cat <&9' 9<<<nine`, "nine"},
		{`nohup W grep SigIgn /proc/self/status 2>/dev/null | cut -c24`, "1"},
	} {
		cmd := exec.Command("bash", "-c", strings.ReplaceAll(c.script, "W ", wrap+" "))
		out, err := cmd.CombinedOutput()
		if err != nil || strings.TrimSuffix(string(out), "\n") != c.want {
			t.Errorf("%s: %q, %v", c.script, out, err)
		}
	}
}

// TestLetGo has the command close its output, and another descriptor, and live
// on: each reader sees the end at once.
func TestLetGo(t *testing.T) {
	wrap := wrapper(t)
	cmd := exec.Command(wrap, "sh", "-c", "exec >&- 3>&-; exec sleep 1000")
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	third, w3, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.ExtraFiles = w, []*os.File{w3}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	w.Close()
	w3.Close()
	for _, r := range []*os.File{out, third} {
		r.SetReadDeadline(time.Now().Add(patience))
		if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("read %d, %v", n, err)
		}
	}
}
