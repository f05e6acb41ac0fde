package runner

import (
	"errors"
	"slices"
	"time"

	"conch/pkg/clock"
	"conch/pkg/lease"
	"conch/pkg/plan"
)

const (
	// slice is how long the loop sleeps at most: a clock that was set, or a machine
	// that was suspended, is noticed by then.
	slice = time.Second
	// atOnce is how many facts the planner is told of at a time.
	atOnce = 1000
	// lastChance is how long etcd may take for the results of runs that were stopped
	// at the end of a drain.
	lastChance = 5 * time.Second
)

// loop gathers facts, lets the planner decide, and has its verbs carried out, until the
// session is over.
func (s *session) loop() error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	again := time.NewTicker(s.cfg.Replay)
	defer again.Stop()
	var overdue, hopeless <-chan time.Time
	stopping := s.asked.Done()
	defer s.beat.Store(0)
	for {
		s.beat.Store(int64(clock.System{}.Now()))
		var facts []plan.Fact
		select {
		case batch := <-s.feed:
			facts = s.fed(batch)
		case err := <-s.stopped:
			return s.end(err)
		case f := <-s.told:
			facts = s.gather(f)
		case <-again.C:
			if s.whole {
				facts = s.left()
			}
			if s.planned == "" { // a clock that is wrong makes no file old
				s.archive.tidy(s.now())
			}
		case <-timer.C:
		case <-s.lease.Lost():
			return s.lose(s.lease.Loss())
		case <-s.more:
			facts, overdue, hopeless = s.askedToEnd(hopeless)
		case <-stopping:
			stopping = nil
			facts, overdue, hopeless = s.askedToEnd(hopeless)
		case <-overdue:
			facts, hopeless = s.stopAll()
		case <-hopeless: // etcd is away; the spool has the results
			s.cancel()
		case <-s.poked:
		}
		if d, _ := s.lease.Deadline(); !(clock.System{}).Now().Before(d) {
			// This process was stopped, perhaps: the table is no longer what the others go by.
			return s.lose(s.lease.Silence(), facts...)
		}
		timer.Reset(s.step(facts))
		if s.drained && len(s.runs) == 0 {
			return nil
		}
	}
}

// lose ends the session because its lease is lost.
func (s *session) lose(loss *lease.Loss, facts ...plan.Fact) error {
	s.say(Event{Event: "lost", Level: Error, Count: len(s.runs), Reason: loss.Error()})
	return s.end(errLost, facts...)
}

// step tells the planner of facts, and does what it says; it returns how long that has
// nothing to do.
func (s *session) step(facts []plan.Fact) time.Duration {
	if why := s.standing(); why != s.planned {
		s.planned = why
		facts = slices.Insert(facts, 0, plan.Fact(plan.Standby{Why: why}))
	}
	for _, f := range facts {
		s.note(f)
	}
	verbs, idle := s.planner.Step(plan.Reading{Wall: s.now(), Up: clock.System{}.Now()}, facts...)
	for _, v := range verbs {
		s.do(v)
	}
	s.stats.jobs.Store(int64(s.planner.Jobs()))
	s.stats.running.Store(int64(len(s.runs)))
	if s.whole {
		s.isReady()
	}
	return min(idle, slice)
}

// note keeps account of what is under way.
func (s *session) note(f plan.Fact) {
	switch f := f.(type) {
	case plan.Answer:
		if !f.Ours {
			delete(s.runs, f.ID.String())
			return
		}
		run := *f.Run
		s.runs[f.ID.String()].run = &run
	case plan.Settled:
		delete(s.settling, entryName(f.ID, f.Claim))
		if r := s.runs[f.ID.String()]; r != nil && r.claim == f.Claim {
			delete(s.runs, f.ID.String())
		}
	}
}

// isReady is called once the table has been read, and when what was kept may have been
// written.
func (s *session) isReady() {
	if s.planned == "" && !s.stats.ready.Swap(true) {
		s.say(Event{Event: "ready", Level: Notice, Count: s.planner.Jobs()})
	}
	if before := s.earlier; before.Lease != 0 && len(s.settling) == 0 {
		s.earlier = state{}
		if before.Node != s.node.ID && before.Cluster == s.cluster.Load() {
			s.wg.Go(func() { s.endOf(s.ctx, before) })
		}
	}
}

// fed is what the feed has told, and before the table is whole for the first time what
// is kept from before: it is known then whether this is the etcd that was left.
func (s *session) fed(batch []plan.Fact) []plan.Fact {
	if s.whole {
		return batch
	}
	at := slices.IndexFunc(batch, func(f plan.Fact) bool { _, is := f.(plan.Whole); return is })
	if at < 0 {
		return batch
	}
	s.whole = true
	return slices.Insert(batch, at, s.left()...)
}

// gather returns f and what else there is to be told.
func (s *session) gather(f plan.Fact) []plan.Fact {
	facts := []plan.Fact{f}
	for len(facts) < atOnce {
		select {
		case f := <-s.told:
			facts = append(facts, f)
		default:
			return facts
		}
	}
	return facts
}

// tell tells the loop, if that still hears: until all runs of ours are settled it does.
func (s *session) tell(f plan.Fact) {
	select {
	case s.told <- f:
	case <-s.deaf:
	}
}

// standing acts on a standby that has begun, or is over, and returns why there is one.
func (s *session) standing() string {
	why := s.standby()
	if why == s.node.Standby {
		return why
	}
	s.spool.keep(s.state()) // a start that follows soon is to know as well
	if why != "" {
		s.say(Event{Event: "standby", Level: Error, Reason: why})
	} else {
		s.say(Event{Event: "resumed", Level: Notice})
	}
	s.node.Standby = why
	s.tellNode()
	return why
}

// end waits for what still runs: it is being killed, or ends by itself. The planner is
// told of facts, though nothing is taken on any more.
func (s *session) end(err error, facts ...plan.Fact) error {
	s.beat.Store(0) // what runs may take long to end
	s.drained = true
	facts = slices.Insert(facts, 0, plan.Fact(plan.Drain{}))
	if !errors.Is(err, errLost) {
		stop, _ := s.stopAll()
		facts = append(facts, stop...)
	}
	s.cancel() // what etcd has not been told is told in the next session
	s.step(facts)
	for len(s.runs) > 0 {
		select {
		case f := <-s.told:
			s.step(s.gather(f))
		case <-s.poked:
		}
	}
	return err
}

// askedToEnd drains and, asked again, stops everything. It returns what the planner is
// to be told, when runs will have had their time, and when there is no more hope of
// their ends.
func (s *session) askedToEnd(before <-chan time.Time) (facts []plan.Fact, overdue, hopeless <-chan time.Time) {
	if s.drained {
		facts, hopeless = s.stopAll()
		return facts, nil, hopeless
	}
	s.drained = true
	s.say(Event{Event: "draining", Level: Notice, Count: len(s.runs)})
	s.node.Draining = true
	s.stats.draining.Store(true)
	s.tellNode()
	return []plan.Fact{plan.Drain{}}, time.After(s.cfg.Drain), before
}

// stopAll asks every run to end; asked twice, it kills them. It returns what the
// planner is to be told, and when all that can be done has been.
func (s *session) stopAll() (facts []plan.Fact, hopeless <-chan time.Time) {
	for _, r := range s.runs {
		ask(r.telling)
	}
	return []plan.Fact{plan.StopAll{}}, time.After(s.cfg.KillAfter + lastChance)
}
