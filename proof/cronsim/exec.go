package main

import (
	"errors"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/cron"
	"conch/pkg/keys"
	"conch/pkg/plan"
)

func guardOf(s *session) clientv3.Cmp { return cron.Guard(s.w.keys, s.node) }

// do carries a verb out.
func (s *session) do(v plan.Verb) {
	switch v := v.(type) {
	case plan.Claim:
		s.claim(v)
	case plan.Start:
		s.start(v.ID)
	case plan.GiveUp:
		s.giveUp(v)
	case plan.Stop:
		if x := s.running[v.ID.String()]; x != nil {
			x.stop(v.By)
		}
	case plan.Settle:
		if v.Ours {
			s.settle(v)
		} else {
			s.settleOther(v)
		}
	case plan.Tell:
		s.tellOf(v)
	case plan.Withdraw:
		s.withdraw(v)
	case plan.Ask:
		s.ask(v)
	case plan.Note:
		s.count(v)
	case plan.Say:
		s.w.books.said(s, v.Event)
	}
}

// claim asks for a run.
func (s *session) claim(v plan.Claim) {
	run := *v.Claim.Run
	run.Claim, run.Trace = s.host.newID(16), "00-"+s.host.newID(16)
	c := v.Claim
	c.Run = &run
	s.w.books.claims(s, v)
	s.pending++
	s.claims.add(0, item{run.Job, c.Op(s.w.keys), func(rev int64, inner *clientv3.TxnResponse, err error) {
		s.pending--
		if err == nil && inner == nil {
			err = cron.ErrNode
		}
		var got *cron.Run
		if err == nil {
			got, err = c.Answer(inner, rev)
		}
		ours := err == nil && got.Claim == run.Claim
		if ours {
			s.claimed[run.RunID.String()] = claimed{v, got}
		}
		if got != nil {
			answer := *got
			got = &answer
		}
		s.tell(plan.Answer{ID: run.RunID, Run: got, Ours: ours, Err: err})
	}})
}

// start runs what was claimed.
func (s *session) start(id keys.RunID) {
	name := id.String()
	c, ok := s.claimed[name]
	if !ok {
		s.w.fail("verb", "%s starts %s, which it has not claimed", s.node.ID, name)
	}
	delete(s.claimed, name)
	run := *c.run
	x := &execution{session: s, name: name, run: &run, spec: c.verb.Spec}
	s.running[name] = x
	s.after(s.host.between(time.Millisecond, 20*time.Millisecond), x.begin)
}

// giveUp ends what was claimed and is not to be started.
func (s *session) giveUp(v plan.GiveUp) {
	delete(s.claimed, v.ID.String())
	run := *v.Settle.Run
	s.host.spool(&run)
	v.Settle.Ours = true
	s.settle(v.Settle)
}

// spool keeps a result, on the disk if that is possible.
func (h *host) spool(run *cron.Run) *kept {
	k := h.kept(run.RunID, run.Claim)
	if k == nil {
		k = &kept{run: run}
		h.disk.results = append(h.disk.results, k)
	}
	k.at, k.cluster, k.flying, k.memory = h.wall(), h.w.db.cluster, true, h.full.is
	return k
}

func (h *host) kept(id keys.RunID, claim string) *kept {
	for _, k := range h.disk.results {
		if k.run.RunID == id && k.run.Claim == claim {
			return k
		}
	}
	return nil
}

func (h *host) forget(k *kept) {
	for i, o := range h.disk.results {
		if o == k {
			h.disk.results = append(h.disk.results[:i:i], h.disk.results[i+1:]...)
			return
		}
	}
}

// settle writes the end of an attempt of ours, which is in the spool, to etcd.
func (s *session) settle(v plan.Settle) {
	st := v.Settlement
	run := *st.Run
	st.Run = &run
	k := s.host.kept(run.RunID, run.Claim)
	if k != nil {
		k.flying = true
	}
	write := func() {
		s.writeResult(&st, func(err error) {
			s.w.books.settled(&run, err)
			switch {
			case err == nil, errors.Is(err, cron.ErrSuperseded):
				if k != nil {
					s.w.books.forgotten(s, k, err)
					s.host.forget(k)
				}
				err = nil
			case k != nil:
				k.flying = false
			}
			s.tell(plan.Settled{ID: run.RunID, Claim: run.Claim, Err: err})
		})
	}
	if !v.Prune {
		write()
		return
	}
	s.prune(v, func(low time.Time) { st.LowWater = low; write() })
}

// prune finds out up to where a job's runs can go.
func (s *session) prune(v plan.Settle, then func(time.Time)) {
	keep := cron.DefaultKeep
	if v.Spec != nil {
		keep = v.Spec.Keeps()
	}
	p := cron.Pruning{Keys: s.w.keys, Self: v.Run.RunID, Keep: keep}
	s.call(func() (any, error) { return s.client().txn(nil, p.Ops(), nil) }, func(r any, err error) {
		var low time.Time
		if err == nil {
			low = p.Answer(r.(*clientv3.TxnResponse))
		}
		if low.After(v.Newest) {
			low = v.Newest
		}
		then(low)
	})
}

// writeResult asks etcd to take a result, as often as it takes.
func (s *session) writeResult(st *cron.Settlement, then func(error)) {
	op := st.Op(s.w.keys)
	if s.w.broken != nil && s.w.broken.allMet {
		op = withAll(op, s.w.keys, st)
	}
	s.results.add(st.Wait, item{st.Run.Job, op, func(_ int64, inner *clientv3.TxnResponse, err error) {
		if err == nil {
			var again bool
			if again, err = st.Answer(inner); again {
				s.writeResult(st, then)
				return
			}
		}
		then(err)
	}})
}

// settleOther writes down the end of a run that is not this runner's.
func (s *session) settleOther(v plan.Settle) {
	st := v.Settlement
	run := *st.Run
	st.Run = &run
	key := s.w.keys.Run(run.RunID)
	if !v.ReadRun {
		s.writeResult(&st, func(error) {})
		return
	}
	s.call(func() (any, error) { return s.w.db.Do(clientv3.OpGet(key)) }, func(r any, err error) {
		if err != nil {
			return
		}
		resp := r.(clientv3.OpResponse)
		kvs := resp.Get().Kvs
		if len(kvs) == 0 {
			st.Rev = -1
			s.writeResult(&st, func(error) {})
			return
		}
		is, err := cron.DecodeRun(run.RunID, kvs[0].Value, kvs[0].ModRevision)
		if err != nil || is.Rev != st.Rev || is.Claim != run.Claim {
			return
		}
		is.State, is.Ended, is.RetryAt = run.State, run.Ended, run.RetryAt
		is.Skipped = max(is.Skipped, run.Skipped)
		switch {
		case strings.HasPrefix(run.Cause, ";"):
			is.Cause += run.Cause
		case run.Cause != "":
			is.Cause = run.Cause
		}
		st.Run = is
		if v.Prune {
			v.Settlement = st
			s.prune(v, func(low time.Time) { st.LowWater = low; s.writeResult(&st, func(error) {}) })
			return
		}
		s.writeResult(&st, func(error) {})
	})
}

// tellOf tells of the end of a run that its sentinel has written.
func (s *session) tellOf(v plan.Tell) {
	run := v.Loss.Run
	name := run.RunID.String() + " " + run.Claim
	if s.telling[name] {
		return
	}
	s.telling[name] = true
	commit := func(op clientv3.Op) func() (any, error) {
		return func() (any, error) { return s.client().txn(op.Txn()) }
	}
	s.call(commit(v.Loss.Take(s.w.keys, s.node.ID)), func(r any, err error) {
		if err != nil || !v.Loss.Taken(r.(*clientv3.TxnResponse), s.node.ID) {
			delete(s.telling, name)
			return
		}
		s.w.books.toldOf(s, run)
		s.after(s.host.between(time.Millisecond, 5*time.Second), func() { // a command of the job's is told
			s.call(commit(v.Loss.Forget(s.w.keys, s.node.ID)), func(any, error) {})
		})
	})
}

// count counts ticks that nobody has run.
func (s *session) count(v plan.Note) {
	n := v.Note
	s.results.add(0, item{n.Job, n.Look(s.w.keys), func(rev int64, inner *clientv3.TxnResponse, err error) {
		if err != nil || n.Seen(s.w.keys, inner, rev) != nil {
			return
		}
		s.results.add(0, item{n.Job, n.Op(s.w.keys), func(rev int64, inner *clientv3.TxnResponse, err error) {
			if err == nil {
				_, _ = n.Answer(inner, rev)
			}
		}})
	}})
}

// withdraw deletes a request, or a job.
func (s *session) withdraw(v plan.Withdraw) {
	if v.Request == "" {
		s.call(func() (any, error) {
			_, err := s.store().Remove(ctx, v.Job, v.Rev, "")
			return nil, err
		}, func(any, error) {})
		return
	}
	key := s.w.keys.Request(v.Job, v.Request)
	s.call(func() (any, error) {
		return s.client().txn([]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", v.Rev)}, []clientv3.Op{clientv3.OpDelete(key)}, nil)
	}, func(any, error) {})
}

// store is how a runner removes jobs.
func (s *session) store() cron.Store {
	h := &etcdHand{e: s.w.db, clock: s.host.wall}
	return h.store(s.w.keys)
}

// ask puts a request.
func (s *session) ask(v plan.Ask) {
	key, marker := s.w.keys.Request(v.Request.Job, v.Request.ID), s.w.keys.Act(v.ID)
	if v.Waits {
		marker = s.w.keys.Retry(v.ID)
	}
	s.call(func() (any, error) {
		return s.client().txn([]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", 0), clientv3.Compare(clientv3.CreateRevision(marker), ">", 0)},
			[]clientv3.Op{clientv3.OpPut(key, v.Request.Encode())}, nil)
	}, func(any, error) {})
}

// replay offers what etcd has not taken once more.
func (s *session) replay() {
	if s.ready && s.trust.Why() == "" {
		s.offer(replay)
	}
	s.after(replay, s.replay)
}

// offer tells the planner of what has been kept for so long.
func (s *session) offer(age time.Duration) {
	for _, k := range s.host.disk.results {
		if k.flying && s.running[k.run.RunID.String()] != nil {
			continue
		}
		if since := s.host.wall().Sub(k.at); since >= 0 && since < age {
			continue
		}
		run := *k.run
		foreign := k.cluster != s.trust.Cluster && !(s.w.broken != nil && s.w.broken.anyCluster)
		s.tell(plan.Ended{Run: &run, Kept: true, Foreign: foreign, Unstarted: k.unstarted})
	}
}

// epilogue records, in the place of a runner that was killed, what it has run as lost.
func (r *runner) epilogue(x *execution) {
	h := r.host
	run := *x.run
	run.Ended, run.State, run.Cause = h.wall().UTC(), cron.Lost, "its runner was killed; so was the command"
	run.TryAgain(x.spec)
	h.w.after(h.between(5*time.Millisecond, 300*time.Millisecond), func() {
		if h.cut.is || h.frozen.is || !h.w.etcdUp {
			return // it lapses
		}
		c := client{h.w}
		h.w.author = h.spec.name
		st := cron.Settlement{Run: &run, Rev: x.run.Rev, Untold: true}
		if run.State.Final() {
			st.Memory = &cron.Memory{Rev: -1}
			if _, manual := run.Request(); !manual {
				st.Over = run.Tick
			}
		}
		for again := true; again; {
			resp, err := c.txn(nil, []clientv3.Op{st.Op(h.w.keys)}, nil)
			if err != nil {
				break
			}
			again, _ = st.Answer((*clientv3.TxnResponse)(resp.Responses[0].GetResponseTxn()))
		}
		h.w.committed()
	})
}

// withAll is the transaction of a settlement with which all requests go.
func withAll(op clientv3.Op, k keys.Cron, st *cron.Settlement) clientv3.Op {
	is, then, otherwise := op.Txn()
	for _, r := range st.Requests[min(32, len(st.Requests)):] {
		then = append(then, clientv3.OpDelete(k.Request(st.Run.Job, r)))
	}
	return clientv3.OpTxn(is, then, otherwise)
}
