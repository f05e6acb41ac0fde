package death

// What a sentinel does after its process was killed. It is not killed itself, so
// that each of its transactions is one step.

// clear is Remains.Clear of somebody who had no command, after the tree is empty.
func (m *machine) clear(s state, i id) {
	if s.who[i].tree && s.who[i].phase >= killed {
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
			m.emit(sentinelRevokes, i, s) // in vain
			return
		case p.sent&(grant|join) != 0:
			return
		}
		if !m.KeepLease {
			s.revoke(i)
		}
		p.phase = again
		if m.LeaveOnce {
			p.phase = gone
		}
		m.emit(sentinelRevokes, i, s)
	case again:
		m.withdraw(&s, i)
		p.phase = gone
		m.emit(withdrawsAgain, i, s)
	}
}

// settle is Remains.Clear of somebody who had a command: a release.
func (m *machine) settle(s state, i id) {
	p := &s.who[i]
	switch p.phase {
	case settling:
		others, lender, lent := m.release(&s, i)
		if lent {
			s.endLoan(lender)
		}
		p.others, p.phase = others, ending
		m.emit(settles, i, s)
	case ending:
		if !m.KeepLease {
			s.revoke(i)
		}
		p.phase = gone
		if p.others && !m.NeverLend {
			p.phase = advancing
		}
		m.emit(endsLease, i, s)
	case advancing:
		p.phase = gone
		if next, any := s.borrower(); any {
			p.next, p.phase = next, granting
		}
		m.emit(readsNext, i, s)
	case granting:
		s.loans |= i.alone()
		p.phase = putting
		m.emit(borrows, i, s)
	case putting:
		p.phase = gone
		if !s.lend(i, p.next) {
			p.phase = returning
		}
		m.emit(lends, i, s)
	case returning:
		s.endLoan(i)
		p.phase = gone
		m.emit(takesBack, i, s)
	}
}
