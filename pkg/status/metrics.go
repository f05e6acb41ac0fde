package status

import (
	"runtime"
	"runtime/debug"
	"time"

	"conch/pkg/cron"
	"conch/pkg/hold"
)

// metrics writes what k knows. While that may be out of date, only conch_etcd_up
// and the process are told of: what is missing raises an alert, and what is no
// longer true does not.
func (k *Keeper) metrics(m *Metrics, now time.Time) {
	m.Family("conch_build_info", "gauge", "The version of conch; always 1.")
	m.Sample(1, "version", version(), "go_version", runtime.Version())

	s := k.Snapshot()
	k.mu.Lock()
	answers := k.answers
	k.mu.Unlock()
	m.Family("conch_etcd_up", "gauge", "Whether everything was read from etcd, and etcd was heard of lately.")
	m.Flag(s.Stale == "")
	m.Family("conch_etcd_request_duration_seconds", "histogram", "How long etcd took to answer the reads of this process's overview.")
	answers.write(m)
	if s.Stale == "" {
		m.Family("conch_revision", "gauge", "The revision of etcd that this is of.")
		m.Sample(float64(s.Rev))
		s.offices(m)
		s.semaphores(m)
		s.jobs(m, now)
		s.runners(m)
	}
	process(m)
}

func (s *Snapshot) offices(m *Metrics) {
	all := func(name, help string, sample func(o *Office)) {
		m.Family("conch_election_"+name, "gauge", help)
		for _, o := range s.Offices {
			sample(o)
		}
	}
	held := func(name, help string, sample func(o *Office, h *hold.Candidate)) {
		all(name, help, func(o *Office) {
			if o.Holder != nil {
				sample(o, o.Holder)
			}
		})
	}
	all("held", "Whether somebody holds an office that is in use; one that nobody even waits for is missing.", func(o *Office) { m.Flag(o.Holder != nil, "election", o.Name) })
	all("waiters", "How many stand in line behind the holder.", func(o *Office) { m.Sample(float64(len(o.Waiters)), "election", o.Name) })
	held("leader_info", "Who holds the office; always 1.", func(o *Office, h *hold.Candidate) { m.Sample(1, "election", o.Name, "host", h.Host) })
	held("revision", "The fencing token of the holder.", func(o *Office, h *hold.Candidate) { m.Sample(float64(h.Rev), "election", o.Name) })
	held("acquired_timestamp_seconds", "Since when the holder has held, by its own clock.",
		func(o *Office, h *hold.Candidate) { m.Time(h.Begun(), "election", o.Name) })
}

func (s *Snapshot) semaphores(m *Metrics) {
	all := func(name, help string, value func(s *Semaphore) int) {
		m.Family("conch_sema_"+name, "gauge", help)
		for _, s := range s.Semaphores {
			m.Sample(float64(value(s)), "semaphore", s.Name)
		}
	}
	all("capacity", "How much of the semaphore there is.", func(s *Semaphore) int { return s.Max })
	all("held", "How much of it is held.", (*Semaphore).Held)
	all("holders", "How many hold it.", func(s *Semaphore) int { return len(s.Holders) })
	all("waiters", "How many wait for it.", (*Semaphore).Waiting)
}

func (s *Snapshot) jobs(m *Metrics, now time.Time) {
	// One that was submitted has a name of its own for its one run: no series.
	each := func(name, kind, help string, sample func(j *Job)) {
		m.Family("conch_cron_"+name, kind, help)
		for _, j := range s.Jobs {
			if !j.Once {
				sample(j)
			}
		}
	}
	all := func(name, help string, sample func(j *Job)) { each(name, "gauge", help, sample) }
	last := func(name, help string, sample func(j *Job, l *Last)) {
		all(name, help, func(j *Job) {
			if j.Last != nil {
				sample(j, j.Last)
			}
		})
	}
	m.Family("conch_cron_waiting", "gauge", "Runs that were asked for, and that no runner has claimed.")
	m.Sample(float64(s.Waiting))
	m.Family("conch_cron_paused", "gauge", "Whether every job is paused.")
	m.Flag(s.Paused)
	all("job_info", "The schedule of the job; always 1.", func(j *Job) {
		tz := j.TZ
		if tz == "" {
			tz = "UTC"
		}
		m.Sample(1, "job", j.Name, "schedule", j.Schedule, "timezone", tz)
	})
	all("job_suspended", "Whether the job is paused.", func(j *Job) { m.Flag(j.Paused, "job", j.Name) })
	all("next_run_timestamp_seconds", "The next tick of the job.", func(j *Job) { m.Time(j.Next(now), "job", j.Name) })
	runs := s.runs()
	all("running", "How many runs of the job are in progress; not those whose runner is gone.", func(j *Job) {
		n := 0
		for _, a := range runs(j.Name) {
			if s.State(a) != cron.Adrift {
				n++
			}
		}
		m.Sample(float64(n), "job", j.Name)
	})
	last("last_run_timestamp_seconds", "When the latest run ended, by its runner's clock.", func(j *Job, l *Last) { m.Time(l.Ended, "job", j.Name) })
	last("last_success_timestamp_seconds", "When a run last ended well.", func(j *Job, l *Last) { m.Time(l.OK, "job", j.Name) })
	last("last_exit_code", "The exit status that stands for how the latest run ended.", func(j *Job, l *Last) { m.Sample(float64(l.Exit()), "job", j.Name) })
	last("last_duration_seconds", "How long the latest run took.", func(j *Job, l *Last) {
		if took, ok := l.Took(); ok {
			m.Sample(took.Seconds(), "job", j.Name)
		}
	})
	last("consecutive_failures", "How many runs have ended otherwise since one ended well.", func(j *Job, l *Last) { m.Sample(float64(l.Failures), "job", j.Name) })
	eligible := s.eligible()
	all("eligible_runners", "Runners that take runs on and that have the labels the job asks for.", func(j *Job) {
		if j.Bad == "" {
			m.Sample(float64(eligible(j.On)), "job", j.Name)
		}
	})
	each("missed_total", "counter", "Ticks that no runner could start within the job's deadline.", func(j *Job) { m.Sample(float64(j.Missed), "job", j.Name) })
	each("unplaced_total", "counter", "Ticks for which there were runners, but none that the job may run on.", func(j *Job) { m.Sample(float64(j.Unplaced), "job", j.Name) })
	tallies(m, each)
}

// tallies writes what is counted of the runs of each job.
func tallies(m *Metrics, each func(name, kind, help string, sample func(j *Job))) {
	of := func(name, kind, help string, sample func(j *Job, t *cron.Tally)) {
		each(name, kind, help, func(j *Job) {
			var none cron.Tally // from which the first run that ends is an increase
			t := &none
			if j.Last != nil {
				t = &j.Last.Tally
			}
			sample(j, t)
		})
	}
	of("runs_total", "counter", "Runs that have ended, by how; one that was thought to be lost may have ended otherwise, too.", func(j *Job, t *cron.Tally) {
		t.States(func(state cron.State, n uint32) { m.Sample(float64(n), "job", j.Name, "state", string(state)) })
	})
	of("retries_total", "counter", "Attempts after the first, of runs that have ended.", func(j *Job, t *cron.Tally) { m.Sample(float64(t.Retries), "job", j.Name) })
	of("skipped_total", "counter", "Ticks that came while a run was in progress that has ended since, and were skipped for it.",
		func(j *Job, t *cron.Tally) { m.Sample(float64(t.Skipped), "job", j.Name) })
	of("run_duration_seconds", "histogram", "How long the last attempts of runs took that have ended, but for those that were lost.", func(j *Job, t *cron.Tally) {
		counts := make([]int64, 0, len(t.Took))
		for _, n := range t.Took {
			counts = append(counts, int64(n))
		}
		m.Histogram(cron.TookBounds[:], counts, t.Seconds, "job", j.Name)
	})
}

// eligible returns a function that counts the runners which may run a job by its On.
func (s *Snapshot) eligible() func(on string) int {
	known := map[string]int{}
	return func(on string) int {
		n, ok := known[on]
		if ok {
			return n
		}
		place, err := cron.ParsePlacement(on)
		for _, r := range s.Runners {
			if err == nil && r.takes() && place.Matches(r.Labels) {
				n++
			}
		}
		known[on] = n
		return n
	}
}

// takes reports whether r takes runs on.
func (r *Runner) takes() bool { return !r.Draining && r.Standby == "" }

func (s *Snapshot) runners(m *Metrics) {
	all := func(name, help string, sample func(r *Runner)) {
		m.Family("conch_runner_"+name, "gauge", help)
		for _, r := range s.Runners {
			sample(r)
		}
	}
	all("info", "A runner that is there; always 1.", func(r *Runner) { m.Sample(1, "runner", r.ID, "host", r.Host, "version", r.Version) })
	all("slots", "How many runs the runner takes at a time.", func(r *Runner) { m.Sample(float64(r.Slots), "runner", r.ID) })
	all("running", "How many it has in progress.", func(r *Runner) { m.Sample(float64(r.Running), "runner", r.ID) })
	all("available", "Whether it takes runs on.", func(r *Runner) { m.Flag(r.takes(), "runner", r.ID) })
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
