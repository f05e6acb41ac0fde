package plan

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"conch/pkg/clock"
	"conch/pkg/cron"
)

// The placements: whom the runners let go first.
const (
	Spread      = "spread"       // each job has a home, and jobs spread evenly over runners
	Capacity    = "capacity"     // likewise, in proportion to their slots
	LeastLoaded = "least-loaded" // whoever has the smallest part of its slots taken
)

// Config is what a planner is told once.
type Config struct {
	Node      cron.Node     // this runner, as the others see it
	Placement string        // Spread, Capacity or LeastLoaded: whom the runners let go first
	Hedge     time.Duration // from one runner's turn to the next one's
	Replay    time.Duration // how often what etcd has not taken is offered to it again
	SkipClock bool          // a clock that was set is not compared with etcd's
	People    bool          // somebody is told of the runs of jobs without commands of their own for that
	// Told is Planner.Told of this runner's planner before, if there was one.
	Told map[string]int64
}

const (
	// rest is for how long a planner is left alone at most.
	rest = time.Minute
	// lostAfter is how long a runner's key must have been gone before its runs are
	// recorded as lost: one that is alive and connected, and whose key an operator has
	// deleted, has killed what it runs by then.
	lostAfter = time.Second
	// again is after how long what was sent, and of which nothing is seen, is sent again.
	again = 5 * time.Second
	// lookAgain is after how long a claim is tried again that etcd has refused for
	// something that is not in the table yet.
	lookAgain = 250 * time.Millisecond
	// refusedMost is how long that may grow to.
	refusedMost = 2 * time.Second
	// failedAgain and failedMost are the same for one of which there is no answer.
	failedAgain = time.Second
	failedMost  = 5 * time.Second
	// unanswered is how long a claim may be under way for etcd to be thought to be there.
	unanswered = 2 * time.Second
	// stepped is how much the clock on the wall and monotonic time may differ between
	// two readings.
	stepped = time.Second
	// verdict is how long after its deadline a tick is said to have been missed: another
	// runner's clock may be behind by so much, and have claimed it.
	verdict = 5 * time.Second
)

// Planner is what one runner knows and has decided, for the life of one lease. One
// goroutine uses it.
type Planner struct {
	cfg Config
	table

	now     Reading // of this step
	before  Reading // of the last one
	verbs   []Verb  // of this step
	standby string
	unsure  bool // the clock was set, and has not been compared since
	drained bool

	looking looking          // of look, which is called for each of 100,000 jobs at a start
	agenda  agenda           // the jobs by when they are to be looked at
	changed []*job           // those of which something has changed
	queue   []*job           // those that want a slot, first come first served
	mine    map[string]*own  // what this runner has claimed, or is claiming, by the run's name
	kept    map[string]bool  // results that etcd does not have yet, by the run's name and its claim
	met     map[string]bool  // the runners that were compared with this one
	told    map[string]int64 // see Told
	unsaid  []unsaid         // see sayFirst

	notes    map[string]*noting // what is to be counted, by job
	counting []string           // the jobs whose ticks are gone through for that
}

// New returns a planner that knows of nothing.
func New(cfg Config) *Planner {
	p := &Planner{cfg: cfg, table: newTable(), mine: map[string]*own{}, kept: map[string]bool{}, met: map[string]bool{}, told: map[string]int64{},
		notes: map[string]*noting{}}
	p.cfg.Node.Standby = "" // while it stands by nothing is decided
	maps.Copy(p.told, cfg.Told)
	return p
}

// Step takes facts in, as of now, and returns what is to be done, and how long there
// is nothing to do unless there are more facts. A clock that was set is noticed by the
// next step: who may have one takes a step each second.
func (p *Planner) Step(now Reading, facts ...Fact) (verbs []Verb, sleep time.Duration) {
	now.Wall = now.Wall.Round(0)
	p.before, p.now, p.verbs = p.now, now, nil
	p.checkClock()
	for _, f := range facts {
		p.take(f)
	}
	if !p.whole || p.idle() {
		p.forgetIdly()
		return p.verbs, rest
	}
	p.lookAtChanged()
	for len(p.agenda) > 0 && p.agenda[0].wake <= p.wall() {
		p.look(p.agenda[0])
		p.lookAtChanged()
	}
	p.fill()
	p.lookAtChanged()
	counting := p.count()
	p.lookAtChanged()
	sleep = rest
	if counting {
		sleep = countAgain
	}
	if len(p.agenda) > 0 {
		sleep = min(sleep, time.Duration(p.agenda[0].wake-p.wall()))
	}
	return p.verbs, max(sleep, 0)
}

// Told returns up to which tick, in seconds of UTC, it has been said of jobs that some
// were missed.
func (p *Planner) Told() map[string]int64 {
	return p.told
}

// Jobs returns how many jobs there are.
func (p *Planner) Jobs() int { return p.stored }

// Mine returns how many runs this runner has claimed, or is claiming, and not settled.
func (p *Planner) Mine() int { return len(p.mine) }

// idle reports whether nothing is taken on.
func (p *Planner) idle() bool { return !p.believes() || p.drained }

// believes reports whether the clock, and etcd, are believed.
func (p *Planner) believes() bool { return p.standby == "" && !p.unsure }

func (p *Planner) do(v Verb) { p.verbs = append(p.verbs, v) }

// say tells people.
func (p *Planner) say(e Event) {
	e.Time = p.now.Wall.UTC()
	p.do(Say{e})
}

// wall is the clock on the wall, in nanoseconds of UTC.
func (p *Planner) wall() int64 { return p.now.Wall.UnixNano() }

// atUp is an instant of monotonic time on the wall, as the two go now.
func (p *Planner) atUp(i clock.Instant) int64 { return p.wall() + int64(i.Sub(p.now.Up)) }

// checkClock notices that the clock on the wall was set, before anything is done by
// it. A suspend is none: both have gone on.
func (p *Planner) checkClock() {
	if p.before.Wall.IsZero() {
		return
	}
	by := p.now.Wall.Sub(p.before.Wall) - p.now.Up.Sub(p.before.Up)
	if by.Abs() <= stepped {
		return
	}
	p.say(Event{Event: "clock-step", Level: Warning, Reason: fmt.Sprintf("the wall clock was set by %v", by.Round(time.Millisecond))})
	p.unsure = !p.cfg.SkipClock
	for _, j := range p.sorted() {
		p.reopen(j)
		p.touch(j)
	}
}

// take takes one fact in.
func (p *Planner) take(f Fact) {
	switch f := f.(type) {
	case Reread:
		p.reread()
	case Put:
		p.put(f)
	case Deleted:
		p.deleted(f)
	case Whole:
		p.sync(f.Rev)
	case Answer:
		p.answered(f)
	case Ended:
		p.ended(f)
	case Settled:
		p.settled(f)
	case Standby:
		p.standby, p.unsure = f.Why, false
	case Drain:
		p.drained = true
	case StopAll:
		for _, name := range sortedKeys(p.mine) {
			p.do(Stop{ID: p.mine[name].id})
		}
	default:
		panic(fmt.Sprintf("plan: %T is no fact", f))
	}
}

// touch has j looked at in this step.
func (p *Planner) touch(j *job) {
	if j != nil && !j.touched {
		j.touched = true
		p.changed = append(p.changed, j)
	}
}

// lookAtChanged looks at the jobs of which something has changed.
func (p *Planner) lookAtChanged() {
	for len(p.changed) > 0 {
		all := p.changed
		p.changed = nil
		for _, j := range all {
			j.touched = false
			p.look(j)
		}
	}
}

// forgetIdly forgets of jobs, while nothing is taken on, what has come and gone: there
// may be very many of one run.
func (p *Planner) forgetIdly() {
	if !p.whole || len(p.changed) < 1000 {
		return
	}
	p.changed = slices.DeleteFunc(p.changed, func(j *job) bool {
		if j.live != nil {
			j.live.tidy(func(at int64) bool { return j.over(at, p.wall()) })
		}
		p.tidy(j)
		return p.jobs[j.name] != j
	})
}

// full reports whether every slot is taken.
func (p *Planner) full() bool { return len(p.mine) >= p.cfg.Node.Slots }

// enqueue has j looked at when a slot is free.
func (p *Planner) enqueue(j *job) {
	if !j.queued {
		j.queued = true
		p.queue = append(p.queue, j)
	}
}

// fill gives free slots to those that wait for one.
func (p *Planner) fill() {
	for n := len(p.queue); n > 0 && len(p.queue) > 0 && !p.full(); n-- {
		j := p.queue[0]
		p.queue = p.queue[1:]
		j.queued = false
		p.look(j)
	}
}
