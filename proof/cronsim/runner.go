package main

import (
	"errors"
	"sort"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/clock"
	"conch/pkg/cron"
	"conch/pkg/plan"
)

// runner is the life of one process.
type runner struct {
	host    *host
	w       *world
	began   time.Duration
	dead    bool
	session *session
	running map[string]*execution // of all its sessions
	trust   plan.Trust
	before  disk // what the last start has left
	ends    bool

	stepWall time.Time // where its two clocks stood when they were last compared
	stepUp   clock.Instant
	skew     string // why the clock is not to be trusted

	lackUntil, lackWait time.Duration // nothing is taken on until then for what the host lacks, and how long that was
}

// notChecked is why nothing is taken on until the clock was compared.
const notChecked = "the wall clock has not been compared with etcd's yet"

// alive is f for as long as the process lives: while that is frozen it is put off.
func (r *runner) alive(f func()) func() {
	var g func()
	g = func() {
		switch {
		case r.dead:
		case r.host.frozen.is:
			r.host.thawed = append(r.host.thawed, g)
		default:
			f()
		}
	}
	return g
}

func (r *runner) after(d time.Duration, f func()) { r.w.after(d, r.alive(f)) }

// executions returns what runs, in an order that does not depend on chance.
func (r *runner) executions() []*execution {
	names := make([]string, 0, len(r.running))
	for name := range r.running {
		names = append(names, name)
	}
	sort.Strings(names)
	all := make([]*execution, len(names))
	for i, name := range names {
		all[i] = r.running[name]
	}
	return all
}

// session is the life of one lease.
type session struct {
	*runner
	node     cron.Node
	over     bool
	ready    bool          // the table has been read
	deadline time.Duration // what runs is dead by then; 0: the lease is renewed
	asked    int           // how often the lease was lost sight of

	planner *plan.Planner
	inbox   []plan.Fact
	due     bool // a step is about to be made
	wakes   int  // which waking counts
	standby string
	drained bool

	rev     int64 // up to which the feed has come; 0: it is to be read
	feeding bool
	cluster uint64

	claims  *batcher
	results *batcher
	claimed map[string]claimed // by run
	telling map[string]bool    // losses that it has taken, or takes
	pending int                // claims that are not answered
	notes   map[string]any     // of a broken planner
	off     time.Duration      // of the clock, as it was last said
	zeroes  int                // steps in a row that wanted another at once
}

// claimed is what was claimed, from the verb to the start.
type claimed struct {
	verb plan.Claim
	run  *cron.Run
}

// open begins a session, as soon as etcd can be reached.
func (r *runner) open() {
	s := &session{runner: r, claimed: map[string]claimed{}, telling: map[string]bool{}}
	r.session = s
	r.skew = notChecked
	s.node = cron.Node{ID: r.host.spec.name + "-" + r.host.newID(8), Host: r.host.spec.name, PID: 100 + r.host.lives, Labels: map[string]string{"host": r.host.spec.name},
		Slots: r.host.spec.slots, Policy: plan.Spread, TZData: "2026a", Version: "sim", Lease: int64(r.host.rng.Uint64() >> 2)}
	if role := r.host.spec.role; role != "" {
		s.node.Labels["role"] = role
	}
	s.claims, s.results = newBatcher(s, true), newBatcher(s, false)
	s.node.Standby = s.why()
	s.node.Started = r.host.wall().UTC().Truncate(time.Second)
	s.call(func() (any, error) {
		if s.w.db.HasLease(s.node.Lease) {
			return nil, nil // an attempt whose answer was lost
		}
		return nil, s.w.db.Grant(s.node.Lease)
	}, func(_ any, err error) {
		if err != nil {
			s.again()
			return
		}
		s.putNode(func(err error) {
			if err != nil {
				s.again()
				return
			}
			s.opened()
		})
	})
}

// again begins another session in a second.
func (s *session) again() {
	s.end()
	if s.ends {
		s.exit()
		return
	}
	s.runner.after(time.Second, s.runner.open)
}

// putNode writes the runner's key, anew or again.
func (s *session) putNode(then func(error)) {
	n := s.node
	s.call(func() (any, error) {
		n.Clock = s.host.wall().UTC()
		key := s.w.keys.Node(n.ID)
		r, err := s.client().txn([]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", n.Rev)},
			[]clientv3.Op{clientv3.OpPut(key, n.Encode(), clientv3.WithLease(clientv3.LeaseID(n.Lease)))}, []clientv3.Op{clientv3.OpGet(key)})
		if err != nil {
			return nil, err
		}
		if r.Succeeded && n.Rev == 0 {
			return r.Header.Revision, nil
		}
		if r.Succeeded {
			return n.Rev, nil
		}
		if kvs := r.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 && kvs[0].Lease == n.Lease {
			return kvs[0].CreateRevision, nil
		}
		return nil, errKeyGone
	}, func(v any, err error) {
		if err == nil {
			s.node.Rev = v.(int64)
		}
		then(err)
	})
}

var errKeyGone = errors.New("the runner's key is gone")

// opened goes on once the runner's key is there.
func (s *session) opened() {
	s.planner = plan.New(plan.Config{Node: s.node, Placement: plan.Spread, Hedge: hedge, Replay: replay})
	s.stepWall, s.stepUp = s.host.wall(), s.reading().Up
	if !s.host.reaches() {
		s.untouched()
	}
	s.lookAtClock(0)
	s.keepLooking()
	s.read()
	s.after(replay, s.replay)
}

// after is runner.after for the life of the session.
func (s *session) after(d time.Duration, f func()) {
	s.runner.after(d, func() {
		if !s.over {
			f()
		}
	})
}

// end ends the session: nothing it has asked for is waited for.
func (s *session) end() {
	s.w.books.changes = append(s.w.books.changes, s.w.now)
	s.over = true
	s.planner = nil
}

// why says why nothing is to be taken on.
func (s *session) why() string {
	if why := s.trust.Why(); why != "" {
		return why
	}
	if s.skew == "" && s.w.now < s.lackUntil {
		return "this host has too little of something to start a command"
	}
	return s.skew
}

// lacks begins a standby because a command could not be started, longer each time.
func (s *session) lacks() {
	if s.w.now < s.lackUntil {
		return
	}
	s.lackWait = min(max(2*s.lackWait, time.Second), time.Minute)
	s.lackUntil = s.w.now + s.lackWait
	s.restand(false)
	s.runner.after(s.lackWait, func() { s.session.restand(false) })
}

// restand acts on a standby that has begun, or is over.
func (s *session) restand(tell bool) {
	if s.over || s.node.Rev == 0 {
		return
	}
	why := s.why()
	if why == s.standby && !tell {
		return
	}
	changed := why != s.standby
	s.standby = why
	s.keepState()
	s.tell(plan.Standby{Why: why})
	if changed {
		s.node.Standby = why
		s.putNode(func(error) {})
	}
}

// keepState keeps what the next start is to know.
func (s *session) keepState() {
	if !s.host.full.is {
		s.host.disk.trust, s.host.disk.node, s.host.disk.lease = s.trust, s.node.ID, s.node.Lease
		if s.w.broken != nil && s.w.broken.forgetsFirst {
			s.host.disk.trust = plan.Trust{}
		}
	}
}

// tell gives the planner a fact, soon.
func (s *session) tell(facts ...plan.Fact) {
	if s.over || s.planner == nil {
		return
	}
	s.inbox = append(s.inbox, facts...)
	if !s.due {
		s.due = true
		s.after(time.Duration(s.host.rng.Int64N(int64(200*time.Microsecond))), func() {
			if s.due {
				s.step()
			}
		})
	}
}

// wake makes a step without a fact.
func (s *session) wake() {
	if !s.over && s.planner != nil {
		s.step()
	}
}

// step makes a step of the planner, and does what it wants.
func (s *session) step() {
	s.due = false
	if s.checkDeadline(); s.over {
		return
	}
	now := s.reading()
	s.checkStep(now)
	facts := s.inbox
	s.inbox = nil
	s.w.counts.Steps++
	if s.w.broken != nil {
		facts = s.w.broken.told(s, facts)
	}
	s.w.trace.facts(s, facts)
	verbs, idle := s.planner.Step(now, facts...)
	if s.w.broken != nil && s.w.broken.verbs != nil {
		verbs = s.w.broken.verbs(s, verbs)
	}
	for _, v := range verbs {
		s.w.trace.verb(s, v)
		s.do(v)
	}
	if s.over {
		return
	}
	if s.drained && len(s.running) == 0 && len(s.claimed) == 0 && s.pending == 0 && !s.flying() {
		s.exit()
		return
	}
	if s.zeroes++; idle > 0 {
		s.zeroes = 0
	}
	if s.zeroes > 1000 {
		s.w.fail("spins", "the planner of %s has nothing to do, and does not rest", s.node.ID)
	}
	s.wakes++
	mine := s.wakes
	if idle = max(idle, 10*time.Microsecond); idle > 5*slice { // a clock may run at another rate
		idle -= idle / 1000
	}
	s.after(idle, func() {
		if s.wakes == mine {
			s.step()
		}
	})
}

// checkStep notices that the wall clock was set, and has it compared.
func (s *session) checkStep(now plan.Reading) {
	by := now.Wall.Sub(s.stepWall) - now.Up.Sub(s.stepUp)
	s.stepWall, s.stepUp = now.Wall, now.Up
	if by.Abs() <= time.Second || by.Abs() < 2*now.Up.Sub(s.stepUp)/100 {
		return
	}
	s.host.say("the clock was set by %v", by)
	s.skew = notChecked
	s.standby = s.why()
	s.inbox = append([]plan.Fact{plan.Standby{Why: s.standby}}, s.inbox...)
	s.lookAtClock(0)
}

// drain takes nothing on any more, and ends when what runs has ended.
func (r *runner) drain() {
	s := r.session
	r.ends = true
	if s.over || s.planner == nil {
		if s.over {
			return
		}
		s.end()
		s.exit()
		return
	}
	s.drained = true
	s.node.Draining = true
	s.putNode(func(error) {})
	s.tell(plan.Drain{})
	s.after(30*time.Second, func() { s.tell(plan.StopAll{}) })
	s.after(40*time.Second, func() { s.tell(plan.StopAll{}) })
	s.after(50*time.Second, s.exit) // etcd is away
}

// exit ends the process in good order.
func (s *session) exit() {
	h := s.host
	if s.dead {
		return
	}
	h.say("ends")
	s.keepState()
	lease := s.node.Lease
	if h.reaches() {
		s.w.after(h.delay(), func() { s.w.revoke(lease) })
	} else {
		s.untouched()
	}
	for _, x := range s.executions() {
		x.die()
	}
	s.end()
	s.dead = true
	h.runner = nil
	left := h.disk.results[:0]
	for _, k := range h.disk.results {
		if k.memory {
			s.w.books.lostResult(k.run)
			continue
		}
		k.flying = false
		left = append(left, k)
	}
	h.disk.results = left
	h.w.after(h.between(time.Second, 10*time.Second), h.start)
}
