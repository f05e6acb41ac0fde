package plan

import (
	"math"
	"slices"
	"time"

	"conch/pkg/clock"
	"conch/pkg/cron"
	"conch/pkg/schedule"
)

// Ticks that nobody has run are counted: each runner that may have to say what became of
// them keeps them in mind, and the first of those writes them down. What it has written
// the others find in the table, and forget.

const (
	// noteEvery is how often what came to nothing is written down, of one job: one that
	// is due each second, and that nobody can run, is not to cost an entry in Raft's log
	// each second.
	noteEvery = time.Minute
	// countAtOnce is how many ticks are gone through in one step: after a week there
	// may be millions to be counted.
	countAtOnce = 500
	// countAgain is after how long that goes on.
	countAgain = time.Millisecond
)

// noting is what is to be counted of a job.
type noting struct {
	gaps   []gap
	sent   clock.Instant // when they were last written down; 0: not yet
	queued bool          // they are to be gone through
}

// gap is ticks that nobody has run, one behind the other.
type gap struct {
	state     cron.State
	from, to  int64 // seconds: the first and the last, or, as long as they are not counted, between which they are
	sure      int64 // from when on nobody claims them in time, by whichever clock, nanoseconds of UTC
	sched     *schedule.Schedule
	count     int
	at        int64 // the second up to which they have been counted
	forgotten bool  // see unrun
}

// counted reports whether all ticks of g have been gone through.
func (g *gap) counted() bool { return g.at >= g.to }

// bounds are seconds, both ends among them.
type bounds struct{ from, to int64 }

// less returns what of spans is left without another.
func less(spans []bounds, from, to int64) (left []bounds) {
	for _, s := range spans {
		if s.from < from {
			left = append(left, bounds{s.from, min(s.to, from-1)})
		}
		if s.to > to {
			left = append(left, bounds{max(s.from, to+1), s.to})
		}
	}
	return left
}

// unrun keeps in mind that nobody has run the ticks from one to another, as far as they
// have not been counted. If forgotten, another of the runs of such a tick may have been
// pruned by now, or be before this is written down.
func (l *looking) unrun(state cron.State, from, to int64, forgotten bool) {
	p, j := l.p, l.j
	if r := p.reckoned[j.name]; r != nil {
		from = max(from, r.Through.Unix()+1)
	}
	n := p.notes[j.name]
	if n == nil {
		n = &noting{}
	}
	left := []bounds{{from, to}}
	for _, g := range n.gaps {
		left = less(left, g.from, g.to)
	}
	for _, was := range p.pausedSpans(j) {
		left = less(left, was.from, was.to)
	}
	if j.live != nil {
		for _, a := range j.live.acts {
			if a.Act != nil && !isManual(a.RunID) && p.inTime(j, a.Act) {
				left = less(left, a.Tick.Unix(), a.Tick.Unix())
				if j.forbids && !j.many { // what was open when it was begun, or came since, is over with it
					left = less(left, (j.skipsFrom(a.Act, false)-j.splay+int64(time.Second)-1)/int64(time.Second), math.MaxInt64)
				}
			}
		}
		for _, c := range j.live.claimed {
			left = less(left, c.at, c.at)
		}
	}
	for _, s := range left {
		if s.from > s.to {
			continue
		}
		g := gap{state: state, from: s.from, to: s.to, sure: j.dueAt(s.to) + j.late + int64(verdict), sched: j.sched, at: s.from - 1, forgotten: forgotten}
		if s.from == s.to {
			g.count, g.at = 1, s.to
		}
		n.add(g)
	}
	if len(n.gaps) > 0 {
		p.notes[j.name] = n
	}
}

// add adds a gap, to the one before if there is no tick between them.
func (n *noting) add(g gap) {
	i, _ := slices.BinarySearchFunc(n.gaps, g.from, func(o gap, from int64) int { return int(o.from - from) })
	if i > 0 && g.counted() {
		if before := &n.gaps[i-1]; before.state == g.state && before.forgotten == g.forgotten && before.sched == g.sched && before.counted() &&
			epoch(g.sched.Next(time.Unix(before.to, 0))) == g.from {
			before.to, before.at, before.sure = g.to, g.at, max(before.sure, g.sure)
			before.count += g.count
			return
		}
	}
	n.gaps = slices.Insert(n.gaps, i, g)
}

// pausedSpans are the ticks of j that came while all jobs were paused.
func (p *Planner) pausedSpans(j *job) (all []bounds) {
	sec := int64(time.Second)
	ticks := func(from, to int64) bounds { return bounds{(from - j.splay + sec - 1) / sec, (to - j.splay) / sec} }
	for _, was := range p.pauses {
		all = append(all, ticks(was.from, was.to))
	}
	if p.paused {
		all = append(all, ticks(p.pausedAt+1, nanos(forever)))
	}
	return all
}

// inTime reports whether a run was claimed before its tick was too late: later it was
// missed, and is made up for.
func (p *Planner) inTime(j *job, a *cron.Act) bool {
	return a.Since().UnixNano() <= j.dueAt(a.Tick.Unix())+j.late
}

// ranAfterAll forgets that a tick was not run: somebody has claimed it in time.
func (p *Planner) ranAfterAll(j *job, a *cron.Act) {
	n := p.notes[j.name]
	if n == nil || isManual(a.RunID) || !p.inTime(j, a) {
		return
	}
	at := a.Tick.Unix()
	var gaps []gap
	for _, g := range n.gaps {
		if g.from > at || g.to < at {
			gaps = append(gaps, g)
			continue
		}
		for _, s := range less([]bounds{{g.from, g.to}}, at, at) {
			part := g
			part.from, part.to, part.at, part.count = s.from, s.to, s.from-1, 0
			gaps = append(gaps, part)
		}
	}
	n.gaps = gaps
}

// reckon takes in up to where ticks have been counted.
func (p *Planner) reckon(j *job, r *cron.Reckoning) {
	was := p.reckoned[j.name]
	if r == nil {
		delete(p.reckoned, j.name)
		return
	}
	p.reckoned[j.name] = r
	n := p.notes[j.name]
	if n == nil || was != nil && was.Through.Equal(r.Through) {
		return
	}
	n.sent = 0
	through := r.Through.Unix()
	n.gaps = slices.DeleteFunc(n.gaps, func(g gap) bool { return g.to <= through })
	if len(n.gaps) > 0 && n.gaps[0].from <= through {
		g := &n.gaps[0]
		g.from, g.at, g.count = through+1, through, 0
	}
}

// notes writes down what nobody has run, when it is this runner's turn.
func (l *looking) notes() {
	p, j := l.p, l.j
	n := p.notes[j.name]
	switch {
	case n == nil:
		return
	case j.rev == 0, len(n.gaps) == 0:
		delete(p.notes, j.name)
		return
	}
	from := n.gaps[0].sure
	if r := p.reckoned[j.name]; r != nil && nanos(r.At) <= p.wall()+int64(maxAhead) { // else by a clock that was wrong
		from = max(from, nanos(r.At)+int64(noteEvery))
	}
	if from += int64(l.turn()); p.newcomer() { // who was there before may have found more
		from += 2 * int64(verdict)
	}
	if from > p.wall() {
		l.at(from)
		return
	}
	v := Note{Note: cron.Note{Job: j.name, Rev: j.lastRev, JobRev: j.born, Over: time.Unix(j.last, 0).UTC(), Late: time.Duration(j.splay + j.late),
		By: p.cfg.Node.ID, Host: p.cfg.Node.Host, At: p.now.Wall.UTC()}}
	for i := range n.gaps {
		g := &n.gaps[i]
		if g.sure > p.wall() {
			break
		}
		if !g.counted() {
			p.enqueueCount(j, n)
			return
		}
		v.Gaps = append(v.Gaps, cron.Gap{State: g.state, From: time.Unix(g.from, 0).UTC(), To: time.Unix(g.to, 0).UTC(), Count: g.count, Forgotten: g.forgotten})
	}
	if v.Spec, _ = l.spec(); v.Spec != nil && l.sends(&n.sent) {
		v.Causes = map[cron.State]string{
			cron.Missed:   "not started within the job's deadline of " + v.Spec.Lateness().String(),
			cron.Unplaced: "no runner is there that the job may run on: " + v.Spec.On,
		}
		p.do(v)
	}
}

// newcomer reports whether this runner has just come, and others were there before.
func (p *Planner) newcomer() bool {
	if p.wall() > p.wholeAt+2*int64(noteEvery) {
		return false
	}
	for _, n := range p.nodes {
		if n.Started.Before(p.cfg.Node.Started) {
			return true
		}
	}
	return false
}

// enqueueCount has the ticks of a job gone through.
func (p *Planner) enqueueCount(j *job, n *noting) {
	if !n.queued {
		n.queued = true
		p.counting = append(p.counting, j.name)
	}
}

// count goes through ticks that are to be counted, some of them at a time, and reports
// whether there are more.
func (p *Planner) count() bool {
	for left := countAtOnce; len(p.counting) > 0; {
		name := p.counting[0]
		n := p.notes[name]
		if n != nil && n.queued {
			for i := range n.gaps {
				if left = n.gaps[i].goOn(left); left <= 0 {
					return true
				}
			}
			n.gaps = slices.DeleteFunc(n.gaps, func(g gap) bool { return g.count == 0 })
			n.queued = false
			p.touch(p.jobs[name])
		}
		p.counting = p.counting[1:]
	}
	return false
}

// goOn counts ticks of g, so many at most, and returns how many more may be.
func (g *gap) goOn(left int) int {
	for ; !g.counted() && left > 0; left-- {
		at := epoch(g.sched.Next(time.Unix(g.at, 0)))
		if at == 0 || at > g.to { // what is left are ticks
			g.to = g.at
			return left
		}
		if g.count == 0 {
			g.from = at
		}
		g.count, g.at = g.count+1, at
	}
	return left
}
