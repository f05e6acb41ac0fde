package runner

import (
	"container/heap"
	"errors"
	"slices"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
)

// tryClaim claims d's run if nothing stands in the way.
func (p *planner) tryClaim(d *duty, now time.Time) {
	j := p.jobs[d.id.Job]
	switch {
	case j == nil || d.kind == byTick && (j.moves != d.moves || j.on != d.on || j.paused),
		d.kind == byRequest && p.reqs[d.id.Job+"/"+d.request.ID] == nil,
		d.kind == byRetry && !p.stillWaits(d.act):
		p.drop(d.key) // the feed has told what is to be done now
		return
	case d.kind != byRetry && p.acts[d.id.String()] != nil, d.kind == byTick && p.claimed[instance(d.id)] != 0:
		p.drop(d.key) // somebody has it
		return
	case !d.until.IsZero() && now.After(d.until):
		p.tooLate(d)
		return
	case p.paused, j.paused && d.kind == byRetry:
		p.again(d, now.Add(slice))
		return
	case p.duties[d.after] != nil:
		p.again(d, now.Add(lookAgain))
		return
	}
	spec, place, err := j.where()
	if err != nil || !slices.Contains(p.eligible(place), p.nodes[p.node.ID]) { // an edit says so
		p.drop(d.key)
		return
	}
	if rivals := p.inProgress(d.id); len(rivals) > 0 && d.kind != byRetry && spec.Overlaps() != cron.Allow {
		p.wait(d, spec, rivals, now)
		return
	}
	if len(p.running) >= p.cfg.Slots {
		p.enqueue(d)
		return
	}
	p.claim(d, j, spec)
}

// stillWaits reports whether the run waits for the attempt after that one.
func (p *planner) stillWaits(a *cron.Act) bool {
	is := p.acts[a.RunID.String()]
	return is != nil && is.Waits && is.Rev == a.Rev
}

// enqueue lets d wait for a free slot, until it is too late.
func (p *planner) enqueue(d *duty) {
	if len(p.queue) >= 2*len(p.duties) { // most were too late, or another runner has them
		p.queue = slices.DeleteFunc(p.queue, func(q *duty) bool { return p.duties[q.key] != q })
	}
	p.queue = append(p.queue, d)
	if !d.until.IsZero() {
		d.at = d.until.Add(1)
		heap.Push(&p.agenda, d)
	}
}

// instance names all instances of a tick of a job that runs in N places; of
// these a runner has one at most.
func instance(id keys.RunID) string {
	if len(id.Place) > 0 && id.Place[0] == '#' {
		id.Place = ""
		return id.String()
	}
	return ""
}

// wait puts a run off while another is in progress: one that was asked for, or
// whose rule is to replace. A tick that must not overlap is skipped.
func (p *planner) wait(d *duty, spec *cron.Job, rivals []*cron.Act, now time.Time) {
	switch {
	case d.kind == byTick && !d.patient && spec.Overlaps() == cron.Forbid:
		p.skip(*d, rivals, 0)
		p.drop(d.key)
		return
	case d.kind == byTick && spec.Overlaps() == cron.Replace:
		for _, a := range rivals {
			p.askToKill(a, d.id)
		}
	}
	p.again(d, now.Add(lookAgain))
}

// tooLate gives up on a run for which the time is over.
func (p *planner) tooLate(d *duty) {
	p.drop(d.key)
	if d.kind == byRequest {
		p.schedule(duty{kind: expire, key: d.key, id: d.id, request: d.request, at: p.now()})
		return
	}
	p.stats.missed.Add(1)
	p.say(Event{Event: "missed", Level: Warning, Job: d.id.Job, Run: d.id.String(), Tick: d.id.Tick, Count: 1,
		Reason: "it could not be started within the job's deadline: no slot was free, or the runner stood by"})
}

// unqueue tries again what waits for a slot.
func (p *planner) unqueue() {
	for len(p.queue) > 0 && len(p.running) < p.cfg.Slots && p.synced && p.standby() == "" {
		d := p.queue[0]
		p.queue = p.queue[1:]
		if p.duties[d.key] == d {
			p.tryClaim(d, p.now())
		}
	}
}

// claim asks the ledger for a run; what comes of it comes to claimAnswered.
func (p *planner) claim(d *duty, j *job, spec *cron.Job) {
	now := p.now().UTC()
	run := &cron.Run{RunID: d.id, State: cron.Running, Claim: newID(), Attempt: 1, Node: p.node.ID, Host: p.cfg.Host, Claimed: now, Trace: newTrace(), JobRev: j.born}
	c := cron.Claim{Run: run, JobRev: j.rev, Forbid: spec.Overlaps() != cron.Allow}
	switch d.kind {
	case byRequest:
		run.By, c.Request = d.request.By, d.request.Rev
	case byRetry:
		run.By, run.Attempt, c.After = d.act.By, d.act.Attempt+1, d.act.Rev
	}
	r := &running{session: p.session, run: run, spec: spec, due: d.due, duty: d, next: j.next, splay: time.Duration(j.splay),
		last: j.memory(), signals: newSignals(), telling: newSignals()}
	p.running[d.id.String()] = r
	if i := instance(d.id); i != "" {
		p.claimed[i] = now.Add(spec.Lateness()).Unix()
	}
	p.goClaim(r, c)
}

// claimAnswered goes on with a claim.
func (p *planner) claimAnswered(r *running, c cron.Claim, got *cron.Run, err error) {
	name := r.run.RunID.String()
	if err == nil && got.Claim == r.run.Claim {
		p.drop(r.duty.key)
		r.run = got
		if late := r.duty.until; !late.IsZero() && p.now().After(late) {
			p.goSettle(r, cron.Unknown, "the claim was confirmed too late to start it")
			return
		}
		p.goRun(r)
		return
	}
	delete(p.running, name)
	delete(p.claimed, instance(r.run.RunID))
	defer p.unqueue()
	switch {
	case err == nil: // somebody else's
		if p.duties[r.duty.key] != nil { // else the feed has told it first
			p.passed(r.run.RunID, got.Host)
		}
		p.drop(r.duty.key)
	case errors.Is(err, cron.ErrOverlap):
		if r.duty.kind == byTick && !r.duty.patient && r.spec.Overlaps() == cron.Forbid {
			p.stats.skipped.Add(1)
			p.say(Event{Event: "skipped", Level: Info, Job: r.run.Job, Run: name, Tick: r.run.Tick, Reason: err.Error()})
			p.drop(r.duty.key)
			return
		}
		p.again(r.duty, p.now().Add(lookAgain))
	case errors.Is(err, cron.ErrChanged): // the feed tells by what; perhaps the same is due
		p.again(r.duty, p.now().Add(lookAgain))
	case errors.Is(err, cron.ErrPruned):
		p.drop(r.duty.key)
		p.say(Event{Event: "missed", Level: Warning, Job: r.run.Job, Run: name, Tick: r.run.Tick, Count: 1, Reason: err.Error()})
	default:
		p.say(Event{Event: "unclaimed", Level: Warning, Job: r.run.Job, Run: name, Tick: r.run.Tick, Reason: err.Error()})
		p.again(r.duty, p.now().Add(slice))
		if a := p.acts[name]; a != nil {
			p.mind(a)
		}
	}
}

// ended is called when a run of ours is over, and settled as well as it could be.
func (p *planner) ended(r *running) {
	name := r.run.RunID.String()
	delete(p.running, name)
	p.unqueue()
	if a := p.acts[name]; a != nil {
		p.mind(a)
		return
	}
	p.killsOf(r.run.RunID) // those that were not met by its end
}
