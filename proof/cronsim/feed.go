package main

import (
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/cron"
	"conch/pkg/plan"
)

// read reads the table anew, and follows it.
func (s *session) read() {
	s.rev = 0
	s.feeding = true
	s.trust.Reread()
	s.call(func() (any, error) {
		return table{s.w.db.rev, s.w.db.cluster, s.w.followed()}, nil
	}, func(v any, _ error) {
		t := v.(table)
		s.feeding = false
		facts := []plan.Fact{plan.Reread{}}
		goOn := int64(0)
		for _, kv := range t.kvs {
			facts = append(facts, s.put(kv, &goOn)...)
		}
		s.trust.Whole(t.rev, t.cluster)
		if goOn != 0 {
			s.trust.GoOn(goOn)
		}
		s.rev, s.cluster = t.rev, t.cluster
		s.restand(false)
		if !s.ready {
			s.w.books.changes = append(s.w.books.changes, s.w.now)
			s.ready = true
			if s.trust.Why() == "" {
				s.offer(0)
			}
			s.endOfLast()
		}
		s.tell(append(facts, plan.Whole{Rev: t.rev})...)
		s.follow()
	})
}

type table struct {
	rev     int64
	cluster uint64
	kvs     []*mvccpb.KeyValue
}

func (s *session) put(kv *mvccpb.KeyValue, goOn *int64) []plan.Fact {
	e, ok := s.w.keys.Entry(string(kv.Key))
	if !ok || e.Kind == "lw" || e.Kind == "run" {
		return nil
	}
	if e.Kind == "restored" {
		*goOn = kv.ModRevision
	}
	return []plan.Fact{plan.Put{Entry: e, Value: slices.Clone(kv.Value), Made: kv.CreateRevision, Rev: kv.ModRevision, Lease: kv.Lease}}
}

// follow hears of what has been committed, after a while.
func (s *session) follow() {
	if s.over || s.planner == nil || s.feeding || s.rev == 0 || s.rev == s.w.db.rev {
		return
	}
	s.feeding = true
	s.after(s.host.delay()+s.host.between(0, time.Millisecond), s.hear)
}

func (s *session) hear() {
	s.feeding = false
	if !s.host.reaches() {
		s.feeding = true
		s.after(s.host.between(reconnect/10, reconnect), s.hear)
		return
	}
	if s.w.db.rev < s.rev || s.w.db.cluster != s.cluster { // it was restored
		s.read()
		return
	}
	rev := s.w.db.rev
	changes, ok := s.w.db.Since(s.rev)
	if !ok {
		s.read()
		return
	}
	var facts []plan.Fact
	goOn := int64(0)
	for _, c := range changes {
		if c.Type == clientv3.EventTypePut {
			facts = append(facts, s.put(c.Kv, &goOn)...)
			continue
		}
		e, ok := s.w.keys.Entry(string(c.Kv.Key))
		if ok && e.Kind != "lw" && e.Kind != "run" {
			facts = append(facts, plan.Deleted{Entry: e, Rev: c.Kv.ModRevision})
		}
		if ok && e.Kind == "node" && e.Name == s.node.ID {
			s.after(s.host.delay(), func() { s.lost("its key was deleted") })
		}
	}
	s.rev = rev
	s.trust.Whole(rev, s.w.db.cluster)
	if goOn != 0 {
		s.trust.GoOn(goOn)
		s.restand(false)
	}
	if len(facts) > 0 {
		s.tell(append(facts, plan.Whole{Rev: rev})...)
	}
	s.follow()
}

// endOfLast ends the lease of an earlier start of this runner, if nothing of that is
// left.
func (s *session) endOfLast() {
	before := s.before
	if before.lease == 0 || before.node == s.node.ID || s.trust.Why() != "" || before.trust.Cluster != s.w.db.cluster {
		return
	}
	s.call(func() (any, error) {
		for _, kv := range s.w.db.All(s.w.keys.Acts()) {
			e, _ := s.w.keys.Entry(string(kv.Key))
			if a, err := cron.DecodeAct(e.Run, e.Waits, kv.Value, kv.ModRevision); err == nil && a.Node == before.node && !a.Waits {
				return nil, nil
			}
		}
		s.w.revoke(before.lease)
		return nil, nil
	}, func(any, error) {})
}

// flying reports whether results are on their way.
func (s *session) flying() bool {
	for _, k := range s.host.disk.results {
		if k.flying {
			return true
		}
	}
	return false
}
