package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"conch/pkg/clock"
	"conch/pkg/cron"
	"conch/pkg/keys"
	"conch/pkg/schedule"
)

// table is everything under cron/ but the runs, as far as it has been told.
type table struct {
	rev      int64
	reading  uint32 // counts rereadings
	whole    bool
	jobs     map[string]*job // and names without a job, of which something is left
	busy     map[string]*job // those that have a live
	nodes    map[string]*cron.Node
	load     map[string]int             // runs in progress, by runner
	stored   int                        // jobs that there are
	reckoned map[string]*cron.Reckoning // of jobs of which ticks were counted that nobody has run
	wholeAt  int64                      // when it was first told of as a whole since it was read, nanoseconds of UTC

	paused   bool
	pausedAt int64   // when that began, nanoseconds of UTC
	pauses   []pause // the last pauses of all jobs that are over

	schedules map[string]*schedule.Schedule // those that do not depend on a name
}

// pause is when no job was to run, in nanoseconds of UTC; both ends belong to it.
type pause struct{ from, to int64 }

func newTable() table {
	return table{jobs: map[string]*job{}, busy: map[string]*job{}, nodes: map[string]*cron.Node{}, load: map[string]int{}, reckoned: map[string]*cron.Reckoning{},
		schedules: map[string]*schedule.Schedule{}}
}

// act is the marker of a run in progress, and what this planner has noticed of it.
type act struct {
	*cron.Act
	name  string
	seen  clock.Instant // when it was told of
	alone clock.Instant // since when nobody is at work for it; 0: somebody is
	free  clock.Instant // since when its next attempt may be made, as far as no job is paused; 0: it may not
	sent  clock.Instant // when something was last sent about it; 0: nothing

	refused int // claims of its next attempt, in a row
}

// request is something that was asked for by hand.
type request struct {
	*cron.Request
	id    string
	seen  clock.Instant // when it was told of
	alone clock.Instant // since when there is nothing that it is about; 0: there is
	sent  clock.Instant // when its end was last sent; 0: not yet
	told  bool          // it has expired, and that has been said

	refused int // claims of it, in a row
}

// loss is a run of whose end people are to be told.
type loss struct {
	*cron.Loss
	name string
	seen clock.Instant // when it was told of
	sent clock.Instant // when it was last to be told of; 0: not yet
}

// named returns what is known of a name, which may be no job.
func (t *table) named(name string) *job {
	j := t.jobs[name]
	if j == nil {
		j = &job{name: name}
		t.jobs[name] = j
	}
	return j
}

// lives returns what goes on with j.
func (t *table) lives(j *job) *live {
	if j.live == nil {
		j.live = &live{}
		t.busy[j.name] = j
	}
	return j.live
}

// tidy forgets what is not needed any more.
func (p *Planner) tidy(j *job) {
	if l := j.live; l != nil && len(l.acts) == 0 && len(l.reqs) == 0 && len(l.losses) == 0 && len(l.open) == 0 && len(l.had) == 0 && len(l.claimed) == 0 {
		j.live = nil
		delete(p.busy, j.name)
	}
	if j.rev == 0 && j.live == nil && p.jobs[j.name] == j {
		p.agenda.set(j, 0)
		delete(p.jobs, j.name)
	}
}

// reread forgets what is to be told again.
func (p *Planner) reread() {
	p.whole = false
	p.reading++
	clear(p.schedules) // those of jobs that were edited, too
	for _, j := range p.jobs {
		j.memory = memory{}
	}
	clear(p.reckoned)
	p.nodes, p.load, p.paused = map[string]*cron.Node{}, map[string]int{}, false
	for _, j := range p.busy {
		for _, a := range j.live.acts {
			a.Act = nil // what was noticed of it stays, if it is told of again
		}
		for _, r := range j.live.reqs {
			r.Request = nil
		}
		for _, x := range j.live.losses {
			x.Loss = nil
		}
	}
}

// sync is called when the table is whole.
func (p *Planner) sync(rev int64) {
	p.rev = rev
	if p.whole {
		return
	}
	p.whole, p.wholeAt = true, p.wall()
	for _, e := range p.unsaid {
		p.sayFirst(e.of, e.is)
	}
	p.unsaid = nil
	var gone []string
	for name, j := range p.jobs {
		if j.reading != p.reading && j.rev != 0 {
			gone = append(gone, name)
		}
	}
	slices.Sort(gone)
	for _, name := range gone {
		j := p.jobs[name]
		p.removed(j, rev)
		p.touch(j)
	}
	p.touchBusy()
	for _, j := range p.changed { // in the order in which they were told of
		if l := j.live; l != nil {
			l.acts = slices.DeleteFunc(l.acts, func(a *act) bool { return a.Act == nil })
			l.reqs = slices.DeleteFunc(l.reqs, func(r *request) bool { return r.Request == nil })
			l.losses = slices.DeleteFunc(l.losses, func(x *loss) bool { return x.Loss == nil })
			for _, a := range l.acts {
				j.claimed(a)
			}
		}
		p.reopen(j)
	}
}

// sorted returns the jobs by name.
func (t *table) sorted() []*job {
	all := make([]*job, 0, len(t.jobs))
	for _, name := range sortedKeys(t.jobs) {
		all = append(all, t.jobs[name])
	}
	return all
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// put takes in that a key has a value.
func (p *Planner) put(f Put) {
	e := f.Entry
	var err error
	switch e.Kind {
	case "job":
		p.putJob(e.Name, f)
	case "last":
		m := cron.Memory{Rev: f.Rev}
		if err = json.Unmarshal(f.Value, &m.Last); err != nil {
			m.Last = cron.Last{} // who writes it next begins anew
		}
		p.putLast(e.Name, m)
	case "act":
		var a *cron.Act
		if a, err = cron.DecodeAct(e.Run, e.Waits, f.Value, f.Rev); err == nil {
			p.putAct(a)
		}
	case "lost":
		var x *cron.Loss
		if x, err = cron.DecodeLoss(e.Run, f.Value, f.Made, f.Rev); err == nil {
			p.putLoss(x)
		}
	case "node":
		n := &cron.Node{}
		if err = json.Unmarshal(f.Value, n); err == nil {
			n.ID, n.Rev, n.Lease = e.Name, f.Made, f.Lease
			p.putNode(n)
		}
	case "req":
		r := &cron.Request{Job: e.Name, ID: e.ID, Rev: f.Made}
		if err = json.Unmarshal(f.Value, r); err == nil {
			p.putRequest(r)
		}
	case "paused":
		var by cron.Pause
		p.paused, p.pausedAt = true, p.wall()
		if json.Unmarshal(f.Value, &by) == nil && !by.At.IsZero() && nanos(by.At) < p.wall()+int64(maxAhead) { // that it is there is what counts
			p.pausedAt = nanos(by.At)
		}
		p.touchBusy()
	case "resumed":
		var was []cron.Pausing
		if err = json.Unmarshal(f.Value, &was); err == nil {
			p.pauses = p.pauses[:0]
			for _, w := range was {
				p.pauses = append(p.pauses, pause{nanos(w.From), nanos(w.To)})
			}
		}
	}
	if err != nil {
		p.say(Event{Event: "unreadable", Level: Warning, Job: e.Name, Reason: fmt.Sprintf("%s/%s%s: %v", e.Kind, e.Name, e.ID, err)})
	}
}

// deleted takes in that a key is gone.
func (p *Planner) deleted(f Deleted) {
	switch e := f.Entry; e.Kind {
	case "job":
		if j := p.jobs[e.Name]; j != nil && j.rev != 0 {
			p.removed(j, f.Rev)
			p.touch(j)
		}
	case "last":
		if delete(p.reckoned, e.Name); p.jobs[e.Name] != nil {
			p.remember(p.jobs[e.Name], cron.Memory{})
		}
	case "act":
		p.dropAct(e)
	case "lost":
		if j := p.jobs[e.Name]; j != nil && j.live != nil {
			j.live.losses = slices.DeleteFunc(j.live.losses, func(x *loss) bool { return x.name == e.Run.String() })
			p.touch(j)
		}
	case "node":
		if n := p.nodes[e.Name]; n != nil {
			delete(p.nodes, e.Name)
			delete(p.met, e.Name)
			p.sayPeer(n, "is gone")
			p.touchBusy()
		}
	case "req":
		if j := p.jobs[e.Name]; j != nil && j.live != nil {
			j.live.reqs = slices.DeleteFunc(j.live.reqs, func(r *request) bool { return r.id == e.ID })
			p.touch(j)
		}
	case "paused":
		p.paused = false
		p.touchBusy()
	}
}

// touchBusy has all jobs looked at of which something goes on.
func (p *Planner) touchBusy() {
	for _, name := range sortedKeys(p.busy) {
		p.touch(p.busy[name])
	}
}

// putAct notes that a run is in progress.
func (p *Planner) putAct(a *cron.Act) {
	j := p.named(a.Job)
	l := p.lives(j)
	name := a.RunID.String()
	is := l.act(name)
	if is == nil {
		is = &act{name: name}
		l.acts = append(l.acts, is)
	} else if is.Act != nil {
		p.unload(is.Act)
	}
	if is.Act == nil || is.Rev != a.Rev {
		is.seen, is.alone, is.free, is.sent, is.refused = p.now.Up, 0, 0, 0, 0
	}
	is.Act = a
	if !a.Waits {
		p.load[a.Node]++
	}
	j.claimed(is)
	p.taken(j, is)
	p.ranAfterAll(j, a)
	p.touch(j)
}

// dropAct notes that a run is not in progress any more.
func (p *Planner) dropAct(e keys.Entry) {
	j := p.jobs[e.Run.Job]
	if j == nil || j.live == nil {
		return
	}
	name := e.Run.String()
	a := j.live.act(name)
	if a == nil || a.Act == nil || a.Waits != e.Waits { // the other marker has taken its place
		return
	}
	p.unload(a.Act)
	j.live.acts = slices.DeleteFunc(j.live.acts, func(is *act) bool { return is == a })
	p.freed(j, a)
	p.touch(j)
}

func (p *Planner) unload(a *cron.Act) {
	if a.Waits {
		return
	}
	if p.load[a.Node]--; p.load[a.Node] <= 0 {
		delete(p.load, a.Node)
	}
}

// putRequest notes that something is asked for.
func (p *Planner) putRequest(q *cron.Request) {
	j := p.named(q.Job)
	l := p.lives(j)
	p.touch(j)
	for _, r := range l.reqs {
		if r.id != q.ID {
			continue
		}
		if r.Request != nil && r.Rev != q.Rev {
			*r = request{id: q.ID, seen: p.now.Up}
		}
		r.Request = q
		p.killMine(q)
		return
	}
	l.reqs = append(l.reqs, &request{Request: q, id: q.ID, seen: p.now.Up})
	p.killMine(q)
}

// putLoss notes that people are to be told of the end of a run.
func (p *Planner) putLoss(x *cron.Loss) {
	j := p.named(x.Run.Job)
	l := p.lives(j)
	p.touch(j)
	name := x.Run.RunID.String()
	i := slices.IndexFunc(l.losses, func(is *loss) bool { return is.name == name })
	if i < 0 {
		l.losses = append(l.losses, &loss{Loss: x, name: name, seen: p.now.Up})
		return
	}
	is := l.losses[i]
	if is.Loss == nil || is.Rev != x.Rev {
		is.sent = 0
	}
	is.Loss = x
}

// putNode notes a runner.
func (p *Planner) putNode(n *cron.Node) {
	p.sayPeer(n, "has come")
	p.nodes[n.ID] = n
	p.meet(n)
	p.touchBusy()
}

// sayPeer says that another runner, which is not in the table, comes or has gone.
func (p *Planner) sayPeer(n *cron.Node, what string) {
	if p.whole && n.ID != p.cfg.Node.ID && p.nodes[n.ID] == nil {
		p.say(Event{Event: "peer", Level: Debug, Reason: n.ID + " " + what})
	}
}

// parse reads a job and its schedule. Jobs with the same schedule share it, unless
// their names are hashed into it.
func (t *table) parse(raw []byte) (spec *cron.Job, s *schedule.Schedule, err error) {
	if spec, err = cron.DecodeJob(raw); err != nil {
		return nil, nil, err
	}
	if strings.Contains(spec.Schedule, "H") {
		s, err = spec.Schedules()
		return spec, s, err
	}
	anchor := ""
	if spec.Anchor != nil {
		anchor = spec.Anchor.String()
	}
	what := strings.Join([]string{spec.Schedule, spec.TZ, string(spec.DST), anchor}, "\x00")
	s, ok := t.schedules[what]
	if !ok {
		if s, err = spec.Schedules(); err == nil && len(t.schedules) < 10000 {
			t.schedules[what] = s
		}
	}
	return spec, s, err
}

// putJob takes a job on, or a change of it.
func (p *Planner) putJob(name string, f Put) {
	j := p.named(name)
	j.reading = p.reading
	if j.rev == f.Rev {
		if !p.whole {
			p.touch(j)
		}
		return
	}
	before := *j
	if before.rev != 0 && before.born != f.Made { // it was removed, and made again
		p.withdraw(j, f.Rev, func(*tick) bool { return true })
		p.stored--
		delete(p.told, name)
		delete(p.notes, name)
		delete(p.reckoned, name)
		j.memory, before = memory{}, job{}
	}
	if before.rev == 0 {
		p.stored++
	}
	*j = job{name: name, rev: f.Rev, born: f.Made, reading: p.reading, live: j.live, at: j.at, wake: j.wake, touched: j.touched, queued: j.queued,
		memory: j.memory}
	spec, sched, err := p.parse(f.Value)
	if spec != nil { // with a schedule that is of no use it can still be run by hand
		err = errors.Join(err, j.keep(*spec, p.cfg.People))
	}
	if err != nil {
		p.say(Event{Event: "unusable", Level: Warning, Job: name, Reason: err.Error()})
	} else {
		p.describe(j, spec, sched)
	}
	p.touch(j)
	p.edited(j, &before)
	if !p.whole {
		return
	}
	next := "never due by itself"
	if j.next != 0 {
		next = "next at " + time.Unix(j.next, 0).UTC().Format(time.RFC3339)
	}
	p.say(Event{Event: "job", Level: Debug, Job: name, Reason: next})
}

// removed takes in that a job is gone.
func (p *Planner) removed(j *job, rev int64) {
	p.withdraw(j, rev, func(*tick) bool { return true })
	*j = job{name: j.name, live: j.live, at: j.at, wake: j.wake, touched: j.touched, queued: j.queued}
	p.stored--
	delete(p.told, j.name)
	delete(p.notes, j.name)
	delete(p.reckoned, j.name)
	p.say(Event{Event: "job", Level: Debug, Job: j.name, Reason: "removed"})
}

func (p *Planner) putLast(name string, m cron.Memory) {
	p.remember(p.named(name), m)
}

// remember takes in what a job is remembered by.
func (p *Planner) remember(j *job, m cron.Memory) {
	j.memory = memory{last: epoch(m.Tick), ok: nanos(m.OK), ended: nanos(m.Ended), counts: countsOf(m.Last), lastRev: m.Rev}
	j.began = nanos(m.Began)
	if id, ok := keys.RunOfID(j.name, m.ID); ok && j.began == 0 && !isManual(id) && !j.all { // its sentinel does not know
		j.began = j.dueAt(id.Tick.Unix()) + 1
	}
	p.setOver(j)
	p.reckon(j, m.Reckoned)
	if j.live != nil {
		for i, f := range j.live.freed {
			if f.ID() == m.ID {
				j.live.freed[i].ended = j.ended
			}
		}
		for _, a := range j.live.acts {
			if a.Act != nil {
				j.claimed(a)
			}
		}
	}
	p.touch(j)
}
