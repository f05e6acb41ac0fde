package conch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"conch/pkg/proctest"
)

// process is a program that a script has spawned.
type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser // its pipe or terminal, or nil
	ended chan struct{}
	state *os.ProcessState // valid once ended is closed

	printed chan struct{} // closed when a terminal's output is in its file; nil without one
}

// command makes a program ready to run as exec would: testscript gives its own
// environment and directory to programs, not to commands, so dd fetches them.
func (s *script) command(args []string) (*exec.Cmd, error) {
	if len(args) == 0 {
		return nil, errors.New("no program named")
	}
	file := filepath.Join(s.work, ".tmp", "environ")
	if err := s.ts.Exec("dd", "if=/proc/self/environ", "of="+file, "status=none"); err != nil {
		return nil, err
	}
	environ, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	path, err := s.look(args[0])
	if err != nil {
		return nil, err
	}
	return &exec.Cmd{
		Path: path,
		Args: args,
		Dir:  s.ts.MkAbs("."),
		Env:  strings.Split(strings.TrimSuffix(string(environ), "\x00"), "\x00"),
	}, nil
}

// look finds a program in the script's PATH.
func (s *script) look(name string) (string, error) {
	if strings.Contains(name, "/") {
		return s.ts.MkAbs(name), nil
	}
	for dir := range strings.SplitSeq(s.ts.Getenv("PATH"), ":") {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: not in PATH", name)
}

// start starts cmd with its output in files: a pipe would keep us waiting for
// whatever else holds it. It returns the process, which is waited for.
func (s *script) start(cmd *exec.Cmd, stdout, stderr string) (*process, error) {
	files := []*os.File{}
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for _, name := range []string{stdout, stderr} {
		f, err := os.Create(name)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	cmd.Stdout, cmd.Stderr = files[0], files[1]
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return follow(cmd), nil
}

func follow(cmd *exec.Cmd) *process {
	p := &process{cmd: cmd, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // the state says it all
		p.state = cmd.ProcessState
		close(p.ended)
	}()
	return p
}

func (s *script) exits(args []string) error {
	d, args, err := timeout(args)
	if err != nil || len(args) < 2 {
		return errors.Join(err, errors.New("usage: exits [-t D] STATUS CMD..."))
	}
	tmp := filepath.Join(s.work, ".tmp")
	stdin := filepath.Join(tmp, "stdin") // before command: the first program run takes it
	if err := s.ts.Exec("dd", "of="+stdin, "status=none"); err != nil {
		return err
	}
	cmd, err := s.command(args[1:])
	if err != nil {
		return err
	}
	in, err := os.Open(stdin)
	if err != nil {
		return err
	}
	defer in.Close()
	cmd.Stdin = in
	stdout, stderr := filepath.Join(tmp, "stdout"), filepath.Join(tmp, "stderr")
	for _, f := range []string{stdout, stderr} { // what an earlier program left behind may still write
		os.Remove(f)
	}
	p, err := s.start(cmd, stdout, stderr)
	if err != nil {
		return err
	}
	select {
	case <-p.ended:
		err = p.expect(args[0])
	case <-time.After(d):
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-p.ended
		err = fmt.Errorf("still running after %v", d)
	}
	return errors.Join(err, copyTo(s.ts.Stdout(), stdout), copyTo(s.ts.Stderr(), stderr))
}

func copyTo(w io.Writer, file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// expect compares how the process ended with how it should have.
func (p *process) expect(status string) error {
	ws := p.state.Sys().(syscall.WaitStatus)
	got := strconv.Itoa(ws.ExitStatus())
	if ws.Signaled() {
		got = "sig:" + strings.TrimPrefix(unix.SignalName(ws.Signal()), "SIG")
	}
	if status != got && status != "any" {
		return fmt.Errorf("ended with %s, not %s", got, status)
	}
	return nil
}

func (s *script) spawn(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: spawn NAME [-tty|-stdin] CMD...")
	}
	name, args := args[0], args[1:]
	if s.procs[name] != nil {
		return fmt.Errorf("%s is taken", name)
	}
	mode := ""
	if args[0] == "-tty" || args[0] == "-stdin" {
		mode, args = args[0], args[1:]
	}
	cmd, err := s.command(args)
	if err != nil {
		return err
	}
	var p *process
	switch out := filepath.Join(s.work, name); mode {
	case "-tty":
		p, err = startTTY(cmd, out+".out")
	case "-stdin":
		var w io.WriteCloser
		if w, err = cmd.StdinPipe(); err != nil {
			return err
		}
		if p, err = s.start(cmd, out+".out", out+".err"); err == nil {
			p.in = w
		}
	default:
		p, err = s.start(cmd, out+".out", out+".err")
	}
	if err != nil {
		return err
	}
	s.procs[name] = p
	return os.WriteFile(filepath.Join(s.work, name+".pid"), fmt.Appendln(nil, cmd.Process.Pid), 0o666)
}

// startTTY starts cmd as the leader of a session on a terminal of its own.
func startTTY(cmd *exec.Cmd, output string) (*process, error) {
	f, err := os.Create(output)
	if err != nil {
		return nil, err
	}
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		f.Close()
		return nil, err
	}
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		defer f.Close()
		_, _ = io.Copy(f, tty) // ends with EIO when the last process has let go
	}()
	p := follow(cmd)
	p.in, p.printed = tty, printed
	return p, nil
}

func (s *script) process(name string) (*process, error) {
	if p := s.procs[name]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("no process %s", name)
}

func (s *script) typeIn(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: type NAME TEXT")
	}
	p, err := s.process(args[0])
	if err != nil {
		return err
	}
	text, err := strconv.Unquote(`"` + strings.ReplaceAll(args[1], `"`, `\"`) + `"`)
	if err != nil {
		return err
	}
	if p.in == nil {
		return fmt.Errorf("%s has no stdin: spawn it with -stdin or -tty", args[0])
	}
	_, err = io.WriteString(p.in, text)
	return err
}

func (s *script) closeIn(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: close NAME")
	}
	p, err := s.process(args[0])
	if err != nil {
		return err
	}
	if p.in == nil {
		return fmt.Errorf("%s has no stdin", args[0])
	}
	return p.in.Close()
}

func (s *script) signal(args []string) error {
	group := len(args) > 0 && args[0] == "-group"
	if group {
		args = args[1:]
	}
	if len(args) != 2 {
		return errors.New("usage: signal [-group] SIG NAME|@FILE")
	}
	sig := unix.SignalNum("SIG" + args[0])
	if sig == 0 {
		return fmt.Errorf("no signal %s", args[0])
	}
	var targets []int
	if file, ok := strings.CutPrefix(args[1], "@"); ok {
		pids, err := s.pids(file)
		if err != nil {
			return err
		}
		targets = pids
	} else {
		p, err := s.process(args[1])
		if err != nil {
			return err
		}
		targets = []int{p.cmd.Process.Pid}
	}
	for _, pid := range targets {
		if group {
			pid = -pid
		}
		if err := syscall.Kill(pid, sig); err != nil {
			return fmt.Errorf("%s to %d: %w", args[0], pid, err)
		}
	}
	return nil
}

func (s *script) freeze(args []string) error {
	if len(args) != 1 || s.frozen != nil {
		return errors.New("usage: freeze FILE, and thaw before the next")
	}
	pids, err := s.pids(args[0])
	if err != nil {
		return err
	}
	s.frozen, err = proctest.Freeze(pids...)
	return err
}

func (s *script) thaw(args []string) error {
	if len(args) != 0 || s.frozen == nil {
		return errors.New("usage: thaw, after freeze")
	}
	f := s.frozen
	s.frozen = nil
	return f.Close()
}

func (s *script) reap(args []string) error {
	d, args, err := timeout(args)
	if err != nil || len(args) != 2 {
		return errors.Join(err, errors.New("usage: reap [-t D] NAME STATUS"))
	}
	p, err := s.process(args[0])
	if err != nil {
		return err
	}
	select {
	case <-p.ended:
		p.drain()
		err = p.expect(args[1])
	case <-time.After(d):
		err = fmt.Errorf("%s still runs after %v", args[0], d)
	}
	if err == nil {
		delete(s.procs, args[0])
		return nil
	}
	return fmt.Errorf("%w\n%s", err, s.outputOf(args[0]))
}

// drain waits until what was printed on a terminal is in its file, which the
// end of the process does not say; and not for long, as somebody else may still
// have that terminal open.
func (p *process) drain() {
	if p.printed == nil {
		return
	}
	select {
	case <-p.printed:
	case <-time.After(2 * time.Second):
	}
}

// outputOf returns what a process has printed, for the log.
func (s *script) outputOf(name string) string {
	var b bytes.Buffer
	for _, ext := range []string{".out", ".err"} {
		if text, err := os.ReadFile(filepath.Join(s.work, name+ext)); err == nil && len(text) > 0 {
			fmt.Fprintf(&b, "[%s%s]\n%s\n", name, ext, text)
		}
	}
	return b.String()
}

// pids reads a file of process ids. The pid of a process spawned as NAME is in
// NAME.pid.
func (s *script) pids(file string) ([]int, error) {
	b, err := os.ReadFile(s.ts.MkAbs(file))
	if err != nil {
		return nil, err
	}
	var pids []int
	for word := range strings.FieldsSeq(string(b)) {
		pid, err := strconv.Atoi(word)
		if err != nil || pid < 2 {
			return nil, fmt.Errorf("%s: %q is no pid", file, word)
		}
		pids = append(pids, pid)
	}
	if len(pids) == 0 {
		return nil, fmt.Errorf("%s holds no pid", file)
	}
	return pids, nil
}

func (s *script) alive(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: [!] alive NAME|FILE")
	}
	if s.procs[args[0]] != nil {
		args[0] = filepath.Join(s.work, args[0]+".pid")
	}
	pids, err := s.pids(args[0])
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if running(pid) {
			s.ts.Logf("[%d is alive]", pid)
			return nil
		}
	}
	return negative(fmt.Sprintf("none of %v is alive", pids))
}

// running reports whether pid is a process, and not a zombie.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(" "))
	return len(rest) > 0 && rest[0] != 'Z' && rest[0] != 'X'
}

func (s *script) await(args []string) error {
	d, args, err := timeout(args)
	if err != nil {
		return err
	}
	neg := len(args) > 0 && args[0] == "!"
	if neg {
		args = args[1:]
	}
	if neg && (len(args) == 0 || args[0] != "-cmd") || len(args) < 2 {
		return errors.New("usage: await [-t D] FILE REGEXP | -gone FILE | [!] -cmd CMD...")
	}
	switch args[0] {
	case "-gone":
		return poll(d, func() error {
			if err := s.alive(args[1:]); err == nil {
				return errors.New("some live")
			} else if _, no := err.(negative); !no {
				return err
			}
			return nil
		})
	case "-cmd":
		try, err := s.trier(args[1:])
		if err != nil {
			return err
		}
		return poll(d, func() error {
			if err := try(); (err == nil) != neg {
				return nil
			} else if neg {
				return errors.New("still succeeds")
			} else {
				return err
			}
		})
	}
	re, err := regexp.Compile("(?m)" + args[1])
	if err != nil {
		return err
	}
	return poll(d, func() error {
		b, err := os.ReadFile(s.ts.MkAbs(args[0]))
		if err == nil && !re.Match(b) {
			err = fmt.Errorf("no match in %s:\n%s", args[0], b)
		}
		return err
	})
}

// trier returns what runs one of our commands, or else a program, whose output
// is shown only if it fails.
func (s *script) trier(args []string) (func() error, error) {
	if table()[args[0]] != nil {
		return func() error { return s.call(false, args) }, nil
	}
	cmd, err := s.command(args)
	if err != nil {
		return nil, err
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		try := exec.CommandContext(ctx, cmd.Path)
		try.Args, try.Dir, try.Env = cmd.Args, cmd.Dir, cmd.Env
		try.WaitDelay = time.Second
		if out, err := try.CombinedOutput(); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	}, nil
}

func (s *script) within(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: [!] within D CMD...")
	}
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := s.call(false, args[1:]); err != nil {
		return fmt.Errorf("%s: %v", args[1], err) // not %w: an answer no is not that it was late
	}
	took := time.Since(begin)
	s.ts.Logf("[took %v]", took)
	if took > d {
		return negative(fmt.Sprintf("took %v", took))
	}
	return nil
}

// killAll kills what the script has started, and everything that left: it all
// has the script's WORK in its environment, or is in a group we made.
func (s *script) killAll() {
	for _, p := range s.procs {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
	mark := []byte("WORK=" + s.work + "\x00")
	for range 100 {
		found := false
		files, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, f := range files {
			pid, _ := strconv.Atoi(strings.Split(f, "/")[2])
			if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, mark) && running(pid) {
				found = true
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if !found {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	for _, p := range s.procs {
		<-p.ended
		if p.in != nil {
			p.in.Close()
		}
	}
}
