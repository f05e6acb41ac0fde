package runner

import (
	"slices"
	"strconv"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
)

// plan finds the next tick of a job: the first that is neither known to be over
// nor before the job was as it is.
func (p *planner) plan(j *job) {
	j.next = 0
	defer p.heap.place(j)
	if j.sched == nil {
		return
	}
	spec, err := j.bounds()
	if err != nil {
		return
	}
	after, now := j.last, p.now().Unix()
	// Of several places, and of a clock that has been ahead, some ticks may have been
	// run, and others not: a claim tells.
	if j.placed || after > now {
		after = min(after, now-int64(spec.Lateness()/time.Second)-j.splay/int64(time.Second))
	}
	p.advance(j, spec, max(after, j.since))
}

// skipTo leaves out the ticks that have been counted as missed.
func (p *planner) skipTo(j *job, now time.Time) {
	spec, err := j.spec()
	if err != nil || j.next == 0 || spec.Misfires() != cron.MisfireSkip {
		return
	}
	if oldest := now.Unix() - int64(spec.Lateness()/time.Second) - j.splay/int64(time.Second); j.next < oldest {
		p.advance(j, spec, oldest-1)
		p.heap.place(j)
	}
}

// advance sets j's next tick to the first after that instant.
func (p *planner) advance(j *job, spec *cron.Job, after int64) {
	j.next = epoch(spec.Next(j.sched, time.Unix(after, 0)))
}

// tick offers a tick that is due, or applies the rule for what was missed.
func (p *planner) tick(j *job, now time.Time) {
	spec, err := j.spec()
	if err != nil || j.sched == nil { // it was readable when it was planned
		j.next = 0
		p.heap.place(j)
		return
	}
	oldest := now.Add(-spec.Lateness())
	if due := time.Unix(0, j.due()); due.Before(oldest) {
		// Up: a tick in the second that has begun is too late as well.
		before := (oldest.UnixNano() - j.splay + int64(time.Second) - 1) / int64(time.Second)
		end := before
		if spec.Expires != nil { // a tick at that instant is none
			end = min(end, spec.Expires.Add(time.Second-1).Unix())
		}
		missed := j.missed(j.next-1, end)
		p.advance(j, spec, before-1)
		p.misfired(j, spec, missed, now)
	} else {
		t := time.Unix(j.next, 0)
		p.advance(j, spec, j.next)
		// One that was missed, though not for long, is run as the rule for those has it.
		patient := spec.Misfires() == cron.MisfireAll && now.Sub(due) > slice
		p.offer(j, spec, t, duty{due: due, until: due.Add(spec.Lateness()), patient: patient})
	}
	p.heap.place(j)
}

// missed returns the last ticks after one second and before another, about
// MisfireCap of them and without going through all: there may be millions.
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

// misfired applies the job's rule to the last ticks that are too late.
func (p *planner) misfired(j *job, spec *cron.Job, missed []time.Time, now time.Time) {
	if len(missed) == 0 || p.paused || p.drained {
		return
	}
	if p.rank(p.eligible(cron.Placement{N: 1}), j.name, "", 0) == 0 {
		p.stats.missed.Add(int64(len(missed)))
		p.say(Event{Event: "missed", Level: Warning, Job: j.name, Tick: missed[len(missed)-1], Count: len(missed),
			Reason: "too late by more than the job's deadline; misfire is " + string(spec.Misfires())})
	}
	switch spec.Misfires() {
	case cron.MisfireSkip:
		return
	case cron.MisfireOnce:
		missed = missed[len(missed)-1:]
	}
	for i, t := range missed { // one after the other, oldest first, where they must not overlap
		due := now.Add(time.Duration(i) * time.Millisecond)
		p.offer(j, spec, t, duty{due: due, until: now.Add(spec.Lateness() * time.Duration(len(missed))),
			forAll: spec.Misfires() == cron.MisfireOnce, patient: true})
	}
}

// offer puts the runs of a tick on the agenda: one, or as many as the job's
// placement wants.
func (p *planner) offer(j *job, spec *cron.Job, t time.Time, base duty) {
	if p.paused || p.drained {
		return
	}
	place, err := cron.ParsePlacement(spec.On)
	if err != nil {
		p.say(Event{Event: "unusable", Level: Warning, Job: j.name, Reason: err.Error()})
		return
	}
	t = t.UTC()
	nodes := p.eligible(place)
	base.kind, base.moves, base.on = byTick, j.moves, j.on
	switch {
	case place.All:
		id := keys.RunID{Job: j.name, Tick: t, Place: "@" + p.cfg.Host}
		nodes = slices.DeleteFunc(nodes, func(n *cron.Node) bool { return n.Host != p.cfg.Host })
		p.want(base, id, spec, p.rank(nodes, j.name, "", 0))
	case place.N > 1:
		for i := range place.N {
			id := keys.RunID{Job: j.name, Tick: t, Place: "#" + strconv.Itoa(i)}
			p.want(base, id, spec, p.rank(nodes, j.name, "", i))
		}
	default:
		p.want(base, keys.RunID{Job: j.name, Tick: t}, spec, p.rank(nodes, j.name, "", 0))
	}
}

// rank is this runner's place among those that may claim; -1: none. Of N
// instances the i'th is for the i'th runner.
func (p *planner) rank(nodes []*cron.Node, job, place string, i int) int {
	all := order(nodes, p.load, job, place, p.cfg.Placement)
	me := slices.IndexFunc(all, func(n *cron.Node) bool { return n.ID == p.node.ID })
	if me < 0 {
		return -1
	}
	return ((me-i)%len(all) + len(all)) % len(all)
}

// turn is how long after the others this runner does what any of them may do for
// a job.
func (p *planner) turn(job, place string) time.Duration {
	rank := p.rank(p.eligible(cron.Placement{N: 1}), job, place, 0)
	return time.Duration(max(rank, 0)) * p.cfg.Hedge
}

// want puts a run on the agenda, unless the rule for overlaps skips it.
func (p *planner) want(d duty, id keys.RunID, spec *cron.Job, rank int) {
	if rank < 0 {
		return
	}
	d.id, d.key = id, "run "+id.String()
	if d.kind == byTick && spec.Overlaps() == cron.Forbid {
		if rivals := p.inProgress(id); len(rivals) > 0 && (!d.patient || p.cameDuring(id, rivals)) {
			p.skip(d, rivals, rank)
			return
		}
	}
	switch {
	case d.forAll:
		p.misfires[id.Job] = d.key
	case d.patient && spec.Overlaps() != cron.Allow: // oldest first: whoever looks while none is in progress may be any
		at := id.Job + "/" + id.Place
		d.after, p.latest[at] = p.latest[at], d.key
	}
	d.at = d.due.Add(time.Duration(rank) * p.cfg.Hedge)
	p.say(Event{Event: "due", Level: Debug, Job: id.Job, Run: d.id.String(), Tick: id.Tick, Count: rank + 1})
	p.schedule(d)
}

// cameDuring reports whether a tick came while one of the runs was in progress: it has
// been skipped for that, if not by this runner.
func (p *planner) cameDuring(id keys.RunID, rivals []*cron.Act) bool {
	due := id.Tick
	if j := p.jobs[id.Job]; j != nil {
		due = due.Add(time.Duration(j.splay))
	}
	return slices.ContainsFunc(rivals, func(a *cron.Act) bool { return !due.Before(a.Claimed) })
}

// skip notes that a tick is not run because an earlier run is in progress.
func (p *planner) skip(d duty, rivals []*cron.Act, rank int) {
	if rank == 0 {
		p.stats.skipped.Add(1)
		p.say(Event{Event: "skipped", Level: Info, Job: d.id.Job, Run: d.id.String(), Tick: d.id.Tick,
			Reason: "still running: " + rivals[0].RunID.String() + " on " + rivals[0].Host})
	}
	for _, a := range rivals {
		if r := p.running[a.RunID.String()]; r != nil {
			r.skipped.Add(1)
			r.skipTo.Store(max(r.skipTo.Load(), d.id.Tick.Unix()))
		}
	}
}
