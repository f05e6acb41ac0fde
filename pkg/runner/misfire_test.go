package runner

import (
	"testing"
	"time"

	"conch/pkg/cron"
	"conch/pkg/etcdtest"
)

// eachMisfire lets ticks of a job pass that nobody can claim: away asks for the job,
// which is due four seconds later, adds it, sees to that until the last tick is too
// late, and returns a runner that can again. Nothing has run by then; what does is
// what the rule for misfires says.
func eachMisfire(t *testing.T, away func(w *world, job func() (j cron.Job, tooLate time.Time)) *process) {
	t.Parallel()
	const ticks, deadline = 4, 2 * time.Second
	for misfire, runs := range map[cron.Misfire]int{cron.MisfireSkip: 0, cron.MisfireOnce: 1, cron.MisfireAll: ticks} {
		t.Run(string(misfire), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var end *time.Time
			p := away(w, func() (cron.Job, time.Time) {
				end = at((4 + ticks) * time.Second)
				return cron.Job{Name: "job", Schedule: "@every 1s", Script: note, Misfire: misfire, Deadline: cron.Duration(deadline),
					Starts: at(4 * time.Second), Expires: end}, end.Add(deadline)
			})
			w.wait("the ticks to be missed", func() bool { return len(p.events("missed")) > 0 })
			if e := p.events("missed")[0]; e.Count != ticks || !e.Tick.Equal(end.Add(-time.Second)) {
				t.Errorf("it has missed %d ticks, up to %v; want %d, before %v", e.Count, e.Tick, ticks, end)
			}
			w.over("job", runs)
			w.goesOn()
			w.ran("job", end.Add(-time.Duration(runs)*time.Second), runs)
		})
	}
}

// ran: a job has run so often, once for each second from then on, oldest first.
func (w *world) ran(job string, first time.Time, n int) {
	w.Helper()
	runs, starts := w.runs(job), w.starts()
	if len(runs) != n || len(starts) != n {
		w.Fatalf("%d runs and %d starts, not %d: %v", len(runs), len(starts), n, starts)
	}
	for i, r := range runs {
		if tick := first.Add(time.Duration(i) * time.Second); r.State != cron.OK || !r.Tick.Equal(tick) {
			w.Errorf("a run of %v is %s; want one of %v", r.Tick, r.State, tick)
		}
		if starts[i].run != r.RunID.String() {
			w.Errorf("start %d is that of %s, not of %s", i+1, starts[i].run, r.RunID)
		}
	}
}

// until waits for an instant of the schedule: there is no condition to wait for.
func until(t time.Time) { time.Sleep(time.Until(t)) }

// etcd is down at the instant, for a runner that is up: nothing runs, and the rule
// for misfires is applied on return.
func TestEtcdDownAtTheTick(t *testing.T) {
	eachMisfire(t, func(w *world, job func() (cron.Job, time.Time)) *process {
		road := etcdtest.Road(w, w.srv)
		// The lease outlives the first tick, which is then claimed in vain.
		p := w.start(func(s *settings) { s.Endpoints = []string{road.Addr()}; s.TTL = 10 * time.Second }).ready()
		j, tooLate := job()
		w.add(j)
		w.wait("it to know the job", func() bool { return len(p.events("job")) > 0 })
		road.Cut()
		w.wait("a tick to be due", func() bool { return len(p.events("due")) > 0 })
		w.wait("its key to be gone", func() bool {
			nodes, err := w.store.Nodes(w.Context())
			return err == nil && len(nodes) == 0
		})
		until(tooLate)
		if runs, starts := w.runs("job"), w.starts(); len(runs) != 0 || len(starts) != 0 {
			w.Errorf("without etcd: %v, %v", runs, starts)
		}
		if err := road.Heal(); err != nil {
			w.Fatal(err)
		}
		return p
	})
}

// ... and likewise if it is the runners that were down.
func TestNobodyAtTheTick(t *testing.T) {
	eachMisfire(t, func(w *world, job func() (cron.Job, time.Time)) *process {
		j, tooLate := job()
		w.add(j)
		until(tooLate)
		return w.start().ready()
	})
}
