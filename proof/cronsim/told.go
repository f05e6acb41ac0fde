package main

import (
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/cron"
	"conch/pkg/keys"
	"conch/pkg/plan"
)

// claims is told of a claim that a planner wants.
func (b *books) claims(s *session, v plan.Claim) {
	run := v.Claim.Run
	r := b.runOf(run.RunID)
	if r.wanted++; r.wanted > maxWanted {
		b.w.fail("storm", "%s was to be claimed %d times, now by %s", run.RunID, r.wanted, s.node.ID)
	}
	if v.Spec == nil {
		b.w.fail("verb", "%s claims %s without a job", s.node.ID, run.RunID)
	}
	if s.standby != "" && !strings.Contains(s.standby, "compared") && !strings.Contains(s.standby, "too little") {
		b.w.fail("claims while standing by", "%s: %s", s.node.ID, run.RunID)
	}
	if s.drained {
		b.w.fail("claims while draining", "%s: %s", s.node.ID, run.RunID)
	}
	for _, ver := range b.jobOf(run.Job).versions {
		if ver.rev == v.Claim.JobRev && !slices.Equal(ver.spec.Cmd, v.Spec.Cmd) {
			b.w.fail("another's command", "%s claims %s with the command %q, and that of the job is %q", s.node.ID, run.RunID, v.Spec.Cmd, ver.spec.Cmd)
		}
	}
}

// began is told of a command that was started.
func (b *books) began(x *execution) {
	r := b.runOf(x.run.RunID)
	if was, ok := r.starts[x.run.Attempt]; ok && !(was.era != b.era && b.saidSo) {
		b.w.fail("started twice", "%s, attempt %d, also at %s", x.name, x.run.Attempt, spell(was.at))
	}
	r.starts[x.run.Attempt] = startBook{b.w.now, x.run.Claim, b.era}
	for o := range b.active {
		if o.run.Job == x.run.Job && !o.paused && !o.exempt && x.spec.Overlaps() != cron.Allow && conflicts(o.run.RunID, x.run.RunID) && !b.tightened(x.run.RunID, o.run.RunID) {
			b.w.fail("overlap", "%s on %s began while %s ran on %s", x.name, x.host.spec.name, o.name, o.host.spec.name)
		}
	}
	b.active[x] = true
}

// tightened reports whether two runs of a job were both claimed when its runs might
// overlap: then they may still.
func (b *books) tightened(x, o keys.RunID) bool {
	at := max(b.runOf(x).claims[0].at, b.runOf(o).claims[0].at)
	for _, v := range b.jobOf(x.Job).versions {
		if v.meets(at-slack, at) && v.spec.Overlaps() == cron.Allow {
			return true
		}
	}
	return false
}

// conflicts reports whether two runs of a job are in the same place.
func conflicts(a, o keys.RunID) bool {
	alone := func(id keys.RunID) bool { _, manual := id.Request(); return manual || id.Place == "" }
	return alone(a) || alone(o) || a.Place == o.Place
}

// over is told that all of an execution is dead.
func (b *books) over(x *execution) { delete(b.active, x) }

// result is told of a result that is in the spool.
func (b *books) result(x *execution, run *cron.Run) {
	r := b.runOf(run.RunID)
	r.results[run.Claim], r.ends[run.Claim] = run, b.w.now
}

// forgotten is told of a result that is in the spool no more.
func (b *books) forgotten(s *session, k *kept, err error) {
	if err != nil && k.cluster != b.w.db.cluster {
		b.w.fail("result thrown away", "%s, which is of cluster %d, by %s in cluster %d", k.run.RunID, k.cluster, s.node.ID, b.w.db.cluster)
	}
}

// lacked is told that nothing could be started for what the host lacks.
func (b *books) lacked(x *execution) { b.runOf(x.run.RunID).lacked[x.run.Claim] = true }

// unbegun is told that nothing could be started.
func (b *books) unbegun(x *execution) { b.runOf(x.run.RunID).unbegun[x.run.Claim] = true }

// lostResult is told of a result that went with a runner's memory.
func (b *books) lostResult(run *cron.Run) { b.runOf(run.RunID).lost[run.Claim] = true }

// settled is told what came of a settlement.
func (b *books) settled(run *cron.Run, err error) {
	if err == nil {
		b.runOf(run.RunID).taken[run.Claim] = b.era
	}
}

// toldOf is told that a runner tells of a run that was lost.
func (b *books) toldOf(s *session, run *cron.Run) {
	r := b.runOf(run.RunID)
	if was, ok := r.told[run.Claim]; ok && was.era == b.era && b.exists(b.w.keys.Node(was.node)) {
		b.w.fail("told twice", "of %s, attempt %d, by %s and by %s", run.RunID, run.Attempt, was.node, s.node.ID)
	}
	r.told[run.Claim] = tellBook{s.node.ID, b.era}
}

// exists reports whether etcd has a key.
func (b *books) exists(key string) bool {
	r, err := b.w.db.Do(clientv3.OpGet(key))
	return err == nil && len(r.Get().Kvs) > 0
}

// said is told what a runner tells people.
func (b *books) said(s *session, e plan.Event) {
	b.w.trace.said(s, e)
	switch e.Event {
	case plan.Skipped, plan.Missed, plan.Withdrawn, plan.Unplaced:
	default:
		return
	}
	b.w.counts.Ticks[e.Event] += max(e.Count, 1)
	a := account{b.w.now, e.Event, s.node.ID, e.Reason}
	if id, err := keys.ParseRunID(e.Run); err == nil && e.Run != "" {
		r := b.runOf(id)
		r.accounts = append(r.accounts, a)
		return
	}
	j := b.jobOf(e.Job)
	for _, t := range b.lastTicks(j, e) {
		r := b.runOf(keys.RunID{Job: e.Job, Tick: t})
		r.accounts = append(r.accounts, a)
	}
}

// lastTicks are those that an event is about: the last so many of which nothing is known.
func (b *books) lastTicks(j *jobBook, e plan.Event) (all []time.Time) {
	if e.Count <= 1 || len(j.versions) == 0 {
		return []time.Time{e.Tick}
	}
	v := j.versions[len(j.versions)-1]
	if e.Event == plan.Withdrawn && b.w.now-v.from < slack && len(j.versions) > 1 { // as they were before the edit
		v = j.versions[len(j.versions)-2]
	}
	if v.sched == nil {
		return []time.Time{e.Tick}
	}
	for window := time.Minute; ; window *= 4 {
		all = all[:0]
		for t := v.sched.Next(e.Tick.Add(-window)); !t.IsZero() && !t.After(e.Tick); t = v.sched.Next(t) {
			if r := b.run[keys.RunID{Job: j.name, Tick: t}.String()]; r == nil || len(r.accounts)+len(r.claims) == 0 {
				all = append(all, t)
			}
		}
		if len(all) >= e.Count || window > 1000*time.Hour {
			return all[max(0, len(all)-e.Count):]
		}
	}
}
