package runner

import (
	"context"
	"fmt"
	"math"
	"time"

	"conch/pkg/clock"
)

const (
	lookEvery = 10 * time.Second // at etcd's clock
	stepEvery = time.Second      // at whether that is due: a suspend counts

	warnSkew  = time.Second
	standSkew = 5 * time.Second
)

// notChecked is why nothing is taken on at first, and just after the clock was set.
const notChecked = "the wall clock has not been compared with etcd's yet"

// clockStep is the planner's event for a clock that was set.
const clockStep = "clock-step"

// clockWasSet has the clock compared at once, and nothing taken on until then.
func (s *session) clockWasSet() {
	if s.cfg.SkipClock {
		return
	}
	s.planned = notChecked // it takes nothing on until it is told something else
	s.setSkew(notChecked)
	select {
	case s.recheck <- struct{}{}:
	default:
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
	case skew.Abs() > standSkew && s.off != 0 && !s.unchecked() && (skew-s.off).Abs() < 2*time.Second:
		return // it is said well enough
	case skew.Abs() > standSkew:
		s.off = skew
		s.setSkew(fmt.Sprintf("the clock of %s is %s of etcd's by %v", s.cfg.Host, aheadOrBehind(skew), skew.Abs().Round(time.Second)))
		return
	case skew.Abs() > warnSkew:
		s.say(Event{Event: "clock-skew", Level: Warning, Reason: fmt.Sprintf("the wall clock is %s of etcd's by %.1fs", aheadOrBehind(skew), math.Abs(skew.Seconds()))})
	}
	s.off = 0
	s.setSkew("")
}

func aheadOrBehind(skew time.Duration) string {
	if skew > 0 {
		return "ahead"
	}
	return "behind"
}
