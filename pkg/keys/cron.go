package keys

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// tickWidth is the number of digits of a tick in a key: enough for the year
// 318857, and of fixed width, so that etcd compares ticks as numbers.
const tickWidth = 13

// Tick spells the scheduled instant t as keys do, in whole seconds of UTC.
// Instants before 1970 are not scheduled.
func Tick(t time.Time) string { return fmt.Sprintf("%0*d", tickWidth, t.Unix()) }

// ParseTick reads what Tick has spelled.
func ParseTick(s string) (time.Time, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	if len(s) != tickWidth || err != nil || n < 0 {
		return time.Time{}, false
	}
	return time.Unix(n, 0).UTC(), true
}

// Cron is where jobs, runs and runners lie.
type Cron struct {
	// Dir is the prefix of all of it, and ends in a slash.
	Dir string
	// From and To bound, as a range of etcd, all but the runs and the low water,
	// which are many and which nobody needs to follow.
	From, To string
}

// Cron returns where s keeps jobs, runs and runners.
func (s Space) Cron() Cron {
	dir := string(s) + "/cron/"
	return Cron{Dir: dir, From: dir + "act/", To: dir + "run/"}
}

// Jobs returns the prefix of all jobs.
func (c Cron) Jobs() string { return c.Dir + "job/" }

// Job returns the key of what a job is. Names must have passed CheckName.
func (c Cron) Job(name string) string { return c.Jobs() + name }

// LowWater returns the key of the tick up to which none can be claimed.
func (c Cron) LowWater(name string) string { return c.Dir + "lw/" + name }

// Lasts returns the prefix of all last results.
func (c Cron) Lasts() string { return c.Dir + "last/" }

// Last returns the key of how the latest run of a job ended.
func (c Cron) Last(name string) string { return c.Lasts() + name }

// Runs returns the prefix of the runs of a job.
func (c Cron) Runs(name string) string { return c.Dir + "run/" + name + "/" }

// Run returns the key of a run.
func (c Cron) Run(r RunID) string { return c.Runs(r.Job) + r.ID() }

// Acts returns the prefix of the live markers of all jobs.
func (c Cron) Acts() string { return c.Dir + "act/" }

// ActsOf returns the prefix of the live markers of a job in one place; "" is
// the place of a job that runs in one at a time, and the prefix then is that of
// all its markers.
func (c Cron) ActsOf(name, place string) string {
	dir := c.Acts() + name + "/"
	if place != "" {
		dir += place + "/"
	}
	return dir
}

// Act returns the key of the live marker of a run.
func (c Cron) Act(r RunID) string {
	if _, manual := r.Request(); manual { // it is one with the others of its job
		return c.ActsOf(r.Job, "") + r.ID()
	}
	return c.ActsOf(r.Job, r.Place) + Tick(r.Tick)
}

// Lost returns the key of a run whose sentinel has written its end, in the place of a
// runner that was killed, and of which nobody has told yet.
func (c Cron) Lost(r RunID) string { return c.Dir + "lost/" + r.Job + "/" + r.ID() }

// Nodes returns the prefix of all runners.
func (c Cron) Nodes() string { return c.Dir + "node/" }

// Retry returns the key of the marker of a run that waits for its next attempt. It
// stands in the place of Act's, which is made anew with each attempt: its
// create-revision is the attempt's token.
func (c Cron) Retry(r RunID) string { return c.Act(r) + waiting }

// waiting ends the key of a marker that nobody is at work for.
const waiting = "~"

// Node returns the key of a runner.
func (c Cron) Node(id string) string { return c.Nodes() + id }

// Requests returns the prefix of all requests.
func (c Cron) Requests() string { return c.Dir + "req/" }

// RequestsOf returns the prefix of the requests about a job.
func (c Cron) RequestsOf(name string) string { return c.Requests() + name + "/" }

// Request returns the key of a request about a job.
func (c Cron) Request(name, id string) string { return c.RequestsOf(name) + id }

// Paused returns the key that pauses every job.
func (c Cron) Paused() string { return c.Dir + "paused" }

// Resumed returns the key that says when every job was last paused.
func (c Cron) Resumed() string { return c.Dir + "resumed" }

// Restored returns the key of an operator's word that etcd was restored.
func (c Cron) Restored() string { return c.Dir + "restored" }

// manual begins the place of a run that somebody asked for. It needs no quotes in a
// shell and no escape in the path of a URL. The one before it did: interactive bash
// expands a ! inside double quotes. Runs that have it keep their names.
const (
	manual    = "+"
	manualWas = "!"
)

// RunID names a run: which job, for which instant, and where that is one of
// several.
type RunID struct {
	Job  string
	Tick time.Time // the scheduled instant, or that of the request
	// Place is "" for a job that runs in one place, "@" and a node's name or
	// "#" and a number for one of several, and "+" (of an older conch "!") and the
	// id of the request for a run that was asked for by hand: see Request. That of no
	// run, but of ticks that nobody has run, the first of which Tick is, is ":" and
	// what became of them.
	Place string
}

// unrun begins the place of what is the record of no run.
const unrun = ":"

// TicksPlace is the Place of the record of a stretch of ticks that nobody has run.
func TicksPlace(state string) string { return unrun + state }

// Ticks reports whether r is no run, but ticks that nobody has run.
func (r RunID) Ticks() bool { return strings.HasPrefix(r.Place, unrun) }

// ManualPlace is the Place of the run that a request asks for.
func ManualPlace(request string) string { return manual + request }

// CheckRequest says why s cannot be the id of a request, or nil: it is a name, and
// does not end in the mark of a run that waits for its next attempt, behind which it
// stands in a key.
func CheckRequest(s string) error {
	if err := CheckName(s); err != nil {
		return err
	}
	if strings.HasSuffix(s, waiting) {
		return fmt.Errorf("the name %q ends in %s, which marks a run that waits for its next attempt", s, waiting)
	}
	return nil
}

// Request returns the id of the request that asked for the run, if one did.
func (r RunID) Request() (id string, ok bool) {
	if id, ok = strings.CutPrefix(r.Place, manual); ok {
		return id, true
	}
	return strings.CutPrefix(r.Place, manualWas)
}

// Is reports whether r and o are one run, whichever mark a run by hand has.
func (r RunID) Is(o RunID) bool {
	mine, manual := r.Request()
	yours, too := o.Request()
	return r.Job == o.Job && r.Tick.Equal(o.Tick) && (r.Place == o.Place || manual && too && mine == yours)
}

// ID is r without the job: the last element of the run's key.
func (r RunID) ID() string { return Tick(r.Tick) + r.Place }

// String is r as people pass it around: JOB/ID.
func (r RunID) String() string { return r.Job + "/" + r.ID() }

// ParseRunID reads what String has spelled.
func ParseRunID(s string) (RunID, error) {
	job, id, ok := strings.Cut(s, "/")
	if !ok {
		return RunID{}, fmt.Errorf("%q is not a run: one is called JOB/ID, as history shows it", s)
	}
	if err := CheckName(job); err != nil {
		return RunID{}, err
	}
	r, ok := RunOfID(job, id)
	if !ok {
		return RunID{}, fmt.Errorf("%q is not the id of a run: one begins with %d digits, as history shows it", id, tickWidth)
	}
	return r, nil
}

// RunOfID reads the id of one of a job's runs.
func RunOfID(job, id string) (RunID, bool) {
	if len(id) < tickWidth {
		return RunID{}, false
	}
	tick, ok := ParseTick(id[:tickWidth])
	place := id[tickWidth:]
	if !ok || place != "" && !strings.ContainsRune("@#"+manual+manualWas+unrun, rune(place[0])) || strings.Contains(place, "/") {
		return RunID{}, false
	}
	return RunID{Job: job, Tick: tick, Place: place}, true
}

// Entry says what a key of cron is about.
type Entry struct {
	Kind string // "act", "job", "last", "lost", "lw", "node", "paused", "req", "restored", "resumed", "run"
	Name string // of the job, or the id of the node
	ID   string // of a request
	Run  RunID  // of a run, its live marker, or that it was lost
	// Waits: of a marker, that the run waits for its next attempt.
	Waits bool
}

// Entry says what key is about; false: it is none of cron's.
func (c Cron) Entry(key string) (Entry, bool) {
	rest, ok := strings.CutPrefix(key, c.Dir)
	if !ok {
		return Entry{}, false
	}
	kind, rest, _ := strings.Cut(rest, "/")
	name, id, _ := strings.Cut(rest, "/")
	e := Entry{Kind: kind, Name: name}
	switch kind {
	case "job", "last", "lw", "node":
		return e, name != "" && id == ""
	case "paused", "restored", "resumed":
		return e, rest == ""
	case "req":
		e.ID = id
		return e, name != "" && id != "" && !strings.Contains(id, "/")
	case "lost", "run":
		e.Run, ok = RunOfID(name, id)
		return e, ok && name != ""
	case "act":
		id, e.Waits = strings.CutSuffix(id, waiting)
		if place, tick, found := strings.Cut(id, "/"); found {
			id = tick + place
		}
		e.Run, ok = RunOfID(name, id)
		return e, ok && name != ""
	}
	return Entry{}, false
}
