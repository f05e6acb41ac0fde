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
	maxMemory = 100 // MB
	maxCPU    = 1   // percent of a core
)

// load measures what one runner takes that knows very many jobs, none of which
// is due.
func (w *world) load(ctx context.Context) (report.Table, error) {
	const space = keys.Space("/bench/load")
	if err := w.put(ctx, space.Cron(), w.loaded, mixed(time.Now())); err != nil {
		return nil, err
	}
	all, err := w.runners(ctx, space, 1, slots, w.loaded)
	if err != nil {
		return nil, err
	}
	defer all.stop()
	r := all[0]
	first, _, _, err := r.memory()
	if err != nil {
		return nil, err
	}
	time.Sleep(w.idleFor / 2)
	cpu, err := r.cpu()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	time.Sleep(w.idleFor / 2)
	after, err := r.cpu()
	if err != nil {
		return nil, err
	}
	percent := 100 * (after - cpu).Seconds() / time.Since(began).Seconds()
	pss, rss, peak, err := r.memory()
	if err != nil {
		return nil, err
	}
	of := fmt.Sprintf("%d jobs: ", w.loaded)
	return report.Table{
		{Figure: of + "from start to ready", Conch: fmt.Sprintf("%.2f s", r.ready.Sub(r.began).Seconds())},
		atMost(of+"PSS when ready", first, "%.1f", " MB", maxMemory),
		atMost(fmt.Sprintf("%sPSS after %v", of, w.idleFor), pss, "%.1f", " MB", maxMemory),
		{Figure: of + "RSS then, and at most", Conch: fmt.Sprintf("%.1f MB, %.1f MB", rss, peak)},
		atMost(of+"CPU when idle, of a core", percent, "%.2f", " %", maxCPU),
	}, nil
}

// mixed returns jobs as people have them, of several shapes and in several
// zones, none of which is due within an hour of now.
func mixed(now time.Time) func(i int) *cron.Job {
	zones := []string{"", "Europe/Rome", "America/New_York", "Asia/Tokyo", "Australia/Sydney"}
	var places []*time.Location
	for _, z := range zones {
		place, err := time.LoadLocation(z)
		if err != nil {
			place = time.UTC // the job's Check says so
		}
		places = append(places, place)
	}
	return func(i int) *cron.Job {
		zone := i % len(zones)
		hour := now.In(places[zone]).Add(time.Duration(2+i%20) * time.Hour).Hour()
		forms := []string{"%[2]d %[1]d * * *", "H %[1]d * * *", "%[2]d %[1]d * * 1-5", "H %[1]d 1,15 * *", "H H(%[1]d-%[1]d) * * 0"}
		return &cron.Job{
			Name:        nameOf(i),
			Description: "nightly report of customer",
			Owners:      []string{"data@example.org"},
			Schedule:    fmt.Sprintf(forms[i/7%len(forms)], hour, i%60),
			TZ:          zones[zone],
			Cmd:         []string{"/usr/local/bin/report", "--customer", fmt.Sprint(i), "--out", "/srv/reports"},
			On:          "any role=batch",
			Retry:       &cron.Retry{N: 2},
		}
	}
}
