package death

// What a process does, and what it has under way. A rule gets a copy of the state,
// and either returns, for its guard is not met, or takes its step in the copy and
// emits that.

// rules are those about one process, or its sentinel.
var rules = [...]func(*machine, state, id){
	(*machine).start, (*machine).die, (*machine).forsake, (*machine).leave, (*machine).lapse,
	(*machine).grant, (*machine).join, (*machine).record, (*machine).sweep, (*machine).hear, (*machine).look,
	(*machine).contend, (*machine).mark, (*machine).run, (*machine).sayHeld, (*machine).reclaim,
	(*machine).give, (*machine).revoke, (*machine).advance, (*machine).borrow, (*machine).lend, (*machine).takeBack,
	(*machine).giveUp, (*machine).settle,
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
	if !p.alive() {
		return
	}
	p.dead = true
	if m.world.Lose && p.phase == behind && !s.anyLost() {
		next := s
		next.who[i] = process{phase: lost, dead: true, sent: p.sent}
		m.emit(lose, i, next)
	}
	if !m.world.Kill || m.world.SpareLenders && p.phase == lending {
		return
	}
	switch armed := p.armed && !(m.DisarmAtTurn && p.phase == turn); {
	case !armed:
		p.phase = gone
	case p.tree && !m.ClearAlive:
		p.phase = killed
	default:
		p.phase = p.duty()
	}
	s.who[i] = p
	m.emit(kill, i, s)
}

// duty is what the sentinel does first.
func (p *process) duty() phase { return either(p.ran, settling, withdrawing) }

// takes takes a request that is under way, on which etcd now acts. Nobody gets the
// answer if its sender is dead.
func (s *state) takes(i id, r request) (sender *process, alive, any bool) {
	p := &s.who[i]
	any = p.sent&r != 0
	p.sent &^= r
	return p, p.alive(), any
}

// forsake is the other end of a request whose sender is dead, or does not care any
// more.
func (m *machine) forsake(s state, i id) {
	p := &s.who[i]
	for k := range requests {
		r := request(1) << k
		if p.sent&r == 0 || p.alive() && !(p.phase == releasing && r&(held|reclaim|takeBack) != 0) && !p.leaving() {
			continue
		}
		next := s
		next.who[i].sent &^= r
		m.emit(isLost, i, next)
	}
}

// leaving reports whether a process gives up its place.
func (p *process) leaving() bool { return p.phase >= withdrawing && p.phase <= again }

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
	if alive && p.phase == behind && s.key[i] > 0 && s.key[p.front] > 0 {
		s.record[i] = plain
		all, loans := s.others(i)
		p.recorded = true
		p.ready = s.record[p.front] == plain || s.record[p.front] == lent && m.ReadyBehindLoan
		p.loans = loans
		if p.dirty = all &^ p.front.alone(); p.dirty != 0 {
			p.sent |= sweep
		}
	}
	m.emit(records, i, s)
}

// sweep deletes what those have left who died between us and the holder.
func (m *machine) sweep(s state, i id) {
	p, alive, sent := s.takes(i, sweep)
	if !sent || !alive || p.phase != behind {
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
	if !ok {
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
	ask := func(e event, s state, over, lent set) {
		q := &s.who[i]
		q.sent, q.over, q.lent = q.sent|mark, over, lent
		q.doubt = q.doubt || q.recorded
		m.emit(e, i, s)
	}
	switch {
	case p.dirty == 0 && p.recorded:
		p.phase, p.sent = turn, p.sent|held
		m.emit(begins, i, s)
		return
	case p.dirty == 0:
		ask(asks, s, 0, 0)
		return
	}
	ask(delayOver, s, p.dirty, p.loans)
	switch all, loans := s.others(i); {
	case p.dirty&^all == 0:
	case p.recorded:
		p.dirty, p.loans = all, loans
		p.recorded = s.record[i] != none
		m.emit(hearsCleared, i, s)
	default:
		ask(hearsCleared, s, 0, 0)
	}
}

// mark puts the record in the place of those that were waited for.
func (m *machine) mark(s state, i id) {
	p, alive, sent := s.takes(i, mark)
	if !sent || !alive || p.phase != first {
		return
	}
	all, loans := s.others(i)
	ok := s.key[i] > 0 && p.over&^all == 0 && (loans^p.lent)&p.over == 0 && (p.over != 0 || all == 0 && s.record[i] == none)
	switch {
	case ok:
		for j := range s.record {
			if p.over.has(id(j)) {
				s.unrecord(id(j))
			}
		}
		s.record[i] = plain
		s.turned |= i.alone()
		p.phase = turn
		if p.recorded {
			p.sent |= held
		}
	case s.record[i] != none && all == 0: // ours is the only one, written before
		p.phase, p.recorded, p.sent = turn, true, p.sent|held
	default:
		p.dirty, p.loans = all, loans
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

// sayHeld says in our key that we have the turn, and shows whether our record is on
// loan.
func (m *machine) sayHeld(s state, i id) {
	p, _, sent := s.takes(i, held)
	if !sent {
		return
	}
	if s.key[i] > 0 {
		s.turned |= i.alone()
		if s.record[i] == lent && (p.phase == turn || p.phase == running) && !m.KeepLoan {
			p.sent, p.doubt = p.sent|reclaim, true
		}
	}
	m.emit(saysHeld, i, s)
}

// reclaim takes our record back.
func (m *machine) reclaim(s state, i id) {
	p, _, sent := s.takes(i, reclaim)
	if !sent {
		return
	}
	if s.record[i] != none {
		s.record[i] = plain
	}
	if p.phase == turn || p.phase == running {
		p.sent |= takeBack
		p.next = i
	}
	m.emit(reclaims, i, s)
}

// leave is the end of somebody who is tired of waiting.
func (m *machine) leave(s state, i id) {
	p := &s.who[i]
	if !m.world.Leave || p.phase < joining || p.phase > first {
		return
	}
	p.doubt = p.doubt || p.recorded
	p.phase, p.sent = withdrawing, p.sent&posthumous
	m.emit(leaves, i, s)
}

// give is the end of a turn. The revoke may come before the release, and what was
// being said of the turn is not waited for.
func (m *machine) give(s state, i id) {
	if p := s.who[i]; p.phase == running || p.phase == turn && m.world.Leave {
		next := s
		q := &next.who[i]
		q.phase, q.tree, q.armed, q.sent = releasing, false, !m.DisarmEarly, p.sent|release|revoke
		m.emit(either(p.phase == running, ends, givesBack), i, next)
	}
	p, _, sent := s.takes(i, release)
	if !sent {
		return
	}
	others, onLoan := m.release(&s, i)
	p.others, p.doubt = others, p.doubt || onLoan
	m.emit(releases, i, s)
}

func (m *machine) revoke(s state, i id) {
	if _, _, sent := s.takes(i, revoke); sent {
		s.revoke(i)
		m.emit(revokes, i, s)
	}
}

// advance goes on once a release is done: to the record of whoever is next in line.
func (m *machine) advance(s state, i id) {
	p := &s.who[i]
	if p.phase != releasing || p.sent != 0 {
		return
	}
	if next, any := s.borrower(); any && p.others && !m.NeverLend {
		p.phase, p.next, p.sent = lending, next, borrow
	} else {
		p.phase = p.last()
	}
	m.emit(goesOn, i, s)
}

// last is what comes at the end: one that may have a lease for its record still sees to
// that.
func (p *process) last() phase { return either(p.dead || p.doubt, makingSure, gone) }

func (m *machine) borrow(s state, i id) {
	if p, alive, sent := s.takes(i, borrow); sent {
		s.loans |= p.next.alone()
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
	switch ok := s.lend(p.next); {
	case alive && ok:
		p.phase = p.last()
	case alive:
		p.sent |= takeBack
	}
	m.emit(lends, i, s)
}

// takeBack revokes the lease of a loan that is not needed: one's own, or the next
// one's.
func (m *machine) takeBack(s state, i id) {
	p, _, sent := s.takes(i, takeBack)
	if !sent {
		return
	}
	s.revokeLoan(p.next)
	if p.phase == lending {
		p.phase = p.last()
	} else {
		p.doubt = false
	}
	m.emit(takesBack, i, s)
}

func either[T any](is bool, yes, no T) T {
	if is {
		return yes
	}
	return no
}
