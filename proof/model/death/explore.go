package death

import (
	"fmt"
	"time"
)

// Report is what Explore found.
type Report struct {
	States int
	Steps  int // between them
	Depth  int // steps of the shortest way to the state that is farthest
	Rests  int // states in which nothing comes any more by itself
	Took   time.Duration

	Broken string   // the promise that was broken; empty: none
	Trace  []string // the shortest way to it, one line for each step

	taken [events]int
}

// machine explores what one protocol does in one world, breadth first.
type machine struct {
	Protocol
	world    World
	promises Promise

	states []state // in the order in which they were found
	known  map[state]uint32
	parent []uint32 // from which each was found

	now   uint32      // index of the state whose steps are being taken
	quiet bool        // nothing in that comes by itself
	due   [][2]uint32 // for Quiet: the steps that do

	broken breach
	where  uint32 // the state that breaks it
	report Report

	retrace func(step, state) // gets what emit does, in its place
}

// Explore visits every state that p can come to in w, or stops at the first in
// which a promise is broken.
func Explore(p Protocol, w World, promises Promise) Report {
	began := time.Now()
	m := &machine{Protocol: p, world: w, promises: promises, known: map[state]uint32{}}
	m.add(state{})
	for level := uint32(1); int(m.now) < len(m.states) && m.broken == kept; m.now++ {
		if m.now == level {
			m.report.Depth++
			level = uint32(len(m.states))
		}
		m.quiet = true
		m.expand(m.states[m.now])
		if m.quiet {
			m.rest(&m.states[m.now])
		}
	}
	if m.broken == kept && promises&Quiet != 0 {
		m.findEndless()
	}
	m.report.States = len(m.states)
	if m.broken != kept {
		m.report.Broken = m.broken.String()
		m.report.Trace = m.trace(m.where)
	}
	m.report.Took = time.Since(began)
	return m.report
}

// expand tries every rule in state s.
func (m *machine) expand(s state) {
	for i := range m.world.Processes {
		for _, rule := range rules {
			rule(m, s, id(i))
		}
	}
}

// emit takes the state that a rule's step leads to.
func (m *machine) emit(e event, i id, s state) {
	s.rank()
	s.forget()
	if m.retrace != nil {
		m.retrace(step{e, i}, s)
		return
	}
	m.report.Steps++
	m.report.taken[e]++
	n := m.add(s)
	if !e.due() && (e != delayOver || !m.world.Lose) { // who was lost has released nothing
		return
	}
	if m.quiet = false; m.promises&Quiet != 0 {
		m.due = append(m.due, [2]uint32{m.now, n})
	}
}

// add returns where s is among the states, and checks it if it is new.
func (m *machine) add(s state) uint32 {
	if n, old := m.known[s]; old {
		return n
	}
	n := uint32(len(m.states))
	m.known[s] = n
	m.states, m.parent = append(m.states, s), append(m.parent, m.now)
	m.check(&s, n)
	return n
}

// fail notes the first promise that is broken.
func (m *machine) fail(b breach, where uint32) {
	if m.broken == kept && m.promises&b.promise() != 0 {
		m.broken, m.where = b, where
	}
}

// check looks whether state n breaks a promise.
func (m *machine) check(s *state, n uint32) {
	alive := 0
	for i, p := range s.who {
		if !p.tree {
			continue
		}
		alive++
		if s.key[i] == 0 || s.record[i] == none {
			m.fail(unrecorded, n)
		}
	}
	if alive > 1 {
		m.fail(twoCommands, n)
	}
}

// rest looks whether a promise is broken in s, where nothing comes by itself.
func (m *machine) rest(s *state) {
	m.report.Rests++
	wait, have := false, false
	for i := range s.who {
		p := &s.who[i]
		wait = wait || p.alive() && p.phase > joining && p.phase < turn
		have = have || p.alive() && p.phase == running
	}
	for i := range s.who {
		p := &s.who[i]
		if p.phase == lost && have {
			continue // whoever is last sees to its record
		}
		if !p.alive() && (s.key[i] > 0 || s.leases.has(id(i)) || s.record[i] != none) {
			m.fail(left, m.now)
		}
		if !p.alive() && s.loans.has(id(i)) && s.record[i] != lent {
			m.fail(stray, m.now)
		}
	}
	if wait && !have {
		m.fail(idle, m.now)
	}
}

// findEndless looks for due steps that lead round in a circle: it takes away the states
// to which none leads, until there is nothing left.
func (m *machine) findEndless() {
	into := make([]uint32, len(m.states))
	out := make([]uint32, len(m.states)+1) // out[n] to out[n+1] in m.due, which is in order: the steps from n
	for _, e := range m.due {
		into[e[1]]++
		out[e[0]+1]++
	}
	for n := range m.states {
		out[n+1] += out[n]
	}
	var todo []uint32
	for n, steps := range into {
		if steps == 0 {
			todo = append(todo, uint32(n))
		}
	}
	for len(todo) > 0 {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, e := range m.due[out[n]:out[n+1]] {
			if into[e[1]]--; into[e[1]] == 0 {
				todo = append(todo, e[1])
			}
		}
	}
	for n, steps := range into {
		if steps > 0 {
			m.fail(endless, uint32(n))
		}
	}
}

// trace returns the way to state n.
func (m *machine) trace(n uint32) []string {
	var way []uint32
	for ; n != 0; n = m.parent[n] {
		way = append(way, n)
	}
	lines := make([]string, len(way))
	for k := range way {
		n := way[len(way)-1-k]
		lines[k] = fmt.Sprintf("%2d. %-60s %v", k+1, m.stepTo(n), m.states[n])
	}
	return lines
}

// stepTo returns the step by which state n was found.
func (m *machine) stepTo(n uint32) (found step) {
	m.retrace = func(taken step, s state) {
		if s == m.states[n] {
			found = taken
		}
	}
	defer func() { m.retrace = nil }()
	m.expand(m.states[m.parent[n]])
	return found
}
