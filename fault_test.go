package conch_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcd"
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
	// The contenders', which inherit it.
	t.Setenv("CONCH_TTL", strconv.Itoa(max(3, shortest(etcd.ReleaseOf(etcdtest.Version(t, srv)))))+"s")
	// Most of the time is spent waiting for a lease to lapse, so some run at
	// once; each has its own office and its own roads.
	slots := make(chan struct{}, 10)
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
					if err := f.again(t, bin, srv, client, i); err != nil {
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
	cmd    *exec.Cmd
	road   *etcdtest.Proxy
	done   chan struct{} // closed when it has ended, ...
	status error         // ... with this
}

func (c *contender) signal(s syscall.Signal) { _ = c.cmd.Process.Signal(s) }

// starved means that a hold was lost though nothing had been done to it: on a
// machine that is busy enough, renewals come too late, and conch gives up as it
// must. It says nothing about the fault.
type starved struct{ error }

// again repeats a repetition that was starved.
func (f fault) again(t *testing.T, bin string, srv *etcdtest.Server, client *clientv3.Client, i int) error {
	var err error
	for try := range 10 {
		err = f.once(t, bin, srv, client, i+1000*try)
		if !errors.As(err, new(starved)) {
			return err
		}
		t.Logf("repetition %d: %v", i, err)
	}
	return err
}

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
	if err := first.until(func() error { return atWork(log, 2) }); err != nil {
		return fmt.Errorf("the first: %w", err)
	}
	second, err := contend(t, bin, srv, name, "beat", "-for", "200ms", log)
	if err != nil {
		return err
	}
	defer second.end()
	if err := first.until(func() error { return inLine(client, name, 2) }); err != nil {
		return fmt.Errorf("the first: %w", err)
	}
	f.strike(first)
	select {
	case <-second.done:
	case <-time.After(limit):
		return fmt.Errorf("the second: not over within %v", limit)
	}
	b, err := os.ReadFile(log)
	if err != nil {
		return err
	}
	all, err := spans(string(b))
	if err == nil {
		err = checkSpans(all, 1)
	}
	if err == nil && (len(all) != 2 || second.status != nil) {
		err = starved{fmt.Errorf("the second: %v, after %d commands", second.status, len(all))}
	}
	return err
}

func contend(t *testing.T, bin string, srv *etcdtest.Server, name string, command ...string) (*contender, error) {
	road, err := etcdtest.NewProxy(srv.Addr())
	if err != nil {
		return nil, err
	}
	c := &contender{road: road, done: make(chan struct{})}
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
	args := append([]string{"--kill-after", "500ms", name, "--"}, command...)
	c.cmd = exec.Command(filepath.Join(bin, "conch-elect"), args...)
	c.cmd.Env = append(os.Environ(), "CONCH_ENDPOINTS=http://"+road.Addr(), "CONCH_PREFIX=/test/faults", "GORACE=atexit_sleep_ms=10")
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		c.status = c.cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

// until polls for what must come while the contender lives.
func (c *contender) until(try func() error) error {
	err := poll(limit, func() error {
		select {
		case <-c.done:
			return nil
		default:
			return try()
		}
	})
	select {
	case <-c.done:
		return starved{fmt.Errorf("ended too early: %v", c.status)}
	default:
		return err
	}
}

// end kills what is left of a contender. Its command dies of that too, which
// TestFaults has shown by then.
func (c *contender) end() {
	c.signal(syscall.SIGKILL)
	<-c.done
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
