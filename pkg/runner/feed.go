package runner

import (
	"errors"
	"fmt"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
	"conch/pkg/schedule"
)

// take acts on what the feed has told.
func (p *planner) take(changes []change) {
	for _, c := range changes {
		switch {
		case c.reset:
			p.before = max(p.before, c.rev)
			p.reading++
			p.synced = false
			p.acts, p.load = map[string]*cron.Act{}, map[string]int{}
			p.nodes, p.reqs, p.paused = map[string]*cron.Node{}, map[string]*cron.Request{}, false
			for _, j := range p.jobs {
				j.runs = 0
			}
		case c.synced != 0:
			p.sync(c.synced)
		case c.kv == nil:
			p.deleted(c.entry)
		default:
			p.put(c)
		}
	}
}

// sync is called when the table is whole, as of revision rev.
func (p *planner) sync(rev int64) {
	before := max(p.before, p.rev)
	p.rev = rev
	if p.synced {
		p.noteRevision(rev, p.cluster.Load())
		return
	}
	if p.sawRevision(rev, p.cluster.Load(), before) {
		p.restand()
	}
	for _, j := range p.jobs {
		if j.seen != p.reading {
			p.forgetJob(j)
		}
		j.runs = 0
	}
	for _, a := range p.acts {
		if j := p.jobs[a.Job]; j != nil {
			j.runs++
			j.claimed(a)
		}
	}
	p.synced = true
	select {
	case <-p.judged:
	default:
		close(p.judged)
	}
	p.derive(true)
	p.unqueue()
	p.isReady(len(p.jobs))
}

// derive finds out anew, from what is known and what time it is, what is to be done
// when; of ticks only if they are to be planned.
func (p *planner) derive(ticks bool) {
	for _, j := range p.jobs {
		since := p.since(j.from)
		if ticks || since != j.since {
			j.since = since
			p.plan(j)
		}
		p.retire(j)
	}
	for _, a := range p.acts {
		p.mind(a)
	}
	for _, r := range p.reqs {
		p.answer(r)
	}
}

func (p *planner) put(c change) {
	e := c.entry
	var err error
	switch e.Kind {
	case "job":
		p.putJob(e.Name, c)
	case "last":
		var m cron.Memory
		if m, err = decodeLast(c.kv); err == nil {
			p.putLast(e.Name, m)
		}
	case "act":
		var a *cron.Act
		if a, err = cron.DecodeAct(e.Run, e.Waits, c.kv.Value, c.kv.ModRevision); err == nil {
			p.setAct(a)
			p.sawAct(a)
			p.killsOf(a.RunID)
		}
	case "node":
		var n *cron.Node
		if n, err = decodeNode(e.Name, c.kv); err == nil {
			p.sayPeer(n, "has come")
			p.nodes[n.ID] = n
			p.meet(n)
		}
	case "req":
		var r *cron.Request
		if r, err = decodeRequest(e, c.kv); err == nil {
			p.reqs[e.Name+"/"+e.ID] = r
			if p.synced {
				p.answer(r)
			}
		}
	case "paused":
		p.paused = true
	case "restored":
		p.goOn(c.kv.ModRevision)
	}
	if err != nil {
		p.say(Event{Event: "unreadable", Level: Warning, Job: e.Name, Reason: string(c.kv.Key) + ": " + err.Error()})
	}
}

func (p *planner) deleted(e keys.Entry) {
	switch e.Kind {
	case "job":
		if j := p.jobs[e.Name]; j != nil {
			p.forgetJob(j)
		}
	case "act":
		if a := p.acts[e.Run.String()]; a != nil && a.Waits == e.Waits { // else the other marker has taken its place
			p.dropAct(e.Run)
			p.unqueue()
			p.killsOf(e.Run)
		}
	case "node":
		if n := p.nodes[e.Name]; n != nil {
			delete(p.nodes, e.Name)
			p.sayPeer(n, "is gone")
		}
		for _, a := range p.acts {
			if a.Node == e.Name {
				p.mind(a)
			}
		}
	case "req":
		delete(p.reqs, e.Name+"/"+e.ID)
		p.drop("req " + e.Name + "/" + e.ID)
	case "paused":
		p.paused = false
		for _, r := range p.reqs {
			p.answer(r)
		}
	}
}

// sayPeer says that another runner, which is not in the table, comes or has gone.
func (p *planner) sayPeer(n *cron.Node, what string) {
	if p.synced && n.ID != p.node.ID && p.nodes[n.ID] == nil {
		p.say(Event{Event: "peer", Level: Debug, Reason: n.ID + " " + what})
	}
}

// putJob takes a job on, or a change of it.
func (p *planner) putJob(name string, c change) {
	j := p.jobs[name]
	if j == nil {
		j = &job{name: name}
		p.jobs[name] = j
		if p.synced {
			for _, a := range p.acts {
				if a.Job == name {
					j.runs++
				}
			}
		}
	}
	j.seen = p.reading
	if j.rev == c.kv.ModRevision {
		return
	}
	before := *j
	j.moves, j.on, j.paused = 0, 0, false
	j.rev, j.born, j.raw, j.sched, j.next = c.kv.ModRevision, c.kv.CreateRevision, "", nil, 0
	p.heap.place(j)
	spec, sched, err := p.parse(c.kv.Value)
	if spec != nil { // with a schedule that is of no use it can still be run by hand
		err = errors.Join(err, j.keep(*spec))
	}
	if err != nil {
		p.say(Event{Event: "unusable", Level: Warning, Job: name, Reason: err.Error()})
	} else {
		j.splay = splay(name, time.Duration(spec.Splay))
		j.from = epoch(spec.From())
		j.since = p.since(j.from)
		j.paused = spec.Paused
		j.moves, j.on = hashesOf(spec)
		j.keepFor = int64(spec.KeepFor)
		where, _ := cron.ParsePlacement(spec.On) // what is wrong with it is said at a tick
		j.placed = where.All || where.N > 1
		if !spec.Paused {
			j.sched = sched
		}
	}
	if !p.synced {
		return
	}
	switch {
	case j.moves == 0 || before.moves != j.moves || before.paused != j.paused:
		p.plan(j)
	case before.on != j.on: // who could not run what is due may be able to now
		p.plan(j)
		p.skipTo(j, p.now())
		for _, r := range p.reqs {
			if r.Job == name {
				p.answer(r)
			}
		}
	default: // what is due stays so
		j.next = before.next
		p.heap.place(j)
	}
	p.sayPlan(j)
	p.retire(j)
	if j.runs > 0 { // who may make the next attempt can be another now
		for _, a := range p.acts {
			if a.Job == name && a.Waits {
				p.mind(a)
			}
		}
	}
}

// maxAhead is by how much the clock of who has written a job may be ahead of ours, as
// cron.Store and the runner hold theirs against etcd's.
const maxAhead = 10 * time.Second

// since is up to when ticks are not the job's, which says from.
func (p *planner) since(from int64) int64 {
	if now := p.now(); from >= now.Add(maxAhead).Unix() {
		return now.Unix() // that clock was wrong, or ours is
	}
	return from
}

// hashesOf returns one of what moves a job's ticks, which is not 0, and one of what
// says where they are run, and until when.
func hashesOf(j *cron.Job) (moves, on uint64) {
	moves = 1 | schedule.Hash(j.Moves()+"\x00"+j.From().UTC().Format(time.RFC3339Nano))
	return moves, schedule.Hash(j.On + "\x00" + fmt.Sprint(j.Expires))
}

// sayPlan says what a job that was put has come to.
func (p *planner) sayPlan(j *job) {
	next := "never due by itself"
	if j.next != 0 {
		next = "next at " + time.Unix(j.next, 0).UTC().Format(time.RFC3339)
	}
	p.say(Event{Event: "job", Level: Debug, Job: j.name, Reason: next})
}

// splay is the delay of a job among those that are due at the same time.
func splay(name string, d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return int64(schedule.Hash(name) % uint64(d))
}

func (p *planner) forgetJob(j *job) {
	j.next = 0
	p.heap.place(j)
	delete(p.jobs, j.name)
	p.say(Event{Event: "job", Level: Debug, Job: j.name, Reason: "removed"})
	for key, d := range p.duties {
		if d.id.Job == j.name && d.kind == byTick {
			p.drop(key)
		}
	}
	for _, a := range p.acts {
		if a.Job == j.name {
			p.mind(a) // what waits for a retry has none any more
		}
	}
}

func (p *planner) putLast(name string, l cron.Memory) {
	j := p.jobs[name]
	if j == nil { // its key comes before that of its job only while the job is made
		return
	}
	j.last = max(j.last, epoch(l.Tick))
	j.total, j.fails, j.lastRev = int32(l.Runs), int32(l.Failures), l.Rev
	j.ok, j.ended = nanos(l.OK), nanos(l.Ended)
	p.retire(j)
}
