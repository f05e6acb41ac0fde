package runner

import (
	"context"
	"fmt"
	"math"
	"time"

	"conch/pkg/clock"
	"conch/pkg/cron"
)

const (
	lookEvery = 10 * time.Second // at etcd's clock
	stepEvery = time.Second      // at whether that is due: a suspend counts

	warnSkew  = time.Second
	standSkew = 5 * time.Second
)

// step is where the two clocks stood when they were last compared.
type step struct {
	wall time.Time
	mono clock.Instant
}

// notChecked is why nothing is taken on at first, and just after the clock was set.
const notChecked = "the wall clock has not been compared with etcd's yet"

// checkStep notices that the wall clock was set, before anything is done by it.
// A suspend is none: both clocks have gone on.
func (p *planner) checkStep(now time.Time) {
	before := p.step
	p.step = step{now, clock.System{}.Now()}
	by := now.Round(0).Sub(before.wall.Round(0)) - p.step.mono.Sub(before.mono)
	if before.wall.IsZero() || by.Abs() <= warnSkew {
		return
	}
	p.say(Event{Event: "clock-step", Level: Warning, Reason: fmt.Sprintf("the wall clock was set by %v", by.Round(time.Millisecond))})
	p.derive(by < 0) // what was planned may lie beyond what is still to come
	if !p.cfg.SkipClock {
		p.setSkew(notChecked)
		select {
		case p.recheck <- struct{}{}:
		default:
		}
	}
}

// unchecked reports whether the clock was set, and not compared since.
func (d *daemon) unchecked() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.skew == notChecked
}

// watchClock compares the wall clock with etcd's now and then, and at once when it
// was set; and keeps what the next start is to know.
func (s *session) watchClock(ctx context.Context) {
	tick := time.NewTicker(stepEvery)
	defer tick.Stop()
	for looked := (clock.System{}).Now(); ; {
		select {
		case <-s.recheck:
			looked = 0
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		at := clock.System{}.Now()
		if looked != 0 && at.Sub(looked) < lookEvery {
			continue
		}
		looked = at
		if !s.cfg.SkipClock {
			s.lookAtClock(ctx)
		}
		s.spool.keep(s.state())
	}
}

// unknowable is how many times in a row etcd's clock may not be had before a
// clock that was set is trusted for want of anything better.
const unknowable = 3

// lookAtClock compares the wall clock with etcd's.
func (s *session) lookAtClock(ctx context.Context) {
	for range unknowable {
		ctx, cancel := context.WithTimeout(ctx, stepEvery)
		skew, err := s.cfg.Etcd.Ahead(ctx, s.now)
		cancel()
		if err == nil {
			s.judgeClock(skew)
			return
		}
		if !s.unchecked() || ctx.Err() == context.Canceled && s.ctx.Err() != nil {
			return
		}
	}
	s.say(Event{Event: "clock-unknown", Level: Warning, Reason: "etcd does not tell its time by HTTP: the clock is taken on trust"})
	s.setSkew("")
}

// judgeClock warns of a clock that is wrong, and stands by while it is very
// wrong: it would claim ticks before their time, or let them be missed.
func (s *session) judgeClock(skew time.Duration) {
	switch {
	case skew.Abs() > standSkew:
		s.setSkew(fmt.Sprintf("the clock of %s is %s of etcd's by %v", s.cfg.Host, aheadOrBehind(skew), skew.Abs().Round(time.Second)))
		return
	case skew.Abs() > warnSkew:
		s.say(Event{Event: "clock-skew", Level: Warning, Reason: fmt.Sprintf("the wall clock is %s of etcd's by %.1fs", aheadOrBehind(skew), math.Abs(skew.Seconds()))})
	}
	s.setSkew("")
}

func aheadOrBehind(skew time.Duration) string {
	if skew > 0 {
		return "ahead"
	}
	return "behind"
}

// meet compares another runner with this one.
func (p *planner) meet(n *cron.Node) {
	if n.ID == p.node.ID || p.met[n.ID] {
		return
	}
	if skew := p.now().Sub(n.Clock); p.synced && skew.Abs() > standSkew { // it has just been written
		p.say(Event{Event: "clock-skew", Level: Warning, Reason: fmt.Sprintf("the wall clock is %s of that of %s by %v", aheadOrBehind(skew), n.Host, skew.Abs().Round(time.Second))})
	}
	p.met[n.ID] = true
	if n.TZData != p.node.TZData {
		p.say(Event{Event: "tzdata", Level: Warning, Reason: fmt.Sprintf("%s has time zones of %s, this runner of %s: they may disagree on when a job is due", n.Host, n.TZData, p.node.TZData)})
	}
	if n.Policy != p.node.Policy {
		p.say(Event{Event: "placement", Level: Warning, Reason: fmt.Sprintf("%s has --placement %s, this runner %s: they disagree on whose turn it is", n.Host, n.Policy, p.node.Policy)})
	}
}
