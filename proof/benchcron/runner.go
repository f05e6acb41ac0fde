package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"conch/pkg/keys"
)

// runner is a process of conch-cronrunner.
type runner struct {
	cmd   *exec.Cmd
	began time.Time
	ready time.Time
	read  chan struct{} // closed when it has said its last word

	mu   sync.Mutex
	tail []string // of what it said
}

// runners starts n of them, and returns when all know their jobs, which have to
// be that many.
func (w *world) runners(ctx context.Context, space keys.Space, n, slots, jobs int) (all runners, err error) {
	defer func() {
		if err != nil {
			all.stop()
		}
	}()
	told := make(chan string)
	gone := make(chan error, n)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for i := range n {
		r := &runner{read: make(chan struct{})}
		r.cmd = exec.Command(filepath.Join(w.bin, "conch-cronrunner"), "--endpoints", strings.Join(w.endpoints(), ","), "--prefix", string(space),
			"--host", "host-"+strconv.Itoa(i), "--slots", strconv.Itoa(slots), "--spool", "none")
		r.cmd.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool {
			return strings.HasPrefix(kv, "CONCH_") || strings.HasPrefix(kv, "ETCDCTL_")
		})
		said, err := r.cmd.StderrPipe()
		if err != nil {
			return all, err
		}
		r.began = time.Now()
		if err := r.cmd.Start(); err != nil {
			return all, err
		}
		all = append(all, r)
		go func() { r.listen(ctx, said, told); gone <- fmt.Errorf("a runner has ended: %s", r.last()) }() // read is closed then
	}
	for _, r := range all {
		select {
		case count := <-told:
			if count != "jobs="+strconv.Itoa(jobs) && jobs > 0 {
				return all, fmt.Errorf("a runner knows %s, not %d", count, jobs)
			}
		case err := <-gone:
			return all, err
		case <-ctx.Done():
			return all, fmt.Errorf("a runner was not ready within %v: %s", limit, r.last())
		}
	}
	return all, nil
}

// listen reads what the runner says until it ends.
func (r *runner) listen(ctx context.Context, said io.Reader, ready chan<- string) {
	defer close(r.read)
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		text := lines.Text()
		r.mu.Lock()
		r.tail = append(r.tail[max(0, len(r.tail)-4):], text)
		r.mu.Unlock()
		if _, more, ok := strings.Cut(text, "event=ready"); ok {
			r.ready = time.Now()
			select {
			case ready <- strings.TrimSpace(more):
			case <-ctx.Done():
			}
		}
	}
}

func (r *runner) last() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.tail, "\n")
}

// runners are several.
type runners []*runner

// stop ends them.
func (all runners) stop() {
	for _, r := range all {
		_ = r.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
	}
	for _, r := range all {
		select {
		case <-r.read:
		case <-time.After(10 * time.Second):
			_ = r.cmd.Process.Kill()
			<-r.read
		}
		_ = r.cmd.Wait() // nothing is measured any more
	}
}

// memory returns what the process takes, in MB: now, and at most so far.
func (r *runner) memory() (pss, rss, peak float64, _ error) {
	dir := fmt.Sprintf("/proc/%d/", r.cmd.Process.Pid)
	for file, field := range map[string]*float64{"smaps_rollup Pss:": &pss, "smaps_rollup Rss:": &rss, "status VmHWM:": &peak} {
		name, key, _ := strings.Cut(file, " ")
		kib, err := number(dir+name, key)
		if err != nil {
			return 0, 0, 0, err
		}
		*field = kib * 1024 / 1e6
	}
	return pss, rss, peak, nil
}

// number reads a number of a file of /proc.
func number(file, name string) (float64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			return strconv.ParseFloat(f[1], 64)
		}
	}
	return 0, fmt.Errorf("%s: no %s", file, name)
}

// cpu returns the time of CPU that the process has taken so far, to the
// nanosecond, which its ticks of /proc/PID/stat are not.
func (r *runner) cpu() (time.Duration, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", r.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	var total time.Duration
	for _, t := range threads {
		b, err := os.ReadFile(t)
		if err != nil {
			return 0, err
		}
		first, _, _ := strings.Cut(string(b), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, err
		}
		total += time.Duration(ns)
	}
	return total, nil
}
