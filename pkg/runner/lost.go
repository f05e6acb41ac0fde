package runner

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/cron"
	"conch/pkg/etcd"
	"conch/pkg/keys"
)

// recordLost ends a run that nobody is at work for: its runner is gone, or it
// waits for an attempt that is not to come. It reports whether that has been done.
func (p *planner) recordLost(d *duty) (done bool) {
	a := p.acts[d.id.String()]
	if a == nil || a.Rev != d.act.Rev || d.kind == lost && a.Node != "" && p.nodes[a.Node] != nil || d.kind == orphan && p.running[d.id.String()] != nil {
		return true
	}
	if d.kind == orphan && p.spool.has(a.RunID, a.Claim) { // its true end is to be written
		return false
	}
	if d.kind == nobody && p.canRetry(a) {
		return false
	}
	var spec *cron.Job
	var mem cron.Memory
	if j := p.jobs[d.id.Job]; j != nil && j.has(a) {
		spec, _ = j.spec()
		mem = j.memory()
	}
	kills := p.kills(d.id)
	skipTo := p.skippedBy(a, spec)
	p.ask(func(ctx context.Context) error {
		run, err := cron.Store{C: p.cfg.Etcd, Keys: p.cron}.RunOf(ctx, d.id)
		if errors.Is(err, cron.ErrNoRun) {
			run = &cron.Run{RunID: d.id, Claim: a.Claim, Rev: -1} // rm has deleted it: only the marker goes
		} else if err != nil {
			return err
		} else if run.Rev != a.Rev {
			return nil // what we were told of comes
		}
		r := &running{session: p.session, run: run, spec: spec, duty: d, last: mem, due: run.Tick}
		r.skipTo.Store(skipTo)
		s := r.giveUp(a, kills)
		err = p.ledger.Settle(s)
		if err == nil {
			r.tell()
		}
		return err
	})
	return false
}

// skippedBy is the latest tick that came while a run of another's was in progress,
// and was skipped for it; 0: none.
func (p *planner) skippedBy(a *cron.Act, spec *cron.Job) int64 {
	j := p.jobs[a.Job]
	if spec == nil || j.sched == nil || spec.Overlaps() != cron.Forbid {
		return 0
	}
	splay := j.splay / int64(time.Second)
	ticks := j.missed(a.Claimed.Unix()-splay, p.now().Unix()-splay)
	if len(ticks) == 0 {
		return 0
	}
	return ticks[len(ticks)-1].Unix()
}

// kills are the requests to kill a run.
func (p *planner) kills(id keys.RunID) (all []*cron.Request) {
	for _, q := range p.reqs {
		if q.Action == cron.Kill && q.Job == id.Job && q.Run == id.ID() {
			all = append(all, q)
		}
	}
	return all
}

// giveUp is the end of a run whose runner is gone, or that is not to be tried
// again; kills have asked for its end.
func (r *running) giveUp(a *cron.Act, kills []*cron.Request) cron.Settlement {
	run := r.run
	run.Ended = r.now().UTC()
	s := cron.Settlement{Run: run, Rev: run.Rev}
	for _, q := range kills {
		r.killedBy = q.By
		s.Requests = append(s.Requests, q.ID)
	}
	switch {
	case r.duty.kind == orphan:
		run.State, run.Cause = cron.Unknown, "its runner was told that the claim had failed, or could not write its result"
	case r.duty.kind == lost:
		run.State, s.Gone = cron.Lost, a.Node
		if a.Node != "" { // else its sentinel has said what there is to say
			run.Cause = "its runner " + a.Node + " is gone"
		}
		if r.spec != nil {
			r.retry()
		}
	case r.killedBy != "":
		run.State, run.Cause = cron.Killed, "by "+r.killedBy+", before its next attempt"
	case r.spec == nil:
		run.State, run.Cause = cron.Failed, "the job was removed before its next attempt"
	default:
		run.State, run.Cause = cron.Failed, run.Cause+"; no runner could make the next attempt"
	}
	if run.State.Final() && r.spec != nil {
		r.remember(&s)
	}
	return s
}

// isAsked reports whether somebody has asked for something of the job.
func (p *planner) isAsked(job string) bool {
	for _, q := range p.reqs {
		if q.Job == job {
			return true
		}
	}
	return false
}

// askToKill asks the runner of a run to kill it, for one that replaces it: once,
// however many ticks it outlasts.
func (p *planner) askToKill(a *cron.Act, by keys.RunID) {
	q := cron.Request{Job: a.Job, ID: "replace-" + a.RunID.ID(), Action: cron.Kill, Run: a.RunID.ID(), By: "its replacement " + by.String(), At: p.now().UTC()}
	if asked := p.reqs[q.Job+"/"+q.ID]; asked != nil && (asked.Rev != 0 || q.At.Sub(asked.At) < retryAfter) {
		return
	}
	p.reqs[q.Job+"/"+q.ID] = &q
	key, marker := p.cron.Request(q.Job, q.ID), p.cron.Act(a.RunID)
	if a.Waits {
		marker = p.cron.Retry(a.RunID)
	}
	p.ask(func(ctx context.Context) error {
		_, err := etcd.Do(ctx, p.cfg.Etcd, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
			return m.KV().Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0),
				clientv3.Compare(clientv3.CreateRevision(marker), ">", 0)).Then(clientv3.OpPut(key, q.Encode())).Commit()
		})
		return err
	})
}

// withdraw removes a request that is over, and reports whether that has been done.
func (p *planner) withdraw(d *duty) (done bool) {
	q := d.request
	if p.reqs[q.Job+"/"+q.ID] == nil {
		return true
	}
	if p.acts[q.RunID().String()] != nil {
		return true
	}
	if q.Action == cron.RunNow {
		p.say(Event{Event: "expired", Level: Warning, Job: q.Job, Run: q.RunID().String(), Reason: "what " + q.By + " asked for could not be started in time"})
	}
	p.deleteKey(p.cron.Request(q.Job, q.ID), q.Rev)
	return false
}

// deleteKey deletes a key if it is the one that was created at revision rev.
func (p *planner) deleteKey(key string, rev int64) {
	p.ask(func(ctx context.Context) error {
		_, err := etcd.Do(ctx, p.cfg.Etcd, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
			return m.KV().Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", rev)).Then(clientv3.OpDelete(key)).Commit()
		})
		return err
	})
}

// removeJob removes a submitted job whose time is over, and reports whether that
// has been done.
func (p *planner) removeJob(d *duty) (done bool) {
	j := p.jobs[d.id.Job]
	if j == nil || j.born != d.born || j.keepFor <= 0 { // another has its name now
		return true
	}
	if j.runs > 0 || p.isAsked(j.name) {
		return false
	}
	rev := j.rev
	p.ask(func(ctx context.Context) error {
		_, err := cron.Store{C: p.cfg.Etcd, Keys: p.cron}.Remove(ctx, d.id.Job, rev, "")
		if errors.Is(err, cron.ErrNoJob) || errors.As(err, new(*cron.Conflict)) {
			return nil
		}
		return err
	})
	return false
}
