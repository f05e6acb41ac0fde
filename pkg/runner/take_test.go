package runner

import (
	"encoding/json"
	"time"

	"conch/pkg/cron"
	"conch/pkg/schedule"
)

func (b *books) takeJob(l line) {
	old := b.job[l.Name]
	if l.value == nil {
		old.close(l)
		delete(b.job, l.Name)
		return
	}
	v := &version{span: span{from: l.at, rev: l.rev}}
	var err error
	if v.Job, err = cron.DecodeJob(l.value); err != nil {
		b.Fatalf("%v: %v", l, err)
	}
	if v.ticks, err = v.Schedules(); err != nil {
		b.Fatalf("%v: %v", l, err)
	}
	if v.place, err = cron.ParsePlacement(v.On); err != nil {
		b.Fatalf("%v: %v", l, err)
	}
	v.splay = splayOf(v.Job)
	if old == nil {
		old = &life{span: v.span, name: l.Name, runs: map[string]*account{}}
		b.job[l.Name] = old
		b.lives[l.Name] = append(b.lives[l.Name], old)
	} else {
		before := old.now()
		before.to = l.at
		if !v.From().Equal(before.From()) && v.Moves() == before.Moves() && !before.Paused {
			b.wrong("a job has its ticks until they are moved", "%v", l)
		}
	}
	old.versions = append(old.versions, v)
}

// splayOf is by how much each tick of the job is delayed.
func splayOf(j *cron.Job) time.Duration {
	if j.Splay <= 0 {
		return 0
	}
	return time.Duration(schedule.Hash(j.Name) % uint64(j.Splay))
}

func (j *life) close(l line) {
	j.to = l.at
	j.versions[len(j.versions)-1].to = l.at
}

// now is the job as it is now.
func (j *life) now() *version { return j.versions[len(j.versions)-1] }

func (b *books) takeAct(l line) {
	if l.value == nil {
		if m := b.act[l.key]; m != nil {
			m.to = l.at
		}
		delete(b.act, l.key)
		return
	}
	if b.act[l.key] == nil {
		a, err := cron.DecodeAct(l.Run, l.Waits, l.value, l.rev)
		if err != nil {
			b.Fatalf("%v: %v", l, err)
		}
		m := &marker{span: span{from: l.at, rev: l.rev}, RunID: l.Run, claimed: a.Claimed}
		b.act[l.key] = m
		b.markers[l.Run.Job] = append(b.markers[l.Run.Job], m)
	}
}

func (b *books) takePaused(l line) {
	switch {
	case l.value == nil:
		b.paused.to = l.at
		b.paused = nil
	case b.paused == nil:
		b.paused = &span{from: l.at, rev: l.rev}
		b.pauses = append(b.pauses, b.paused)
	}
}

func (b *books) takeNode(l line) {
	var n cron.Node
	if l.value != nil {
		if err := json.Unmarshal(l.value, &n); err != nil {
			b.Fatalf("%v: %v", l, err)
		}
	}
	b.there = presences(b.there, b.node, l, n.Host, l.value != nil && !n.Draining)
	b.present = presences(b.present, b.takes, l, n.Host, l.value != nil && !n.Draining && n.Standby == "")
}

func presences(all []*presence, now map[string]*presence, l line, host string, is bool) []*presence {
	switch p := now[l.Name]; {
	case is && p == nil:
		now[l.Name] = &presence{span: span{from: l.at, rev: l.rev}, host: host}
		return append(all, now[l.Name])
	case !is && p != nil:
		p.to = l.at
		delete(now, l.Name)
	}
	return all
}

func (b *books) takeRequest(all entries, l line) {
	id := l.Name + "/" + l.ID
	if l.value != nil {
		w := &wish{Request: cron.Request{Job: l.Name, ID: l.ID}, span: span{from: l.at, rev: l.rev}}
		if err := json.Unmarshal(l.value, &w.Request); err != nil {
			b.Fatalf("%v: %v", l, err)
		}
		b.wish[id] = w
		b.wishes = append(b.wishes, w)
		return
	}
	w := b.wish[id]
	w.to = l.at
	delete(b.wish, id)
	switch {
	case w.Action == cron.Kill:
		if a := b.run[l.Name+"/"+w.Run]; a != nil && !a.State.Final() && !all.deleted(b.keys.Job(l.Name)) {
			b.wrong("a request to kill is met", "%v: but the run goes on", l)
		}
	case all.put(b.keys.Run(w.RunID())), all.deleted(b.keys.Job(l.Name)), b.job[l.Name] == nil:
	case l.at.Before(w.Expires.Add(-skew)) || w.Expires.IsZero():
		b.wrong("a request is claimed, or expires", "%v: of revision %d, it expires at %v", l, w.rev, w.Expires)
	}
}
