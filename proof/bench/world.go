package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"conch/pkg/etcd"
	"conch/pkg/etcdtest"
	"conch/pkg/hold"
	"conch/pkg/keys"
	"conch/pkg/lease"
)

// space is where the lines of a run lie.
const space = keys.Space("/bench")

// limit is how long anything may take that is waited for.
const limit = 30 * time.Second

// world is what the figures are measured in.
type world struct {
	*options
	srv    *etcdtest.Server
	client *clientv3.Client
	dir    string
	logs   int
}

func newWorld(o *options) (_ *world, err error) {
	w := &world{options: o}
	takePrecedence()
	if w.bin, err = filepath.Abs(o.bin); err != nil {
		return nil, err
	}
	if w.dir, err = os.MkdirTemp("", "conch-bench-"); err != nil {
		return nil, err
	}
	if w.srv, err = etcdtest.Start(etcdtest.Options{AsShipped: true}); err == nil {
		w.client, err = w.srv.Client("", "")
	}
	if err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// takePrecedence puts the run, etcd included, before whatever else the machine
// does, if we may: a process that is starved for a tenth of a second looks like
// one that waits for a round trip. Linux has a niceness for each thread, which
// children inherit.
func takePrecedence() {
	threads, _ := filepath.Glob("/proc/self/task/*")
	for _, t := range threads {
		if tid, err := strconv.Atoi(filepath.Base(t)); err == nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, tid, -20)
		}
	}
}

func (w *world) close() {
	if w.client != nil {
		w.client.Close()
	}
	if w.srv != nil {
		w.srv.Close()
	}
	_ = os.RemoveAll(w.dir)
}

func (o *options) wants(figure string) bool {
	return len(o.only) == 0 || slices.Contains(o.only, figure)
}

// contender is somebody's way to run a command under a lock.
type contender struct {
	name string
	argv func(endpoint, lock string) []string // to be followed by the command
	dir  func(lock string) string             // where its candidates lie
	join joining                              // the same from within; nil: there is none
}

// joining stands in line and waits for the turn.
type joining func(ctx context.Context, c *etcd.Client, lock string) (*hold.Turn, error)

// request is for a turn in this process, seldom renewed.
func request(line keys.Line) hold.Request {
	return hold.Request{Line: line, Holder: hold.Self(nil), TTL: lease.MaxTTL, Contact: limit}
}

func (w *world) conch() contender {
	return contender{
		name: "conch-elect",
		argv: func(endpoint, lock string) []string {
			return []string{filepath.Join(w.bin, "conch-elect"), "--endpoints", endpoint, "--prefix", string(space), lock}
		},
		dir: func(lock string) string { return space.Office(lock).Dir },
		join: func(ctx context.Context, c *etcd.Client, lock string) (*hold.Turn, error) {
			return hold.Join(ctx, c, request(space.Office(lock)))
		},
	}
}

// sema is conch-sema with one slot, which is an office in another way.
func (w *world) sema() contender {
	return contender{
		name: "conch-sema",
		argv: func(endpoint, lock string) []string {
			return []string{filepath.Join(w.bin, "conch-sema"), "--endpoints", endpoint, "--prefix", string(space), lock, "--max", "1"}
		},
		dir: func(lock string) string { return space.Pool(lock).Dir },
		join: func(ctx context.Context, c *etcd.Client, lock string) (*hold.Turn, error) {
			return hold.JoinPool(ctx, c, request(keys.Line{}), hold.Share{Pool: space.Pool(lock), Max: 1, Weight: 1})
		},
	}
}

// lock is etcdctl's; flags are its lock's own.
func (w *world) lock(flags ...string) contender {
	return contender{
		name: "etcdctl",
		argv: func(endpoint, lock string) []string {
			return append(append([]string{w.etcdctl, "--endpoints", endpoint, "lock"}, flags...), lock)
		},
		dir: func(lock string) string { return lock + "/" },
	}
}

func (w *world) bare() contender {
	return contender{name: "bare", argv: func(endpoint, lock string) []string {
		return []string{filepath.Join(w.bin, "bare"), endpoint, lock}
	}}
}

func (w *world) flock() contender {
	return contender{name: "flock", argv: func(_, lock string) []string {
		return []string{"flock", filepath.Join(w.dir, lock)}
	}}
}

// command is one run of a command by a contender.
func (c contender) command(endpoint, lock string, command ...string) *exec.Cmd {
	argv := append(c.argv(endpoint, lock), command...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr // a pipe to us would have Wait wait for what outlives etcdctl
	cmd.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "CONCH_") || strings.HasPrefix(kv, "ETCDCTL_")
	})
	return cmd
}

// finish waits for cmd, which has to succeed.
func finish(cmd *exec.Cmd) error {
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%v: %w", cmd, err)
	}
	return nil
}

// stamp is the command that notes when it ran, and where it does.
func (w *world) stamp(d time.Duration) (command []string, log string) {
	w.logs++
	log = filepath.Join(w.dir, fmt.Sprintf("log-%d", w.logs))
	return []string{filepath.Join(w.bin, "stamp"), log, d.String()}, log
}

// span is when a stamp began and ended.
type span struct{ began, ended int64 }

// spans reads a log of n stamps, in order.
func spans(log string, n int) ([]span, error) {
	b, err := os.ReadFile(log)
	if err != nil {
		return nil, err
	}
	var all []span
	for line := range strings.Lines(string(b)) {
		var s span
		if _, err := fmt.Sscan(line, &s.began, &s.ended); err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		all = append(all, s)
	}
	if len(all) != n {
		return nil, fmt.Errorf("%d of %d commands have run", len(all), n)
	}
	return all, nil
}

// now is the clock of stamps.
func now() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err)
	}
	return t.Nano()
}

// ms is a length of time of that clock in milliseconds.
func ms(ns int64) float64 { return float64(ns) / 1e6 }

// await polls until n keys lie below dir.
func (w *world) await(ctx context.Context, dir string, n int) error {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		r, err := w.client.Get(ctx, dir, clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			return err
		}
		if r.Count == int64(n) {
			return nil
		}
	}
	return fmt.Errorf("not %d in line within %v", n, limit)
}

// puts measures etcd puts until it is asked for them. They come one at a time
// with a pause in between, as what they are compared with does: on an idle
// machine every wake-up costs, and a put in a tight loop takes half as long.
func (w *world) puts(ctx context.Context) func() (sample, error) {
	ctx, cancel := context.WithCancel(ctx)
	var s sample
	var failed error
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			began := now()
			if _, err := w.client.Put(ctx, string(space)+"/put", "x"); err != nil {
				failed = err
				return
			}
			s = append(s, ms(now()-began))
			time.Sleep(20 * time.Millisecond)
		}
	})
	return func() (sample, error) {
		cancel()
		wg.Wait()
		if len(s) == 0 {
			return nil, fmt.Errorf("no put: %w", failed)
		}
		return s, nil
	}
}
