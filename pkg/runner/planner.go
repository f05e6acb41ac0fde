package runner

import (
	"container/heap"
	"time"
)

const (
	// slice is how long the planner sleeps at most: a clock that was set, or a
	// machine that was suspended, is noticed by then.
	slice = time.Second
	// lostAfter is how long a runner's key must have been gone before its runs
	// are recorded as lost: one that is alive and connected, and whose key an
	// operator has deleted, has killed what it runs by then.
	lostAfter = time.Second
	// lookAgain is how long a run waits that must not start yet, for a cause that
	// nobody tells of.
	lookAgain = 250 * time.Millisecond
	// retryAfter is how long what was asked of etcd on the side may take to be
	// seen in the feed.
	retryAfter = 5 * time.Second
)

// planner decides what this runner does, and when. All of it belongs to one
// goroutine, that of loop.
type planner struct {
	*session
	table

	heap    jobHeap
	agenda  dutyHeap
	duties  map[string]*duty    // those of the agenda that are still wanted
	queue   []*duty             // those that wait for a free slot, first come first served
	claimed map[string]int64    // job and tick of which this runner has one of N instances, and until when that matters
	running map[string]*running // by the run's name; the claims under way too
	synced  bool
	drained bool // nothing is taken on any more

	step     step
	met      map[string]bool   // the runners that were compared with this one
	misfires map[string]string // the key of the duty for all that a job has missed
	latest   map[string]string // the key of the latest duty for one of those that a job has missed, by job and place
}

func newPlanner(s *session) *planner {
	return &planner{session: s, table: *newTable(), duties: map[string]*duty{}, claimed: map[string]int64{},
		running: map[string]*running{}, misfires: map[string]string{}, latest: map[string]string{}, met: map[string]bool{}}
}

// wake does what is due, and returns how long there is nothing to do.
func (p *planner) wake() time.Duration {
	now := p.now()
	p.checkStep(now)
	if p.standby() != "" {
		return slice
	}
	for instance, until := range p.claimed {
		if until < now.Unix() {
			delete(p.claimed, instance)
		}
	}
	for len(p.heap) > 0 && p.heap[0].due() <= now.UnixNano() {
		p.tick(p.heap[0], now)
	}
	for len(p.agenda) > 0 && !p.agenda[0].at.After(now) {
		d := heap.Pop(&p.agenda).(*duty)
		if p.duties[d.key] == d {
			p.perform(d, now)
		}
	}
	sleep := slice
	if len(p.heap) > 0 {
		sleep = min(sleep, time.Duration(p.heap[0].due()-now.UnixNano()))
	}
	if len(p.agenda) > 0 {
		sleep = min(sleep, p.agenda[0].at.Sub(now))
	}
	return max(sleep, 0)
}

// schedule puts d on the agenda, in the place of a duty with the same key.
func (p *planner) schedule(d duty) {
	if p.drained {
		return
	}
	p.duties[d.key] = &d
	heap.Push(&p.agenda, &d)
}

// drop takes a duty off the agenda.
func (p *planner) drop(key string) { delete(p.duties, key) }

// again does d later.
func (p *planner) again(d *duty, at time.Time) {
	d.at = at
	p.schedule(*d)
}

// perform does what is due.
func (p *planner) perform(d *duty, now time.Time) {
	done := false
	switch d.kind {
	case byTick, byRequest, byRetry:
		if p.running[d.id.String()] != nil { // its turn came while it was queued
			p.again(d, now.Add(lookAgain))
			return
		}
		p.tryClaim(d, now)
		return
	case lost, orphan, killWait, nobody:
		done = p.recordLost(d)
	case expire:
		done = p.withdraw(d)
	case forget:
		done = p.removeJob(d)
	}
	p.drop(d.key)
	if !done { // until the feed tells that it has been done
		p.again(d, now.Add(retryAfter))
	}
}
