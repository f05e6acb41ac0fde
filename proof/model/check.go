package model

import (
	"fmt"
	"time"
)

// Report is what Explore found.
type Report struct {
	States int // not counting those that mirror another
	Steps  int // between them
	Depth  int // steps of the shortest way to the state that is farthest
	Took   time.Duration

	Broken string   // the promise that was broken; empty: none
	Trace  []string // the shortest way to it, one line for each step

	Excused int // states that OneIfHeard lets pass although two commands are alive
	taken   [events]int
}

// machine explores what one protocol does in one world, breadth first.
type machine struct {
	Protocol
	world    World
	promises Promise

	index           // of the states, in the order in which they were found
	parent []uint32 // from which each was found
	calm   []edge   // steps that are no faults, for NobodyStuck

	now  uint32 // index of the state whose steps are being taken
	from state  // that state

	broken breach
	where  uint32 // the state that breaks it
	report Report

	retrace func(step, state) // gets what emit does, in its place
}

// Explore visits every state that p can come to in w, or stops at the first in
// which a promise is broken.
func Explore(p Protocol, w World, promises Promise) Report {
	began := time.Now()
	m := &machine{Protocol: p, world: w, promises: promises, index: newIndex()}
	m.add(&initial)
	for level := uint32(1); int(m.now) < len(m.states) && m.broken == kept; m.now++ {
		if m.now == level {
			m.report.Depth++
			level = uint32(len(m.states))
		}
		m.expand(m.states[m.now])
	}
	if m.broken == kept && promises&NobodyStuck != 0 {
		m.findStuck()
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
	m.from = s
	for _, rule := range etcdRules {
		rule(m, s)
	}
	for _, i := range [...]id{a, b} {
		for _, rule := range candidateRules {
			rule(m, s, i)
		}
	}
}

// may reports whether faults of this kind happen.
func (m *machine) may(f Fault) bool { return m.world.Faults&f != 0 }

// emit takes the state that a rule's step leads to.
func (m *machine) emit(e event, i id, s state) {
	m.simplify(&s)
	s.rank()
	if m.retrace != nil {
		m.retrace(step{e, i}, s)
		return
	}
	m.report.Steps++
	m.report.taken[e]++
	n := m.add(&s)
	if m.promises&NobodyStuck != 0 && !fault[e] {
		m.calm = append(m.calm, edge{m.now, n, s != m.states[n]})
	}
}

// simplify forgets what cannot matter any more, so that there are fewer states.
// Where it departs from what would be, it lets more happen, not less.
func (m *machine) simplify(s *state) {
	for i := range s.who {
		c := &s.who[i]
		if !s.key[i] && (c.phase == waiting || c.phase == first) && !c.told && !m.SkipOwnKey {
			*c = candidate{phase: done} // it cannot claim: as good as ended
		}
		if (c.phase != out && c.phase != done) || c.alive {
			continue
		}
		// The lease of the dead may lapse at any time: whoever comes next has
		// nobody to overlap with.
		s.leases[i], s.ghosts[i] = unknown, unknown
		if s.key[i] {
			s.leases[i] = 0
		}
	}
}

// add returns where s is among the states, and checks it if it is new.
func (m *machine) add(s *state) uint32 {
	n, isNew := m.put(s)
	if isNew {
		m.parent = append(m.parent, m.now)
		m.check(s, n)
	}
	return n
}

// fail notes the first promise that is broken.
func (m *machine) fail(b breach, where uint32) {
	if m.broken == kept {
		m.broken, m.where = b, where
	}
}

// check looks whether state n breaks a promise.
func (m *machine) check(s *state, n uint32) {
	both := s.who[a].alive && s.who[b].alive
	if both && m.promises&OneIfHeard != 0 && s.who[s.elder()].missed {
		m.report.Excused++
		both = false
	}
	switch {
	case both && m.promises&(OneCommand|OneIfHeard) != 0:
		m.fail(twoCommands, n)
	case s.wrong == tokenFell && m.promises&TokensRise != 0, s.wrong == revived && m.promises&NoRevival != 0:
		m.fail(s.wrong, n)
	}
	for i, c := range s.who {
		if c.alive && s.records&id(i).record() == 0 && !c.missed && m.promises&Recorded != 0 {
			m.fail(unrecorded, n)
		}
	}
}

// elder returns whose key is the older.
func (s *state) elder() id {
	if s.who[a].rev < s.who[b].rev {
		return a
	}
	return b
}

// edge is a step from one state to another, or to the other's mirror image.
type edge struct {
	from, to uint32
	mirror   bool
}

// findStuck looks for a candidate in line that cannot come to run its command by
// calm steps. It goes back from all the states in which one runs.
func (m *machine) findStuck() {
	into := make([]int, len(m.states)+1) // into[n] to into[n+1]: the edges that lead to n, in back
	for _, e := range m.calm {
		into[e.to]++
	}
	for n, sum := 0, 0; n < len(into); n++ {
		sum += into[n]
		into[n] = sum
	}
	back := make([]edge, len(m.calm))
	for _, e := range m.calm {
		into[e.to]--
		back[into[e.to]] = e
	}

	can := make([][2]bool, len(m.states))
	type who struct {
		state uint32
		id    id
	}
	var todo []who
	reach := func(w who) {
		if !can[w.state][w.id] {
			can[w.state][w.id] = true
			todo = append(todo, w)
		}
	}
	for n := range m.states {
		for i, c := range m.states[n].who {
			if c.alive {
				reach(who{uint32(n), id(i)})
			}
		}
	}
	for len(todo) > 0 {
		w := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, e := range back[into[w.state]:into[w.state+1]] {
			i := w.id
			if e.mirror {
				i = 1 - i
			}
			reach(who{e.from, i})
		}
	}
	for n := range m.states {
		for i := range m.states[n].who {
			if m.states[n].hopes(id(i)) && !can[n][i] {
				m.fail(stuck, uint32(n))
			}
		}
	}
}

// hopes reports whether i is in line and not lost.
func (s *state) hopes(i id) bool {
	c := s.who[i]
	return s.key[i] && c.left > 0 && c.phase >= waiting && c.phase <= claimed
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
		lines[k] = fmt.Sprintf("%2d. %-64s %v", k+1, m.stepTo(n), m.states[n])
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
