package status

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"conch/pkg/cron"
	"conch/pkg/hold"
	"conch/pkg/schedule"
)

// Snapshot is what there was at one revision. It is shared: nobody may change
// what it points to.
type Snapshot struct {
	Offices    []*Office    // that somebody holds or waits for, by name
	Semaphores []*Semaphore // likewise
	Jobs       []*Job       // by name
	Running    []*cron.Act  // runs in progress, by job and tick
	Runners    []*Runner    // by id
	Waiting    int          // runs that were asked for, and that nobody has claimed
	Paused     bool         // every job is

	Rev     int64
	Cluster uint64    // of the etcd cluster
	At      time.Time // when etcd was last heard of
	Stale   string    // why it may be out of date, or ""
}

// State is where a run in progress stands.
func (s *Snapshot) State(a *cron.Act) cron.State { return a.State(s.alive) }

// alive reports whether there is a runner of that id.
func (s *Snapshot) alive(runner string) bool {
	_, ok := slices.BinarySearchFunc(s.Runners, runner, func(r *Runner, id string) int { return strings.Compare(r.ID, id) })
	return ok
}

// Office is an office in use.
type Office struct {
	Name    string
	Holder  *hold.Candidate   // nil: nobody yet, the lock-delay runs
	Waiters []*hold.Candidate // in line
}

// Semaphore is a semaphore in use.
type Semaphore struct {
	Name    string
	Max     int // its capacity; 0: not known
	Holders []*hold.Candidate
	Waiters []*hold.Candidate // in line
	Spread  []Spread          // who waits for a host, or another label, before standing in line
}

// Spread is somebody who waits for a host.
type Spread struct {
	Host string
	*hold.Candidate
}

// Held is how much of the capacity is taken.
func (s *Semaphore) Held() int {
	n := 0
	for _, c := range s.Holders {
		n += max(1, c.Weight)
	}
	return n
}

// Waiting is how many wait.
func (s *Semaphore) Waiting() int { return len(s.Waiters) + len(s.Spread) }

// Job is a job and how its latest run has ended.
type Job struct {
	Name string
	*Spec
	Last *Last // nil: none has

	Missed, Unplaced int // ticks that nobody has run, so far
}

// Spec is what is kept of what a job is. There may be very many.
type Spec struct {
	Schedule string
	TZ       string // "": UTC
	On       string // "": any
	Paused   bool
	Bad      string // why it cannot be read, or ""
	Once     bool   // it was submitted: a job of one run

	dst                     schedule.Rule
	anchor, starts, expires *time.Time
	next                    atomic.Pointer[span]
}

// Last is how the latest run of a job has ended.
type Last struct{ cron.Last }

// Exit is the exit status that stands for how the run has ended.
func (l *Last) Exit() int {
	if l.Status != 0 {
		return l.Status
	}
	return (&cron.Run{State: l.State, Exit: l.Last.Exit}).Status()
}

// Took is how long the run took; false: it has not begun, or nobody knows.
func (l *Last) Took() (time.Duration, bool) {
	return l.Ended.Sub(l.Began), !l.Began.IsZero() && !l.Ended.Before(l.Began)
}

// Runner is a runner and how many runs it has in progress.
type Runner struct {
	*cron.Node
	Running int
}

// Placed returns a function that reports whether a runner is there that a job may run
// on. Where that cannot be read, runners say so.
func (s *Snapshot) Placed() func(j *Job) bool {
	nodes := make([]cron.Node, len(s.Runners))
	for i, r := range s.Runners {
		nodes[i] = *r.Node
	}
	known := map[string]bool{}
	return func(j *Job) bool {
		is, ok := known[j.On]
		if !ok {
			p, err := cron.ParsePlacement(j.On)
			is = err != nil || p.Placed(nodes)
			known[j.On] = is
		}
		return is
	}
}

// Standing says where a job stands of which nothing runs.
func (s *Snapshot) Standing(j *Job, now time.Time, placed func(*Job) bool) string {
	is := cron.Standing{
		Bad: j.Bad != "", Paused: j.Paused, AllPaused: s.Paused, Due: !j.Next(now).IsZero(), Manual: j.Schedule == "@manual",
		Once: j.Once, Ended: j.Last != nil,
	}
	return is.State(func() bool { return placed(j) })
}
