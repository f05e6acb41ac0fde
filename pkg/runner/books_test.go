package runner

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
	"conch/pkg/schedule"
)

// span is a length of time, and of revisions. One that is not over has no end.
type span struct {
	from, to time.Time
	rev      int64
}

// during reports whether some of s lies between two instants.
func (s span) during(from, to time.Time) bool {
	return s.from.Before(to) && (s.to.IsZero() || s.to.After(from))
}

// life is a job from when it was made to when it was removed.
type life struct {
	span
	name     string
	versions []*version
	runs     map[string]*account // by the run's id
	ends     int                 // of runs, as the job is remembered
}

// version is a job as it was from one edit to the next.
type version struct {
	span
	*cron.Job
	ticks *schedule.Schedule // nil: it has none
	place cron.Placement
	splay time.Duration
}

// account is what became of a run.
type account struct {
	*cron.Run
	life     *life
	attempts []attempt
	over     bool // it has been, at some time
}

// attempt is a claim.
type attempt struct {
	n   int
	rev int64
	at  time.Time
	job *version
}

// marker is that of a run in progress.
type marker struct {
	span
	keys.RunID
	claimed time.Time // by the clock of its runner
}

// wish is something that was asked for by hand.
type wish struct {
	cron.Request
	span
}

// presence is when a runner took things on.
type presence struct {
	span
	host string
}

// books are all accounts, and what the history says against itself.
type books struct {
	*cluster
	lines  []line
	until  time.Time // when it was all over
	deeds  []deed
	spoken map[string][]said // what runners have said, by the run, or by the job

	lives   map[string][]*life // by name, oldest first
	markers map[string][]*marker
	pauses  []*span
	present []*presence // able to take things on
	there   []*presence // not able to, perhaps
	wishes  []*wish

	// As of the line that is read.
	job    map[string]*life
	run    map[string]*account // those that have a record
	act    map[string]*marker  // by key
	last   map[string]*cron.Last
	lw     map[string]string
	wish   map[string]*wish
	losses map[string]bool      // of which nobody has told yet
	takes  map[string]*presence // takes things on
	node   map[string]*presence
	paused *span

	wrongs map[string][]string // by rule
}

// entries are the lines of one revision, by key.
type entries map[string]line

func (e entries) put(key string) bool     { l, ok := e[key]; return ok && l.value != nil }
func (e entries) deleted(key string) bool { l, ok := e[key]; return ok && l.value == nil }

func read(c *cluster, lines []line) *books {
	b := &books{cluster: c, lines: lines, until: time.Now(), lives: map[string][]*life{}, markers: map[string][]*marker{},
		job: map[string]*life{}, run: map[string]*account{}, act: map[string]*marker{}, last: map[string]*cron.Last{}, lw: map[string]string{},
		wish: map[string]*wish{}, losses: map[string]bool{}, takes: map[string]*presence{}, node: map[string]*presence{}, wrongs: map[string][]string{}}
	for len(lines) > 0 {
		n := 1
		for n < len(lines) && lines[n].rev == lines[0].rev {
			n++
		}
		b.revision(lines[:n])
		lines = lines[n:]
	}
	return b
}

// hears takes in what the runners have said.
func (b *books) hears(events []said) {
	b.spoken = map[string][]said{}
	for _, e := range events {
		about := cmp.Or(e.Run, e.Job)
		b.spoken[about] = append(b.spoken[about], e)
	}
}

// wrong notes what breaks a rule.
func (b *books) wrong(rule, format string, args ...any) {
	b.wrongs[rule] = append(b.wrongs[rule], fmt.Sprintf(format, args...))
}

// revision takes in what one transaction has written. Of claims and ends the job is what
// it was before.
func (b *books) revision(lines []line) {
	all := entries{}
	for _, l := range lines {
		all[l.key] = l
	}
	for _, kind := range []string{"run", "act", "last", "lost", "req", "lw", "node", "paused", "job"} {
		for _, l := range lines {
			if l.Kind != kind {
				continue
			}
			switch kind {
			case "run":
				if !l.Run.Ticks() { // proof/cronsim balances those
					b.takeRun(all, l)
				}
			case "act":
				b.takeAct(l)
			case "last":
				b.takeLast(all, l)
			case "lost":
				if delete(b.losses, l.Run.String()); l.value != nil {
					b.losses[l.Run.String()] = true
				}
			case "req":
				b.takeRequest(all, l)
			case "lw":
				b.lw[l.Name] = string(l.value)
			case "node":
				b.takeNode(l)
			case "paused":
				b.takePaused(l)
			case "job":
				b.takeJob(l)
			}
		}
	}
	for _, l := range lines {
		if (l.Kind == "run" || l.Kind == "act") && !l.Run.Ticks() {
			b.checkMarkers(l)
		}
	}
}

// takeLast: a job is remembered by the ends of its runs, each counted once.
func (b *books) takeLast(all entries, l line) {
	if l.value == nil {
		delete(b.last, l.Name)
		return
	}
	before, is := b.last[l.Name], &cron.Last{}
	if err := json.Unmarshal(l.value, is); err != nil {
		b.Fatalf("%v: %v", l, err)
	}
	if before == nil {
		before = &cron.Last{}
	}
	b.last[l.Name] = is
	const rule = "last and the records agree"
	j := b.job[l.Name]
	switch {
	case j == nil:
		b.wrong(rule, "%v: there is no such job", l)
		return
	case is.Runs != j.ends:
		b.wrong(rule, "%v: %d runs of it have ended", l, j.ends)
		j.ends = is.Runs // said once
	case is.Tick.Before(before.Tick):
		b.wrong(rule, "%v: the ticks up to %v were over", l, before.Tick)
	}
	if a := b.run[l.Name+"/"+is.ID]; a == nil && is.ID != before.ID {
		b.wrong(rule, "%v: that run has no record", l)
	} else if a != nil && a.life == j && a.State != is.State {
		b.wrong(rule, "%v: that run is %s", l, a.State)
	}
	for _, e := range all {
		if e.Kind == "run" && e.Run.Job == l.Name && e.value != nil {
			return
		}
	}
	if r := is.Reckoned; r != nil && (before.Reckoned == nil || r.Through.After(before.Reckoned.Through)) {
		return // ticks were counted that nobody has run
	}
	b.wrong(rule, "%v: no run has ended then", l)
}

// checkMarkers: a run has a marker as long as it is in progress, and no longer.
func (b *books) checkMarkers(l line) {
	a := b.run[l.Run.String()]
	runs, waits := b.act[b.keys.Act(l.Run)] != nil, b.act[b.keys.Retry(l.Run)] != nil
	if runs != (a != nil && a.State == cron.Running) || waits != (a != nil && a.State == cron.Retrying) {
		state := cron.State("not there")
		if a != nil {
			state = a.State
		}
		b.wrong("a run has a marker while it is in progress", "%v: the record is %s; a marker: %v; a waiting one: %v", l, state, runs, waits)
	}
}

// left: nothing is there at the end that nobody owns.
func (b *books) left() {
	const rule = "nothing is left"
	for key := range b.act {
		b.wrong(rule, "%s", key)
	}
	for id := range b.wish {
		b.wrong(rule, "the request %s", id)
	}
	for name := range b.losses {
		b.wrong(rule, "the loss of %s, of which nobody has told", name)
	}
	for name, a := range b.run {
		if b.job[a.Job] != a.life || !a.State.Final() {
			b.wrong(rule, "the record of %s, which is %s", name, a.State)
		}
	}
	for name := range b.last {
		if b.job[name] == nil {
			b.wrong(rule, "what %s is remembered by", name)
		}
	}
	for name, low := range b.lw {
		if low != "" && b.job[name] == nil {
			b.wrong(rule, "the low water of %s", name)
		}
	}
	if len(b.node) != len(b.runners) {
		b.wrong(rule, "%d runners", len(b.node))
	}
	for name, j := range b.job {
		if j.now().KeepFor > 0 {
			b.wrong(rule, "the submitted job %s", name)
		}
	}
}

// holds says what is wrong with a claim of a tick, or of an instance of one, if
// anything is.
func (v *version) holds(id keys.RunID) string {
	switch {
	case v.Paused:
		return "the job is paused"
	case !id.Tick.After(v.From()):
		return "the tick is not the job's, which has its ticks since " + v.From().Format(clockTime)
	case !v.Next(v.ticks, id.Tick.Add(-1)).Equal(id.Tick):
		return "the job is not due then"
	case !v.placed(id.Place):
		return "the job does not run there: " + v.On
	}
	return ""
}

func (v *version) placed(place string) bool {
	switch {
	case v.place.All:
		return strings.HasPrefix(place, "@")
	case v.place.N > 1:
		return strings.HasPrefix(place, "#")
	}
	return place == ""
}

// moved reports whether it is another job's ticks that v has, from now on.
func (j *life) moved(i int) bool {
	return i == 0 || !j.versions[i].From().Equal(j.versions[i-1].From())
}
