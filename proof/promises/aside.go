package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// Some faults need a line that nobody else stands in: they are struck aside, in an
// office that is made for one blow. Its holds have a TTL that outlasts all patience,
// so that what is gone after the blow has not lapsed, and one that no other has of
// late, by which leases are known that have no key.

// lastingTTL is the longest of them; each of the next so many has a second less.
const lastingTTL, ttls = 300 * time.Second, 200

// newAside makes such an office beside o.
func (e *experiment) newAside(o *office) *office {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := len(e.aside)
	a := &office{name: "aside" + strconv.Itoa(i), kind: o.kind, ttl: lastingTTL - time.Duration(i%ttls)*time.Second, lockDelayTTL: o.lockDelayTTL, spread: o.spread, ledger: o.ledger}
	e.aside = append(e.aside, a)
	return a
}

// strikeAside strikes a fault in an office of its own, and looks for what is left
// there.
func (e *experiment) strikeAside(ctx context.Context, draw *rand.Rand, o *office, f *fault) {
	a := e.newAside(o)
	b := blow{fault: f, office: a, lockDelayTTL: o.lockDelayTTL, struck: boottime()}
	s := &scene{ctx: ctx, e: e, rand: draw, office: a, beside: o, blow: &b}
	err := f.strike(s)
	stop(a.contenders)
	b.healed = boottime()
	if err != nil {
		e.note(ctx, a, f.name, err)
	}
	left := e.await(ctx, a)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.blows = append(e.blows, b)
	if len(left) > 0 {
		e.left = append(e.left, leftover{fault: f, what: left, when: s.when})
	}
	e.say(b)
}

// newcomer starts another contender for the office of a scene, on one of the hosts
// of the office beside it.
func (s *scene) newcomer(holds bool) (*contender, error) {
	a := s.office
	c := &contender{name: fmt.Sprintf("%s.%d", a.name, len(a.contenders)), holds: holds}
	c.host = s.beside.contenders[len(a.contenders)%len(s.beside.contenders)].host
	s.e.equip(c, a, s.rand)
	if err := c.appear(); err != nil {
		return nil, err
	}
	a.contenders = append(a.contenders, c)
	return c, nil
}

// young is how old a conch is at most that is killed as it starts: by then it has
// connected, has a lease, is in line, and on a good day its command runs.
const young = 30 * time.Millisecond

// killNewcomer starts a contender and kills it at once, or nearly.
func (s *scene) killNewcomer() error {
	age := between(s.rand, 0, young)
	s.when = fmt.Sprintf(" after %v", age.Round(time.Millisecond))
	c, err := s.newcomer(false)
	if err != nil {
		return err
	}
	s.wait(age)
	c.kill()
	<-c.done
	return nil
}

// killYoung kills one that has the line to itself.
func (s *scene) killYoung() error { return s.killNewcomer() }

// killYoungInLine kills one behind holders, and has the turn pass to the next, who
// has come behind it.
func (s *scene) killYoungInLine() error {
	if err := s.hold(s.e.max); err != nil {
		return err
	}
	if err := s.killNewcomer(); err != nil {
		return err
	}
	if err := s.wants(); err != nil {
		return err
	}
	return s.pass()
}

// killHold kills a --hold that somebody waits behind.
func (s *scene) killHold() error {
	if err := s.hold(s.e.max - 1); err != nil {
		return err
	}
	c, err := s.newcomer(true)
	if err != nil {
		return err
	}
	if err := until(s.ctx, s.patience(), func() (err error) { s.blow.token, err = c.token(); return err }); err != nil {
		return fmt.Errorf("--hold: %w", err)
	}
	if err := s.wants(); err != nil {
		return err
	}
	p := pass{s.blow.token, boottime()}
	c.kill()
	s.follows(p)
	return nil
}

// hold starts n contenders, and waits until they have the turn.
func (s *scene) hold(n int) error {
	for i := range n {
		if _, err := s.newcomer(false); err != nil {
			return err
		}
		if err := until(s.ctx, s.patience(), func() error { _, _, _, err := s.office.holder(i + 1); return err }); err != nil {
			return err
		}
	}
	return nil
}

// wants starts a contender, and waits until it stands in line.
func (s *scene) wants() error {
	c, err := s.newcomer(false)
	if err != nil {
		return err
	}
	return until(s.ctx, s.patience(), func() error {
		line, err := s.e.line(s.ctx, s.office)
		if err == nil && (len(line) == 0 || line[0] != c) {
			err = errors.New("it does not come to stand in line")
		}
		return err
	})
}
