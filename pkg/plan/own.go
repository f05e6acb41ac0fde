package plan

import (
	"errors"
	"slices"
	"strings"
	"time"

	"conch/pkg/clock"
	"conch/pkg/cron"
	"conch/pkg/keys"
)

// own is a run that this runner has claimed, or is claiming.
type own struct {
	id   keys.RunID
	due  time.Time
	late int64 // when it is too late to start it, nanoseconds of UTC; 0: never
	spec *cron.Job
	run  *cron.Run // nil: the claim has not been answered
	over bool      // it has ended

	asked clock.Instant // when it was claimed

	// What it was claimed for: one of these.
	tick *tick
	req  *request
	act  *act // the one that waited for this attempt

	moves, how uint32 // of the job, when it was claimed
	skipped    int    // ticks that were skipped for it, ...
	skipTo     int64  // ... the latest of them
	killed     map[string]bool
}

// skip notes that a tick is over with the run.
func (m *own) skip(t *tick) {
	m.skipped++
	m.skipTo = max(m.skipTo, t.at)
}

// claim asks for a run.
func (l *looking) claim(m *own, spec *cron.Job, c cron.Claim) {
	p, j := l.p, l.j
	if c.Run == nil {
		c.Run = &cron.Run{Attempt: 1}
	}
	c.Run.RunID, c.Run.State, c.Run.Node, c.Run.Host = m.id, cron.Running, p.cfg.Node.ID, p.cfg.Node.Host
	c.Run.Claimed, c.Run.JobRev = p.now.Wall.UTC(), j.born
	c.JobRev, c.Forbid = j.rev, spec.Overlaps() != cron.Allow
	m.spec, m.moves, m.how, m.killed = spec, j.moves, j.how, map[string]bool{}
	m.asked = p.now.Up
	p.mine[m.id.String()] = m
	if m.tick != nil && strings.HasPrefix(m.id.Place, "#") {
		p.lives(j).had = append(p.lives(j).had, m.tick.at)
	}
	p.do(Claim{Claim: c, Spec: spec, Due: m.due})
}

// answered goes on with a claim.
func (p *Planner) answered(f Answer) {
	name := f.ID.String()
	m := p.mine[name]
	if m == nil || m.run != nil {
		return
	}
	j := p.named(f.ID.Job)
	p.touch(j)
	if f.Err == nil && f.Ours {
		p.closed(j, m)
		m.run = f.Run
		if m.late != 0 && p.wall() > m.late {
			run := *f.Run
			run.State, run.Cause, run.Ended = cron.Unknown, "the claim was confirmed too late to start it", p.now.Wall.UTC()
			p.catchUp(j, m, run.Ended)
			m.over = true
			p.do(GiveUp{ID: m.id, Settle: p.settle(j, m, &run, false)})
			return
		}
		p.do(Start{ID: m.id})
		for _, r := range j.kills(m.id) {
			p.killMine(r.Request)
		}
		return
	}
	delete(p.mine, name)
	if j.live != nil && m.tick != nil {
		j.live.had = slices.DeleteFunc(j.live.had, func(at int64) bool { return at == m.tick.at })
	}
	again, most := lookAgain, refusedMost
	switch {
	case f.Err == nil: // somebody else's
		if j.live != nil && m.tick != nil && slices.Contains(j.live.open, m.tick) { // else the table has told it first
			p.passed(m.id, f.Run.Host)
		}
		p.closed(j, m)
		if m.tick == nil { // the table is behind; it does not tell for how long
			p.claimAgain(j, m, failedAgain, failedMost)
		}
		return
	case errors.Is(f.Err, cron.ErrPruned): // perhaps it has been run, and that is forgotten
		p.closed(j, m)
		return
	case errors.Is(f.Err, cron.ErrOverlap), errors.Is(f.Err, cron.ErrChanged), errors.Is(f.Err, cron.ErrPaused): // the table tells by what
	default:
		p.say(Event{Event: "unclaimed", Level: Warning, Job: j.name, Run: name, Tick: m.id.Tick, Reason: f.Err.Error()})
		again, most = failedAgain, failedMost
	}
	p.claimAgain(j, m, again, most)
}

// claimAgain goes back to before a claim that was refused. It is made again after some
// time, each time after twice as long, up to the most.
func (p *Planner) claimAgain(j *job, m *own, again, most time.Duration) {
	later := func(refused *int) time.Duration {
		*refused++
		return min(again<<min(*refused-1, 10), most)
	}
	switch {
	case m.act != nil:
		m.act.sent = p.now.Up.Add(later(&m.act.refused))
	case m.req != nil:
		m.req.sent = p.now.Up.Add(later(&m.req.refused))
	case j.rev == 0 || j.paused || j.moves != m.moves || j.how != m.how: // it may be another's by now, or be run elsewhere
		p.reopen(j)
	default:
		m.tick.from = p.wall() + int64(later(&m.tick.refused))
		if l := p.lives(j); !slices.ContainsFunc(l.open, func(t *tick) bool { return t.name == m.tick.name }) && l.act(m.tick.name) == nil {
			l.open = append(l.open, m.tick)
			slices.SortStableFunc(l.open, func(a, b *tick) int { return int(a.at - b.at) })
		}
	}
}

// closed takes the tick of a claim off the open ones, and one that was to be run for all
// that were missed up to it.
func (p *Planner) closed(j *job, m *own) {
	if j.live == nil || m.tick == nil {
		return
	}
	j.live.open = slices.DeleteFunc(j.live.open, func(t *tick) bool { return t.name == m.tick.name || t.forAll && t.at <= m.tick.at })
}

// killMine asks a run of this runner to end, if that is what q asks for.
func (p *Planner) killMine(q *cron.Request) {
	if q.Action != cron.Kill {
		return
	}
	id, ok := keys.RunOfID(q.Job, q.Run)
	if !ok {
		return
	}
	if m := p.mine[id.String()]; m != nil && m.run != nil && !m.over && !m.killed[q.ID] {
		m.killed[q.ID] = true
		p.do(Stop{ID: id, By: q.By})
	}
}

// ended settles a run of this runner.
func (p *Planner) ended(f Ended) {
	run := *f.Run
	name := run.RunID.String()
	j := p.named(run.Job)
	if a := j.live.act(name); f.Foreign && (a == nil || a.Claim != run.Claim) {
		p.tidy(j)
		return
	}
	p.touch(j)
	if f.Kept {
		p.kept[keptName(run.RunID, run.Claim)] = true
	}
	m := p.mine[name]
	if m != nil && (m.run == nil || m.run.Claim != run.Claim || m.over) || m == nil && !f.Kept {
		return
	}
	if p.believes() && run.Ended.After(p.now.Wall.Add(maxAhead)) { // by a clock that has been set since
		run.Ended = p.now.Wall.UTC()
	}
	if m != nil {
		p.catchUp(j, m, run.Ended)
		m.over = true
	}
	p.do(p.settle(j, m, &run, f.Unstarted))
}

// catchUp skips for a run the ticks that came before it ended, and have not been looked
// at since.
func (p *Planner) catchUp(j *job, m *own, ended time.Time) {
	if !j.forbids || !p.whole || !p.believes() || !j.has(m.run.JobRev) { // without a clock that is right it is not known what has come
		return
	}
	l := &looking{p: p, j: j}
	l.openTicks()
	if j.live == nil {
		return
	}
	j.live.open = slices.DeleteFunc(j.live.open, func(t *tick) bool {
		over := p.mine[t.name] == nil && j.during(t, m.run.Marker(), nanos(ended))
		if over {
			m.skip(t)
			p.skipped(t, m.id.String(), p.cfg.Node.Host)
		}
		return over
	})
}

// settle returns how the end of a run of this runner is to be written. m is nil for one
// of an earlier start.
func (p *Planner) settle(j *job, m *own, run *cron.Run, unstarted bool) Settle {
	s := Settle{Ours: true, Settlement: cron.Settlement{Run: run, Rev: run.Rev}}
	a := j.live.act(run.RunID.String())
	here := a != nil && a.Act != nil && a.Claim == run.Claim && !a.Waits
	var spec *cron.Job
	switch {
	case m != nil:
		run.Skipped = m.skipped
		spec, here = m.spec, true
	case j.has(run.JobRev):
		spec, _ = j.spec()
	}
	for _, r := range j.kills(run.RunID) {
		s.Requests = append(s.Requests, r.ID)
		endKilled(run, r.By)
	}
	switch {
	case unstarted && here && run.State == cron.Failed: // the claim is given back
		run.State, run.Attempt, run.RetryAt = cron.Retrying, run.Attempt-1, run.Ended.Add(failedAgain)
	case spec != nil && here:
		tryAgain(run, spec)
	}
	if !run.State.Final() {
		return s
	}
	s.Spec = spec
	to := int64(0)
	if m != nil {
		to = m.skipTo
	}
	if j.forbids && !j.many && j.has(run.JobRev) && p.believes() {
		// What came while it ran is over with it, in whichever attempt, and whoever made that.
		to = max(to, j.cameIn(j.skipsFrom(run.Marker(), false), min(nanos(run.Ended), p.wall())))
	}
	p.finish(j, &s, spec, to)
	if m != nil && len(p.mine) > few {
		s.Wait = 500 * time.Millisecond
		if j.next != 0 { // it must not find the run still in progress
			s.Wait = max(min(s.Wait, time.Duration(j.next*int64(time.Second)-p.wall())/10), 0)
		}
	}
	return s
}

// few is how many runs there may be for results not to be kept back, to go with
// others.
const few = 4

// endKilled makes the end of a run one that somebody has asked for: who asks for its
// end wants no other attempt.
func endKilled(run *cron.Run, by string) {
	switch run.State {
	case cron.Failed, cron.TimedOut, cron.Lost:
		run.State, run.Cause = cron.Killed, "by "+by
	}
}

// tryAgain turns a result into the wait for another attempt, if the job wants one.
func tryAgain(run *cron.Run, spec *cron.Job) {
	switch run.State {
	case cron.Failed, cron.TimedOut, cron.Lost:
		if run.Cause == "" && run.Attempt <= spec.Retries() {
			run.Cause = run.How()
		}
		run.TryAgain(spec)
	}
}

// finish says what the job is remembered by when a run has ended for good, whose job it
// was, and what is to be pruned. Ticks up to skipTo are over with it.
func (p *Planner) finish(j *job, s *Settle, spec *cron.Job, skipTo int64) {
	run := s.Run
	mem := j.remembered()
	mem.Reckoned = p.reckoned[j.name]
	if p.believes() && mem.Ended.After(p.now.Wall.Add(maxAhead)) { // by a clock that was ahead
		mem.Ended = run.Ended
	}
	if !j.has(run.JobRev) || run.Ended.Before(mem.Ended) { // what there is is found out; by another's clock, all of that counts
		mem.Rev = -1
	}
	s.Memory = &mem
	over := skipTo
	if !isManual(run.RunID) { // else it is on no schedule, and by the clock of who asked for it
		over = max(over, run.Tick.Unix())
	}
	if over != 0 {
		s.Over = time.Unix(over, 0).UTC()
	}
	if spec == nil || (mem.Runs+1)%spec.Keeps() != 0 {
		return
	}
	// A run that was asked for does not push out what the schedule still has to.
	newest := j.last - 1
	if !isManual(run.RunID) {
		newest = max(newest, run.Tick.Unix()-1)
	}
	if run.Place != "" && !isManual(run.RunID) || j.many { // nor does one host's push out what another may still start
		newest = min(newest, j.oldest(p.wall())-2)
	}
	s.Prune, s.Newest = true, time.Unix(max(newest, 0), 0).UTC()
}

// settled is called when the end of a run of ours has been written, or is kept.
func (p *Planner) settled(f Settled) {
	name := f.ID.String()
	m := p.mine[name]
	claim := f.Claim
	if m != nil && m.over && (claim == "" || m.run.Claim == claim) {
		delete(p.mine, name)
		claim = m.run.Claim
	}
	if f.Err != nil {
		p.kept[keptName(f.ID, claim)] = true
	} else {
		delete(p.kept, keptName(f.ID, claim))
	}
	p.touch(p.named(f.ID.Job))
}

func keptName(id keys.RunID, claim string) string { return id.String() + " " + claim }

// skipAll says of the open ticks that came while a run was in progress that they are
// over with it: nobody else does.
func (l *looking) skipAll(a *act) {
	for _, t := range l.j.live.open {
		if !t.blocked || l.p.mine[t.name] != nil || !l.j.during(t, a.Act, l.p.wall()) {
			continue
		}
		if !t.said {
			t.said = true
			l.p.skipped(t, a.name, a.Host)
		}
	}
}

// giveUp ends a run that nobody is at work for. A cause that begins with a semicolon is
// added to the record's.
func (l *looking) giveUp(a *act, state cron.State, cause string) {
	p, j := l.p, l.j
	run := &cron.Run{RunID: a.RunID, Claim: a.Claim, Attempt: a.Attempt, State: state, Cause: cause, Ended: p.now.Wall.UTC(), JobRev: a.JobRev}
	s := Settle{ReadRun: true, Settlement: cron.Settlement{Run: run, Rev: a.Rev}}
	spec, _ := l.specOf(a)
	for _, r := range j.kills(a.RunID) {
		s.Requests = append(s.Requests, r.ID)
		if a.Waits {
			run.State, run.Cause = cron.Killed, "by "+r.By+", before its next attempt"
		} else {
			endKilled(run, r.By)
		}
	}
	if run.State == cron.Lost {
		s.Gone = a.Node
		if spec != nil {
			run.TryAgain(spec)
		}
	}
	if run.State.Final() && spec != nil {
		s.Spec = spec
		to := int64(0)
		if spec.Overlaps() == cron.Forbid {
			l.skipAll(a)
			to = j.cameIn(j.skipsFrom(a.Act, false), p.wall())
		}
		p.finish(j, &s, spec, to)
	}
	p.do(s)
}
