package death

// How a place or a turn is given up by somebody who does not know how far it has come:
// by a sentinel after its process was killed or, where that was only waiting, by the
// process itself. Each transaction is one step. One that is under way from a process
// that is killed has no other effect than the sentinel's own.

// giveUp is Remains.withdraw.
func (m *machine) giveUp(s state, i id) {
	if p := s.who[i]; p.tree && p.dead {
		next := s
		q := &next.who[i]
		if q.tree = false; q.phase == killed {
			q.phase = q.duty()
		}
		m.emit(empties, i, next)
	}
	p := &s.who[i]
	switch p.phase {
	case withdrawing:
		p.found = m.withdraw(&s, i)
		p.phase = revoking
		m.emit(withdraws, i, s)
	case revoking:
		switch known := p.found || s.leases.has(i); {
		case known, m.RevokeOnce:
		case m.AskForEver:
			m.emit(revokesAtLast, i, s) // in vain
			return
		case p.sent&(grant|join) != 0:
			return
		}
		if !m.KeepLease {
			s.revoke(i)
		}
		p.phase = either(m.LeaveOnce, p.last(), again)
		m.emit(revokesAtLast, i, s)
	case again:
		m.withdraw(&s, i)
		p.phase = p.last()
		m.emit(withdrawsAgain, i, s)
	case makingSure:
		if !m.LeaveLoan {
			s.revokeLoan(i)
		}
		p.phase = gone
		m.emit(makesSure, i, s)
	}
}

// settle is Remains.Clear of somebody who had a command: a release.
func (m *machine) settle(s state, i id) {
	p := &s.who[i]
	switch p.phase {
	case settling:
		p.others, _ = m.release(&s, i)
		p.phase = ending
		m.emit(settles, i, s)
	case ending:
		if !m.KeepLease {
			s.revoke(i)
		}
		p.phase = either(p.others && !m.NeverLend, advancing, makingSure)
		m.emit(endsLease, i, s)
	case advancing:
		p.phase = makingSure
		if next, any := s.borrower(); any {
			p.next, p.phase = next, granting
		}
		m.emit(goesOn, i, s)
	case granting:
		s.loans |= p.next.alone()
		p.phase = putting
		m.emit(borrows, i, s)
	case putting:
		p.phase = either(s.lend(p.next), makingSure, returning)
		m.emit(lends, i, s)
	case returning:
		s.revokeLoan(p.next)
		p.phase = makingSure
		m.emit(takesBack, i, s)
	}
}
