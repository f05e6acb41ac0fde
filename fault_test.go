package conch_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcdtest"
)

var repetitions = flag.Int("faults", 50, "how often each fault is provoked")

// A fault is what happens to the supervisor of a command.
type fault struct {
	name   string
	strike func(c *contender)
}

// The whole tree of a command, with a grandchild that ignores TERM and has left
// its session, is gone before the next contender's command starts, whatever
// happens to the supervisor. Every process of a tree says on one clock when it
// was alive; what two tokens say must not overlap.
func TestFaults(t *testing.T) {
	bin := binaries(t)
	srv := etcdtest.Shared(t)
	client := etcdtest.Client(t, srv)
	// Most of the time is spent waiting for a lease to lapse, so some run at
	// once; each has its own office and its own roads.
	slots := make(chan struct{}, 6)
	for _, f := range []fault{
		{"killed", func(c *contender) { c.signal(syscall.SIGKILL) }},
		{"stopped past the deadline", func(c *contender) { c.signal(syscall.SIGSTOP) }},
		{"cut off", func(c *contender) { c.road.Cut() }},
		{"cut off outward", func(c *contender) { c.road.CutOut() }},
		{"cut off inward", func(c *contender) { c.road.CutIn() }},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			var wg sync.WaitGroup
			for i := range *repetitions {
				slots <- struct{}{}
				wg.Go(func() {
					defer func() { <-slots }()
					if err := f.once(t, bin, srv, client, i); err != nil {
						t.Errorf("repetition %d: %v", i, err)
					}
				})
			}
			wg.Wait()
		})
	}
}

// contender is one conch-elect and its road to etcd.
type contender struct {
	cmd  *exec.Cmd
	road *etcdtest.Proxy
	err  strings.Builder
}

func (c *contender) signal(s syscall.Signal) { _ = c.cmd.Process.Signal(s) }

func (f fault) once(t *testing.T, bin string, srv *etcdtest.Server, client *clientv3.Client, i int) error {
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	name := fmt.Sprintf("%s-%d", strings.ReplaceAll(f.name, " ", "-"), i)
	first, err := contend(t, bin, srv, name, "beat", "-ignore", "-daemon", log)
	if err != nil {
		return err
	}
	defer first.end()
	// The command and its daemon are both at work.
	if err := poll(limit, func() error { return atWork(log, 2) }); err != nil {
		return fmt.Errorf("the first: %w\n%s", err, first.err.String())
	}
	second, err := contend(t, bin, srv, name, "beat", "-for", "200ms", log)
	if err != nil {
		return err
	}
	defer second.end()
	if err := poll(limit, func() error { return inLine(client, name, 2) }); err != nil {
		return err
	}
	f.strike(first)
	if err := second.wait(limit); err != nil {
		return fmt.Errorf("the second: %w\n%s", err, second.err.String())
	}
	b, err := os.ReadFile(log)
	if err != nil {
		return err
	}
	all, err := spans(string(b))
	if err == nil && len(all) != 2 {
		err = fmt.Errorf("%d commands were at work, not 2", len(all))
	}
	if err == nil {
		err = checkSpans(all, 1)
	}
	return err
}

func contend(t *testing.T, bin string, srv *etcdtest.Server, name string, command ...string) (*contender, error) {
	road, err := etcdtest.NewProxy(srv.Addr())
	if err != nil {
		return nil, err
	}
	c := &contender{road: road}
	beat, err := exec.LookPath("beat")
	if err != nil {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		beat = filepath.Join(t.TempDir(), "beat")
		if err := os.Symlink(self, beat); err != nil {
			return nil, err
		}
	}
	command[0] = beat
	args := append([]string{"--ttl", "2s", "--kill-after", "500ms", name, "--"}, command...)
	c.cmd = exec.Command(filepath.Join(bin, "conch-elect"), args...)
	c.cmd.Env = append(os.Environ(), "CONCH_ENDPOINTS=http://"+road.Addr(), "CONCH_PREFIX=/test/faults", "GORACE=atexit_sleep_ms=10")
	c.cmd.Stderr = &c.err
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return c, c.cmd.Start()
}

// wait waits for the contender's end.
func (c *contender) wait(d time.Duration) error {
	done := make(chan error, 1)
	go func() { done <- c.cmd.Wait() }()
	select {
	case err := <-done:
		return err
	case <-time.After(d):
		return fmt.Errorf("not over within %v", d)
	}
}

// end kills what is left of a contender. Its command dies of that too, which
// TestFaults has shown by then.
func (c *contender) end() {
	c.signal(syscall.SIGKILL)
	_ = c.cmd.Wait()
	c.road.Close()
}

// atWork returns nil if n processes have written to the log.
func atWork(log string, n int) error {
	b, err := os.ReadFile(log)
	if err != nil {
		return err
	}
	pids := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 4 {
			pids[f[3]] = true
		}
	}
	if len(pids) < n {
		return fmt.Errorf("%d of %d processes are at work", len(pids), n)
	}
	return nil
}

// inLine returns nil if n candidates stand in line for the office.
func inLine(c *clientv3.Client, name string, n int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	r, err := c.Get(ctx, "/test/faults/elect/"+name+"/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err == nil && r.Count < n {
		err = fmt.Errorf("%d of %d candidates are in line", r.Count, n)
	}
	return err
}
