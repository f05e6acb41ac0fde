package main

import (
	"context"
	"fmt"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
	"conch/proof/report"
)

// lateness measures how long after its instant a tick is started, by one runner
// that has many each second.
func (w *world) lateness(ctx context.Context) (report.Table, error) {
	const space = keys.Space("/bench/late")
	c := space.Cron()
	starts := time.Now().Add(w.lead).Truncate(time.Second).UTC()
	expires := starts.Add(w.watchFor)
	if err := w.put(ctx, c, w.rate, func(i int) *cron.Job {
		return &cron.Job{Name: nameOf(i), Schedule: "* * * * * *", Cmd: []string{"true"}, Keep: cron.MaxKeep, Starts: &starts, Expires: &expires}
	}); err != nil {
		return nil, err
	}
	all, err := w.runners(ctx, space, 1, 2*w.rate, w.rate)
	if err != nil {
		return nil, err
	}
	defer all.stop()
	if time.Now().After(starts) {
		return nil, fmt.Errorf("the runner was ready too late")
	}
	time.Sleep(time.Until(expires) + time.Second)
	runs, err := w.over(ctx, c, 1)
	if err != nil {
		return nil, err
	}
	var late, took sample
	for _, r := range runs {
		late = append(late, r.Began.Sub(r.Tick).Seconds()*1e3)
		took = append(took, r.Ended.Sub(r.Began).Seconds()*1e3)
	}
	of := fmt.Sprintf("%d jobs a second of true, 1 runner: ", w.rate)
	due := w.rate * int(w.watchFor/time.Second)
	return report.Table{
		{Figure: of + "lateness p50, p99, most", Conch: fmt.Sprintf("%.0f ms, %.0f ms, %.0f ms", late.at(0.5), late.at(0.99), late.at(1))},
		{Figure: of + "a run takes p50, p99", Conch: fmt.Sprintf("%.0f ms, %.0f ms", took.at(0.5), took.at(0.99))},
		{Figure: of + "ticks claimed of those due", Conch: fmt.Sprintf("%d of %d", len(runs), due)},
	}, check(runs, "true")
}
