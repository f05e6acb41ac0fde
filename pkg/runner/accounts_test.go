package runner

import (
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
)

// skew is by how much the clock of a runner that takes things on may be wrong, and then
// some.
const skew = 7 * time.Second

// takeRun keeps the account of a run.
func (b *books) takeRun(all entries, l line) {
	name := l.Run.String()
	a := b.run[name]
	if l.value == nil {
		delete(b.run, name)
		b.dropped(all, l, a)
		return
	}
	r, err := cron.DecodeRun(l.Run, l.value, l.rev)
	if err != nil {
		b.Fatalf("%v: %v", l, err)
	}
	if a == nil {
		b.claimed(all, l, r)
		return
	}
	was := a.Run
	a.Run = r
	const rule = "a record goes from one state to the next"
	switch next := was.Attempt + 1; {
	case was.State == cron.Retrying && r.State == cron.Running && r.Attempt == next:
		b.attempt(a, l)
	case r.Attempt != was.Attempt || r.Claim != was.Claim:
		b.wrong(rule, "%v: it was %s, attempt %d of claim %s", l, was.State, was.Attempt, was.Claim)
	case was.State == cron.Running && r.State == cron.Running: // its runner is said to be gone
	case was.State == cron.Running, was.State == cron.Retrying && r.State.Final():
	case was.State == cron.Lost && r.State.Final(): // how it ended in truth
	default:
		b.wrong(rule, "%v: it was %s", l, was.State)
	}
	if r.State.Final() {
		b.ended(all, l, a)
	}
}

// claimed: a run is claimed once, and only if it may be.
func (b *books) claimed(all entries, l line, r *cron.Run) {
	j := b.job[l.Run.Job]
	if j == nil {
		b.wrong("a claim is of a job", "%v", l)
		j = &life{name: l.Run.Job, runs: map[string]*account{}, versions: []*version{{Job: &cron.Job{Name: l.Run.Job}}}}
	}
	a := &account{Run: r, life: j}
	if j.runs[r.ID()] != nil {
		b.wrong("a run is claimed once", "%v", l)
	}
	j.runs[r.ID()], b.run[r.RunID.String()] = a, a
	v := j.now()
	if r.State != cron.Running || r.Attempt != 1 || r.JobRev != j.rev {
		b.wrong("a claim is of a job", "%v: of revision %d", l, j.rev)
	}
	if request, manual := r.Request(); manual {
		if !all.deleted(b.keys.Request(r.Job, request)) {
			b.wrong("a run is asked for", "%v: but nobody has", l)
		}
	} else {
		if why := v.holds(r.RunID); v.ticks != nil && why != "" {
			b.wrong("a claim is of a tick of the job", "%v: %s", l, why)
		}
		if early := r.Tick.Add(v.splay).Sub(l.at); early > skew {
			b.wrong("a claim is of a tick that is due", "%v: %v early", l, early)
		}
		for _, other := range []string{"", "#0", "#1", "@" + host(0), "@" + host(1), "@" + host(2)} {
			if id := (keys.RunID{Job: r.Job, Tick: r.Tick, Place: other}); !v.placed(other) && j.runs[id.ID()] != nil {
				b.wrong("a tick that was run is not run elsewhere", "%v: as %s", l, id)
			}
		}
	}
	b.attempt(a, l)
}

// attempt: nothing is claimed while all is paused, or what must not overlap beside
// another.
func (b *books) attempt(a *account, l line) {
	v := a.life.now()
	a.attempts = append(a.attempts, attempt{a.Attempt, l.rev, l.at, v})
	if b.paused != nil {
		b.wrong("nothing is claimed while all is paused", "%v", l)
	}
	if a.life != b.job[a.Job] {
		b.wrong("an attempt is one of its own job", "%v", l)
	}
	if v.Overlaps() == cron.Allow || a.Attempt > 1 {
		return
	}
	for _, m := range b.act {
		if m.Job == a.Job && m.RunID != a.RunID && rivals(m.RunID, a.RunID) {
			b.wrong("what must not overlap does not", "%v: beside %s", l, m.RunID)
		}
	}
}

// rivals reports whether two runs of a job are such that they must not overlap, if any
// of it must not.
func rivals(one, other keys.RunID) bool {
	general := func(id keys.RunID) bool { _, manual := id.Request(); return manual || id.Place == "" }
	return general(one) || general(other) || one.Place == other.Place
}

// ended: the end of a run of a job that is there is remembered.
func (b *books) ended(all entries, l line, a *account) {
	if b.job[a.Job] != a.life {
		b.wrong("the end of a run of a job that is gone leaves nothing", "%v", l)
		return
	}
	if !a.over {
		a.over = true
		a.life.ends++
	}
	if !all.put(b.keys.Last(a.Job)) {
		b.wrong("last and the records agree", "%v: but the end is not remembered", l)
	}
}

// dropped: a record goes with its job, or when newer ones have taken its place.
func (b *books) dropped(all entries, l line, a *account) {
	if a == nil {
		return
	}
	if b.job[a.Job] != a.life || all.deleted(b.keys.Job(a.Job)) {
		return
	}
	switch low, ok := all[b.keys.LowWater(a.Job)]; {
	case !a.State.Final():
		b.wrong("what is in progress keeps its record", "%v: it was %s", l, a.State)
	case !ok || string(low.value) < keys.Tick(a.Tick):
		b.wrong("a record is there until newer ones take its place", "%v", l)
	}
}
