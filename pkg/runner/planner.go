package runner

import (
	"container/heap"
	"errors"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
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
}

func newPlanner(s *session) *planner {
	return &planner{session: s, table: *newTable(), duties: map[string]*duty{}, claimed: map[string]int64{},
		running: map[string]*running{}, misfires: map[string]string{}, met: map[string]bool{}}
}

// take acts on what the feed has told.
func (p *planner) take(changes []change) {
	for _, c := range changes {
		switch {
		case c.reset:
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
	p.rev = rev
	if p.synced {
		return
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
		}
	}
	p.synced = true
	for _, j := range p.jobs {
		p.plan(j)
	}
	for _, a := range p.acts {
		p.mind(a)
	}
	for _, r := range p.reqs {
		p.answer(r)
	}
	p.isReady(len(p.jobs))
}

func (p *planner) put(c change) {
	e := c.entry
	var err error
	switch e.Kind {
	case "job":
		p.putJob(e.Name, c)
	case "last":
		var l cron.Last
		if l, err = decodeLast(c.kv.Value); err == nil {
			p.putLast(e.Name, l)
		}
	case "act":
		var a *cron.Act
		if a, err = cron.DecodeAct(e.Run, e.Waits, c.kv.Value, c.kv.ModRevision); err == nil {
			p.setAct(a)
			p.sawAct(a)
		}
	case "node":
		var n *cron.Node
		if n, err = decodeNode(c.kv); err == nil {
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
		}
	case "node":
		delete(p.nodes, e.Name)
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
	j.rev, j.raw, j.sched, j.next = c.kv.ModRevision, "", nil, 0
	spec, sched, err := p.parse(c.kv.Value)
	if spec != nil { // with a schedule that is of no use it can still be run by hand
		err = errors.Join(err, j.keep(*spec))
	}
	if err != nil {
		p.say(Event{Event: "unusable", Level: Warning, Job: name, Reason: err.Error()})
	} else {
		j.splay = splay(name, time.Duration(spec.Splay))
		// The clock of who has written it may be ahead of ours.
		j.since = min(epoch(spec.Updated), p.now().Unix())
		j.keepFor = int64(spec.KeepFor)
		if !spec.Paused {
			j.sched = sched
		}
	}
	if p.synced {
		p.plan(j)
	}
}

// splay is the delay of a job among those that are due at the same time.
func splay(name string, d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(name))
	return int64(mix(h.Sum64()) % uint64(d))
}

func (p *planner) forgetJob(j *job) {
	j.next = 0
	p.heap.place(j)
	delete(p.jobs, j.name)
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

func (p *planner) putLast(name string, l cron.Last) {
	j := p.jobs[name]
	if j == nil { // its key comes before that of its job only while the job is made
		return
	}
	j.last = max(j.last, epoch(l.Tick))
	j.total, j.fails, j.ok = int32(l.Runs), int32(l.Failures), 0
	if !l.OK.IsZero() {
		j.ok = l.OK.UnixNano()
	}
	p.retire(j, l.Ended)
}

// plan finds the next tick of a job: the first that is neither known to be over
// nor before the job was as it is.
func (p *planner) plan(j *job) {
	j.next = 0
	if j.sched != nil {
		spec, err := j.bounds()
		if err == nil {
			p.advance(j, spec, max(j.last, j.since))
		}
	}
	p.heap.place(j)
}

// advance sets j's next tick to the first after that instant.
func (p *planner) advance(j *job, spec *cron.Job, after int64) {
	if spec.Starts != nil {
		after = max(after, spec.Starts.Unix()-1)
	}
	t := j.sched.Next(time.Unix(after, 0))
	if t.IsZero() || spec.Expires != nil && !t.Before(*spec.Expires) {
		j.next = 0
		return
	}
	j.next = t.Unix()
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
		before := (oldest.UnixNano() - j.splay) / int64(time.Second)
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
		p.offer(j, spec, t, due, due.Add(spec.Lateness()), false)
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
	for _, t := range missed {
		p.offer(j, spec, t, now, now.Add(spec.Lateness()), spec.Misfires() == cron.MisfireOnce)
	}
}

// offer puts the runs of a tick on the agenda: one, or as many as the job's
// placement wants.
func (p *planner) offer(j *job, spec *cron.Job, t, due, until time.Time, misfire bool) {
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
	base := duty{kind: byTick, due: due, until: until, jobRev: j.rev, misfire: misfire}
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

// want puts a run on the agenda, unless the rule for overlaps skips it.
func (p *planner) want(d duty, id keys.RunID, spec *cron.Job, rank int) {
	if rank < 0 {
		return
	}
	d.id, d.key = id, "run "+id.String()
	if d.kind == byTick && spec.Overlaps() == cron.Forbid {
		if rivals := p.inProgress(id); len(rivals) > 0 {
			p.skip(d, rivals, rank)
			return
		}
	}
	if d.misfire {
		p.misfires[id.Job] = d.key
	}
	d.at = d.due.Add(time.Duration(rank) * p.cfg.Hedge)
	p.schedule(d)
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
		}
	}
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
	switch d.kind {
	case byTick, byRequest, byRetry:
		if p.running[d.id.String()] != nil { // its turn came while it was queued
			p.again(d, now.Add(lookAgain))
			return
		}
		p.tryClaim(d, now)
		return
	}
	done := false
	switch d.kind {
	case lost, killWait:
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

// tryClaim claims d's run if nothing stands in the way.
func (p *planner) tryClaim(d *duty, now time.Time) {
	j := p.jobs[d.id.Job]
	switch {
	case j == nil || d.kind == byTick && j.rev != d.jobRev:
		p.drop(d.key)
		return
	case d.kind != byRetry && p.acts[d.id.String()] != nil, d.kind == byTick && p.claimed[instance(d.id)] != 0:
		p.drop(d.key) // somebody has it
		return
	case !d.until.IsZero() && now.After(d.until):
		p.tooLate(d)
		return
	case p.paused:
		p.again(d, now.Add(slice))
		return
	}
	spec, err := j.spec()
	if err != nil {
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

// enqueue lets d wait for a free slot, until it is too late.
func (p *planner) enqueue(d *duty) {
	for len(p.queue) > 0 && p.duties[p.queue[0].key] != p.queue[0] { // it was too late, or another runner has it
		p.queue = p.queue[1:]
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
	case d.kind == byTick && spec.Overlaps() == cron.Forbid:
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
	for len(p.queue) > 0 && len(p.running) < p.cfg.Slots {
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
	run := &cron.Run{RunID: d.id, State: cron.Running, Claim: newID(), Attempt: 1, Node: p.node.ID, Host: p.cfg.Host, Claimed: now, Trace: newTrace()}
	c := cron.Claim{Run: run, JobRev: j.rev, Forbid: spec.Overlaps() != cron.Allow}
	switch d.kind {
	case byRequest:
		run.By, c.Request = d.request.By, d.request.Rev
	case byRetry:
		run.By, run.Attempt, c.After = d.act.By, d.act.Attempt+1, d.act.Rev
	}
	r := &running{session: p.session, run: run, spec: spec, due: d.due, duty: d, next: j.next,
		last: memory{tick: j.last, total: j.total, fails: j.fails}, signals: newSignals()}
	if j.ok != 0 {
		r.last.ok = time.Unix(0, j.ok).UTC()
	}
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
		p.drop(r.duty.key)
	case errors.Is(err, cron.ErrOverlap):
		if r.duty.kind == byTick && r.spec.Overlaps() == cron.Forbid {
			p.stats.skipped.Add(1)
			p.drop(r.duty.key)
			return
		}
		p.again(r.duty, p.now().Add(lookAgain))
	case errors.Is(err, cron.ErrChanged), errors.Is(err, cron.ErrPruned):
		p.drop(r.duty.key)
	default:
		p.say(Event{Event: "unclaimed", Level: Warning, Job: r.run.Job, Run: name, Tick: r.run.Tick, Reason: err.Error()})
		p.again(r.duty, p.now().Add(slice))
	}
}

// ended is called when a run of ours is over, and settled as well as it could be.
func (p *planner) ended(r *running) {
	delete(p.running, r.run.RunID.String())
	p.unqueue()
}

// sawAct acts on a marker: what it is about is claimed.
func (p *planner) sawAct(a *cron.Act) {
	p.drop("run " + a.RunID.String())
	if p.synced {
		p.mind(a)
	}
	// Of the one tick for all that a job has missed each runner has an idea of
	// its own: whoever claims any has done it.
	if key, ok := p.misfires[a.Job]; ok {
		delete(p.misfires, a.Job)
		p.drop(key)
	}
}

// mind looks after a run that nobody is at work for: it waits for its next
// attempt, or its runner is gone.
func (p *planner) mind(a *cron.Act) {
	if !p.synced {
		return
	}
	name := a.RunID.String()
	j := p.jobs[a.Job]
	rank := max(p.rank(p.eligible(cron.Placement{N: 1}), a.Job, "", 0), 0)
	after := time.Duration(rank) * p.cfg.Hedge
	switch {
	case a.Waits && j == nil:
		p.schedule(duty{kind: killWait, key: "mind " + name, id: a.RunID, act: a, at: p.now().Add(after)})
	case a.Waits:
		p.retryLater(a, j)
	case p.nodes[a.Node] == nil:
		p.schedule(duty{kind: lost, key: "mind " + name, id: a.RunID, act: a, at: p.now().Add(lostAfter + after)})
	}
}

// retryLater puts the next attempt of a run on the agenda.
func (p *planner) retryLater(a *cron.Act, j *job) {
	spec, err := j.spec()
	if err != nil {
		return
	}
	place, err := cron.ParsePlacement(spec.On)
	if err != nil {
		return
	}
	nodes := p.eligible(place)
	if place.All { // on the same host
		nodes = slices.DeleteFunc(nodes, func(n *cron.Node) bool { return "@"+n.Host != a.Place })
	}
	due := a.RetryAt
	if now := p.now(); due.Before(now) {
		due = now
	}
	p.want(duty{kind: byRetry, act: a, due: due}, a.RunID, spec, p.rank(nodes, a.Job, "", 0))
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
	spec, err := j.spec()
	if err != nil {
		return
	}
	place, err := cron.ParsePlacement(spec.On)
	if err != nil {
		return
	}
	d := duty{kind: byRequest, request: r, due: p.now(), until: r.Expires}
	p.want(d, r.RunID(), spec, p.rank(p.eligible(place), r.Job, r.ID, 0))
}

// answerKill ends a run of ours, or one that waits; for one that is over, there
// is nothing to do but to withdraw the request.
func (p *planner) answerKill(r *cron.Request) {
	id, ok := keys.RunOfID(r.Job, r.Run)
	a := p.acts[id.String()]
	mine := p.running[id.String()]
	rank := max(p.rank(p.eligible(cron.Placement{N: 1}), r.Job, "", 0), 0)
	at := p.now().Add(time.Duration(rank) * p.cfg.Hedge)
	switch {
	case ok && mine != nil:
		mine.killFor(r)
	case ok && a != nil && a.Waits:
		p.schedule(duty{kind: killWait, key: "mind " + id.String(), id: id, act: a, request: r, at: at})
	case ok && a != nil: // its runner does it, or is found to be gone
	default:
		p.schedule(duty{kind: expire, key: "req " + r.Job + "/" + r.ID, request: r, at: at.Add(p.cfg.Hedge)})
	}
}

// retire puts the removal of a submitted job on the agenda.
func (p *planner) retire(j *job, ended time.Time) {
	if j.keepFor <= 0 || ended.IsZero() {
		return
	}
	rank := max(p.rank(p.eligible(cron.Placement{N: 1}), j.name, "", 0), 0)
	p.schedule(duty{kind: forget, key: "forget " + j.name, id: keys.RunID{Job: j.name}, jobRev: j.rev,
		at: ended.Add(time.Duration(j.keepFor) + time.Duration(rank)*p.cfg.Hedge)})
}
