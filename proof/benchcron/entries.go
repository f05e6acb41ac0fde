package main

import (
	"context"
	"fmt"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
	"conch/proof/report"
)

const (
	// slots is how many runs at a time a runner has unless it is told otherwise.
	slots = 32
	// noise is what may be off in a count of entries for each run: etcd itself
	// writes one now and then.
	noise = 0.05
)

// entries counts the entries of Raft's log that each run makes: one job that is
// due each second, and a crowd that is due together.
func (w *world) entries(ctx context.Context) (report.Table, error) {
	var t report.Table
	for _, n := range w.counts {
		alone, idle, err := w.alone(ctx, n)
		if err != nil {
			return nil, err
		}
		of := fmt.Sprintf("entries a run, %d runners", n)
		r := atMost(of+": alone", alone, "%.2f", "", 2+noise)
		r.Peers = fmt.Sprintf("idle, a minute: %.1f", idle*60)
		t = append(t, r)

		for _, jobs := range []int{w.burst, w.crowd} {
			ledger, err := w.ledgers(ctx, keys.Space(fmt.Sprintf("/bench/ledger-%d-%d", n, jobs)), n, jobs)
			if err != nil {
				return nil, err
			}
			r := atMost(fmt.Sprintf("%s: %d together, through the ledger", of, jobs), ledger.entries, "%.3f", "", 0.06)
			if jobs != w.burst { // each of ten runners has too few to fill its batches
				r.Bound = ""
			}
			t = append(t, r)
		}
		for _, p := range []struct {
			command string
			slots   int
			say     string
		}{{absent, w.crowd, "by runners, of a command that is not there"}, {"true", slots, fmt.Sprintf("of true, %d slots each", slots)}} {
			space := keys.Space(fmt.Sprintf("/bench/runners-%d-%d", n, p.slots))
			o, err := w.processes(ctx, space, n, p.slots, w.crowd, p.command)
			if err != nil {
				return nil, err
			}
			t = append(t, report.Row{Figure: fmt.Sprintf("%s: %d together, %s", of, w.crowd, p.say), Conch: fmt.Sprintf("%.3f", o.entries)})
		}
	}
	return t, nil
}

// alone counts the entries of a run of the one job there is, and how many there
// are in a second in which nothing is due.
func (w *world) alone(ctx context.Context, n int) (each, idle float64, _ error) {
	space := keys.Space(fmt.Sprintf("/bench/alone-%d", n))
	c := space.Cron()
	all, err := w.runners(ctx, space, n, slots, 0)
	if err != nil {
		return 0, 0, err
	}
	defer all.stop()
	time.Sleep(settled)
	before, err := w.count(ctx, c)
	if err != nil {
		return 0, 0, err
	}
	time.Sleep(w.watchFor / 3)
	after, err := w.count(ctx, c)
	if err != nil {
		return 0, 0, err
	}
	idle = (after.entries - before.entries) / after.at.Sub(before.at).Seconds()

	if err := w.put(ctx, c, 1, func(i int) *cron.Job {
		return &cron.Job{Name: nameOf(i), Schedule: "* * * * * *", Cmd: []string{"true"}, Keep: cron.MaxKeep}
	}); err != nil {
		return 0, 0, err
	}
	// Between two ticks, when one is over and the next not claimed.
	time.Sleep(2*time.Second + time.Until(time.Now().Truncate(time.Second).Add(time.Second)) - 200*time.Millisecond)
	if before, err = w.count(ctx, c); err != nil {
		return 0, 0, err
	}
	time.Sleep(w.watchFor)
	if after, err = w.count(ctx, c); err != nil {
		return 0, 0, err
	}
	runs := (after.halves - before.halves) / 2
	if runs == 0 {
		return 0, 0, fmt.Errorf("nothing was run in %v", w.watchFor)
	}
	return (after.entries - before.entries - idle*after.at.Sub(before.at).Seconds()) / runs, idle, nil
}

// count is how far things are.
type count struct {
	at      time.Time
	entries float64
	halves  float64 // claims, and results
}

func (w *world) count(ctx context.Context, c keys.Cron) (n count, err error) {
	n.at = time.Now()
	if n.entries, err = w.committed(); err != nil {
		return n, err
	}
	all, err := w.runs(ctx, c)
	for _, r := range all {
		n.halves++
		if r.State.Final() {
			n.halves++
		}
	}
	return n, err
}
