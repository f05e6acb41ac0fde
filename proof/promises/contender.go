package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// contender is one host's service: conch around a command, started again
// whenever it ends, as an init system would.
type contender struct {
	name string
	host host
	argv []string
	env  []string
	log  string

	contained bool // the command is in a pid namespace
	holds     bool // it is conch --hold, without a command

	mu       sync.Mutex
	runs     []supervisor // the last one may still be running
	stopping bool
	done     chan struct{} // closed when it has stopped
}

// supervisor is one start of conch. Its times are nanoseconds of
// CLOCK_BOOTTIME.
type supervisor struct {
	run      string
	pid      int
	from, to int64 // to is 0 while it runs
}

// contend starts conch again and again until stop is called.
func (c *contender) contend() {
	defer close(c.done)
	for n := 0; ; n++ {
		cmd, err := c.launch(n)
		if err != nil {
			fmt.Fprintln(os.Stderr, "promises:", err)
			return
		}
		if cmd == nil {
			return
		}
		c.see(cmd)
		time.Sleep(50 * time.Millisecond)
	}
}

// appear starts conch once.
func (c *contender) appear() error {
	cmd, err := c.launch(0)
	if err != nil {
		close(c.done)
		return err
	}
	go func() {
		defer close(c.done)
		c.see(cmd)
	}()
	return nil
}

// see waits for the end of a start of conch, and notes it.
func (c *contender) see(cmd *exec.Cmd) {
	_ = cmd.Wait() // how it ended is in its log
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs[len(c.runs)-1].to = boottime()
}

// launch starts conch once more, or returns nil when that is over.
func (c *contender) launch(n int) (*exec.Cmd, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping {
		return nil, nil
	}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	run := fmt.Sprintf("%s-%d", c.name, n)
	cmd := exec.Command(c.argv[0], c.argv[1:]...)
	cmd.Env = append(c.env, runEnv+"="+run)
	cmd.Stdout, cmd.Stderr = log, log
	if c.holds {
		token, err := c.hold(cmd)
		if err != nil {
			return nil, err
		}
		defer token.Close()
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	from := boottime()
	if err := c.host.start(cmd); err != nil {
		return nil, err
	}
	c.runs = append(c.runs, supervisor{run: run, pid: cmd.Process.Pid, from: from})
	return cmd, nil
}

// hold gives cmd a standard input that does not end, and a file for the token.
func (c *contender) hold(cmd *exec.Cmd) (token *os.File, err error) {
	if token, err = os.Create(c.tokenFile()); err != nil {
		return nil, err
	}
	cmd.Stdout = token
	_, err = cmd.StdinPipe() // until it has been waited for
	return token, err
}

func (c *contender) tokenFile() string { return c.log + ".token" }

// token returns what a --hold has printed once it has its turn.
func (c *contender) token() (token int64, err error) {
	b, err := os.ReadFile(c.tokenFile())
	if err != nil {
		return 0, err
	}
	_, err = fmt.Sscanln(string(b), &token)
	return token, err
}

// noise returns the lines on standard error that conch has not said.
func (c *contender) noise() []string {
	b, err := os.ReadFile(c.log)
	if err != nil {
		return []string{err.Error()}
	}
	var noise []string
	for line := range strings.Lines(string(b)) {
		if !strings.HasPrefix(line, filepath.Base(c.argv[0])+": ") {
			noise = append(noise, c.name+" said: "+strings.TrimSpace(line))
		}
	}
	return noise
}

// stop lets the present start be the last, and asks it to end.
func (c *contender) stop(s syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	c.send(s)
}

// send sends a signal to the supervisor, if one runs. c.mu is held: the pid is
// its own until its end has been noted.
func (c *contender) send(s syscall.Signal) {
	if n := len(c.runs); n > 0 && c.runs[n-1].to == 0 {
		_ = syscall.Kill(c.runs[n-1].pid, s)
	}
}

// running returns the start with that name if it is running.
func (c *contender) running(run string) (supervisor, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.runs); n > 0 && c.runs[n-1].run == run && c.runs[n-1].to == 0 {
		return c.runs[n-1], true
	}
	return supervisor{}, false
}

// task is a process as /proc shows it.
type task struct {
	pid, parent int
	name        string
}

func tasks() []task {
	dirs, _ := filepath.Glob("/proc/[0-9]*/stat")
	var all []task
	for _, path := range dirs {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		stat := string(b)
		open, end := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
		if open < 0 || end < 0 {
			continue
		}
		t := task{name: stat[open+1 : end]}
		var state string
		if _, err := fmt.Sscan(stat[:open], &t.pid); err != nil {
			continue
		}
		if _, err := fmt.Sscan(stat[end+1:], &state, &t.parent); err == nil && state != "Z" {
			all = append(all, t)
		}
	}
	return all
}

var errNoSentinel = errors.New("the supervisor has no sentinel")

// sentinel returns the pid of a supervisor's sentinel.
func sentinel(supervisor int) (int, error) {
	for _, t := range tasks() {
		if t.parent == supervisor && t.name == "leasewarden" {
			return t.pid, nil
		}
	}
	return 0, errNoSentinel
}

// beats returns the pids of the processes of one start that are under a turn,
// the command alone or all. The ledger tells them from those of an experiment
// beside this one, whose contenders have the same names.
func beats(ledger, run string, commandOnly bool) []int {
	var pids []int
	for _, t := range tasks() {
		dir := filepath.Join("/proc", strconv.Itoa(t.pid))
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil || !strings.Contains("\x00"+string(env), "\x00"+runEnv+"="+run+"\x00") {
			continue
		}
		argv, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		args := strings.Split(string(argv), "\x00")
		if err != nil || filepath.Base(args[0]) != beatName || !slices.Contains(args, ledger) {
			continue
		}
		if !commandOnly || (args[1] != "--daemon" && args[1] != "--orphan") {
			pids = append(pids, t.pid)
		}
	}
	return pids
}
