package main

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/cron"
	"conch/pkg/keys"
	"conch/proof/report"
)

// outcome is what it took to claim and settle many ticks.
type outcome struct {
	claimed time.Duration // from the instant to the last claim
	over    time.Duration // to the last result
	entries float64       // in Raft's log, for each tick
}

func (o outcome) String() string {
	return fmt.Sprintf("%.2f s, %.2f s, %.3f", o.claimed.Seconds(), o.over.Seconds(), o.entries)
}

// time measures f, which claims so many ticks by creating a key for each below
// dir, and then settles them.
func (w *world) time(ctx context.Context, dir string, ticks int, f func(context.Context) error) (o outcome, _ error) {
	before, err := w.committed()
	if err != nil {
		return o, err
	}
	last, err := w.await(ctx, dir, ticks)
	if err != nil {
		return o, err
	}
	began := time.Now()
	if err := f(ctx); err != nil {
		return o, err
	}
	o.over = time.Since(began)
	at, err := last()
	if err != nil {
		return o, err
	}
	o.claimed = at.Sub(began)
	after, err := w.committed()
	o.entries = (after - before) / float64(ticks)
	return o, err
}

// ledgers has n runners claim and settle the jobs through cron's ledger, each
// those that are its own.
func (w *world) ledgers(ctx context.Context, space keys.Space, n, jobs int) (outcome, error) {
	c := space.Cron()
	if err := w.put(ctx, c, jobs, func(i int) *cron.Job {
		return &cron.Job{Name: nameOf(i), Schedule: "@daily", Cmd: []string{"true"}}
	}); err != nil {
		return outcome{}, err
	}
	stored, err := w.client.Get(ctx, c.Jobs(), clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return outcome{}, err
	}
	if len(stored.Kvs) != jobs {
		return outcome{}, fmt.Errorf("%d of %d jobs are there", len(stored.Kvs), jobs)
	}
	all := make([]*cron.Ledger, n)
	for i := range all {
		node := cron.Node{ID: fmt.Sprintf("host-%d-01234567", i), Host: fmt.Sprintf("host-%d", i)}
		put, err := w.client.Put(ctx, c.Node(node.ID), node.Encode())
		if err != nil {
			return outcome{}, err
		}
		node.Rev = put.Header.Revision
		client, err := w.open(ctx)
		if err != nil {
			return outcome{}, err
		}
		defer client.Close()
		all[i] = cron.NewLedger(ctx, client, c, node)
		defer all[i].Close()
	}
	tick := time.Now().Add(time.Minute).Truncate(time.Second).UTC() // above the low water
	return w.time(ctx, c.Dir+"run/", jobs, func(context.Context) error {
		var runs parallel
		for i, kv := range stored.Kvs {
			runs.Go(func() error { return claimAndSettle(all[i%n], i, tick, kv.ModRevision) })
		}
		return runs.Wait()
	})
}

// patience is how long a busy runner keeps results back, to write them together.
const patience = 500 * time.Millisecond

func claimAndSettle(l *cron.Ledger, i int, tick time.Time, jobRev int64) error {
	claim, result := record(i)
	claim.Tick, result.Tick = tick, tick
	got, err := l.Claim(cron.Claim{Run: claim, JobRev: jobRev, Forbid: true})
	if err != nil {
		return err
	}
	if got.Claim != claim.Claim {
		return fmt.Errorf("%s was claimed before", got.RunID)
	}
	return l.Settle(cron.Settlement{Run: result, Rev: got.Rev, Wait: patience,
		Memory: &cron.Memory{}, Over: tick})
}

// absent is a command that is not there: a run of it is claimed, fails and is
// settled, and nothing is started.
const absent = "/nonexistent/command"

// processes has n runners, processes with so many slots each, run the jobs,
// which are due at one instant.
func (w *world) processes(ctx context.Context, space keys.Space, n, slots, jobs int, command string) (o outcome, _ error) {
	c := space.Cron()
	// Long enough for the jobs and the runners to be there before.
	at := time.Now().Add(w.lead + time.Duration(jobs)*2*time.Millisecond).Truncate(time.Second).UTC()
	if err := w.put(ctx, c, jobs, func(i int) *cron.Job {
		return &cron.Job{Name: nameOf(i), Schedule: "@at " + at.Format(time.RFC3339), Cmd: []string{command}, Deadline: cron.Duration(limit)}
	}); err != nil {
		return o, err
	}
	all, err := w.runners(ctx, space, n, slots, jobs)
	if err != nil {
		return o, err
	}
	defer all.stop()
	last, err := w.await(ctx, c.Dir+"run/", jobs)
	if err != nil {
		return o, err
	}
	time.Sleep(settled)
	before, err := w.committed()
	if err != nil {
		return o, err
	}
	if !time.Now().Before(at) {
		return o, fmt.Errorf("the runners were not ready in time: %w", context.DeadlineExceeded)
	}
	claimed, err := last()
	if err != nil {
		return o, err
	}
	runs, err := w.over(ctx, c, jobs)
	if err != nil {
		return o, err
	}
	after, err := w.committed()
	if err != nil {
		return o, err
	}
	for _, r := range runs {
		o.over = max(o.over, r.Ended.Sub(at))
	}
	o.claimed, o.entries = claimed.Sub(at), (after-before)/float64(jobs)
	return o, check(runs, command)
}

// check says what is wrong with runs of the command.
func check(runs []*cron.Run, command string) error {
	want := cron.OK
	if command == absent {
		want = cron.Failed
	}
	for _, r := range runs {
		if r.State != want {
			return fmt.Errorf("%s is %s: %s", r.RunID, r.State, r.Cause)
		}
	}
	return nil
}

// burstOf measures how long three runners take for many ticks of one instant,
// beside the peers.
func (w *world) burstOf(ctx context.Context) (report.Table, error) {
	const n = 3
	figure := fmt.Sprintf("to the last claim, the last result, entries: %d due at once, %d members, %d runners", w.burst, len(w.members), n)
	ledger, err := w.ledgers(ctx, "/bench/burst", n, w.burst)
	if err != nil {
		return nil, err
	}
	t := report.Table{}
	for _, p := range []peer{race, reference} {
		o, err := p.contend(ctx, w, n, w.burst)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		t = append(t, report.Row{
			Figure: figure + ", through the ledger",
			Conch:  ledger.String(),
			Peers:  p.name + " " + o.String(),
			Ratio:  fmt.Sprintf("%.2f, %.2f", ledger.claimed.Seconds()/o.claimed.Seconds(), ledger.over.Seconds()/o.over.Seconds()),
			Bound:  p.bound,
			OK:     ledger.claimed < o.claimed,
		})
	}
	whole, err := w.processes(ctx, "/bench/whole", n, w.burst, w.burst, absent)
	if err != nil {
		return nil, err
	}
	t = append(t, report.Row{Figure: figure + ", by runners, of a command that is not there", Conch: whole.String()})
	real, err := w.processes(ctx, "/bench/real", n, slots, w.crowd, "true")
	if err != nil {
		return nil, err
	}
	return append(t, report.Row{Figure: fmt.Sprintf("to the last claim, the last result, entries: %d of true, by %d runners of %d slots each", w.crowd, n, slots), Conch: real.String()}), nil
}
