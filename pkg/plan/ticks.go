package plan

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
)

// tick is a tick that is open, or one of its several places.
type tick struct {
	id   keys.RunID
	name string
	at   int64 // its instant, seconds of UTC
	due  int64 // nanoseconds of UTC
	late int64 // when it is too late, likewise; 0: never, for it was missed, and is to be run all the same
	from int64 // when this runner may claim it, likewise
	turn int   // this runner's place among those that may claim it; -1: it may not

	refused int  // claims of it, in a row
	said    bool // that it is skipped has been said
	unsaid  bool // that it was missed is still to be said
	unrun   bool // that it was missed is still to be counted
	forAll  bool // it was missed, and is run for all that were
	placed  bool // a runner was there that it may run on
	blocked bool // a run was in progress when it came: it is over with that, if that goes on long enough
}

// missed reports whether t is run though it was missed: it waits for whatever is in
// its way.
func (t *tick) missed() bool { return t.late == 0 }

// reopen derives the ticks that are open anew: of those that are neither known to be
// over nor from before the job was as it is.
func (p *Planner) reopen(j *job) {
	if j.live != nil {
		j.live.was, j.live.open = j.live.open, nil
	}
	j.next = 0
	p.setSince(j)
	if j.sched == nil {
		return
	}
	after := j.last
	// Of what nobody remembers, and of a clock that has been ahead, some may have been run,
	// and others not: a claim tells.
	if j.many || p.ahead(after) {
		after = min(after, j.oldest(p.wall())-1)
	}
	j.advance(max(after, j.since))
	// What came while the latest run was in progress is over with it, though who has
	// recorded its end may not have known.
	if j.began != 0 && j.forbids && !j.many && j.next != 0 && j.dueAt(j.next) <= j.ended && j.ended <= p.wall() {
		if to := j.cameIn(j.began, j.ended); to >= j.next {
			j.advance(to)
		}
	}
}

// ahead reports whether only a clock that is not to be trusted can have seen the instant
// of a tick.
func (p *Planner) ahead(tick int64) bool { return tick*int64(time.Second) > p.wall()+int64(maxAhead) }

// oldest is the first tick that is not too late at an instant.
func (j *job) oldest(now int64) int64 {
	// Up: a tick in the second that has begun is too late as well.
	return (now - j.late - j.splay + int64(time.Second) - 1) / int64(time.Second)
}

// advance sets j's next tick to the first after that second.
func (j *job) advance(after int64) {
	j.next = epoch(j.bounds().Next(j.sched, time.Unix(after, 0)))
}

// edited acts on an edit of a job. While the table is being read, what is open then is
// derived when that is done.
func (p *Planner) edited(j *job, before *job) {
	anew := before.rev == 0
	moved := !anew && (j.moves == 0 || before.moves != j.moves || before.paused != j.paused || before.sched == nil)
	elsewise := !anew && before.how != j.how // where it runs, how late, and what is made up for
	switch {
	case moved:
		p.withdraw(j, j.rev, func(*tick) bool { return true })
	case elsewise:
		spec := j.bounds()
		p.withdraw(j, j.rev, func(t *tick) bool { return spec.Expires != nil && !time.Unix(t.at, 0).Before(*spec.Expires) })
	}
	switch {
	case !p.whole:
	case anew, moved, elsewise:
		p.reopen(j)
	default: // what is open stays so
		j.next = before.next
	}
}

// withdraw says of open ticks that they are not the job's any more.
func (p *Planner) withdraw(j *job, rev int64, which func(*tick) bool) {
	if j.live == nil {
		return
	}
	var gone []*tick
	j.live.open = slices.DeleteFunc(j.live.open, func(t *tick) bool {
		if !which(t) || p.mine[t.name] != nil {
			return false
		}
		gone = append(gone, t)
		return true
	})
	if len(gone) == 0 {
		return
	}
	last := gone[len(gone)-1]
	p.sayFirst(j, Event{Event: Withdrawn, Level: Info, Job: j.name, Tick: last.id.Tick, Count: len(gone), Reason: fmt.Sprintf("the job was changed, paused or removed at revision %d before it was claimed", rev)})
}

// openTicks opens the ticks that are due.
func (l *looking) openTicks() {
	p, j := l.p, l.j
	for j.sched != nil && j.next != 0 && j.dueAt(j.next) <= p.wall() {
		spec, place := l.spec()
		if spec == nil {
			j.next = 0
			return
		}
		if j.dueAt(j.next) < p.wall()-j.late {
			oldest := j.oldest(p.wall())
			a, since := l.busySince()
			if j.next >= since {
				l.skipLate(a, oldest)
				continue
			}
			oldest = min(oldest, since)
			end := oldest
			if spec.Expires != nil { // a tick at that instant is none
				end = min(end, spec.Expires.Add(time.Second-1).Unix())
			}
			missed := j.missed(j.next-1, end)
			l.unrun(cron.Missed, max(j.next, j.last+1), end-1, false)
			j.advance(oldest - 1)
			l.misfire(missed)
			continue
		}
		at := j.next
		j.advance(at)
		l.offer(at, place)
	}
	if j.next != 0 {
		l.at(j.dueAt(j.next))
	}
	if j.live != nil {
		j.live.was = nil
	}
}

// busySince is from which second on ticks came during a run that is still in progress,
// and must not overlap.
func (l *looking) busySince() (is *act, since int64) {
	since = math.MaxInt64
	if spec, _ := l.spec(); l.j.live == nil || l.j.many || spec.Overlaps() != cron.Forbid {
		return nil, since
	}
	for _, a := range l.j.live.acts {
		if a.Act == nil || a.Place != "" && !isManual(a.RunID) {
			continue
		}
		if from := (a.Since().UnixNano() - l.j.splay + int64(time.Second) - 1) / int64(time.Second); from < since {
			is, since = a, from
		}
	}
	return is, since
}

// skipLate skips for a run the ticks that came during it, and are too late by now: who
// has the run counts them.
func (l *looking) skipLate(a *act, oldest int64) {
	m := l.p.mine[a.name]
	if m == nil || m.over {
		l.j.advance(oldest - 1)
		return
	}
	n, last := 0, int64(0)
	for ; l.j.next != 0 && l.j.next < oldest; l.j.advance(last) {
		n, last = n+1, l.j.next
	}
	m.skipped += n
	m.skipTo = max(m.skipTo, last)
	l.p.say(Event{Event: Skipped, Level: Info, Job: l.j.name, Tick: time.Unix(last, 0).UTC(), Count: n, Reason: "still running: " + a.name + " on " + a.Host})
}

// misfire applies the job's rule to the last ticks that are too late.
func (l *looking) misfire(missed []time.Time) {
	p, j := l.p, l.j
	spec, place := l.spec()
	missed = slices.DeleteFunc(missed, func(t time.Time) bool { return p.inPause(j.dueAt(t.Unix())) })
	if len(missed) == 0 {
		return
	}
	last := missed[len(missed)-1]
	if p.first(j) && last.Unix() > p.told[j.name] {
		p.say(Event{Event: Missed, Level: Warning, Job: j.name, Tick: last.UTC(), Count: len(missed),
			Reason: "too late by more than the job's deadline; misfire is " + string(spec.Misfires())})
	}
	p.told[j.name] = max(p.told[j.name], last.Unix())
	switch spec.Misfires() {
	case cron.MisfireSkip:
		return
	case cron.MisfireOnce:
		missed = missed[len(missed)-1:]
	}
	for _, t := range missed {
		l.open(t.Unix(), place, true)
	}
}

// inPause reports whether no job was to run at an instant.
func (p *Planner) inPause(due int64) bool {
	return p.paused && due > p.pausedAt || slices.ContainsFunc(p.pauses, func(was pause) bool { return due >= was.from && due <= was.to })
}

// offer opens a tick that is due.
func (l *looking) offer(at int64, place cron.Placement) {
	p, j := l.p, l.j
	if p.inPause(j.dueAt(at)) {
		if p.first(j) {
			p.say(Event{Event: Withdrawn, Level: Debug, Job: j.name, Tick: time.Unix(at, 0).UTC(), Count: 1, Reason: "all jobs are paused"})
		}
		return
	}
	l.open(at, place, false)
}

// open opens a tick, in each of its places that concern this runner: where it may
// claim it, or is the one to say what became of it.
func (l *looking) open(at int64, place cron.Placement, missed bool) {
	p, j := l.p, l.j
	nodes := p.eligible(place)
	id := keys.RunID{Job: j.name, Tick: time.Unix(at, 0).UTC()}
	add := func(where string, turn int) {
		id.Place = where
		t := &tick{id: id, name: id.String(), at: at, due: j.dueAt(at), turn: turn, placed: len(nodes) > 0}
		if t.late = t.due + j.late; missed {
			spec, _ := l.spec()
			t.late, t.forAll = 0, spec.Misfires() == cron.MisfireOnce
		}
		if p.mine[t.name] != nil || j.live.act(t.name) != nil || j.live.wasClaimed(t.name) {
			return
		}
		if j.live != nil {
			if i := slices.IndexFunc(j.live.was, func(was *tick) bool { return was.name == t.name }); i >= 0 {
				t.placed, t.blocked = t.placed || j.live.was[i].placed, j.live.was[i].blocked
			}
		}
		if turn >= 0 {
			t.from = t.due + int64(turn)*int64(p.cfg.Hedge)
			if missed {
				t.from = p.wall() + int64(turn)*int64(p.cfg.Hedge)
			}
			p.say(Event{Event: Due, Level: Debug, Job: j.name, Run: t.name, Tick: id.Tick, Count: turn + 1})
		}
		p.lives(j).open = append(p.lives(j).open, t)
	}
	switch {
	case place.All:
		here := slices.DeleteFunc(nodes, func(n *cron.Node) bool { return n.Host != p.cfg.Node.Host })
		if turn := p.rank(here, j.name, 0); turn >= 0 {
			add("@"+p.cfg.Node.Host, turn)
			return
		}
	case place.N > 1:
		if p.rank(nodes, j.name, 0) >= 0 {
			for i := range place.N {
				add("#"+strconv.Itoa(i), p.rank(nodes, j.name, i))
			}
			return
		}
	default:
		turn := p.rank(nodes, j.name, 0)
		if turn >= 0 {
			add("", turn)
			return
		}
	}
	// Somebody has to say what becomes of it, if none of those that may claim it does, and
	// who has a run that it comes during is to count it: who that is can change.
	if several := place.All || place.N > 1; !missed && (!several || len(nodes) == 0) && (!j.many || j.dueAt(at) >= p.wholeAt) {
		add("", -1)
	}
}

// rank is this runner's place among those that may claim; -1: none. Of N instances the
// i'th is for the i'th runner.
func (p *Planner) rank(nodes []*cron.Node, what string, i int) int {
	all := order(nodes, p.load, what, p.cfg.Placement)
	me := slices.IndexFunc(all, func(n *cron.Node) bool { return n.ID == p.cfg.Node.ID })
	if me < 0 {
		return -1
	}
	return ((me-i)%len(all) + len(all)) % len(all)
}

// tells reports whether it is for this runner to say what became of a tick: it comes
// first of those that the job may run on, or of all if none of those takes anything on.
func (p *Planner) tells(j *job, place cron.Placement) bool {
	for _, is := range []cron.Placement{place, {N: 1}} {
		nodes := p.eligible(is)
		for i, n := range nodes {
			if n.ID == p.cfg.Node.ID { // the table may not have that it stands by no more
				nodes[i] = &p.cfg.Node
			}
		}
		nodes = slices.DeleteFunc(nodes, func(n *cron.Node) bool { return n.Standby != "" && n != &p.cfg.Node })
		if len(nodes) > 0 { // whatever their load, which each sees at another instant
			return order(nodes, nil, j.name, Spread)[0] == &p.cfg.Node
		}
	}
	return false
}

// away reports whether etcd has not answered for some time: then it is not known what
// others have claimed.
func (p *Planner) away() bool {
	for _, m := range p.mine {
		if m.run == nil && p.now.Up.Sub(m.asked) > unanswered {
			return true
		}
	}
	return false
}

// sayFirst says e of j if it is for this runner to say. While the table is being read it
// is not known yet.
func (p *Planner) sayFirst(j *job, e Event) {
	switch {
	case !p.whole:
		p.unsaid = append(p.unsaid, unsaid{j, e})
	case p.first(j):
		p.say(e)
	}
}

// unsaid is an event of which it is not known whether it is for this runner to say.
type unsaid struct {
	of *job
	is Event
}

// first is tells of a tick wherever it was to be run.
func (p *Planner) first(j *job) bool { return p.tells(j, cron.Placement{N: 1}) }

// turn is how long after the others this runner does what any of them may do.
func (p *Planner) turn(what string) time.Duration {
	return time.Duration(max(p.rank(p.eligible(cron.Placement{N: 1}), what, 0), 0)) * p.cfg.Hedge
}

// ticks looks at the open ticks.
func (l *looking) ticks() {
	p, j := l.p, l.j
	if j.live == nil || len(j.live.open) == 0 {
		return
	}
	spec, place := l.spec()
	if spec == nil {
		j.live.open = nil
		return
	}
	l.capMissed()
	waits := map[string]bool{} // the places where an earlier tick goes first
	all := j.live.open
	j.live.open = nil
	var stay []*tick
	for i, t := range all {
		if l.tick(t, spec, place, waits, l.replaced(t, all[i+1:], spec)) {
			stay = append(stay, t)
		}
	}
	if len(stay) > 0 || j.live != nil && len(j.live.open) > 0 {
		p.lives(j).open = append(stay, p.lives(j).open...)
	}
}

// capMissed keeps the latest of the ticks that are run though they were missed; of
// those that are run for all, the latest one.
func (l *looking) capMissed() {
	n, forAll := 0, 0 // and those that are not too late go for all before them, too
	count := func(t *tick, by int) {
		switch {
		case !t.missed() && t.turn >= 0:
			forAll += by
		case !t.missed():
		case !t.forAll:
			n += by
		case l.p.mine[t.name] == nil:
			forAll += by
		}
	}
	for _, t := range l.j.live.open {
		count(t, 1)
	}
	l.j.live.open = slices.DeleteFunc(l.j.live.open, func(t *tick) bool {
		count(t, -1)
		if !t.missed() || l.p.mine[t.name] != nil || (!t.forAll || forAll <= 0) && (t.forAll || n < cron.MisfireCap) {
			return false
		}
		l.sayMissed(t)
		return !t.unsaid && !t.unrun
	})
}

// sayMissed says that a tick was missed that may be run all the same, if that is still
// to be said, and known.
func (l *looking) sayMissed(t *tick) {
	if t.unrun && !l.p.away() {
		t.unrun = false
		l.unrun(cron.Missed, t.at, t.at, l.j.many)
	}
	if t.unsaid && !l.p.away() {
		t.unsaid = false
		spec, _ := l.spec()
		l.p.say(Event{Event: Missed, Level: Warning, Job: l.j.name, Run: t.name, Tick: t.id.Tick, Count: 1, Reason: tooLate + "; misfire is " + string(spec.Misfires())})
	}
}

// replaced reports whether a later tick that is open goes before t: the run of t would
// be killed for that at once.
func (l *looking) replaced(t *tick, later []*tick, spec *cron.Job) bool {
	return spec.Overlaps() == cron.Replace && spec.Misfires() != cron.MisfireAll && !t.missed() && l.p.mine[t.name] == nil &&
		slices.ContainsFunc(later, func(o *tick) bool { return o.id.Place == t.id.Place && o.turn >= 0 })
}

// overtaken is why a tick is not run, of those that are open together.
const overtaken = "a later tick of the job has been run"

// tick looks at one open tick, and reports whether it stays so. waits are the places
// where an earlier one goes first; replaced says that a later one does.
func (l *looking) tick(t *tick, spec *cron.Job, place cron.Placement, waits map[string]bool, replaced bool) bool {
	p, j := l.p, l.j
	if p.mine[t.name] != nil { // its claim is under way
		waits[t.id.Place] = true
		return true
	}
	if !j.many && !j.all && !t.missed() && t.at <= j.last && !p.ahead(j.last) { // it was skipped, or a later one has been run
		if !t.blocked && p.tells(j, place) {
			p.say(Event{Event: Skipped, Level: Info, Job: j.name, Run: t.name, Tick: t.id.Tick, Reason: overtaken})
		}
		return false
	}
	t.blocked = false
	if j.live.hasHad(t) {
		return false
	}
	goesAfter := waits[t.id.Place] && spec.Overlaps() != cron.Allow
	if t.missed() && spec.Overlaps() != cron.Allow {
		waits[t.id.Place] = true
	}
	l.sayMissed(t)
	rivals := j.inProgress(t.id)
	if spec.Overlaps() == cron.Allow {
		rivals = nil
	}
	if spec.Overlaps() == cron.Forbid && l.skips(t, rivals) {
		return false
	}
	if !t.missed() && p.wall() > t.late {
		return l.tooLate(t, spec, place)
	}
	if !t.missed() {
		l.at(t.late + 1)
	}
	switch {
	case t.turn < 0:
		t.placed = t.placed || len(p.eligible(place)) > 0
		return !t.placed || !place.All && place.N == 1
	case p.paused, goesAfter, replaced: // until what is in the way goes
	case t.from > p.wall():
		l.at(t.from)
	case len(rivals) > 0:
		if spec.Overlaps() == cron.Replace && !t.missed() {
			for _, a := range rivals {
				l.replace(a, t.id)
			}
		}
	case !p.mayRun(place):
	case p.full():
		p.enqueue(j)
	default:
		l.claim(&own{id: t.id, due: fromNanos(t.due), late: t.late, tick: t}, spec, cron.Claim{})
		waits[t.id.Place] = true
	}
	return true
}

// skips reports whether a tick is over because of a run in progress that it must not
// overlap. As long as that is another's, who knows better when it has ended, it is kept.
func (l *looking) skips(t *tick, rivals []*act) bool {
	for _, a := range rivals {
		if !l.j.during(t, a.Act, l.p.wall()) {
			continue
		}
		if m := l.p.mine[a.name]; m != nil && !m.over {
			m.skip(t)
			l.p.skipped(t, a.name, a.Host)
			return true
		}
		t.blocked = true
	}
	return false
}

// skipped says that a tick is over because of a run that it came during.
func (p *Planner) skipped(t *tick, run, host string) {
	p.say(Event{Event: Skipped, Level: Info, Job: t.id.Job, Run: t.name, Tick: t.id.Tick, Reason: "still running: " + run + " on " + host})
}

// during reports whether t is over with a run that has ended, or not: it came while
// that was in progress, or was open when the run of an earlier tick was begun. Of the
// ticks that are open together one is run, unless those that were missed are all to be.
func (j *job) during(t *tick, a *cron.Act, ended int64) bool {
	if !isManual(a.RunID) && a.Place != "" && a.Place != t.id.Place || t.due > ended {
		return false
	}
	return t.due >= j.skipsFrom(a, t.missed())
}

// skipsFrom is from when on ticks are over with a run, nanoseconds of UTC.
func (j *job) skipsFrom(a *cron.Act, missed bool) int64 {
	if isManual(a.RunID) || missed || j.all {
		return a.Since().UnixNano()
	}
	return min(a.Since().UnixNano(), j.dueAt(a.Tick.Unix())+1)
}

// freed acts on runs that have ended: what came while they ran is over with them.
func (l *looking) freed() {
	p, j := l.p, l.j
	if j.live == nil || len(j.live.freed) == 0 {
		return
	}
	for _, a := range j.live.freed {
		if !j.forbids || j.live.act(a.RunID.String()) != nil { // it goes on with another attempt
			continue
		}
		ended := p.atUp(a.seen) // and not later: the clock that has written the record may be ahead
		if a.ended != 0 {
			ended = min(ended, a.ended)
		}
		n := p.nodes[a.Node]
		unkept := n != nil && n.Standby != "" && p.first(j) // by who had the run
		j.live.open = slices.DeleteFunc(j.live.open, func(t *tick) bool {
			if p.mine[t.name] != nil || !j.during(t, a.Act, ended) {
				return false
			}
			if unkept && !t.said {
				p.skipped(t, a.RunID.String(), a.Host)
			}
			return true
		})
	}
	j.live.freed = nil
}

const tooLate = "it could not be started within the job's deadline: no slot was free, or the runners stood by"

// tooLate gives up on a tick, or has it run as one that was missed, and reports
// whether it stays open.
func (l *looking) tooLate(t *tick, spec *cron.Job, place cron.Placement) bool {
	p, j := l.p, l.j
	if t.blocked { // skipped: who has the run counts it, and says so, if somebody has it
		a := p.nobodys(j.inProgress(t.id))
		if a != nil && !t.said && (p.tells(j, place) || !a.Waits && a.Node == p.cfg.Node.ID) {
			p.skipped(t, a.name, a.Host)
		}
		return false
	}
	nodes := p.eligible(place)
	e := Event{Event: Missed, Level: Warning, Job: j.name, Run: t.name, Tick: t.id.Tick, Count: 1,
		Reason: tooLate}
	tell := p.tells(j, place)
	if t.turn >= 0 && spec.Misfires() != cron.MisfireSkip {
		t.late, t.from, t.forAll, t.unsaid, t.unrun = 0, p.wall(), spec.Misfires() == cron.MisfireOnce, tell, true
		p.touch(j)
		return true
	}
	if said := t.late + int64(verdict); p.wall() < said {
		l.at(said)
		return true
	}
	if p.away() {
		l.at(p.wall() + int64(failedAgain))
		return true
	}
	switch rivals := j.inProgress(t.id); {
	case p.paused:
		e.Event, e.Level, e.Reason = Withdrawn, Debug, "all jobs are paused"
	case len(nodes) == 0 && !t.placed:
		e.Event, e.Reason = Unplaced, "no runner is there that the job may run on: "+spec.On
	case spec.Overlaps() != cron.Allow && len(rivals) > 0 && spec.Misfires() == cron.MisfireSkip:
		e.Event, e.Level, e.Count, e.Reason = Skipped, Info, 0, "still running: "+rivals[0].name
	}
	switch e.Event {
	case Missed:
		l.unrun(cron.Missed, t.at, t.at, j.many)
	case Unplaced:
		l.unrun(cron.Unplaced, t.at, t.at, j.many)
	}
	if tell {
		p.told[j.name] = max(p.told[j.name], t.at)
		p.say(e)
	}
	return false
}

// nobodys returns one of runs of whose ticks nobody keeps account: it waits for its next
// attempt, or its runner is gone, or stands by, or is this one and does not know of it;
// nil: there is none.
func (p *Planner) nobodys(runs []*act) *act {
	for _, a := range runs {
		if n := p.nodes[a.Node]; a.Waits || a.alone != 0 || n != nil && n.Standby != "" {
			return a
		}
	}
	return nil
}

// taken acts on a marker: what it is about is claimed, and so is the one tick for all
// that were missed up to it, of which each runner has an idea of its own.
func (p *Planner) taken(j *job, a *act) {
	if j.many && !isManual(a.RunID) && !j.live.wasClaimed(a.name) {
		j.live.claimed = append(j.live.claimed, claimed{a.name, a.Tick.Unix()})
	}
	j.live.open = slices.DeleteFunc(j.live.open, func(t *tick) bool {
		if t.name != a.name && !(t.forAll && t.at <= a.Tick.Unix()) || p.mine[t.name] != nil {
			return false
		}
		if t.name == a.name && t.turn >= 0 && a.Node != p.cfg.Node.ID {
			p.passed(t.id, a.Host)
		}
		return true
	})
}

// passed says that a run for which this runner would have had a turn is another's.
func (p *Planner) passed(id keys.RunID, host string) {
	p.say(Event{Event: Passed, Level: Debug, Job: id.Job, Run: id.String(), Tick: id.Tick, Reason: "claimed by " + host})
}

// freed notes that a run of j is not in progress any more.
func (p *Planner) freed(j *job, a *act) {
	j.live.freed = append(j.live.freed, freed{Act: a.Act, seen: p.now.Up})
}

// wasClaimed reports whether a run has been seen in progress, of a job of which nobody
// remembers each.
func (l *live) wasClaimed(name string) bool {
	return l != nil && slices.ContainsFunc(l.claimed, func(c claimed) bool { return c.name == name })
}

// hasHad reports whether this runner has had another of the places of t's tick.
func (l *live) hasHad(t *tick) bool {
	return len(t.id.Place) > 0 && t.id.Place[0] == '#' && slices.Contains(l.had, t.at)
}
