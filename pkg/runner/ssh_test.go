package runner

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shells are those that may be sh on the far side.
var shells = [][]string{{"sh"}, {"dash"}, {"bash", "--posix"}, {"busybox", "sh"}, {"mksh"}, {"zsh", "--emulate", "sh"}}

// The script of the far side does the same in any shell.
func TestRemote(t *testing.T) {
	for _, shell := range shells {
		if _, err := exec.LookPath(shell[0]); err != nil {
			continue
		}
		t.Run(shell[0], func(t *testing.T) {
			t.Parallel()
			for name, far := range map[string]func(*testing.T, []string){
				"status": remoteStatus, "input ends": remoteEnds, "silence": remoteSilence, "leftovers": remoteLeftovers,
			} {
				t.Run(name, func(t *testing.T) { t.Parallel(); far(t, shell) })
			}
		})
	}
}

// far is what runs on the far side.
type far struct {
	*exec.Cmd
	stdin io.WriteCloser
	out   bytes.Buffer
}

func startFar(t *testing.T, shell []string, vars string, argv ...string) *far {
	t.Helper()
	args := append(shell[1:len(shell):len(shell)], "-c", remote, "conch", newID(), "5", "/", strconv.Itoa(len(vars)))
	f := &far{Cmd: exec.Command(shell[0], append(args, argv...)...)}
	f.Stdout, f.Stderr = &f.out, &f.out
	f.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // as sshd does
	var err error
	if f.stdin, err = f.StdinPipe(); err == nil {
		err = f.Start()
	}
	if err == nil {
		_, err = io.WriteString(f.stdin, vars)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.stdin.Close(); _ = f.Process.Kill() })
	return f
}

func remoteStatus(t *testing.T, shell []string) {
	// Of the job's variables some are called as the script's own, and its PATH need
	// not have what the script needs.
	f := startFar(t, shell, "export A='1 \n2'\nexport B=''\nexport mark='x'\nexport PATH='/nonexistent'\n",
		"/bin/sh", "-c", `pwd; printf '%s|' "$A" "$B" "$mark" "$PATH" "$@"; exit 7`, "sh", "a b", "", "*", "--")
	_ = f.Wait()
	if got, want := f.out.String(), "/\n1 \n2||x|/nonexistent|a b||*|--|"; f.ProcessState.ExitCode() != 7 || got != want {
		t.Errorf("%v, %q; want 7, %q", f.ProcessState, got, want)
	}
}

// tree leaves its pid, that of a child in a session of its own, and that of a
// daemon there, in the file $1.
const tree = `echo $$ >>$1
setsid sh -c 'trap "" TERM HUP; echo $$ >>'$1'; exec sleep 300' >/dev/null 2>&1 &
setsid sh -c '(trap "" TERM HUP; exec sh -c "echo \$$ >>'$1'; exec sleep 300") >/dev/null 2>&1 &'
until test "$(wc -l <$1)" -ge 3; do sleep 0.05; done
`

func startTree(t *testing.T, shell []string, end string) (*far, []int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pids")
	f := startFar(t, shell, "", "sh", "-c", tree+end, "sh", file)
	for range 1000 {
		if b, _ := os.ReadFile(file); bytes.Count(b, []byte("\n")) == 3 {
			var pids []int
			for word := range strings.FieldsSeq(string(b)) {
				pid, err := strconv.Atoi(word)
				if err != nil {
					t.Fatal(err)
				}
				pids = append(pids, pid)
			}
			return f, pids
		}
		_, _ = f.stdin.Write([]byte("\n"))
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("no tree: %s", f.out.String())
	return nil, nil
}

// gone waits until none of them lives.
func gone(t *testing.T, pids []int) {
	t.Helper()
	for range 1000 {
		live := 0
		for _, pid := range pids {
			stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
			if _, rest, ok := bytes.Cut(stat, []byte(") ")); err == nil && ok && rest[0] != 'Z' {
				live++
			}
		}
		if live == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("some of %v are alive", pids)
}

func remoteEnds(t *testing.T, shell []string) {
	f, pids := startTree(t, shell, "wait")
	f.stdin.Close()
	gone(t, pids)
	_ = f.Wait()
	if f.ProcessState.ExitCode() != 137 || f.out.Len() > 0 {
		t.Errorf("%v, %q; want 137 in silence", f.ProcessState, f.out.String())
	}
}

func remoteSilence(t *testing.T, shell []string) {
	f, pids := startTree(t, shell, "wait")
	for range 70 { // longer than the patience
		_, _ = f.stdin.Write([]byte("\n"))
		time.Sleep(100 * time.Millisecond)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); err != nil {
			t.Errorf("%d: %v", pid, err)
		}
	}
	gone(t, pids)
	_ = f.Wait()
}

func remoteLeftovers(t *testing.T, shell []string) {
	f, pids := startTree(t, shell, "exit 3")
	_ = f.Wait()
	if f.ProcessState.ExitCode() != 3 || f.out.Len() > 0 {
		t.Errorf("%v, %q; want 3 in silence", f.ProcessState, f.out.String())
	}
	gone(t, pids)
}
