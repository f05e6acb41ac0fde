package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"
)

// strikeOffice strikes the i-th office until it is time.
func (e *experiment) strikeOffice(ctx, striking context.Context, i int) {
	draw := random(e.seed, e.offices[i].name+" faults")
	for n, round := 0, 0; striking.Err() == nil; round++ {
		for _, f := range e.deal(round, i) {
			if striking.Err() != nil || (e.strikes > 0 && n >= e.strikes) {
				return
			}
			e.strike(ctx, draw, e.offices[i], f)
			n++
		}
		if len(e.deck) == 0 {
			<-striking.Done()
		}
	}
}

// deal returns what strikes the i-th office in one round, in which each fault
// strikes one. In the first those that do not take long come before the others, so
// that a short run has them all.
func (e *experiment) deal(round, i int) (hand []*fault) {
	all := slices.Clone(e.deck)
	random(e.seed, "round "+strconv.Itoa(round)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	if round == 0 {
		slices.SortStableFunc(all, func(a, b *fault) int { return cmp.Compare(a.length(), b.length()) })
	}
	for k, f := range all {
		if (k+round)%len(e.offices) == i {
			hand = append(hand, f)
		}
	}
	return hand
}

// strikeCluster strikes etcd until it is time, with a while in between for the
// offices' own faults.
func (e *experiment) strikeCluster(ctx, striking context.Context) {
	draw := random(e.seed, "cluster faults")
	for struck := true; struck && striking.Err() == nil; {
		struck = false
		for _, i := range draw.Perm(len(clusterFaults)) {
			f := &clusterFaults[i]
			if !e.selects(f) || f.pauses && e.noPause {
				continue
			}
			struck = true
			select {
			case <-time.After(between(draw, 2*time.Second, 6*time.Second)):
			case <-striking.Done():
				return
			}
			e.strikeAll(ctx, draw, f)
		}
	}
}

// strike waits until an office is in good order, strikes its holder, and notes
// what came of it. No fault of etcd comes in between.
func (e *experiment) strike(ctx context.Context, draw *rand.Rand, o *office, f *fault) {
	e.cluster.RLock()
	defer e.cluster.RUnlock()
	if f.aside {
		e.strikeAside(ctx, draw, o, f)
		return
	}
	who, t, sup, err := e.settled(ctx, o)
	if err != nil {
		e.note(ctx, o, "before "+f.name, err)
		return
	}
	b := blow{fault: f, office: o, token: t.token, contained: who.contained, lockDelayTTL: o.lockDelayTTL, struck: boottime()}
	err = f.strike(&scene{ctx: ctx, e: e, rand: draw, office: o, who: who, turn: t, pid: sup.pid, blow: &b})
	b.healed = boottime()
	if errors.Is(err, errNoSentinel) || errors.Is(err, errNobody) { // the turn ended by itself just then; the line is too short
		return
	}
	e.finish(ctx, b, err)
}

// strikeAll does the same to etcd.
func (e *experiment) strikeAll(ctx context.Context, draw *rand.Rand, f *fault) {
	e.cluster.Lock()
	defer e.cluster.Unlock()
	before := map[*office]int64{}
	for _, o := range e.offices {
		if _, t, _, err := e.settled(ctx, o); err == nil {
			before[o] = t.token
		}
	}
	b := blow{fault: f, struck: boottime()}
	err := f.strike(&scene{ctx: ctx, e: e, rand: draw, blow: &b})
	if errors.Is(err, errNoPartition) {
		return
	}
	b.healed = boottime()
	for _, o := range e.offices { // one blow for each office, for the table
		b.office, b.token = o, before[o]
		e.finish(ctx, b, err)
	}
}

// finish notes a blow and whether the turn that was struck is still there.
func (e *experiment) finish(ctx context.Context, b blow, err error) {
	var now turn
	serr := until(ctx, e.patience, func() (err error) {
		_, now, _, err = e.settled(ctx, b.office)
		if err == nil && b.fault.ends && now.token == b.token && boottime() < b.healed+int64(10*time.Second) {
			err = errors.New("the turn is slow to end")
		}
		return err
	})
	if serr != nil {
		e.note(ctx, b.office, "after "+b.fault.name, serr)
	}
	b.kept = serr == nil && now.token == b.token
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil && ctx.Err() == nil {
		e.broken = errors.Join(e.broken, fmt.Errorf("%s: %w", b.fault.name, err))
	}
	e.blows = append(e.blows, b)
	e.say(b)
}

// say tells of a blow, if it is to be told.
func (e *experiment) say(b blow) {
	if e.verbose {
		fmt.Printf("%s: %-30s %v, kept: %v\n", b.office.name, b.fault.name, time.Duration(b.healed-b.struck).Round(time.Millisecond), b.kept)
	}
}

// note notes that an office did not come to order.
func (e *experiment) note(ctx context.Context, o *office, when string, err error) {
	if ctx.Err() != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stuck = append(e.stuck, fmt.Sprintf("%s %s: %v", o.name, when, err))
}
