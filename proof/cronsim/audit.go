package main

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
	"conch/pkg/plan"
)

// balance asks whether each tick is accounted for; at the end also whether anything was
// left behind.
func (b *books) balance(last bool) {
	names := make([]string, 0, len(b.job))
	for name := range b.job {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		j := b.job[name]
		for _, e := range j.eras() {
			b.balanceEra(j, e)
		}
	}
	if last {
		for _, name := range names {
			b.counted(b.job[name])
		}
		b.leftovers(names)
		b.results()
	}
}

// era is a time in which a job has the same ticks.
type era struct {
	span
	*version // the last of it
}

// eras are the times in which a job had the same ticks. What was edited otherwise makes
// no difference.
func (j *jobBook) eras() (all []era) {
	for _, v := range j.versions {
		if n := len(all); n > 0 {
			e := &all[n-1]
			if e.to == v.from && v.sameTicks(e.version) {
				e.to, e.version = v.to, v
				continue
			}
		}
		all = append(all, era{v.span, v})
	}
	return all
}

// sameTicks reports whether an edit has changed nothing that matters for the ticks, or
// for where they are run.
func (v *version) sameTicks(o *version) bool {
	a, b := v.spec, o.spec
	return v.born == o.born && a.Moves() == b.Moves() && a.From().Equal(b.From()) && a.Paused == b.Paused && a.On == b.On &&
		sameTime(a.Expires, b.Expires) && a.Lateness() == b.Lateness() && a.Overlaps() == b.Overlaps() && a.Misfires() == b.Misfires()
}

func sameTime(a, b *time.Time) bool { return a == b || a != nil && b != nil && a.Equal(*b) }

// balanceEra goes through the ticks that were due within an era.
func (b *books) balanceEra(j *jobBook, e era) {
	if e.sched == nil || e.spec.Paused {
		return
	}
	from := max(e.from+slack, j.closed)
	t := e.spec.Next(e.sched, later(origin.Add(from-e.splay), e.spec.From()))
	for ; !t.IsZero(); t = e.spec.Next(e.sched, t) {
		due := since(t) + e.splay
		end := due + e.spec.Lateness()
		if due > e.to-slack || end+time.Minute > b.w.now {
			return
		}
		b.balanceTick(j, e, t, due, end)
		j.closed = due + 1
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// balanceTick asks what became of a tick.
func (b *books) balanceTick(j *jobBook, e era, t time.Time, due, end time.Duration) {
	if e.place.All || e.place.N > 1 {
		b.balancePlaces(j, e, t, due, end)
		return
	}
	r := b.runOf(keys.RunID{Job: j.name, Tick: t})
	b.w.counts.Ticks["due"]++
	if len(r.claims) > 0 {
		b.w.counts.Ticks["run"]++
		b.contradicted(e, r)
		return
	}
	if why := b.couldRun(j, e.version, r.id, due+time.Second, min(end-time.Second, e.to)); why != "" {
		b.w.fail("vanished", "%s, due at %s, was not run: %s;%s", r.id, spell(due), why, r)
	}
	b.truthful(j, e, r, due, end)
	b.tell(j, e.version, r)
	if told := end + 30*time.Second; len(r.accounts) == 0 && e.to >= told && b.wellThrough(due-slack, told) && !b.changed(due-slack, told) {
		b.w.fail("unaccounted", "%s, due at %s: nobody has said what became of it", r.id, spell(due))
	}
	if len(r.accounts) == 0 {
		b.w.counts.Ticks["unsaid"]++
	}
}

// balancePlaces is balanceTick for a tick that is run in several places.
func (b *books) balancePlaces(j *jobBook, e era, t time.Time, due, end time.Duration) {
	if e.place.All {
		for _, h := range b.w.hosts {
			r := b.run[keys.RunID{Job: j.name, Tick: t, Place: "@" + h.spec.name}.String()]
			if !e.place.Matches(h.labels()) || r != nil && len(r.claims) > 0 {
				continue
			}
			id := keys.RunID{Job: j.name, Tick: t, Place: "@" + h.spec.name}
			if why := b.couldRunOn(h, j, e.version, id, due+time.Second, min(end-time.Second, e.to)); why != "" {
				b.w.fail("vanished", "%s, due at %s, was not run: %s;%s", id, spell(due), why, b.runOf(id))
			}
		}
		return
	}
	n := 0
	for i := range e.place.N {
		if r := b.run[keys.RunID{Job: j.name, Tick: t, Place: "#" + strconv.Itoa(i)}.String()]; r != nil && len(r.claims) > 0 {
			n++
		}
	}
	b.w.counts.Ticks["run"] += n
}

// couldRun says who could have run something within a time; empty: nobody.
func (b *books) couldRun(j *jobBook, v *version, id keys.RunID, from, to time.Duration) string {
	for _, h := range b.w.hosts {
		if v.place.Matches(h.labels()) {
			if why := b.couldRunOn(h, j, v, id, from, to); why != "" {
				return why
			}
		}
	}
	return ""
}

// couldRunOn is couldRun for one host. It must have been able to for long enough in one
// go, with nothing in progress that stood in the way.
func (b *books) couldRunOn(h *host, j *jobBook, v *version, id keys.RunID, from, to time.Duration) string {
	skipped := b.maySkip(id)
	for _, o := range j.versions { // an edit meanwhile may have put it off
		if o.from > from && o.from < to && !v.sameTicks(o) {
			return ""
		}
	}
	free := clipped(b.host[h].able, from, to)
	for _, p := range b.allPaused {
		if p.meets(from-2*slack, from+2*slack) {
			return "" // it came while all was paused
		}
		free = free.without(p)
	}
	if v.spec.Overlaps() != cron.Allow {
		for _, m := range j.markers {
			if !conflicts(m.id, id) {
				continue
			}
			if _, manual := id.Request(); !manual && (v.spec.Overlaps() == cron.Forbid && m.meets(from-2*slack, from+2*slack) || skipped && m.meets(from, to)) {
				return "" // it came while that ran, or that was run of those that were due together
			}
			free = free.without(m.span)
		}
	}
	need := 6*time.Second + hedge*time.Duration(len(b.w.hosts))
	for _, s := range free {
		if s.to-s.from >= need {
			return fmt.Sprintf("%s could have run it from %s to %s", h.spec.name, spell(s.from), spell(s.to))
		}
	}
	return ""
}

// maySkip reports whether nobody says that a tick came to something else than to be
// skipped.
func (b *books) maySkip(id keys.RunID) bool {
	r := b.run[id.String()]
	return r == nil || !slices.ContainsFunc(r.accounts, func(a account) bool { return a.what != plan.Skipped })
}

// spans are times that do not overlap, in order.
type spans []span

// clipped returns what of the spans lies within a time; each begins a second later.
func clipped(all []span, from, to time.Duration) (in spans) {
	for _, s := range all {
		if s.from, s.to = max(s.from+time.Second, from), min(s.to, to); s.from < s.to {
			in = append(in, s)
		}
	}
	return in
}

// without returns what of the spans is not within another.
func (all spans) without(o span) (left spans) {
	for _, s := range all {
		if !s.meets(o.from, o.to) {
			left = append(left, s)
			continue
		}
		if s.from < o.from {
			left = append(left, span{s.from, o.from})
		}
		if o.to < s.to {
			left = append(left, span{o.to, s.to})
		}
	}
	return left
}

// wellThrough reports whether some host was well for all of a time.
func (b *books) wellThrough(from, to time.Duration) bool {
	for _, h := range b.w.hosts {
		for _, s := range b.host[h].sound {
			if s.from <= from && s.to >= to {
				return true
			}
		}
	}
	return false
}

// changed reports whether a session has begun or ended in a time: who was to tell of a
// tick may have gone.
func (b *books) changed(from, to time.Duration) bool {
	return slices.ContainsFunc(b.changes, func(at time.Duration) bool { return at >= from && at <= to })
}

// contradicted asks whether somebody has said of a tick that was run that it was not.
func (b *books) contradicted(e era, r *runBook) {
	at := r.claims[0].at
	for _, a := range r.accounts {
		if (a.what == plan.Missed || a.what == plan.Unplaced) && e.spec.Misfires() != cron.MisfireSkip {
			continue // and it was made up for
		}
		if a.what == plan.Skipped && e.spec.Misfires() == cron.MisfireAll && (a.at-since(r.id.Tick)-e.splay).Abs() <= slack {
			continue // by a clock that is wrong it was due before a run ended, and by another after it
		}
		if a.what == plan.Withdrawn && b.pauseEnds(since(r.id.Tick)+e.splay) {
			continue // by a clock that is wrong it was due before that, and by another after it
		}
		if a.what == plan.Skipped && b.jobOf(r.id.Job).loosened(a.at, at) {
			continue
		}
		if at > a.at+2*slack || at < a.at-slack && b.soundNode(a.by, at, a.at) {
			b.w.fail("contradicted", "%s:%s", r.id, r)
		}
	}
}

// loosened reports whether a job that nobody had to remember each tick of has become one
// whose runs may overlap, or that runs in several places, within a time: what was skipped
// before is not known any more.
func (j *jobBook) loosened(from, to time.Duration) bool {
	for i := 1; i < len(j.versions); i++ {
		a, b := j.versions[i-1], j.versions[i]
		if b.from >= from-slack && b.from <= to && !a.many() && b.many() {
			return true
		}
	}
	return false
}

func (v *version) many() bool {
	return v.place.All || v.place.N > 1 || v.spec.Overlaps() == cron.Allow
}

// pauseEnds reports whether a pause of all jobs ended about then.
func (b *books) pauseEnds(at time.Duration) bool {
	return slices.ContainsFunc(b.allPaused, func(p span) bool { return (p.to - at).Abs() <= slack })
}

// soundNode reports whether a runner was well from one time to another.
func (b *books) soundNode(node string, from, to time.Duration) bool {
	for _, h := range b.w.hosts {
		if !strings.HasPrefix(node, h.spec.name+"-") {
			continue
		}
		for _, s := range b.host[h].sound {
			if s.from <= from && s.to >= to {
				return true
			}
		}
	}
	return false
}

// truthful asks whether the reasons that were given are true.
func (b *books) truthful(j *jobBook, e era, r *runBook, due, end time.Duration) {
	for _, a := range r.accounts {
		ok := true
		switch a.what {
		case plan.Skipped:
			ok = false
			for _, m := range j.markers {
				ok = ok || m.meets(due-2*slack, max(a.at, due)+slack) && conflicts(m.id, r.id)
			}
		case plan.Unplaced:
			for _, h := range b.w.hosts {
				for _, s := range b.host[h].sound {
					ok = ok && !(e.place.Matches(h.labels()) && s.from <= due-slack && s.to >= end+slack)
				}
			}
		case plan.Withdrawn:
			ok = b.withdrawnBy(j, e, due, a)
		}
		if !ok {
			b.w.fail("a lie", "%s, due at %s:%s", r.id, spell(due), r)
		}
	}
}

// withdrawnBy reports whether there was an edit that a tick can have been withdrawn by.
func (b *books) withdrawnBy(j *jobBook, e era, due time.Duration, a account) bool {
	if e.to != forever && e.to >= due-slack && e.to <= a.at+slack {
		return true
	}
	for _, p := range b.allPaused {
		if p.meets(due-slack, a.at+slack) {
			return true
		}
	}
	return false
}

// results asks whether what the runners had is what etcd has.
func (b *books) results() {
	names := make([]string, 0, len(b.run))
	for name := range b.run {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		r := b.run[name]
		if r.record == nil {
			continue
		}
		result := r.results[r.record.Claim]
		era, taken := r.taken[r.record.Claim]
		switch {
		case taken && era != b.era: // and forgotten with a restore
		case result == nil, r.lost[r.record.Claim], r.record.State == result.State, r.record.State == cron.Retrying:
		case r.record.State == cron.Killed && r.killed:
		case r.record.State == cron.Failed && r.waited[r.record.Claim] && result.State != cron.OK: // and nothing came of that
		case b.inSpool(r.record.Claim) && b.era > 0: // of another cluster
		default:
			b.w.fail("result lost", "%s, attempt %d, ended as %s on %s, and is %s (%s)", r.id, r.record.Attempt, result.State, result.Node, r.record.State, r.record.Cause)
		}
	}
}

func (b *books) inSpool(claim string) bool {
	for _, h := range b.w.hosts {
		for _, k := range h.disk.results {
			if k.run.Claim == claim {
				return true
			}
		}
	}
	return false
}

// leftovers asks whether each key has somebody to look after it.
func (b *books) leftovers(names []string) {
	nodes := map[string]*session{}
	for _, h := range b.w.hosts {
		if h.runner != nil && !h.runner.session.over {
			nodes[h.runner.session.node.ID] = h.runner.session
		}
	}
	for _, h := range b.w.hosts {
		for _, k := range h.disk.results {
			if h.runner != nil && k.cluster == b.w.db.cluster && h.wall().Sub(k.at) > 5*time.Minute {
				b.w.fail("left over", "the result of %s, which %s has kept since %v", k.run.RunID, h.spec.name, k.at)
			}
		}
	}
	runs, stretches := map[string]int{}, map[string]int{}
	for _, kv := range b.w.db.keys {
		e, ok := b.w.entry(kv.Key)
		if !ok {
			continue
		}
		name := e.Name
		if e.Kind == "run" || e.Kind == "act" {
			name = e.Run.Job
		}
		j := b.job[name]
		exists := j != nil && j.now() != nil
		switch e.Kind {
		case "act":
			b.owned(j, e, kv.Value, nodes)
		case "node":
			if nodes[e.Name] == nil {
				b.w.fail("left over", "the key of %s, which is gone", e.Name)
			}
		case "run":
			if runs[name]++; e.Run.Ticks() {
				runs[name]-- // there are two for a run at most
				stretches[name]++
			}
			if !exists && len(j.live) == 0 {
				b.w.fail("left over", "the record of %s, which is no job's", e.Run)
			}
		case "lw", "last":
			if !exists {
				b.w.fail("left over", "%s, which is no job's", kv.Key)
			}
		case "req":
			b.requested(j, e, exists)
		case "lost":
			if since := b.w.now - j.losses[e.Run.String()]; since > 2*time.Minute {
				b.w.fail("left over", "the loss of %s, of which nobody has told for %v", e.Run, since)
			}
		}
	}
	for _, name := range names {
		v := b.job[name].now()
		if v == nil {
			continue
		}
		most := 20
		for _, o := range b.job[name].versions { // what an edit lets go goes with the next runs
			places := max(o.place.N, 1)
			if o.place.All {
				places = len(b.w.hosts)
			}
			// What may still be started elsewhere is not to be pruned.
			late, end := 2*(o.splay+o.spec.Lateness()+time.Minute), min(o.to, b.w.now)
			most = max(most, (2*o.spec.Keeps()+len(b.job[name].live)+8+o.ticksWithin(end-late, end))*places+20)
		}
		if runs[name] > most {
			b.w.fail("history grows", "%s has %d runs, and is to keep %d", name, runs[name], v.spec.Keeps())
		}
		if stretches[name] > 2*most {
			b.w.fail("history grows", "%s has %d stretches of ticks that nobody has run, and is to keep %d", name, stretches[name], v.spec.Keeps())
		}
		b.latest(b.job[name])
		if v.spec.KeepFor > 0 && b.w.now > v.from+3*time.Duration(v.spec.KeepFor)+time.Hour && len(b.job[name].live) == 0 && !b.job[name].waited() {
			b.w.fail("left over", "%s, which is of one run, and was to be removed %v after that", name, v.spec.KeepFor)
		}
	}
}

// waited reports whether a run that was asked for is waited for.
func (j *jobBook) waited() bool {
	for _, q := range j.requests {
		if q.to == forever && q.Action == cron.RunNow {
			return true
		}
	}
	return false
}

// latest asks whether a job is remembered by the run that has ended last.
func (b *books) latest(j *jobBook) {
	id, ok := keys.RunOfID(j.name, j.last.ID)
	if !ok || b.era > 0 {
		return
	}
	is, known := j.ends[j.last.ID]
	for other, at := range j.ends {
		if o, ok := keys.RunOfID(j.name, other); ok && known && at > is+2*slack {
			b.w.fail("not the last", "%s is remembered by %s, which ended at %s, and %s ended at %s", j.name, id, spell(is), o, spell(at))
		}
	}
}

func (b *books) owned(j *jobBook, e keys.Entry, value []byte, nodes map[string]*session) {
	a, err := cron.DecodeAct(e.Run, e.Waits, value, 0)
	if err != nil {
		return
	}
	if e.Waits {
		from := j.live[b.w.keys.Retry(e.Run)].from
		for _, p := range b.allPaused { // it began anew then
			from = max(from, min(p.to, b.w.now))
		}
		v, waits := j.now(), b.w.now-from
		switch {
		case v == nil:
			b.w.fail("left over", "the marker of %s, which waits for its next attempt, and has no job", e.Run)
		case waits > v.spec.Backoff(a.Attempt)+v.spec.Lateness()+10*time.Minute && !v.spec.Paused:
			b.w.fail("retry not made", "%s waits for its next attempt since %v, to be made at %v", e.Run, waits, a.RetryAt)
		}
		return
	}
	s := nodes[a.Node]
	if s == nil || s.running[e.Run.String()] == nil && s.pending == 0 && b.w.now-j.live[b.w.keys.Act(e.Run)].from > time.Minute && b.unclaimed(s, e.Run, a.Claim) {
		b.w.fail("left over", "the marker of %s, for which nobody is at work (runner %q)", e.Run, a.Node)
	}
}

// unclaimed reports whether a runner knows nothing of a claim.
func (b *books) unclaimed(s *session, id keys.RunID, claim string) bool {
	_, claimed := s.claimed[id.String()]
	return !claimed && s.host.kept(id, claim) == nil
}

func (b *books) requested(j *jobBook, e keys.Entry, exists bool) {
	q := j.requests[e.ID]
	switch {
	case q == nil:
	case q.Action == cron.Kill:
		id, ok := keys.RunOfID(e.Name, q.Run)
		if ok && j.live[b.w.keys.Act(id)] == nil && j.live[b.w.keys.Retry(id)] == nil && b.w.now-q.from > 2*time.Minute {
			b.w.fail("left over", "the request to kill %s, which is over", id)
		}
	case !exists:
		b.w.fail("left over", "request %s for %s, which is no job", e.ID, e.Name)
	case !q.Expires.IsZero() && since(q.Expires) < b.w.now-2*time.Minute:
		b.w.fail("left over", "request %s for %s, which expired at %v", e.ID, e.Name, q.Expires)
	}
}

// ticksWithin counts the ticks of a time.
func (v *version) ticksWithin(from, to time.Duration) (n int) {
	if v.sched == nil {
		return 0
	}
	for t := v.sched.Next(origin.Add(from)); !t.IsZero() && since(t) <= to; t = v.sched.Next(t) {
		n++
	}
	return n
}
