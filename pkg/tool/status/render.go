package status

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"conch/pkg/cli"
	"conch/pkg/cron"
	"conch/pkg/hold"
	"conch/pkg/status"
)

// text prints the sections that are wanted.
func (o *options) text(w io.Writer, s *status.Snapshot, now time.Time) error {
	v := view{printer: newPrinter(w), Snapshot: s, clock: clock{now, o.verbose}}
	if s.Stale != "" {
		v.line("out of date: ", s.Stale)
	}
	for _, section := range []struct {
		name  string
		print func()
	}{{"offices", v.offices}, {"semaphores", v.semaphores}, {"jobs", v.jobs}, {"runners", v.runners}} {
		if len(o.only) == 0 || slices.Contains(o.only, section.name) {
			section.print()
		}
	}
	return v.Flush()
}

// view is a Snapshot on its way to a screen.
type view struct {
	*printer
	*status.Snapshot
	clock
}

func who(c *hold.Candidate) string { return fmt.Sprintf("%s (pid %d)", c.Host, c.PID) }

// detail is one who holds or waits, on a line of his own.
func (v *view) detail(what string, c *hold.Candidate) string {
	var value strings.Builder
	cli.LogField(&value, "value", c.Published())
	return strings.TrimRight(fmt.Sprintf("%s %s since %s%s %s", what, who(c), v.at(c.Begun()), value.String(), cli.JoinLines(c.Cmd)), " ")
}

// more are the details of a row, if they are wanted.
func (v *view) more(lines func(i int) []string) func(i int) []string {
	if v.full {
		return lines
	}
	return func(int) []string { return nil }
}

func (v *view) offices() {
	v.table("OFFICES", []string{"NAME", "HOLDER", "SINCE", "TOKEN", "LINE"}, len(v.Offices), func(i int) []string {
		o := v.Offices[i]
		holder, since, token := "(vacant)", "", ""
		if h := o.Holder; h != nil {
			holder, since, token = who(h), v.at(h.Begun()), strconv.FormatInt(h.Rev, 10)
			if h.State == hold.Lingering { // its command has ended; --hold-for keeps the place
				since += ", kept"
			}
		}
		return []string{o.Name, holder, since, token, count(len(o.Waiters))}
	}, v.more(func(i int) (lines []string) {
		o := v.Offices[i]
		if o.Holder != nil {
			lines = append(lines, v.detail("held", o.Holder))
		}
		for _, c := range o.Waiters {
			lines = append(lines, v.detail("waits", c))
		}
		return lines
	}))
}

// count is a number, and nothing for 0.
func count(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func (v *view) semaphores() {
	v.table("SEMAPHORES", []string{"NAME", "HELD", "LINE", "HOLDERS"}, len(v.Semaphores), func(i int) []string {
		s := v.Semaphores[i]
		var holders []string
		for _, c := range s.Holders {
			holders = append(holders, c.Host)
		}
		return []string{s.Name, inUse(s), count(s.Waiting()), few(holders)}
	}, v.more(func(i int) (lines []string) {
		s := v.Semaphores[i]
		for _, c := range s.Holders {
			what := "held"
			if c.Slot != nil {
				what = fmt.Sprintf("slot %d", *c.Slot)
			}
			lines = append(lines, v.detail(strings.TrimSpace(what+" "+hold.Mode(s.Max, c.Weight)), c))
		}
		for _, c := range s.Waiters {
			lines = append(lines, v.detail(strings.TrimSpace("waits "+hold.Mode(s.Max, c.Weight)), c))
		}
		for _, c := range s.Spread {
			lines = append(lines, v.detail("waits for "+c.Host, c.Candidate))
		}
		return lines
	}))
}

// inUse is how much of a semaphore is held.
func inUse(s *status.Semaphore) string {
	switch held := s.Held(); {
	case s.Max != hold.Exclusive:
		return fmt.Sprintf("%d/%d", held, s.Max)
	case held >= hold.Exclusive:
		return "exclusive"
	default:
		return fmt.Sprintf("%d shared", held)
	}
}

// fewest is how many names a cell holds at most.
const fewest = 3

// few names each once, with how often it comes, and not too many of them.
func few(names []string) string {
	times := map[string]int{}
	for _, n := range names {
		times[n]++
	}
	var said []string
	for _, n := range slices.Sorted(maps.Keys(times)) {
		if times[n] > 1 {
			n = fmt.Sprintf("%s x%d", n, times[n])
		}
		said = append(said, n)
	}
	if len(said) > fewest {
		return fmt.Sprintf("%s and %d more", strings.Join(said[:fewest], ", "), len(said)-fewest)
	}
	return strings.Join(said, ", ")
}

func (v *view) jobs() {
	title := "JOBS"
	if v.Paused {
		title += " (all paused)"
	}
	runs, placed := byJob(v.Running), v.Placed()
	v.table(title, []string{"NAME", "SCHEDULE", "NEXT", "LAST", "RUNNING"}, len(v.Jobs), func(i int) []string {
		j := v.Jobs[i]
		return []string{j.Name, j.Schedule, v.next(j, placed), v.last(j.Last), v.running(runs(j.Name))}
	}, v.more(func(i int) (lines []string) {
		for _, a := range runs(v.Jobs[i].Name) {
			what := "runs"
			switch v.State(a) {
			case cron.Retrying:
				what = "will be tried again at " + v.at(a.RetryAt)
			case cron.Adrift:
				what = "has no result, and its runner is gone; it was"
			}
			lines = append(lines, fmt.Sprintf("%s %s on %s, claimed %s", a.RunID, what, a.Host, v.at(a.Claimed)))
		}
		if j := v.Jobs[i]; j.Missed+j.Unplaced > 0 {
			lines = append(lines, fmt.Sprintf("ticks missed: %d, unplaced: %d", j.Missed, j.Unplaced))
		}
		return lines
	}))
}

// byJob finds the runs of a job.
func byJob(all []*cron.Act) func(job string) []*cron.Act {
	return func(job string) []*cron.Act {
		from, _ := slices.BinarySearchFunc(all, job, func(a *cron.Act, job string) int { return strings.Compare(a.Job, job) })
		to := from
		for to < len(all) && all[to].Job == job {
			to++
		}
		return all[from:to]
	}
}

func (v *view) next(j *status.Job, placed func(*status.Job) bool) string {
	switch state := v.Standing(j, v.now, placed); state {
	case cron.Ready:
		return v.at(j.Next(v.now))
	case cron.AllPaused: // as the title says
		return cron.Paused
	default:
		return state
	}
}

func (v *view) last(l *status.Last) string {
	if l == nil {
		return ""
	}
	text := string(l.State)
	if l.State == cron.Failed {
		text = fmt.Sprintf("exit %d", l.Exit())
	}
	if l.Failures > 1 {
		text += fmt.Sprintf(" x%d", l.Failures)
	}
	return text + " " + v.at(l.Ended)
}

// running says where a job runs, and for how long the latest has.
func (v *view) running(runs []*cron.Act) string {
	var hosts []string
	for _, a := range runs {
		switch v.State(a) {
		case cron.Retrying:
			hosts = append(hosts, "(retries)")
		case cron.Adrift:
			hosts = append(hosts, "?")
		default:
			hosts = append(hosts, a.Host)
		}
	}
	return few(hosts)
}

func (v *view) runners() {
	v.table("RUNNERS", []string{"ID", "RUNS", "UP", "STATE", "LABELS"}, len(v.Runners), func(i int) []string {
		r := v.Runners[i]
		var labels []string
		for _, k := range slices.Sorted(maps.Keys(r.Labels)) {
			labels = append(labels, k+"="+r.Labels[k])
		}
		return []string{r.ID, fmt.Sprintf("%d/%d", r.Running, r.Slots), v.at(r.Started), state(r), strings.Join(labels, " ")}
	}, v.more(func(i int) []string {
		r := v.Runners[i]
		return []string{fmt.Sprintf("%s (pid %d) version %s, time zones %s, placement %s", r.Host, r.PID, r.Version, r.TZData, r.Policy)}
	}))
}

func state(r *status.Runner) string {
	switch {
	case r.Draining:
		return "draining"
	case r.Standby != "":
		return "standby: " + r.Standby
	}
	return "ready"
}
