package main

import (
	"encoding/json"
	"strings"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
	"conch/pkg/schedule"
)

// saw is told of what has been committed, by revision.
func (b *books) saw(changes []event) {
	for len(changes) > 0 {
		n := 1
		for n < len(changes) && changes[n].kv.ModRevision == changes[0].kv.ModRevision {
			n++
		}
		b.commit(changes[:n])
		changes = changes[n:]
	}
}

// commit is one revision.
func (b *books) commit(changes []event) {
	touched := map[string]bool{}
	for _, c := range changes {
		if e, ok := b.w.entry(c.kv.Key); ok && e.Kind == "run" && e.Run.Ticks() {
			b.putStretch(e, c)
		}
	}
	for _, c := range changes {
		b.w.trace.key(b.w, c)
		e, ok := b.w.entry(c.kv.Key)
		if !ok {
			continue
		}
		switch e.Kind {
		case "job":
			b.putJob(e.Name, c)
		case "act":
			b.putAct(e, c)
		case "run":
			if e.Run.Ticks() {
				continue
			}
			b.putRun(e, c)
			touched[e.Name] = true
		case "last":
			b.putLast(e.Name, c)
			touched[e.Name] = true
		case "req":
			b.putRequest(e, c)
		case "lost":
			b.putLoss(e, c)
		case "paused":
			b.putPaused(c)
		case "node":
			if c.deleted {
				b.changes = append(b.changes, b.w.now)
			}
		}
	}
	for name := range touched {
		b.agree(b.jobOf(name))
	}
}

func (b *books) putJob(name string, c event) {
	j := b.jobOf(name)
	if v := j.now(); v != nil {
		v.to = b.w.now
	}
	if c.deleted {
		b.removed(j, c)
		j.gone = append(j.gone, goneAt{b.w.now, c.kv.ModRevision})
		j.finals, j.base, j.hasLast, j.last = map[string]bool{}, 0, false, cron.Last{}
		j.ends = map[string]time.Duration{}
		return
	}
	if b.w.author != "hand" {
		b.w.fail("job written", "%s was written by %s", name, b.w.author)
	}
	v := &version{span: span{b.w.now, forever}, rev: c.kv.ModRevision, born: c.kv.CreateRevision}
	spec, err := cron.DecodeJob(c.kv.Value)
	if err != nil {
		b.w.fail("simulator", "%s: %v", name, err)
	}
	spec.Name = name
	v.spec = spec
	v.sched, _ = spec.Schedules()
	v.place, _ = cron.ParsePlacement(spec.On)
	if spec.Splay > 0 {
		v.splay = time.Duration(schedule.Hash(name) % uint64(spec.Splay))
	}
	j.splays[v.splay] = true
	j.versions = append(j.versions, v)
}

// removed asks whether a job had to go.
func (b *books) removed(j *jobBook, c event) {
	if b.w.author == "hand" {
		return
	}
	v := j.versions[len(j.versions)-1]
	switch {
	case v.spec.KeepFor == 0:
		b.w.fail("job removed", "%s, which is no job of one run, was removed by %s", j.name, b.w.author)
	case len(j.live) > 0:
		b.w.fail("job removed", "%s was removed by %s while a run of it was in progress", j.name, b.w.author)
	}
	over := v.spec.From()
	if j.hasLast && j.last.Ended.After(over) {
		over = j.last.Ended
	}
	if early := since(over.Add(time.Duration(v.spec.KeepFor))) - b.w.now; early > 2*slack {
		b.w.fail("job removed", "%s was removed by %s, %v too soon", j.name, b.w.author, early)
	}
	for id, q := range j.requests {
		if q.to == forever && q.Action == cron.RunNow && (q.Expires.IsZero() || since(q.Expires) > b.w.now+slack) {
			b.w.fail("job removed", "%s was removed by %s while request %s waited", j.name, b.w.author, id)
		}
	}
}

func (b *books) putAct(e keys.Entry, c event) {
	j := b.jobOf(e.Run.Job)
	key := string(c.kv.Key)
	m := j.live[key]
	switch {
	case c.deleted && m != nil:
		m.to = b.w.now
		delete(j.live, key)
		for x := range b.active {
			if !x.exempt && !x.paused && b.w.keys.Act(x.run.RunID) == key {
				b.w.fail("unmarked", "%s runs on %s, and its marker was deleted by %s", x.name, x.host.spec.name, b.w.author)
			}
		}
	case !c.deleted && m == nil:
		m = &marker{span{b.w.now, forever}, e.Run, e.Waits}
		j.live[key] = m
		j.markers = append(j.markers, m)
	}
}

func (b *books) putLast(name string, c event) {
	j := b.jobOf(name)
	if c.deleted {
		j.hasLast, j.last = false, cron.Last{}
		return
	}
	before := j.last
	j.last, j.hasLast = cron.Last{}, true
	if err := json.Unmarshal(c.kv.Value, &j.last); err != nil {
		b.w.fail("simulator", "last of %s: %v", name, err)
	}
	if b.w.author != "hand" { // who has only read it again
		b.reckon(j, before.Reckoned, j.last.Reckoned)
	}
	if j.last.Runs < before.Runs {
		b.w.fail("runs went back", "%s: from %d to %d", name, before.Runs, j.last.Runs)
	}
	if !before.Tick.IsZero() && j.last.Tick.Before(before.Tick) {
		b.w.fail("last.tick went back", "%s: from %v to %v", name, before.Tick, j.last.Tick)
	}
	if j.last.Tick.IsZero() {
		return
	}
	if ahead := since(j.last.Tick) - b.w.now; ahead > slack {
		b.w.fail("last.tick in the future", "%s: its ticks up to %v are said to be over, which is %v from now", name, j.last.Tick, ahead)
	}
	if v := j.now(); v != nil && len(j.splays) == 1 && since(j.last.Tick)+v.splay-b.w.now > slack {
		b.w.fail("last.tick in the future", "%s: the tick at %v is said to be over, and is due %v later", name, j.last.Tick, v.splay)
	}
}

func (b *books) putRequest(e keys.Entry, c event) {
	j := b.jobOf(e.Name)
	if c.deleted {
		if q := j.requests[e.ID]; q != nil && q.to == forever {
			q.to = b.w.now
			b.answered(j, q)
		}
		return
	}
	q := &requestBook{span: span{b.w.now, forever}}
	if err := json.Unmarshal(c.kv.Value, &q.Request); err != nil {
		b.w.fail("simulator", "request %s: %v", e.ID, err)
	}
	q.Job, q.ID = e.Name, e.ID
	j.requests[e.ID] = q
	if id, ok := keys.RunOfID(e.Name, q.Run); ok && q.Action == cron.Kill {
		b.runOf(id).killed = true
	}
}

func (b *books) putLoss(e keys.Entry, c event) {
	losses := b.jobOf(e.Name).losses
	if _, ok := losses[e.Run.String()]; c.deleted {
		delete(losses, e.Run.String())
	} else if !ok {
		losses[e.Run.String()] = b.w.now
	}
}

func (b *books) putPaused(c event) {
	n := len(b.allPaused)
	open := n > 0 && b.allPaused[n-1].to == forever
	switch {
	case c.deleted && open:
		b.allPaused[n-1].to = b.w.now
	case !c.deleted && !open:
		b.allPaused = append(b.allPaused, span{b.w.now, forever})
	}
}

// putStretch is told of the record of ticks that nobody has run.
func (b *books) putStretch(e keys.Entry, c event) {
	all := b.jobOf(e.Run.Job).stretches
	if c.deleted {
		delete(all, e.Run.ID())
		return
	}
	r, err := cron.DecodeRun(e.Run, c.kv.Value, c.kv.ModRevision)
	if err != nil {
		b.w.fail("simulator", "%v", err)
	}
	if was := all[e.Run.ID()]; was != nil && b.w.now-was.at < time.Minute-slack {
		b.w.fail("counted too often", "%s at %s, and again at %s", e.Run, spell(was.at), spell(b.w.now))
	}
	all[e.Run.ID()] = &stretch{r, b.w.now}
}

// putRun is told of a claim, a result, or that a record has gone.
func (b *books) putRun(e keys.Entry, c event) {
	r := b.runOf(e.Run)
	if c.deleted {
		r.record = nil
		return
	}
	is, err := cron.DecodeRun(e.Run, c.kv.Value, c.kv.ModRevision)
	if err != nil {
		b.w.fail("simulator", "%v", err)
	}
	was := r.record
	r.record = is
	if is.State == cron.Running {
		if was == nil || was.Claim != is.Claim {
			b.claimed(r, is, was)
		}
		return
	}
	if was != nil && was.Claim == is.Claim && was.State.Final() && is.State != was.State {
		truly := r.results[is.Claim]
		if truly != nil && was.State == truly.State {
			b.w.fail("result replaced", "%s, attempt %d, ended as %s, and is %s now", r.id, is.Attempt, was.State, is.State)
		}
	}
	if is.State == cron.Failed && r.lacked[is.Claim] && !r.killed && was != nil && was.State == cron.Running {
		b.w.fail("failed for its host", "%s, attempt %d, on %s", r.id, is.Attempt, is.Node)
	}
	if is.State == cron.Retrying {
		r.waited[is.Claim] = true
	}
	if is.State.Final() {
		if j := b.jobOf(e.Name); j.now() != nil && (is.JobRev == 0 || is.JobRev == j.now().born) {
			j.finals[is.ID()] = true
			if at, ok := r.ends[is.Claim]; ok {
				j.ends[is.ID()] = at
			}
			if was != nil && was.State == cron.Retrying { // and was given up
				j.ends[is.ID()] = b.w.now
			}
		}
	}
}

// claimed asks whether a claim is as it must be.
func (b *books) claimed(r *runBook, is, was *cron.Run) {
	b.w.counts.Runs++
	j := b.jobOf(is.Job)
	v := j.now()
	if v == nil {
		b.w.fail("claim", "%s was claimed by %s, and there is no such job", r.id, is.Node)
	}
	_, manual := r.id.Request()
	for _, c := range r.claims {
		switch {
		case c.attempt != is.Attempt, c.claim == is.Claim:
		case r.unbegun[c.claim]: // it was given back
		case c.era != b.era && b.saidSo:
		case c.jobRev != is.JobRev && since(r.id.Tick)+v.splay > j.bornAt()-slack: // it was removed and added again: docs/promises.md
			clear(r.starts)
		default:
			b.w.fail("claimed twice", "%s, attempt %d, by %s and by %s", r.id, is.Attempt, c.node, is.Node)
		}
	}
	defer func() {
		r.claims = append(r.claims, claimBook{b.w.now, is.Claim, is.Attempt, is.Node, b.era, is.JobRev})
	}()
	if v.born != is.JobRev && is.JobRev != 0 {
		b.w.fail("another's command", "%s, attempt %d, is of the job of revision %d, and was claimed under that of %d", r.id, is.Attempt, is.JobRev, v.born)
	}
	for _, h := range b.w.hosts {
		if h.spec.name == is.Host && !v.place.Matches(h.labels()) {
			b.w.fail("misplaced", "%s was claimed by %s, and is to run on %q", r.id, is.Host, v.spec.On)
		}
	}
	for _, c := range r.claims {
		if c.jobRev != is.JobRev && c.jobRev != 0 && is.JobRev != 0 && c.era == b.era && c.attempt != is.Attempt {
			b.w.fail("another's command", "%s, attempt %d, is of the job of revision %d, and attempt %d was of that of %d", r.id, is.Attempt, is.JobRev, c.attempt, c.jobRev)
		}
	}
	if is.Attempt > 1 || was != nil && was.State == cron.Retrying {
		if is.Attempt > v.spec.Retries()+1 && !r.givenBack() {
			b.w.fail("retried too often", "%s, attempt %d, and the job has %d retries", r.id, is.Attempt, v.spec.Retries())
		}
		if v.spec.Paused {
			b.w.fail("retried while paused", "%s, attempt %d", r.id, is.Attempt)
		}
		return
	}
	if manual {
		id, _ := r.id.Request()
		if q := j.requests[id]; q != nil {
			q.claimed = true
		}
		return
	}
	b.claimedTick(r, v)
}

func (r *runBook) givenBack() bool { return len(r.unbegun) > 0 }

// claimedTick asks whether there is such a tick, and whether it was due.
func (b *books) claimedTick(r *runBook, v *version) {
	t := r.id.Tick
	if v.sched == nil || !v.spec.Next(v.sched, t.Add(-1)).Equal(t) {
		b.w.fail("no tick", "%s was claimed, and is no tick of %q", r.id, v.spec.Schedule)
	}
	if !t.After(v.spec.From().Truncate(time.Second)) {
		b.w.fail("no tick", "%s was claimed, and the job has its ticks after %v", r.id, v.spec.From())
	}
	if v.spec.Paused {
		b.w.fail("ran while paused", "%s", r.id)
	}
	if v.spec.Starts != nil && t.Before(*v.spec.Starts) {
		b.w.fail("no tick", "%s was claimed, and the job starts at %v", r.id, v.spec.Starts)
	}
	due := since(t) + v.splay
	if early := due - b.w.now; early > slack {
		b.w.fail("too early", "%s was claimed %v before it was due", r.id, early)
	}
	for _, p := range b.allPaused {
		if p.from <= due-slack && p.to >= due+slack {
			b.w.fail("made up for a pause", "%s was due while all was paused", r.id)
		}
	}
	if place := r.id.Place; v.place.All != strings.HasPrefix(place, "@") || (v.place.N > 1) != strings.HasPrefix(place, "#") {
		b.w.fail("misplaced", "%s was claimed, and is to run on %q", r.id, v.spec.On)
	}
}

// agree asks whether what a job is remembered by is what its runs say.
func (b *books) agree(j *jobBook) {
	if !j.hasLast {
		return
	}
	if n := j.base + len(j.finals); n != j.last.Runs && j.now() != nil {
		b.w.fail("runs", "%s has had %d runs, and is said to have had %d", j.name, n, j.last.Runs)
	}
	id, ok := keys.RunOfID(j.name, j.last.ID)
	if !ok {
		return
	}
	if r := b.run[id.String()]; r != nil && r.record != nil && r.record.State.Final() && r.record.State != j.last.State {
		b.w.fail("last", "%s: its last run %s is said to be %s, and is %s", j.name, id, j.last.State, r.record.State)
	}
}

// answered asks whether a request that went without a claim had to.
func (b *books) answered(j *jobBook, q *requestBook) {
	if q.Action != cron.RunNow || q.claimed || b.w.author == "hand" {
		return
	}
	if r := b.run[q.RunID().String()]; r != nil && len(r.claims) > 0 {
		return
	}
	v := j.now()
	if v == nil {
		return
	}
	if q.Expires.IsZero() || since(q.Expires) > b.w.now+slack {
		b.w.fail("request withdrawn", "%s, before it was too late", q.RunID())
	}
	if why := b.couldRun(j, v, q.RunID(), q.from+slack, since(q.Expires)-slack); why != "" {
		b.w.fail("request not met", "%s: %s", q.RunID(), why)
	}
}

// promised asks whether there is what the hand was told of a run that it has asked for.
func (b *books) promised(id keys.RunID) {
	request, _ := id.Request()
	q := b.jobOf(id.Job).requests[request]
	if r := b.run[id.String()]; (r == nil || r.record == nil) && (q == nil || q.to != forever || q.RunID() != id) {
		b.w.fail("no such run", "the hand was told of %s, and there is neither that nor a request for it", id)
	}
}

// restored is told that etcd is taken back to a revision.
func (b *books) restored(rev int64) {
	b.era++
	b.saidSo = false
	b.lostRev = rev
	for x := range b.active {
		x.exempt = true
	}
	// What was said before is of what is forgotten.
	for _, j := range b.job {
		j.closed = b.w.now
	}
	for _, r := range b.run {
		r.accounts = nil
	}
}

// reload takes the books back to what etcd has after a restore.
func (b *books) reload() {
	for _, j := range b.job {
		for key, m := range j.live {
			m.to = b.w.now
			delete(j.live, key)
		}
		if v := j.now(); v != nil {
			v.to = b.w.now
		}
		for _, q := range j.requests {
			q.to = min(q.to, b.w.now)
		}
		j.finals, j.base, j.hasLast, j.last, j.stretches = map[string]bool{}, 0, false, cron.Last{}, map[string]*stretch{}
		clear(j.losses)
	}
	for _, r := range b.run {
		r.record = nil
	}
	b.allPaused = nil // etcd may have no memory of them
	author := b.w.author
	b.w.author = "hand"
	for _, kv := range b.w.db.keys {
		e, ok := b.w.entry(kv.Key)
		c := event{kv: kv}
		switch {
		case !ok:
		case e.Kind == "job":
			b.putJob(e.Name, c)
		case e.Kind == "act":
			b.putAct(e, c)
		case e.Kind == "last":
			b.putLast(e.Name, c)
			b.jobOf(e.Name).base = b.jobOf(e.Name).last.Runs
		case e.Kind == "req":
			b.putRequest(e, c)
		case e.Kind == "lost":
			b.putLoss(e, c)
		case e.Kind == "paused":
			b.putPaused(c)
		case e.Kind == "run" && e.Run.Ticks():
			b.putStretch(e, c)
		case e.Kind == "run":
			r := b.runOf(e.Run)
			r.record, _ = cron.DecodeRun(e.Run, kv.Value, kv.ModRevision)
			if j := b.jobOf(e.Name); r.record.State.Final() && j.now() != nil && (r.record.JobRev == 0 || r.record.JobRev == j.now().born) {
				j.finals[r.record.ID()] = true
				j.base-- // see last
			}
		}
	}
	b.w.author = author
}

// word is told that an operator has said to go on.
func (b *books) word() { b.saidSo = true }
