package death

// What a process does, and what it has under way. A rule gets a copy of the state,
// and either returns, for its guard is not met, or takes its step in the copy and
// emits that.

// rules are those about one process, or its sentinel.
var rules = [...]func(*machine, state, id){
	(*machine).start, (*machine).die, (*machine).forsake, (*machine).leave, (*machine).lapse,
	(*machine).grant, (*machine).join, (*machine).record, (*machine).sweep, (*machine).hear, (*machine).look,
	(*machine).contend, (*machine).mark, (*machine).run, (*machine).sayHeld, (*machine).unlend,
	(*machine).give, (*machine).revoke, (*machine).unrecord, (*machine).advance, (*machine).borrow, (*machine).lend, (*machine).takeBack,
	(*machine).clear, (*machine).settle,
}

// start sends grant and join. Whoever starts after another has the next letter: the
// rules treat all alike.
func (m *machine) start(s state, i id) {
	if s.who[i].phase != out || i > 0 && s.who[i-1].phase == out {
		return
	}
	s.who[i] = process{phase: joining, sent: grant | join, armed: !m.ArmLate}
	m.emit(starts, i, s)
}

// die is a SIGKILL. What was sent is under way still.
func (m *machine) die(s state, i id) {
	p := s.who[i]
	if !p.phase.alive() {
		return
	}
	if m.world.Lose && p.phase == behind && !s.anyLost() {
		next := s
		next.who[i] = process{phase: lost, sent: p.sent, front: p.front, dirty: p.dirty}
		m.emit(lose, i, next)
	}
	if !m.world.Kill {
		return
	}
	p.phase = gone
	switch armed := p.armed && !(m.DisarmAtTurn && s.who[i].phase == turn); {
	case armed && p.tree && !m.ClearAlive:
		p.phase = killed
	case armed:
		p.phase = p.duty()
	}
	s.who[i] = p
	m.emit(kill, i, s)
}

// duty is what the sentinel does first.
func (p *process) duty() phase {
	if p.ran {
		return settling
	}
	return withdrawing
}

// takes takes a request that is under way, which etcd now acts on. Nobody gets the
// answer if its sender is dead.
func (s *state) takes(i id, r request) (sender *process, alive, any bool) {
	p := &s.who[i]
	if p.sent&r == 0 {
		return p, false, false
	}
	p.sent &^= r
	return p, p.phase.alive(), true
}

// forsake is the other end of a request whose sender is dead.
func (m *machine) forsake(s state, i id) {
	p := &s.who[i]
	if p.phase.alive() {
		return
	}
	for k := range requests {
		if r := request(1) << k; p.sent&r != 0 {
			next := s
			next.who[i].sent &^= r
			m.emit(isLost, i, next)
		}
	}
}

func (m *machine) grant(s state, i id) {
	if _, _, any := s.takes(i, grant); any {
		s.leases |= i.alone()
		m.emit(grants, i, s)
	}
}

// join fails without effect while there is no lease, and is sent again.
func (m *machine) join(s state, i id) {
	front, any := s.newest()
	p, alive, sent := s.takes(i, join)
	if !sent || !s.leases.has(i) {
		return
	}
	acquired := s.put(i)
	if alive && p.phase == joining {
		p.armed = true
		switch {
		case acquired:
			p.phase = turn
		case any:
			p.phase, p.front = behind, front
		default:
			p.phase = first
			p.dirty, p.loans = s.others(i)
		}
	}
	m.emit(either(acquired, acquires, joins), i, s)
}

// newest is the last in line.
func (s *state) newest() (i id, any bool) {
	for j, r := range s.key {
		if r > 0 && (!any || r > s.key[i]) {
			i, any = id(j), true
		}
	}
	return i, any
}

// waits reports whether a process watches the key in front, and has no answer to
// wait for.
func (p *process) waits() bool { return p.phase == behind && p.sent&(record|sweep) == 0 }

// record puts the record behind one that has the turn.
func (m *machine) record(s state, i id) {
	if p := &s.who[i]; p.waits() && !p.knows && s.turned.has(p.front) {
		next := s
		next.who[i].knows, next.who[i].sent = true, p.sent|record
		m.emit(hearsHeld, i, next)
	}
	p, alive, sent := s.takes(i, record)
	if !sent {
		return
	}
	if s.key[i] > 0 && s.key[p.front] > 0 {
		if s.record[i] == none {
			s.record[i] = plain
		}
		if alive && p.phase == behind {
			all, _ := s.others(i)
			p.recorded, p.ready = true, s.record[p.front] != none
			if p.dirty = all &^ p.front.alone(); p.dirty != 0 {
				p.sent |= sweep
			}
		}
	}
	m.emit(records, i, s)
}

// sweep deletes what those have left who died between us and the holder.
func (m *machine) sweep(s state, i id) {
	p, alive, sent := s.takes(i, sweep)
	if !sent {
		return
	}
	ok := s.key[p.front] > 0
	for j := range s.key {
		ok = ok && (!p.dirty.has(id(j)) || s.key[j] == 0)
	}
	for j := range s.record {
		if ok && p.dirty.has(id(j)) {
			s.unrecord(id(j))
		}
	}
	if alive && p.phase == behind && !ok {
		p.ready, p.told = false, false
	}
	m.emit(sweeps, i, s)
}

// hear is news of the watches.
func (m *machine) hear(s state, i id) {
	p := s.who[i]
	if !p.waits() {
		return
	}
	to := func(e event, phase phase) {
		next := s
		next.who[i].phase = phase
		m.emit(e, i, next)
	}
	if p.told {
		to(hearsTurn, first)
	}
	if s.key[p.front] == 0 {
		to(hearsGone, either(p.knows && !p.recorded, first, looking)) // nobody can be in front of a holder
	}
	to(looksAgain, looking)
}

// look reads who is in front, and the records.
func (m *machine) look(s state, i id) {
	p := &s.who[i]
	if p.phase != looking {
		return
	}
	p.recorded = p.recorded && s.record[i] != none
	if front, any := s.ahead(i); any {
		p.phase, p.front = behind, front
	} else {
		p.phase = first
		p.dirty, p.loans = s.others(i)
	}
	m.emit(looks, i, s)
}

// contend is what comes with nobody in front.
func (m *machine) contend(s state, i id) {
	p := &s.who[i]
	if p.phase != first || p.sent&mark != 0 {
		return
	}
	if p.dirty == 0 {
		if p.recorded {
			p.phase, p.sent = turn, p.sent|held
			m.emit(begins, i, s)
			return
		}
		p.sent, p.over, p.lent = p.sent|mark, 0, 0
		m.emit(asks, i, s)
		return
	}
	over := s
	q := &over.who[i]
	q.sent, q.over, q.lent = q.sent|mark, q.dirty, q.loans
	m.emit(delayOver, i, over)
	if all, lent := s.others(i); p.dirty&^all != 0 {
		if p.recorded {
			p.dirty, p.loans = all, lent
			p.recorded = s.record[i] != none
		} else {
			p.sent, p.over, p.lent = p.sent|mark, 0, 0
		}
		m.emit(hearsCleared, i, s)
	}
}

// mark puts the record in the place of those that were waited for.
func (m *machine) mark(s state, i id) {
	p, alive, sent := s.takes(i, mark)
	if !sent {
		return
	}
	all, lent := s.others(i)
	ok := s.key[i] > 0 && p.over&^all == 0 && (lent^p.lent)&p.over == 0 && (p.over != 0 || all == 0 && s.record[i] == none)
	if ok {
		for j := range s.record {
			if p.over.has(id(j)) {
				s.unrecord(id(j))
			}
		}
		s.record[i] = plain
	}
	alive = alive && p.phase == first
	switch {
	case alive && ok, alive && s.record[i] != none && (s.turned.has(i) || all == 0):
		p.recorded = p.recorded || !s.turned.has(i)
		p.phase = turn
		if p.recorded && !ok {
			p.sent |= held
		}
	case alive:
		p.dirty, p.loans = all, lent
	}
	if ok {
		s.turned |= i.alone()
	}
	m.emit(marks, i, s)
}

// run starts the command.
func (m *machine) run(s state, i id) {
	p := &s.who[i]
	if p.phase == turn {
		p.phase, p.tree, p.ran = running, true, true
		m.emit(runs, i, s)
	}
}

// sayHeld says in our key that we have the turn, and takes our record back.
func (m *machine) sayHeld(s state, i id) {
	p, alive, sent := s.takes(i, held)
	if !sent {
		return
	}
	if s.key[i] > 0 {
		if r := s.record[i]; r >= from && !m.KeepLoan {
			s.record[i] = plain
			if alive {
				p.sent, p.loan = p.sent|unlend, id(r-from)
			}
		}
		s.turned |= i.alone()
	}
	m.emit(saysHeld, i, s)
}

func (m *machine) unlend(s state, i id) {
	if p, _, sent := s.takes(i, unlend); sent {
		s.endLoan(p.loan)
		m.emit(unlends, i, s)
	}
}

// leave is the end of somebody who is tired of waiting: the revoke comes first.
func (m *machine) leave(s state, i id) {
	p := &s.who[i]
	if !m.world.Leave || p.phase < joining || p.phase > first || p.sent&grant != 0 {
		return
	}
	p.phase, p.sent = leaving, p.sent|revoke
	m.emit(leaves, i, s)
}

// give is the end of a turn. The revoke may come before the release.
func (m *machine) give(s state, i id) {
	if p := s.who[i]; p.phase == running || p.phase == turn && m.world.Leave {
		next := s
		q := &next.who[i]
		q.phase, q.tree, q.armed, q.sent = releasing, false, !m.DisarmEarly, p.sent|release|revoke
		m.emit(either(p.phase == running, ends, givesBack), i, next)
	}
	p, alive, sent := s.takes(i, release)
	if !sent {
		return
	}
	others, lender, lent := m.release(&s, i)
	if alive {
		p.others = others
		if lent {
			p.sent, p.loan = p.sent|unlend, lender
		}
	}
	m.emit(releases, i, s)
}

func (m *machine) revoke(s state, i id) {
	p, alive, sent := s.takes(i, revoke)
	if !sent {
		return
	}
	s.revoke(i)
	if alive && p.phase == leaving {
		p.phase, p.sent = clearing, p.sent|unrecord
	}
	m.emit(revokes, i, s)
}

func (m *machine) unrecord(s state, i id) {
	if _, _, sent := s.takes(i, unrecord); sent {
		s.unrecord(i)
		m.emit(unrecords, i, s)
	}
}

// advance ends a process that has nothing under way any more; one that was followed
// by somebody in line first sees to that one's record.
func (m *machine) advance(s state, i id) {
	p := &s.who[i]
	if p.sent != 0 {
		return
	}
	switch next, any := s.borrower(); {
	case p.phase == clearing, p.phase == releasing && (!p.others || m.NeverLend), p.phase == lending && !any:
		p.phase = gone
		m.emit(finishes, i, s)
	case p.phase == releasing:
		p.phase = lending
		m.emit(readsNext, i, s)
	case p.phase == lending:
		p.next, p.sent = next, borrow
		m.emit(readsNext, i, s)
	}
}

func (m *machine) borrow(s state, i id) {
	if p, alive, sent := s.takes(i, borrow); sent {
		s.loans |= i.alone()
		if alive {
			p.sent |= lend
		}
		m.emit(borrows, i, s)
	}
}

func (m *machine) lend(s state, i id) {
	p, alive, sent := s.takes(i, lend)
	if !sent {
		return
	}
	ok := s.lend(i, p.next)
	switch {
	case alive && ok:
		p.phase = gone
	case alive:
		p.sent |= takeBack
	}
	m.emit(lends, i, s)
}

func (m *machine) takeBack(s state, i id) {
	if p, alive, sent := s.takes(i, takeBack); sent {
		s.endLoan(i)
		if alive {
			p.phase = gone
		}
		m.emit(takesBack, i, s)
	}
}

func either[T any](is bool, yes, no T) T {
	if is {
		return yes
	}
	return no
}
