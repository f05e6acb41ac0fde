package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"conch/pkg/cron"
	"conch/pkg/etcd"
	"conch/pkg/etcdtest"
	"conch/pkg/keys"
)

// limit is how long anything may take that is waited for.
const limit = 5 * time.Minute

// settled is how long runners get to write what their start has to write.
const settled = time.Second

// world is what a figure is measured in.
type world struct {
	*options
	members []*etcdtest.Server
	client  *clientv3.Client
}

func newWorld(o *options, members int) (_ *world, err error) {
	w := &world{options: o}
	if w.bin, err = filepath.Abs(o.bin); err != nil {
		return nil, err
	}
	if w.members, err = etcdtest.StartCluster(members, etcdtest.Options{AsShipped: true}); err == nil {
		w.client, err = w.members[0].Client("", "")
	}
	if err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *world) close() {
	if w.client != nil {
		w.client.Close()
	}
	for _, m := range w.members {
		m.Close()
	}
}

// takePrecedence puts the run, etcd and the runners included, before whatever
// else the machine does, if we may. Linux has a niceness for each thread, which
// children inherit.
func takePrecedence() {
	threads, _ := filepath.Glob("/proc/self/task/*")
	for _, t := range threads {
		if tid, err := strconv.Atoi(filepath.Base(t)); err == nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, tid, -20)
		}
	}
}

func (w *world) endpoints() []string {
	var all []string
	for _, m := range w.members {
		all = append(all, m.Endpoint())
	}
	return all
}

// open returns conch's client.
func (w *world) open(ctx context.Context) (*etcd.Client, error) {
	return etcd.Open(ctx, etcd.Config{Endpoints: w.endpoints(), DialTimeout: limit})
}

// committed is how many entries Raft's log has had.
func (w *world) committed() (float64, error) {
	r, err := http.Get(w.members[0].Endpoint() + "/metrics")
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	const metric = "etcd_server_proposals_committed_total "
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), metric); ok {
			return strconv.ParseFloat(v, 64)
		}
	}
	return 0, errors.New("etcd counts no " + metric)
}

// together is how many jobs are put in a transaction: etcd takes 128 operations,
// and each job has two.
const together = 60

// put stores n jobs as conch-cron does, many at a time.
func (w *world) put(ctx context.Context, c keys.Cron, n int, job func(i int) *cron.Job) error {
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	room := make(chan struct{}, 4) // transactions under way
	for from := 0; from < n; from += together {
		ops, err := puts(c, from, min(n, from+together), job)
		if err != nil {
			return err
		}
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			if _, err := w.client.Txn(ctx).Then(ops...).Commit(); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func puts(c keys.Cron, from, to int, job func(i int) *cron.Job) ([]clientv3.Op, error) {
	var ops []clientv3.Op
	for i := from; i < to; i++ {
		j := job(i)
		now := time.Now().UTC()
		if err := j.Check(now); err != nil {
			return nil, err
		}
		j.Updated = now
		value, err := j.Encode()
		if err != nil {
			return nil, err
		}
		ops = append(ops, clientv3.OpPut(c.Job(j.Name), value), clientv3.OpPut(c.LowWater(j.Name), keys.Tick(now)))
	}
	return ops, nil
}

// nameOf is the name of a job.
func nameOf(i int) string { return fmt.Sprintf("job-%06d", i) }

// runs returns the records of all runs.
func (w *world) runs(ctx context.Context, c keys.Cron) ([]*cron.Run, error) {
	const page = 5000
	dir := c.Dir + "run/"
	var all []*cron.Run
	for from := dir; ; {
		r, err := w.client.Get(ctx, from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(dir)), clientv3.WithLimit(page))
		if err != nil {
			return nil, err
		}
		for _, kv := range r.Kvs {
			e, ok := c.Entry(string(kv.Key))
			if !ok {
				return nil, fmt.Errorf("%s: not the key of a run", kv.Key)
			}
			run, err := cron.DecodeRun(e.Run, kv.Value, kv.ModRevision)
			if err != nil {
				return nil, err
			}
			all = append(all, run)
		}
		if !r.More {
			return all, nil
		}
		from = string(r.Kvs[len(r.Kvs)-1].Key) + "\x00"
	}
}

// over waits until so many runs are over, and returns them.
func (w *world) over(ctx context.Context, c keys.Cron, n int) ([]*cron.Run, error) {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(time.Second) {
		acts, err := w.client.Get(ctx, c.Acts(), clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			return nil, err
		}
		runs, err := w.client.Get(ctx, c.Dir+"run/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			return nil, err
		}
		if runs.Count >= int64(n) && acts.Count == 0 {
			return w.runs(ctx, c)
		}
	}
	return nil, fmt.Errorf("not all of %d runs were over within %v", n, limit)
}

// await returns a function that waits until so many keys have been created
// below dir from now on, and says when the last one was, as a watcher sees it.
func (w *world) await(ctx context.Context, dir string, n int) (func() (time.Time, error), error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	now, err := w.client.Get(ctx, dir, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		cancel()
		return nil, err
	}
	events := w.client.Watch(ctx, dir, clientv3.WithPrefix(), clientv3.WithRev(now.Header.Revision+1))
	type last struct {
		at  time.Time
		err error
	}
	done := make(chan last, 1)
	go func() { // ends with ctx
		seen := 0
		for r := range events {
			for _, e := range r.Events {
				if e.IsCreate() {
					seen++
				}
			}
			if seen >= n {
				done <- last{at: time.Now()}
				return
			}
		}
		done <- last{err: fmt.Errorf("%d of %d were claimed", seen, n)}
	}()
	return func() (time.Time, error) {
		defer cancel()
		l := <-done
		return l.at, l.err
	}, nil
}
