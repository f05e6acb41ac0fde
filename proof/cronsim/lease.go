package main

import (
	"fmt"
	"time"
)

// lookAtClock compares the wall clock with etcd's; tried says how often that has
// failed before.
func (s *session) lookAtClock(tried int) {
	s.after(s.host.between(time.Millisecond, 30*time.Millisecond), func() {
		if s.host.reaches() {
			s.judgeClock(s.host.skew() + s.host.between(-300*time.Millisecond, 300*time.Millisecond))
			return
		}
		if s.skew != notChecked {
			return
		}
		if tried == 2 { // it is taken on trust
			s.judgeClock(0)
			return
		}
		s.after(time.Second, func() { s.lookAtClock(tried + 1) })
	})
}

func (s *session) judgeClock(skew time.Duration) {
	unsure := s.skew == notChecked
	if skew.Abs() > maxSkew && !unsure && s.off != 0 && (skew-s.off).Abs() < 2*time.Second {
		return
	}
	s.off, s.skew = 0, ""
	if skew.Abs() > maxSkew {
		s.off = skew
		s.skew = fmt.Sprintf("the clock of %s is off by %v", s.node.Host, skew.Round(time.Second))
	}
	s.restand(unsure)
}

// keepLooking compares the clocks now and then. While the host's runs true nothing
// would come of it.
func (s *session) keepLooking() {
	s.after(lookEvery, func() {
		if s.host.rate != 0 || s.host.skew().Abs() > maxSkew-time.Second || s.skew != "" {
			s.lookAtClock(0)
		}
		s.keepState()
		s.keepLooking()
	})
}

// The lease. While it is renewed nothing is done about it: to lose sight of etcd is what
// sets its deadlines.

// untouched is called when etcd is lost sight of.
func (s *session) untouched() {
	if s.over || s.node.Rev == 0 && !s.w.db.HasLease(s.node.Lease) || s.deadline != 0 {
		return
	}
	sent := s.w.now - s.host.between(0, renew)
	s.deadline = sent + usable
	lapses := sent + s.host.delay() + ttl
	s.asked++
	asked := s.asked
	still := func(f func()) func() {
		return func() {
			if s.asked == asked && s.deadline != 0 {
				f()
			}
		}
	}
	s.w.at(s.deadline-killAfter, still(func() {
		if !s.dead && !s.host.frozen.is {
			for _, x := range s.executions() {
				x.lose()
			}
		}
	}))
	s.w.at(s.deadline, still(s.checkDeadline))
	s.w.at(lapses, still(s.lapse))
}

// lapse ends the lease in etcd, where time stands still while that is away.
func (s *session) lapse() {
	if s.w.etcdUp { // else see sweep
		s.w.revoke(s.node.Lease)
	}
}

// touched is called when etcd is in sight again.
func (s *session) touched() {
	if s.over || s.node.Rev == 0 || s.deadline == 0 {
		return
	}
	s.after(s.host.delay()*2+s.host.between(0, reconnect/4), func() {
		if s.deadline == 0 || !s.host.reaches() {
			return
		}
		s.checkDeadline()
		if s.over {
			return
		}
		if !s.hasKey() {
			s.lost("its key is gone")
			return
		}
		s.deadline = 0
		s.asked++
	})
}

func (s *session) hasKey() bool {
	i, ok := search(s.w.db.keys, []byte(s.w.keys.Node(s.node.ID)))
	return ok && s.w.db.keys[i].CreateRevision == s.node.Rev && s.w.db.HasLease(s.node.Lease)
}

// checkDeadline ends the session if its lease can no longer be counted on. What runs
// is dead by then, also if the process is stopped.
func (s *session) checkDeadline() {
	if s.over || s.deadline == 0 || s.w.now < s.deadline {
		return
	}
	if s.host.frozen.is && s.host.suspended && !s.dead {
		return // nothing goes on there
	}
	for _, x := range s.executions() {
		x.die()
	}
	if s.dead || s.host.frozen.is {
		return
	}
	s.lost("its lease was lost")
}

// lost ends the session, and begins another.
func (s *session) lost(why string) {
	if s.over || s.dead {
		return
	}
	s.host.say("%s", why)
	for _, x := range s.executions() {
		x.die()
		delete(s.running, x.name) // the others record it
	}
	s.again()
}
