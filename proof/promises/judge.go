package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// judge reads what everybody has written down.
func (e *experiment) judge(ctx context.Context) (*report, error) {
	time.Sleep(2 * slack) // whatever is alive after this has survived
	r := newReport()
	r.stuck = e.stuck
	for _, l := range e.left {
		r.leave(l)
	}
	left, err := e.remains(ctx, nil)
	if err != nil {
		return nil, err
	}
	r.left = left
	for _, b := range e.blows {
		r.row(b.fault.name).struck++
	}
	for _, o := range slices.Concat(e.offices, e.aside) {
		turns, err := o.turns()
		if err != nil {
			return nil, err
		}
		for _, c := range o.contenders {
			r.noise = append(r.noise, c.noise()...)
		}
		trial{turns: turns, runs: o.runs(), blows: e.blowsOn(o), max: e.max, stalls: e.stalls, soonest: e.soonest}.judge(r)
	}
	return r, nil
}

// runs returns every start of every contender by its name.
func (o *office) runs() map[string]supervisor {
	all := map[string]supervisor{}
	for _, c := range o.contenders {
		c.mu.Lock()
		for _, s := range c.runs {
			all[s.run] = s
		}
		c.mu.Unlock()
	}
	return all
}

// blowsOn returns the blows that one office felt, in order.
func (e *experiment) blowsOn(o *office) []blow {
	var felt []blow
	for _, b := range e.blows {
		if b.office == o {
			felt = append(felt, b)
		}
	}
	slices.SortFunc(felt, func(a, b blow) int { return int(a.struck - b.struck) })
	return felt
}

// trial is what is known of one office.
type trial struct {
	turns []turn // by the instant they began
	runs  map[string]supervisor
	blows []blow // by the instant they were struck
	max   int

	stalls  []stall
	soonest time.Duration // see config
}

// stall is when the machine did not run this process though it was ready to, nor,
// it is assumed, the contenders.
type stall struct{ from, to int64 }

// noteStalls notes, until ctx ends, when a hundredth of a second has taken far more.
func noteStalls(ctx context.Context) (all []stall) {
	const pace = 10 * time.Millisecond
	for last := boottime(); ctx.Err() == nil; {
		time.Sleep(pace)
		now := boottime()
		if now-last > int64(5*pace) {
			all = append(all, stall{last + int64(pace), now})
		}
		last = now
	}
	return all
}

// stalled is how much of the time between two instants was stalls.
func (t trial) stalled(from, to int64) (d time.Duration) {
	for _, s := range t.stalls {
		d += time.Duration(max(0, min(to, s.to)-max(from, s.from)))
	}
	return d
}

func (t trial) judge(r *report) {
	r.acquisitions += len(t.turns)
	for i, turn := range t.turns {
		// Of two that are admitted together the later may be the first to begin;
		// the histories say whether that could be.
		if t.max == 1 && i > 0 && turn.token <= t.turns[i-1].token {
			r.disorder = append(r.disorder, fmt.Sprintf("token %d began after %d", turn.token, t.turns[i-1].token))
		}
		t.overlaps(r, i)
		t.survivors(r, turn)
	}
	t.vacancies(r)
	for _, b := range t.blows {
		t.outcome(r, b)
	}
	if !linearizable(t.operations(), t.max) {
		r.histories++
	}
}

// overlaps looks for processes of earlier turns that were alive when the i-th
// began: with as many turns as there are slots, that is one too many. Those that
// a named fault explains make up for others that did nothing wrong.
func (t trial) overlaps(r *report, i int) {
	next := t.turns[i]
	var excused, others []turn
	for _, old := range t.turns[:i] {
		beside := old.after(next.from())
		switch {
		case len(beside.processes) == 0:
		case !slices.ContainsFunc(beside.processes, func(p process) bool { return !t.within(old, p) }):
			excused = append(excused, beside)
		default:
			others = append(others, beside)
		}
	}
	if len(excused)+len(others) < t.max {
		return
	}
	accused := excused
	if len(others) >= t.max {
		accused = append(accused, others...)
	}
	for _, old := range accused {
		for _, p := range old.processes {
			t.accuse(r, "overlap", old, p, time.Duration(p.to-next.from()))
		}
	}
}

// survivors looks for processes that outlived their supervisor.
func (t trial) survivors(r *report, turn turn) {
	sup, ok := t.runs[turn.run]
	if !ok || sup.to == 0 {
		return
	}
	for _, p := range turn.processes {
		if late := time.Duration(p.to - sup.to); late > slack {
			t.accuse(r, "survivor", turn, p, late)
		}
	}
}

// accuse counts a process that was alive when it should not have been: under
// the fault that struck its turn, and apart if that fault is one that conch
// names and the process ended within its bound.
func (t trial) accuse(r *report, what string, turn turn, p process, by time.Duration) {
	b, ok := t.cause(turn, p)
	name := "no fault"
	if ok {
		name = b.fault.name
	}
	row := r.row(name)
	if t.within(turn, p) {
		row.named++
		row.namedFor = max(row.namedFor, by)
		return
	}
	if what == "overlap" {
		row.overlaps++
	} else {
		row.survivors++
	}
	r.details = append(r.details, fmt.Sprintf("%s: %s: the %s of token %d (%s) for %v", name, what, p.role, turn.token, turn.run, by.Round(time.Millisecond)))
}

// within reports whether a fault that conch names has struck the turn, and the
// process ended within the bound.
func (t trial) within(turn turn, p process) bool {
	b, ok := t.cause(turn, p)
	return ok && b.fault.within != nil && b.fault.within(b, p)
}

// cause returns the last blow on a turn before its process ended.
func (t trial) cause(turn turn, p process) (blow, bool) {
	for i := len(t.blows) - 1; i >= 0; i-- {
		if b := t.blows[i]; b.token == turn.token && b.struck < p.to {
			return b, true
		}
	}
	return blow{}, false
}

// vacancies looks for the longest time that a slot was empty before a beginning,
// once all had been taken.
func (t trial) vacancies(r *report) {
	var ends []int64 // the latest, as many as there are slots
	for _, turn := range t.turns {
		if len(ends) == t.max {
			// The earliest of them is when there were too few.
			if gap := time.Duration(turn.from() - slices.Min(ends)); gap > r.vacancy {
				r.vacancy, r.vacancyAfter = gap, t.lastBlow(turn.from())
			}
		}
		ends = append(ends, turn.to())
		slices.Sort(ends)
		ends = ends[max(0, len(ends)-t.max):]
	}
}

func (t trial) lastBlow(at int64) string {
	for i := len(t.blows) - 1; i >= 0; i-- {
		if t.blows[i].struck < at {
			return t.blows[i].fault.name
		}
	}
	return "no fault"
}

// outcome notes when the next turn began after a blow, if one did, and whether the
// command had the time that it is to have.
func (t trial) outcome(r *report, b blow) {
	if b.fault.grace {
		t.grace(r, b)
	}
	row := r.row(b.fault.name)
	if b.kept {
		row.kept++
		if b.fault.ends {
			r.feeble = append(r.feeble, fmt.Sprintf("%s: token %d was not impressed", b.fault.name, b.token))
		}
		return
	}
	passed := b.passed
	if passed == nil && b.token != 0 {
		passed = []pass{{b.token, b.struck}}
	}
	for _, p := range passed {
		if turn, ok := next(t.turns, p); ok {
			took := time.Duration(turn.from() - p.at)
			row.next = append(row.next, took)
			if b.fault.soon {
				t.idle(r, b.fault.name, took, t.stalled(p.at, turn.from()))
			}
		}
	}
}

// idle notes for how long a turn was nobody's after an end, or a single kill, while
// somebody stood in line. A lost wake-up does not pass for a slow hand-over, and
// where stalls may have made one take as long that is said, and may not be often.
func (t trial) idle(r *report, fault string, took, stalled time.Duration) {
	if took > r.idle {
		r.idle, r.idleAfter = took, fault
	}
	switch {
	case took <= t.soonest:
	case took-stalled > t.soonest:
		r.stuck = append(r.stuck, fmt.Sprintf("%s: the next turn began only after %v", fault, took))
	default: // a lost wake-up would look the same
		r.unsure = append(r.unsure, fmt.Sprintf("%s: the next turn began only after %v, in which the machine stalled for %v", fault, took, stalled))
	}
}

// grace looks whether a command that was asked to end did so by itself, or was
// killed only when its time was over.
func (t trial) grace(r *report, b blow) {
	for _, turn := range t.turns {
		for _, p := range turn.processes {
			if turn.token != b.token || p.role != roleCommand || p.ended {
				continue
			}
			had := time.Duration(p.to - b.struck)
			switch short := killAfter - had; {
			case short <= lately:
			case short-t.stalled(p.to, b.struck+int64(killAfter)) > lately:
				r.row(b.fault.name).hasty++
				r.details = append(r.details, fmt.Sprintf("%s: the command of token %d (%s) was killed after %v", b.fault.name, b.token, turn.run, had.Round(time.Millisecond)))
			default:
				r.unsure = append(r.unsure, fmt.Sprintf("%s: the command of token %d is not seen for longer than %v, but then the machine stalled", b.fault.name, b.token, had))
			}
		}
	}
}
