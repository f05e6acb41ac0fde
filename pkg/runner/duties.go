package runner

import (
	"slices"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
)

// sawAct acts on a marker: what it is about is claimed.
func (p *planner) sawAct(a *cron.Act) {
	name := a.RunID.String()
	if p.duties["run "+name] != nil && !a.Waits && a.Node != p.node.ID {
		p.passed(a.RunID, a.Host)
	}
	p.drop("run " + name)
	if p.synced {
		p.mind(a)
	}
	// Of the one tick for all that a job has missed each runner has an idea of
	// its own: whoever claims any has done it.
	if key, ok := p.misfires[a.Job]; ok {
		delete(p.misfires, a.Job)
		p.drop(key)
	}
	if at := a.Job + "/" + a.Place; p.latest[at] == "run "+name {
		delete(p.latest, at)
	}
}

// passed says that a run for which this runner would have had a turn is another's.
func (p *planner) passed(id keys.RunID, host string) {
	p.say(Event{Event: "passed", Level: Debug, Job: id.Job, Run: id.String(), Tick: id.Tick, Reason: "claimed by " + host})
}

// mind looks after a run that nobody is at work for: it waits for its next
// attempt, or its runner is gone.
func (p *planner) mind(a *cron.Act) {
	if !p.synced {
		return
	}
	name := a.RunID.String()
	j := p.jobs[a.Job]
	if j != nil && !j.has(a) {
		j = nil
	}
	after := p.turn(a.Job, "")
	switch {
	case a.Waits && j == nil:
		p.schedule(duty{kind: killWait, key: "mind " + name, id: a.RunID, act: a, at: p.now().Add(after)})
	case a.Waits:
		p.retryLater(a, j)
	case a.Node == p.node.ID && p.running[name] == nil:
		// A claim of ours of which we were told that it had failed, or a result that
		// etcd has not taken; the spool has that, and is written again meanwhile.
		p.schedule(duty{kind: orphan, key: "mind " + name, id: a.RunID, act: a, at: p.now().Add(2 * p.cfg.Replay)})
	case a.Node == "" || p.nodes[a.Node] == nil:
		p.schedule(duty{kind: lost, key: "mind " + name, id: a.RunID, act: a, at: p.now().Add(lostAfter + after)})
	}
}

// retryLater puts the next attempt of a run on the agenda.
func (p *planner) retryLater(a *cron.Act, j *job) {
	spec, place, err := j.where()
	if err != nil {
		return
	}
	nodes := p.whoRetries(a, place)
	now := p.now()
	due := a.RetryAt
	if due.Before(now) {
		due = now
	}
	if latest := now.Add(spec.Backoff(a.Attempt)); due.After(latest) { // a clock that was ahead has said when
		due = latest
	}
	p.want(duty{kind: byRetry, act: a, due: due}, a.RunID, spec, p.rank(nodes, a.Job, "", 0))
	p.schedule(duty{kind: nobody, key: "nobody " + a.RunID.String(), id: a.RunID, act: a, at: due.Add(spec.Lateness() + p.turn(a.Job, ""))})
}

// whoRetries returns the runners that may make the next attempt of a run.
func (p *planner) whoRetries(a *cron.Act, place cron.Placement) []*cron.Node {
	nodes := p.eligible(place)
	if place.All { // on the same host
		nodes = slices.DeleteFunc(nodes, func(n *cron.Node) bool { return "@"+n.Host != a.Place })
	}
	return nodes
}

// canRetry reports whether the next attempt of a run is still to come: somebody is
// there who may make it, or it is put off.
func (p *planner) canRetry(a *cron.Act) bool {
	j := p.jobs[a.Job]
	if j == nil || p.paused || j.paused {
		return j != nil
	}
	_, place, err := j.where()
	return err == nil && len(p.whoRetries(a, place)) > 0
}

// answer acts on a request.
func (p *planner) answer(r *cron.Request) {
	if r.Action == cron.Kill {
		p.answerKill(r)
		return
	}
	j := p.jobs[r.Job]
	if j == nil || p.drained {
		return // it is removed with its job
	}
	spec, place, err := j.where()
	if err != nil {
		return
	}
	d := duty{kind: byRequest, request: r, due: p.now(), until: r.Expires}
	if rank := p.rank(p.eligible(place), r.Job, r.ID, 0); rank >= 0 {
		p.want(d, r.RunID(), spec, rank)
		return
	}
	if !r.Expires.IsZero() { // if nobody may run it, somebody has to withdraw it
		at := r.Expires.Add(p.turn(r.Job, r.ID) + 2*p.cfg.Hedge)
		p.schedule(duty{kind: expire, key: "req " + r.Job + "/" + r.ID, id: r.RunID(), request: r, at: at})
	}
}

// killsOf looks again at what was asked of a run, which has changed.
func (p *planner) killsOf(id keys.RunID) {
	if !p.synced {
		return
	}
	for _, r := range p.kills(id) {
		p.answerKill(r)
	}
}

// answerKill ends a run of ours, or one that waits; for one that is over, there
// is nothing to do but to withdraw the request.
func (p *planner) answerKill(r *cron.Request) {
	id, ok := keys.RunOfID(r.Job, r.Run)
	a := p.acts[id.String()]
	mine := p.running[id.String()]
	at := p.now().Add(p.turn(r.Job, ""))
	withdrawal := "req " + r.Job + "/" + r.ID
	p.drop(withdrawal)
	switch {
	case ok && mine != nil:
		mine.killFor(r)
	case ok && a != nil && a.Waits:
		p.schedule(duty{kind: killWait, key: "mind " + id.String(), id: id, act: a, request: r, at: at})
	case ok && a != nil: // its runner does it, or is found to be gone
	default:
		p.schedule(duty{kind: expire, key: withdrawal, request: r, at: at.Add(p.cfg.Hedge)})
	}
}

// retire puts the removal of a submitted job on the agenda: so long after its end, or
// after it was submitted, if it was not started.
func (p *planner) retire(j *job) {
	if j.keepFor <= 0 || !p.synced {
		return
	}
	// Not in the time of a clock that was ahead.
	over := min(max(j.ended, j.since*int64(time.Second)), p.now().UnixNano())
	p.schedule(duty{kind: forget, key: "forget " + j.name, id: keys.RunID{Job: j.name}, born: j.born,
		at: fromNanos(over).Add(time.Duration(j.keepFor) + p.turn(j.name, ""))})
}
