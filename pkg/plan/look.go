package plan

import (
	"slices"
	"time"

	"conch/pkg/clock"
	"conch/pkg/cron"
	"conch/pkg/keys"
)

// looking is one look at a job: from what is known of it and what time it is follows
// what is to be done, and when it is to be looked at again.
type looking struct {
	p    *Planner
	j    *job
	wake int64

	read bool // spec has been called
	is   *cron.Job
	on   cron.Placement

	turnIs time.Duration // what turn returns, if known
	known  bool
	nodes  []*cron.Node // those that the job may run on, if they are known
	sorted bool
}

// look looks at a job.
func (p *Planner) look(j *job) {
	l := &p.looking
	*l = looking{p: p, j: j}
	if j.rev != 0 {
		l.openTicks()
	}
	l.freed()
	l.ticks()
	l.acts()
	l.requests()
	l.losses()
	l.retire()
	l.notes()
	if j.live != nil { // what this runner has had of ticks that are over matters no more
		j.live.tidy(func(at int64) bool { return j.over(at, p.wall()) })
		for _, c := range j.live.claimed {
			l.at(j.dueAt(c.at) + j.late + int64(verdict) + 1)
		}
	}
	p.agenda.set(j, l.wake)
	p.tidy(j)
}

// turn is how long after the others this runner does what any of them may do for the
// job.
func (l *looking) turn() time.Duration {
	if !l.known {
		l.turnIs, l.known = l.p.turn(l.j.name), true
	}
	return l.turnIs
}

// who returns the runners that may make the next attempt of a run, in their order.
func (l *looking) who(a *act, place cron.Placement) []*cron.Node {
	if !l.sorted {
		l.nodes, l.sorted = order(l.p.eligible(place), l.p.load, l.j.name, l.p.cfg.Placement), true
	}
	if !place.All || isManual(a.RunID) {
		return l.nodes
	}
	var here []*cron.Node // on the same host
	for _, n := range l.nodes {
		if "@"+n.Host == a.Place {
			here = append(here, n)
		}
	}
	return here
}

// at has the job looked at again at an instant of the wall clock, in nanoseconds of UTC.
func (l *looking) at(wall int64) {
	wall = max(wall, l.p.wall()+1) // whatever etcd holds, it comes to an end
	if l.wake == 0 || wall < l.wake {
		l.wake = wall
	}
}

// after reports whether monotonic time has reached i, and else has the job looked at
// again then.
func (l *looking) after(i clock.Instant) bool {
	if !l.p.now.Up.Before(i) {
		return true
	}
	l.at(l.p.atUp(i))
	return false
}

// sends reports whether something is to be sent now, of which it was last sent at sent,
// and notes that.
func (l *looking) sends(sent *clock.Instant) bool {
	if *sent != 0 && !l.after(sent.Add(again)) {
		return false
	}
	*sent = l.p.now.Up
	l.at(l.p.atUp(sent.Add(again)))
	return true
}

// spec reads what the job is, and where it may run; nil: it cannot be read.
func (l *looking) spec() (*cron.Job, cron.Placement) {
	if !l.read {
		l.read = true
		if l.j.rev != 0 {
			l.is, l.on, _ = l.j.where()
		}
	}
	return l.is, l.on
}

// eligible returns the runners that may claim a run of a job that is to be placed so.
func (p *Planner) eligible(place cron.Placement) []*cron.Node {
	var nodes []*cron.Node
	for _, n := range p.nodes {
		if n.Takes(place) {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// mayRun reports whether this runner may claim a run that is to be placed so.
func (p *Planner) mayRun(place cron.Placement) bool {
	return slices.ContainsFunc(p.eligible(place), func(n *cron.Node) bool { return n.ID == p.cfg.Node.ID })
}

// acts looks at the runs in progress that nobody is at work for.
func (l *looking) acts() {
	if l.j.live == nil {
		return
	}
	for _, a := range l.j.live.acts {
		switch _, here := l.p.nodes[a.Node]; {
		case l.p.mine[a.name] != nil, l.p.kept[keptName(a.RunID, a.Claim)]: // its true end is to be written
			a.alone = 0
		case a.Waits:
			l.waits(a)
		case a.Node == l.p.cfg.Node.ID:
			l.orphan(a)
		case a.Node == "" || !here:
			l.lost(a)
		default:
			a.alone = 0
		}
	}
}

// sinceAlone is since when nobody is at work for a.
func (l *looking) sinceAlone(a *act) clock.Instant {
	if a.alone == 0 {
		a.alone = l.p.now.Up
	}
	return a.alone
}

// spec of the job that a run is of; nil: there is none any more.
func (l *looking) specOf(a *act) (*cron.Job, cron.Placement) {
	if !l.j.has(a.JobRev) {
		return nil, cron.Placement{}
	}
	return l.spec()
}

// orphan ends a run of this runner that it does not know of: a claim of which it was
// told that it had failed. One whose result is kept is written by that.
func (l *looking) orphan(a *act) {
	if l.after(l.sinceAlone(a).Add(2*l.p.cfg.Replay)) && l.sends(&a.sent) {
		l.giveUp(a, cron.Unknown, "its runner was told that the claim had failed, or could not write its result")
	}
}

// lost ends a run whose runner is gone.
func (l *looking) lost(a *act) {
	if !l.after(l.sinceAlone(a).Add(lostAfter+l.turn())) || !l.sends(&a.sent) {
		return
	}
	if a.Node == "" { // its sentinel has said what there is to say
		l.giveUp(a, cron.Lost, "")
		return
	}
	l.giveUp(a, cron.Lost, "its runner "+a.Node+" is gone")
}

// waits looks at a run that waits for its next attempt.
func (l *looking) waits(a *act) {
	spec, place := l.specOf(a)
	turn := l.turn()
	if kills := l.kills(a.RunID); len(kills) > 0 {
		if l.after(kills[0].seen.Add(turn)) && l.sends(&a.sent) {
			l.giveUp(a, cron.Killed, "")
		}
		return
	}
	switch {
	case spec == nil:
		if l.after(a.seen.Add(turn)) && l.sends(&a.sent) {
			l.giveUp(a, cron.Failed, "the job was removed before its next attempt")
		}
		return
	case a.Attempt > spec.Retries():
		if l.after(a.seen.Add(turn)) && l.sends(&a.sent) {
			l.giveUp(a, cron.Failed, "; the job makes no further attempts by now")
		}
		return
	case l.p.paused || l.j.paused:
		a.free = 0
		return
	}
	if a.free == 0 {
		a.free = l.p.now.Up
	}
	// A clock that was ahead may have said when.
	due := min(nanos(a.RetryAt), l.p.atUp(a.seen.Add(spec.Backoff(a.Attempt))))
	nodes := l.who(a, place)
	if end := max(due, l.p.atUp(a.free)) + l.j.late + int64(turn); end > l.p.wall() {
		l.at(end)
	} else {
		if why := "; its next attempt could not be started within the job's deadline"; l.sends(&a.sent) {
			if len(nodes) == 0 {
				why = "; no runner could make the next attempt"
			}
			l.giveUp(a, cron.Failed, why)
		}
		return
	}
	rank := slices.IndexFunc(nodes, func(n *cron.Node) bool { return n.ID == l.p.cfg.Node.ID })
	if rank < 0 {
		return
	}
	from := max(max(due, l.p.atUp(a.seen))+int64(rank)*int64(l.p.cfg.Hedge), l.p.atUp(a.sent))
	switch {
	case from > l.p.wall():
		l.at(from)
	case l.p.full():
		l.p.enqueue(l.j)
	default:
		l.claim(&own{id: a.RunID, due: fromNanos(due), act: a}, spec, cron.Claim{After: a.Rev, Run: &cron.Run{By: a.By, Attempt: a.Attempt + 1, First: a.Since()}})
	}
}

// requests looks at what was asked for.
func (l *looking) requests() {
	if l.j.live == nil {
		return
	}
	for _, r := range l.j.live.reqs {
		if r.Action == cron.Kill {
			l.killRequest(r)
		} else {
			l.runRequest(r)
		}
	}
}

// losses tells of runs whose ends their sentinels have written. One that another runner
// has taken is its, while that is there.
func (l *looking) losses() {
	if l.j.live == nil {
		return
	}
	for _, x := range l.j.live.losses {
		if _, taken := l.p.nodes[x.Teller]; taken || !l.after(x.seen.Add(l.turn())) || !l.sends(&x.sent) {
			continue
		}
		var spec *cron.Job
		if l.j.has(x.Run.JobRev) {
			spec, _ = l.spec()
		}
		l.p.do(Tell{Loss: *x.Loss, Spec: spec})
	}
}

// kills are the requests to kill a run.
func (l *looking) kills(id keys.RunID) []*request { return l.j.kills(id) }

func (j *job) kills(id keys.RunID) (all []*request) {
	if j == nil || j.live == nil {
		return nil
	}
	for _, r := range j.live.reqs {
		if r.Request != nil && r.Action == cron.Kill && r.Run == id.ID() {
			all = append(all, r)
		}
	}
	return all
}

// killRequest withdraws a request about a run that is over.
func (l *looking) killRequest(r *request) {
	id, ok := keys.RunOfID(r.Job, r.Run)
	if ok && (l.p.mine[id.String()] != nil || l.j.live.act(id.String()) != nil) {
		r.alone = 0
		return
	}
	if r.alone == 0 {
		r.alone = l.p.now.Up
	}
	if l.after(r.alone.Add(l.p.turn(r.Job+r.ID)+l.p.cfg.Hedge)) && l.sends(&r.sent) {
		l.p.do(Withdraw{Job: r.Job, Request: r.ID, Rev: r.Rev})
	}
}

// runRequest claims a run that was asked for, or withdraws what is too late.
func (l *looking) runRequest(r *request) {
	p, j := l.p, l.j
	id := r.RunID()
	spec, place := l.spec()
	if p.mine[id.String()] != nil || j.live.act(id.String()) != nil {
		return
	}
	if spec == nil || !r.Expires.IsZero() && p.now.Wall.After(r.Expires) {
		l.expired(r, spec)
		return
	}
	if !r.Expires.IsZero() {
		l.at(nanos(r.Expires) + 1)
	}
	rank := p.rank(p.eligible(place), j.name+r.ID, 0)
	if rank < 0 || p.paused {
		return
	}
	if !l.after(max(r.seen.Add(time.Duration(rank)*p.cfg.Hedge), r.sent)) {
		return
	}
	switch {
	case spec.Overlaps() != cron.Allow && len(j.inProgress(id)) > 0:
	case p.full():
		p.enqueue(j)
	default:
		l.claim(&own{id: id, due: fromNanos(p.atUp(r.seen)), late: nanos(r.Expires), req: r}, spec, cron.Claim{Request: r.Rev, Run: &cron.Run{By: r.By, Attempt: 1}})
	}
}

// expired withdraws a request that is not to be started any more.
func (l *looking) expired(r *request, spec *cron.Job) {
	p := l.p
	if r.alone == 0 {
		r.alone, r.sent = p.now.Up, 0
	}
	if !l.after(r.alone.Add(p.turn(r.Job+r.ID))) || !l.sends(&r.sent) {
		return
	}
	if !r.told && spec != nil {
		r.told = true
		p.say(Event{Event: "expired", Level: Warning, Job: r.Job, Run: r.RunID().String(), Reason: "what " + r.By + " asked for could not be started in time"})
	}
	p.do(Withdraw{Job: r.Job, Request: r.ID, Rev: r.Rev})
}

// replace asks the runner of a run to kill it, for one that takes its place: once,
// however many ticks it outlasts.
func (l *looking) replace(a *act, by keys.RunID) {
	id := "replace-" + a.ID()
	for _, r := range l.j.live.reqs {
		if r.ID == id {
			return
		}
	}
	if l.sends(&a.sent) {
		l.p.do(Ask{ID: a.RunID, Waits: a.Waits, Request: cron.Request{Job: a.Job, ID: id, Action: cron.Kill, Run: a.ID(),
			By: "its replacement " + by.String(), At: l.p.now.Wall.UTC()}})
	}
}

// retire removes a submitted job so long after its end, or after it was submitted, if
// it was not started.
func (l *looking) retire() {
	p, j := l.p, l.j
	if j.rev == 0 || j.one == nil || j.live != nil && len(j.live.acts)+len(j.live.reqs) > 0 {
		return
	}
	if at := j.one.over + j.one.keepFor + int64(l.turn()); at > p.wall() {
		l.at(at)
		return
	}
	if l.sends(&j.one.sent) {
		p.do(Withdraw{Job: j.name, Rev: j.rev})
	}
}
