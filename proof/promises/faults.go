package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"conch/pkg/etcdtest"
)

// A fault is struck, lasts, and is healed.
type fault struct {
	name   string
	strike func(*scene) error
	ends   bool // no hold survives it; one that does shows that the fault was none
	pauses bool // a process of etcd
	soon   bool // etcd is well and hears of the end, so the next turn begins within soonest
	grace  bool // the command is asked to end, and has the time to
	aside  bool // it strikes no holder; see aside.go

	// within, if not nil, makes this one of the faults that conch names as the
	// limits of what it promises. It reports whether a process of the turn that
	// was struck may have been alive beside the next, or after its supervisor,
	// until that instant.
	within func(b blow, p process) bool
}

// length is 0 for a fault that does not take long, 1 for others.
func (f *fault) length() int {
	if f.soon || f.grace || f.aside {
		return 0
	}
	return 1
}

// scene is where a fault strikes: the holder of an office or, for the faults of
// etcd, nobody in particular.
type scene struct {
	ctx    context.Context
	e      *experiment
	rand   *rand.Rand
	office *office
	who    *contender
	turn   turn
	pid    int // of the supervisor

	beside *office // of a fault that is struck aside: its hosts are used
	when   string  // it was struck, in words

	blow *blow
}

// blow is one strike of a fault. Its times are nanoseconds of CLOCK_BOOTTIME.
type blow struct {
	fault        *fault
	office       *office // nil: all of them
	token        int64   // of the turn that was struck
	contained    bool
	struck, cut  int64
	healed       int64
	kept         bool
	lockDelayTTL bool
	passed       []pass // nil: the turn that was struck, then
}

// pass is when a turn was given up, or lost its holder: another may begin.
type pass struct{ token, at int64 }

// slack is what a busy machine may add to a bound.
const slack = time.Second

// contenderFaults strike the holder of an office.
var contenderFaults = []fault{
	{name: "command ends", ends: true, soon: true, strike: (*scene).endCommand},
	{name: "TERM", ends: true, grace: true, strike: func(s *scene) error { return s.kill(unix.SIGTERM) }},
	{name: "TERM, twice", ends: true, grace: true, strike: (*scene).askTwice},
	{name: "supervisor killed", ends: true, soon: true, strike: func(s *scene) error { return s.kill(unix.SIGKILL) }},
	{name: "supervisor stopped, short", strike: func(s *scene) error { return s.stopFor(s.short(), s.pid) }},
	{name: "supervisor stopped, long", ends: true, strike: func(s *scene) error { return s.stopFor(s.long(), s.pid) }},
	{name: "sentinel killed", ends: true, soon: true, strike: func(s *scene) error { return s.withSentinel(func(p int) error { return unix.Kill(p, unix.SIGKILL) }) }},
	{name: "sentinel stopped, long", strike: func(s *scene) error { return s.withSentinel(func(p int) error { return s.stopFor(s.long(), p) }) }},
	{name: "both killed", ends: true, strike: (*scene).killBoth, within: daemonsOnly},
	{name: "both stopped, short", strike: func(s *scene) error { return s.stopBoth(s.short()) }},
	{name: "both stopped, long", ends: true, strike: func(s *scene) error { return s.stopBoth(s.long()) }},
	{name: "host cut off, short", strike: func(s *scene) error { return s.cutFor(s.short(), true, true) }},
	{name: "host cut off", ends: true, strike: func(s *scene) error { return s.cutFor(s.long(), true, true) }},
	{name: "host cut off outward", ends: true, strike: func(s *scene) error { return s.cutFor(s.long(), true, false) }},
	{name: "host cut off inward", ends: true, strike: func(s *scene) error { return s.cutFor(s.long(), false, true) }},
	{name: "answers late, then cut off", ends: true, strike: (*scene).lateAnswers},
	{name: "lease revoked", ends: true, strike: (*scene).revoke},
	{name: "key deleted", ends: true, strike: (*scene).deleteKey},
	{name: "lease revoked, host cut off", ends: true, strike: (*scene).revokeCutOff, within: untilDeadline},
	{name: "lease revoked, supervisor stopped", ends: true, strike: (*scene).revokeStopped, within: untilDeadline},
	{name: "waiter killed, first", soon: true, strike: func(s *scene) error { return s.killWaiter(0) }},
	{name: "waiter killed, second", soon: true, strike: func(s *scene) error { return s.killWaiter(1) }},
	{name: "waiter killed, third", soon: true, strike: func(s *scene) error { return s.killWaiter(2) }},
	{name: "killed as it starts, alone", aside: true, strike: (*scene).killYoung},
	{name: "killed as it starts, in line", aside: true, soon: true, strike: (*scene).killYoungInLine},
	{name: "--hold killed", aside: true, soon: true, strike: (*scene).killHold},
}

// clusterFaults strike etcd, and every office feels them.
var clusterFaults = []fault{
	{name: "leader killed", strike: func(s *scene) error { return s.leaderDown(s.long()) }},
	{name: "leader stopped, short", pauses: true, strike: func(s *scene) error { return s.leaderStopped(s.short(), false) }},
	{name: "leader stopped, long", pauses: true, strike: func(s *scene) error { return s.leaderStopped(s.long(), false) }},
	{name: "leader cut off", strike: (*scene).leaderCutOff},
	{name: "leader resumed, then cut off", pauses: true, strike: func(s *scene) error { return s.leaderStopped(s.short(), true) }},
	{name: "members restarted in turn", strike: (*scene).restartMembers},
}

// short is less than a hold survives without a renewal, long is more than its
// lease does.
func (s *scene) short() time.Duration {
	return between(s.rand, s.e.ttl/5, s.e.ttl/2)
}
func (s *scene) long() time.Duration {
	return between(s.rand, s.e.ttl+time.Second, s.e.ttl+3*time.Second)
}

func (s *scene) wait(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.ctx.Done():
	}
}

func (s *scene) kill(sig syscall.Signal) error {
	_ = unix.Kill(s.pid, sig) // it may have ended by itself
	return nil
}

// askTwice asks as timeout(1) does, or somebody on a slow machine: conch, and then the
// whole group, which it and its command are in.
func (s *scene) askTwice() error {
	_ = unix.Kill(s.pid, unix.SIGTERM)
	s.wait(between(s.rand, 0, tidying/2))
	_ = unix.Kill(-s.pid, unix.SIGTERM)
	return nil
}

func (s *scene) endCommand() error {
	endCommand(s.office, s.turn)
	return nil
}

// endCommand has the command of a turn end by itself.
func endCommand(o *office, t turn) {
	for _, pid := range beats(o.ledger, t.run, true) {
		_ = unix.Kill(pid, unix.SIGUSR2)
	}
}

// stopFor stops processes as SIGSTOP does. What ends them meanwhile is the
// point; then there is nothing to continue.
func (s *scene) stopFor(d time.Duration, pids ...int) error {
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGSTOP)
	}
	s.wait(d)
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGCONT)
	}
	return nil
}

func (s *scene) withSentinel(f func(pid int) error) error {
	pid, err := sentinel(s.pid)
	if err != nil {
		return err
	}
	return f(pid)
}

func (s *scene) stopBoth(d time.Duration) error {
	return s.withSentinel(func(pid int) error { return s.stopFor(d, pid, s.pid) })
}

// killBoth kills both at one instant: neither sees the other die.
func (s *scene) killBoth() error {
	return s.withSentinel(func(pid int) error {
		_ = unix.Kill(s.pid, unix.SIGSTOP)
		_ = unix.Kill(pid, unix.SIGSTOP)
		_ = unix.Kill(s.pid, unix.SIGKILL)
		_ = unix.Kill(pid, unix.SIGKILL)
		s.wait(s.long())
		for _, left := range beats(s.office.ledger, s.turn.run, false) {
			_ = unix.Kill(left, unix.SIGKILL)
		}
		return nil
	})
}

func (s *scene) cutFor(d time.Duration, out, in bool) error {
	if err := s.who.host.hold(out, in); err != nil {
		return err
	}
	s.wait(d)
	return s.who.host.hold(false, false)
}

// lateAnswers lets the answer to a renewal arrive long after it was given, and
// nothing after it: who counts from the receipt holds too long. A renewal is
// sent every quarter of the TTL at most.
func (s *scene) lateAnswers() error {
	for _, phase := range []struct {
		out, in bool
		d       time.Duration
	}{
		{false, true, s.e.ttl / 4},
		{true, true, s.e.ttl * 7 / 20},
		{true, false, s.e.ttl / 10},
		{true, true, s.long()},
	} {
		if err := s.who.host.hold(phase.out, phase.in); err != nil {
			return err
		}
		s.wait(phase.d)
	}
	return s.who.host.hold(false, false)
}

// admin asks etcd, past every fault.
func (s *scene) admin(f func(context.Context, *clientv3.Client) error) error {
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
	defer cancel()
	return f(ctx, s.e.admin)
}

// key returns the key of the turn that is struck.
func (s *scene) key(f func(ctx context.Context, c *clientv3.Client, key string, lease clientv3.LeaseID) error) error {
	return s.admin(func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.Get(ctx, s.office.dir(), clientv3.WithPrefix())
		if err != nil {
			return err
		}
		for _, kv := range r.Kvs {
			if kv.CreateRevision == s.turn.token {
				return f(ctx, c, string(kv.Key), clientv3.LeaseID(kv.Lease))
			}
		}
		return nil // it has ended by itself
	})
}

func (s *scene) revoke() error {
	return s.key(func(ctx context.Context, c *clientv3.Client, _ string, lease clientv3.LeaseID) error {
		_, err := c.Revoke(ctx, lease)
		return err
	})
}

func (s *scene) deleteKey() error {
	return s.key(func(ctx context.Context, c *clientv3.Client, key string, _ clientv3.LeaseID) error {
		_, err := c.Delete(ctx, key)
		return err
	})
}

func (s *scene) revokeCutOff() error {
	if err := s.who.host.hold(true, true); err != nil {
		return err
	}
	s.blow.cut = boottime()
	err := s.revoke()
	s.wait(s.long())
	if healed := s.who.host.hold(false, false); err == nil {
		err = healed
	}
	return err
}

func (s *scene) revokeStopped() error {
	_ = unix.Kill(s.pid, unix.SIGSTOP)
	s.blow.cut = boottime()
	err := s.revoke()
	s.wait(s.long())
	_ = unix.Kill(s.pid, unix.SIGCONT) // it has been killed by its timer
	return err
}

func (s *scene) leader(f func(i int) error) error {
	ctx, cancel := context.WithTimeout(s.ctx, 30*time.Second)
	defer cancel()
	i, err := etcdtest.Leader(ctx, s.e.world.members())
	if err != nil {
		return err
	}
	return f(i)
}

func (s *scene) leaderDown(d time.Duration) error {
	return s.leader(func(i int) error {
		m := s.e.world.members()[i]
		m.Kill()
		s.wait(d)
		return m.Restart()
	})
}

// leaderStopped stops the leader and, if asked to, cuts it off as it resumes:
// then it does not learn for a while that it has been deposed.
func (s *scene) leaderStopped(d time.Duration, cut bool) error {
	return s.leader(func(i int) error {
		m := s.e.world.members()[i]
		if err := m.Pause(); err != nil {
			return err
		}
		s.wait(d)
		if !cut {
			return m.Resume()
		}
		if err := s.e.world.partition(i, true); err != nil {
			_ = m.Resume()
			return err
		}
		if err := m.Resume(); err != nil {
			return err
		}
		s.wait(s.long())
		return s.e.world.partition(i, false)
	})
}

func (s *scene) leaderCutOff() error {
	return s.leader(func(i int) error {
		if err := s.e.world.partition(i, true); err != nil {
			return err
		}
		s.wait(s.long())
		return s.e.world.partition(i, false)
	})
}

func (s *scene) restartMembers() error {
	for _, m := range s.e.world.members() {
		m.Stop()
		if err := m.Restart(); err != nil {
			return fmt.Errorf("restart %s: %w", m.Name, err)
		}
	}
	return nil
}

// The stated bounds of the faults that are named.

// daemonsOnly: with both of conch's processes killed at one instant the kernel
// kills the command, but not what has left it; a pid namespace kills all.
func daemonsOnly(b blow, p process) bool {
	return p.role == roleDaemon && !b.contained && p.to <= b.healed+int64(slack)
}

// untilDeadline: a holder that is cut off, or whose supervisor is stopped, does
// not hear that its lease was revoked, and ends at the deadline it knows. A lock-delay as long as the TTL
// excludes that.
func untilDeadline(b blow, p process) bool {
	return !b.lockDelayTTL && p.to <= b.cut+int64(b.office.ttl+slack)
}
