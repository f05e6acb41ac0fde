package runner

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/cron"
	"conch/pkg/etcd"
	"conch/pkg/plan"
)

// do carries a verb out, or has a goroutine do so that tells what came of it.
func (s *session) do(v plan.Verb) {
	switch v := v.(type) {
	case plan.Claim:
		s.claim(v)
	case plan.Start:
		s.start(s.runs[v.ID.String()])
	case plan.GiveUp:
		s.settle(v.Settle, true)
	case plan.Stop:
		if r := s.runs[v.ID.String()]; r != nil {
			r.stop(v.By)
		}
	case plan.Settle:
		if v.Ours {
			s.settle(v, false)
		} else {
			s.settleOther(v)
		}
	case plan.Tell:
		s.tellOf(v)
	case plan.Withdraw:
		s.withdraw(v)
	case plan.Ask:
		s.put(v)
	case plan.Note:
		s.count(v)
	case plan.Say:
		s.sayAll(v.Event)
	}
}

// sayAll says an event, and counts it.
func (s *session) sayAll(e Event) {
	switch e.Event {
	case plan.Skipped:
		s.stats.skipped.Add(int64(max(e.Count, 1)))
	case plan.Missed:
		s.stats.missed.Add(int64(max(e.Count, 1)))
	case clockStep:
		s.clockWasSet()
	}
	s.say(e)
}

// claim asks the ledger for a run.
func (s *session) claim(v plan.Claim) {
	run := *v.Claim.Run
	run.Claim, run.Trace, run.Log = newID(), newTrace(), ""
	if v.Spec.Outputs() != cron.OutputNone {
		run.Log = s.cfg.LogDir
	}
	v.Claim.Run = &run
	s.runs[run.RunID.String()] = &running{session: s, claim: run.Claim, run: &run, spec: v.Spec, due: v.Due, signals: newSignals(), telling: newSignals()}
	s.wg.Go(func() {
		s.cfg.Seam(BeforeClaim)
		got, err := s.ledger.Claim(v.Claim)
		s.cfg.Seam(ClaimSent)
		s.tell(plan.Answer{ID: run.RunID, Run: got, Ours: err == nil && got.Claim == run.Claim, Err: err})
	})
}

// start runs what has been claimed.
func (s *session) start(r *running) {
	s.stats.claims.Add(1)
	s.wg.Go(func() {
		s.cfg.Seam(Claimed)
		r.execute()
	})
}

// settle writes the end of a run of ours down. It is in the spool, or, of one that was
// given up, is put there first: that keeps what etcd does not get.
func (s *session) settle(v plan.Settle, givenUp bool) {
	r := s.runs[v.Run.RunID.String()]
	if r != nil && r.claim == v.Run.Claim {
		r.run = v.Run
	} else { // it was kept
		r = nil
	}
	name := entryName(v.Run.RunID, v.Run.Claim)
	s.settling[name] = true
	alone := false // nobody here tells of it
	if r == nil {  // at once: the next verb may be to tell of its loss
		_, told := s.telling.LoadOrStore(name, true)
		alone = !told
	}
	s.wg.Go(func() {
		if givenUp {
			r.keep(false)
		}
		teller := r
		if alone {
			teller = s.teller(v, name)
		}
		err := s.write(v, r == nil)
		switch {
		case err == nil, errors.Is(err, cron.ErrSuperseded):
			s.spool.remove(name)
		case r != nil:
			s.spool.tell(name)
		}
		switch {
		case alone && teller != nil && err == nil:
			teller.written(v)
		case alone: // it is offered again, or its loss is
			s.telling.Delete(name)
		}
		if r != nil {
			if err == nil {
				s.cfg.Seam(Settled)
			}
			r.written(v)
			r.outcome.Dismiss()
		}
		if errors.Is(err, cron.ErrSuperseded) {
			err = nil
		}
		s.tell(plan.Settled{ID: v.Run.RunID, Claim: v.Run.Claim, Err: err})
	})
}

// teller is who is to tell people of the end of a run that an earlier start has kept: nil
// if somebody has told of it, or of its loss. A loss that nobody has told of is taken, and
// goes when the true end is written.
func (s *session) teller(v plan.Settle, name string) *running {
	e, ok := s.spool.entry(name)
	if !ok || e.Told || !s.isUntold(v.Run) {
		return nil
	}
	return &running{session: s, run: v.Run, spec: v.Spec, due: v.Run.Tick, apart: e.Unstarted, telling: newSignals()}
}

// isUntold reports whether nobody has told of another end of a run, which its sentinel or
// another runner may have written meanwhile, or will.
func (s *session) isUntold(run *cron.Run) bool {
	r, err := s.commit(s.ctx, clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpGet(s.cron.Run(run.RunID)), clientv3.OpGet(s.cron.Lost(run.RunID))}, nil))
	if err != nil {
		return false
	}
	records, losses := r.Responses[0].GetResponseRange().Kvs, r.Responses[1].GetResponseRange().Kvs
	if len(records) == 0 {
		return false
	}
	is, err := cron.DecodeRun(run.RunID, records[0].Value, records[0].ModRevision)
	if err != nil || is.Claim != run.Claim {
		return false
	}
	if is.State != cron.Lost && (is.State != cron.Retrying || !run.State.Well()) {
		return true
	}
	if len(losses) == 0 {
		return false
	}
	l, err := cron.DecodeLoss(run.RunID, losses[0].Value, losses[0].CreateRevision, losses[0].ModRevision)
	if err != nil || l.Run.Claim != run.Claim || l.Teller != "" && l.Teller != s.node.ID {
		return false
	}
	r, err = s.commit(s.ctx, l.Take(s.cron, s.node.ID))
	return err == nil && l.Taken(r, s.node.ID)
}

// write tells etcd of the end of a run of ours. kept: it was in the spool, and stays
// there when the session ends.
func (s *session) write(v plan.Settle, kept bool) error {
	if v.Prune && v.Spec != nil {
		v.LowWater = s.lowWater(v)
	}
	err := s.ledger.Settle(v.Settlement)
	e := Event{Level: Warning, Job: v.Run.Job, Run: v.Run.RunID.String(), Tick: v.Run.Tick}
	switch {
	case err == nil, kept && s.ctx.Err() != nil:
		return err
	case errors.Is(err, cron.ErrSuperseded):
		e.Event, e.Reason = "superseded", err.Error()
	default:
		e.Event, e.Reason = "unwritten", err.Error()+"; it is in the spool"
	}
	s.say(e)
	return err
}

// lowWater is up to where the job's runs are to be pruned; zero: not this time.
func (s *session) lowWater(v plan.Settle) time.Time {
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
	defer cancel()
	low, err := cron.LowWater(ctx, s.cfg.Etcd, s.cron, v.Run.RunID, v.Spec.Keeps())
	switch {
	case err != nil: // the next time will do
		return time.Time{}
	case low.After(v.Newest):
		return time.Unix(max(v.Newest.Unix(), 0), 0).UTC()
	}
	return low
}

// settleOther ends a run that nobody is at work for: its runner is gone, or it waits
// for an attempt that is not to come.
func (s *session) settleOther(v plan.Settle) {
	s.ask(func(ctx context.Context) error {
		if v.ReadRun {
			run, err := s.recordOf(ctx, v)
			if err != nil || run == nil {
				return err
			}
			v.Run, v.Rev = run, run.Rev
			if v.Prune && run.Rev > 0 {
				v.LowWater = s.lowWater(v)
			}
		}
		err := s.ledger.Settle(v.Settlement)
		if err == nil {
			(&running{session: s, run: v.Run, spec: v.Spec, due: v.Run.Tick, apart: true}).written(v)
		}
		return err
	})
}

// recordOf is the record of a run with the end that v gives it; nil: it is another by
// now, of which we will be told.
func (s *session) recordOf(ctx context.Context, v plan.Settle) (*cron.Run, error) {
	run, err := cron.Store{C: s.cfg.Etcd, Keys: s.cron}.RunOf(ctx, v.Run.RunID)
	switch {
	case errors.Is(err, cron.ErrNoRun): // rm has deleted it: only the marker goes
		run = &cron.Run{RunID: v.Run.RunID, Claim: v.Run.Claim, Rev: -1}
	case err != nil:
		return nil, err
	case run.Rev != v.Rev:
		return nil, nil
	}
	run.State, run.Ended, run.RetryAt = v.Run.State, v.Run.Ended, v.Run.RetryAt
	run.Skipped = max(run.Skipped, v.Run.Skipped)
	switch cause := v.Run.Cause; {
	case cause == "":
	case cause[0] == ';':
		run.Cause += cause
	default:
		run.Cause = cause
	}
	return run, nil
}

// tellOf tells people of a run of another runner's whose end its sentinel has written:
// once, unless this runner is killed meanwhile.
func (s *session) tellOf(v plan.Tell) {
	run := v.Loss.Run
	name := entryName(run.RunID, run.Claim)
	if _, told := s.telling.LoadOrStore(name, true); told {
		return
	}
	s.wg.Go(func() {
		r, err := s.commit(s.ctx, v.Loss.Take(s.cron, s.node.ID))
		if err != nil || !v.Loss.Taken(r, s.node.ID) {
			s.telling.Delete(name)
			s.unwritten(err)
			return
		}
		told := &running{session: s, run: run, spec: v.Spec, due: run.Tick, apart: true}
		if told.written(plan.Settle{Spec: v.Spec}); told.untold { // another runner does
			return
		}
		_, err = s.commit(s.ctx, v.Loss.Forget(s.cron, s.node.ID))
		s.unwritten(err)
		if err != nil && s.ctx.Err() != nil { // else somebody would tell of it again
			ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), lastChance)
			defer cancel()
			_, _ = s.commit(ctx, v.Loss.Forget(s.cron, s.node.ID))
		}
	})
}

// unwritten says that etcd would not have something, unless the session is over.
func (s *session) unwritten(err error) {
	if err != nil && s.ctx.Err() == nil && !errors.Is(err, cron.ErrSuperseded) {
		s.say(Event{Event: "unwritten", Level: Warning, Reason: err.Error()})
	}
}

// commit commits the transaction that an operation is.
func (s *session) commit(ctx context.Context, op clientv3.Op) (*clientv3.TxnResponse, error) {
	return etcd.Do(ctx, s.cfg.Etcd, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		is, then, otherwise := op.Txn()
		return m.KV().Txn(ctx).If(is...).Then(then...).Else(otherwise...).Commit()
	})
}

// count counts ticks that nobody has run, and tells those whom the job names.
func (s *session) count(v plan.Note) {
	name := "note " + v.Job
	if _, sent := s.telling.LoadOrStore(name, true); sent {
		return
	}
	s.wg.Go(func() {
		begun, err := s.ledger.Note(v.Note)
		s.telling.Delete(name)
		if err != nil && s.ctx.Err() == nil && !errors.Is(err, cron.ErrCounted) { // else we will be told by whom
			s.say(Event{Event: "uncounted", Level: Warning, Job: v.Job, Reason: err.Error()})
		}
		for _, ticks := range begun {
			ticks.Trace = newTrace()
			r := &running{session: s, run: ticks, spec: v.Spec, due: ticks.Tick, telling: newSignals()}
			r.report()
			r.notify(false)
		}
	})
}

// withdraw removes a request, or a submitted job whose time is over.
func (s *session) withdraw(v plan.Withdraw) {
	s.ask(func(ctx context.Context) error {
		if v.Request == "" {
			_, err := cron.Store{C: s.cfg.Etcd, Keys: s.cron}.Remove(ctx, v.Job, v.Rev, "")
			if errors.Is(err, cron.ErrNoJob) || errors.As(err, new(*cron.Conflict)) {
				return nil
			}
			return err
		}
		key := s.cron.Request(v.Job, v.Request)
		return s.txn(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", v.Rev)}, clientv3.OpDelete(key))
	})
}

// put puts a request to kill a run: once, however many ticks that outlasts.
func (s *session) put(v plan.Ask) {
	key, marker := s.cron.Request(v.Request.Job, v.Request.ID), s.cron.Act(v.ID)
	if v.Waits {
		marker = s.cron.Retry(v.ID)
	}
	s.ask(func(ctx context.Context) error {
		return s.txn(ctx, []clientv3.Cmp{
			clientv3.Compare(clientv3.CreateRevision(key), "=", 0),
			clientv3.Compare(clientv3.CreateRevision(marker), ">", 0),
		}, clientv3.OpPut(key, v.Request.Encode()))
	})
}

// txn does something in etcd if all of cmps hold; if not, there is nothing to do.
func (s *session) txn(ctx context.Context, cmps []clientv3.Cmp, op clientv3.Op) error {
	_, err := etcd.Do(ctx, s.cfg.Etcd, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		return m.KV().Txn(ctx).If(cmps...).Then(op).Commit()
	})
	return err
}

// ask asks etcd something on the side, of which nothing but a warning comes.
func (s *session) ask(f func(ctx context.Context) error) {
	s.wg.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
		defer cancel()
		s.unwritten(f(ctx))
	})
}
