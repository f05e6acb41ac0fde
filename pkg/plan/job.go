package plan

import (
	"container/heap"
	"math"
	"slices"
	"strings"
	"time"

	"conch/pkg/clock"
	"conch/pkg/cron"
	"conch/pkg/keys"
	"conch/pkg/schedule"
)

// job is what the planner keeps of a job: there may be very many.
type job struct {
	name    string
	raw     string // what is kept of its specification: read again when it is needed
	rev     int64  // its mod-revision; 0: there is no such job, but something of one is left
	born    int64  // its create-revision: another job of its name has another
	sched   *schedule.Schedule
	splay   int64  // nanoseconds that each tick is delayed by
	late    int64  // nanoseconds after which a tick is not started any more
	from    int64  // ticks up to this are not the job's, as it says, nanoseconds of UTC
	since   int64  // likewise, in seconds, by a clock that is right
	moves   uint32 // a hash of what moves its ticks
	how     uint32 // likewise of where they are run, until when, how late, and what is made up for
	reading uint32 // that it was last told of in
	at      int32  // its index in the agenda + 1; 0: not there
	touched bool   // it is to be looked at in this step
	queued  bool   // it wants a slot
	paused  bool
	forbids bool // its runs must not overlap
	all     bool // all that were missed are run
	bound   bool // it starts or expires some time
	many    bool // nobody remembers which of its ticks have been run: it may overlap, or has several places
	memory

	next int64 // the first tick that has not been opened, seconds of UTC; 0: none
	wake int64 // when it is to be looked at, nanoseconds of UTC; 0: not by itself

	live *live    // nil: nothing goes on
	one  *oneShot // nil: it is no job of one run
}

// oneShot is what there is to a submitted job: when it is removed.
type oneShot struct {
	keepFor int64         // nanoseconds
	over    int64         // from when on that counts, nanoseconds of UTC
	sent    clock.Instant // when its removal was last sent; 0: not yet
}

// memory is what a job is remembered by.
type memory struct {
	last    int64   // the latest tick that is over, seconds of UTC
	ok      int64   // when it last ended well, nanoseconds of UTC
	ended   int64   // when a run of it last ended, likewise
	began   int64   // when that began, likewise
	counts  *counts // nil: there was nothing to count
	lastRev int64   // of what says so
}

// counts is what is counted of the runs of a job.
type counts struct {
	total int32 // that there have been
	fails int32 // since it last ended well
	tally cron.Tally
}

// countsOf is what m has counted.
func countsOf(m cron.Last) *counts {
	c := counts{int32(m.Runs), int32(m.Failures), m.Tally}
	if c == (counts{}) {
		return nil
	}
	return &c
}

// live is what goes on with a job.
type live struct {
	acts    []*act     // in progress, in the order in which they were told of
	reqs    []*request // asked for
	losses  []*loss    // runs of whose end people are to be told
	open    []*tick    // due, and not over, by their instants
	was     []*tick    // those before they were derived anew
	had     []int64    // ticks of which this runner has had one of N places
	claimed []claimed  // runs that were seen in progress, of a job of which nobody remembers each, until their time is over
	freed   []freed    // runs that were in progress when the job was last looked at
}

// claimed is a run that has been seen in progress, of a tick.
type claimed struct {
	name string
	at   int64
}

// freed is a run that is not in progress any more, and until when it was, as it was
// seen, and as its record says, in nanoseconds of UTC; 0: that was not told.
type freed struct {
	*cron.Act
	seen  clock.Instant
	ended int64
}

// over reports whether a tick matters no more at an instant.
func (j *job) over(at, now int64) bool { return j.dueAt(at)+j.late+int64(verdict) < now }

// tidy forgets what is about ticks that are over, and runs that have ended before them.
func (l *live) tidy(over func(at int64) bool) {
	l.had = slices.DeleteFunc(l.had, over)
	l.claimed = slices.DeleteFunc(l.claimed, func(c claimed) bool { return over(c.at) })
	l.freed = slices.DeleteFunc(l.freed, func(f freed) bool { return over(f.Tick.Unix()) })
}

// act returns the marker of a run.
func (l *live) act(name string) *act {
	if l == nil {
		return nil
	}
	for _, a := range l.acts {
		if a.name == name {
			return a
		}
	}
	return nil
}

// describe takes over what spec says.
func (p *Planner) describe(j *job, spec *cron.Job, sched *schedule.Schedule) {
	j.splay = splay(j.name, time.Duration(spec.Splay))
	j.late = int64(min(spec.Lateness(), longest))
	j.from = nanos(spec.From())
	p.setSince(j)
	j.paused = spec.Paused
	j.moves = 1 | uint32(schedule.Hash(spec.Moves()+"\x00"+spec.From().UTC().Format(time.RFC3339Nano)))
	until := ""
	if spec.Expires != nil {
		until = spec.Expires.UTC().Format(time.RFC3339Nano)
	}
	j.how = uint32(schedule.Hash(strings.Join([]string{spec.On, until, spec.Lateness().String(), string(spec.Misfires())}, "\x00")))
	if spec.KeepFor > 0 {
		j.one = &oneShot{keepFor: int64(min(time.Duration(spec.KeepFor), longest))}
	}
	place, err := cron.ParsePlacement(spec.On)
	if err != nil {
		p.say(Event{Event: "unusable", Level: Warning, Job: j.name, Reason: err.Error()})
	}
	j.forbids, j.all = spec.Overlaps() == cron.Forbid, spec.Misfires() == cron.MisfireAll
	j.many = place.All || place.N > 1 || spec.Overlaps() == cron.Allow
	if !spec.Paused && err == nil {
		j.sched = sched
	}
}

// splay is the delay of a job among those that are due at the same time.
func splay(name string, d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return int64(schedule.Hash(name) % uint64(d))
}

// maxAhead is by how much the clock of who has written a job may be ahead of ours, as
// cron.Store and the runner hold theirs against etcd's.
const maxAhead = 10 * time.Second

// setSince finds out up to when ticks are not the job's.
func (p *Planner) setSince(j *job) {
	j.since = p.now.Wall.Unix() // if who wrote it had a clock that was wrong
	if j.from < p.wall()+int64(maxAhead) {
		j.since = j.from / int64(time.Second)
	}
	p.setOver(j)
}

// setOver finds out from when on the removal of a submitted job is counted: not in the
// time of a clock that was ahead.
func (p *Planner) setOver(j *job) {
	if j.one != nil {
		j.one.over = min(max(j.ended, j.from), p.wall())
	}
}

// keep keeps what is needed to claim and run the job: not what is for people, unless they
// are told of its runs, nor what has become a field of j. That is half of what each job takes.
func (j *job) keep(spec cron.Job, people bool) error {
	spec.Name = ""
	if !people && !spec.Tells() {
		spec.Description, spec.Owners = "", nil
	}
	spec.Schedule, spec.TZ, spec.DST, spec.Anchor = "", "", "", nil
	spec.Splay, spec.Paused = 0, false
	spec.Unstamp()
	j.bound = spec.Starts != nil || spec.Expires != nil
	var err error
	j.raw, err = spec.Encode()
	return err
}

// spec is what keep has kept.
func (j *job) spec() (*cron.Job, error) {
	spec, err := cron.DecodeJob([]byte(j.raw))
	if err == nil {
		spec.Name = j.name
	}
	return spec, err
}

// bounds is spec in so far as it bounds the ticks. Most jobs have no bounds, and to
// read a hundred thousand again for that takes a second.
func (j *job) bounds() *cron.Job {
	if j.bound {
		if spec, err := j.spec(); err == nil {
			return spec
		}
	}
	return &unbounded
}

// unbounded is what most jobs are, as far as bounds are asked for.
var unbounded cron.Job

// where reads what j is, and where it may run.
func (j *job) where() (*cron.Job, cron.Placement, error) {
	spec, err := j.spec()
	if err != nil {
		return nil, cron.Placement{}, err
	}
	place, err := cron.ParsePlacement(spec.On)
	return spec, place, err
}

// dueAt is when a tick of j is due, in nanoseconds of UTC.
func (j *job) dueAt(tick int64) int64 {
	if tick > (math.MaxInt64-j.splay)/int64(time.Second) { // after the year 2262
		return math.MaxInt64
	}
	return tick*int64(time.Second) + j.splay
}

// has reports whether a run is of this job, and not of one that had its name before.
func (j *job) has(jobRev int64) bool {
	return j.rev != 0 && (jobRev == 0 || j.born == 0 || jobRev == j.born)
}

// claimed notes that a tick need not be opened any more.
func (j *job) claimed(a *act) {
	if a.Place == "" && j.has(a.JobRev) {
		j.last = max(j.last, a.Tick.Unix())
	}
}

// remembered is what is known of the latest run of j: all that a later one is added to.
func (j *job) remembered() cron.Memory {
	m := cron.Memory{Rev: j.lastRev, Last: cron.Last{OK: fromNanos(j.ok), Ended: fromNanos(j.ended)}}
	if c := j.counts; c != nil {
		m.Runs, m.Failures, m.Tally = int(c.total), int(c.fails), c.tally
	}
	if j.last != 0 {
		m.Tick = time.Unix(j.last, 0).UTC()
	}
	return m
}

// agenda has the jobs that are to be looked at by themselves, by when.
type agenda []*job

// Len is heap.Interface's.
func (h agenda) Len() int { return len(h) }

// Less is heap.Interface's.
func (h agenda) Less(a, b int) bool {
	if h[a].wake != h[b].wake {
		return h[a].wake < h[b].wake
	}
	return h[a].name < h[b].name
}

// Swap is heap.Interface's.
func (h agenda) Swap(a, b int) {
	h[a], h[b] = h[b], h[a]
	h[a].at, h[b].at = int32(a+1), int32(b+1)
}

// Push is heap.Interface's.
func (h *agenda) Push(x any) {
	j := x.(*job)
	*h = append(*h, j)
	j.at = int32(len(*h))
}

// Pop is heap.Interface's.
func (h *agenda) Pop() any {
	last := len(*h) - 1
	j := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	j.at = 0
	return j
}

// set puts j where it belongs with that wake; 0: nowhere.
func (h *agenda) set(j *job, wake int64) {
	j.wake = wake
	switch {
	case wake == 0 && j.at != 0:
		heap.Remove(h, int(j.at-1))
	case wake == 0:
	case j.at != 0:
		heap.Fix(h, int(j.at-1))
	default:
		heap.Push(h, j)
	}
}

// missed returns the last ticks after one second and before another, about MisfireCap
// of them and without going through all: there may be millions.
func (j *job) missed(after, before int64) []time.Time {
	for window := int64(60); ; window *= 60 {
		from := max(after, before-window)
		var ticks []time.Time
		for t := j.sched.Next(time.Unix(from, 0)); !t.IsZero() && t.Unix() < before; t = j.sched.Next(t) {
			ticks = append(ticks, t)
		}
		if len(ticks) >= cron.MisfireCap || from == after {
			return ticks[max(0, len(ticks)-cron.MisfireCap):]
		}
	}
}

// cameIn returns the latest tick that was due from one instant to another, both in
// nanoseconds of UTC; 0: none was.
func (j *job) cameIn(from, to int64) int64 {
	if j.sched == nil {
		return 0
	}
	sec := int64(time.Second)
	first := (from - j.splay + sec - 1) / sec // the first second whose tick would be due then
	end := (to-j.splay)/sec + 1
	bounds := j.bounds()
	if bounds.Starts != nil {
		first = max(first, bounds.Starts.Add(time.Second-1).Unix())
	}
	if bounds.Expires != nil { // a tick at that instant is none
		end = min(end, bounds.Expires.Add(time.Second-1).Unix())
	}
	ticks := j.missed(max(first-1, j.since), end)
	if len(ticks) == 0 {
		return 0
	}
	return ticks[len(ticks)-1].Unix()
}

// epoch is t in seconds; 0 for none.
func epoch(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// longest is what no length of time of a job's is longer than: with it added to any
// instant there are nanoseconds left.
const longest = 50 * 365 * 24 * time.Hour

// forever is when what is put off for longer than that is done.
var forever = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// nanos is t in nanoseconds, not after forever nor before the first of them; 0 for none.
func nanos(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.After(forever):
		t = forever
	}
	return max(t.Unix(), 0)*int64(time.Second) + int64(t.Nanosecond())
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// inProgress returns the runs that one in this place must not overlap.
func (j *job) inProgress(id keys.RunID) []*act {
	if j.live == nil || len(j.live.acts) == 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(j.live.acts), func(a *act) bool { return !cron.Rivals(a.RunID, id) })
}

func isManual(id keys.RunID) bool { _, manual := id.Request(); return manual }
