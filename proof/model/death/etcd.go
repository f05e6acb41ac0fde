package death

// What etcd does: the transactions, as package hold sends them.

// remove ends a key, ...
func (s *state) remove(i id) { s.key[i] = 0 }

// ... and with a lease its key.
func (s *state) revoke(i id) {
	s.leases &^= i.alone()
	s.remove(i)
}

// endLoan ends the lease that i had for a record of another, which goes with it.
func (s *state) endLoan(i id) {
	s.loans &^= i.alone()
	for j := range s.record {
		if s.record[j] == from+loan(i) {
			s.unrecord(id(j))
		}
	}
}

// unrecord deletes the record of i, and says whose lease that was under. Who is
// ready behind i has the turn by that.
func (s *state) unrecord(i id) (lender id, lent bool) {
	was := s.record[i]
	s.record[i] = none
	for j := range s.who {
		if p := &s.who[j]; was != none && p.phase == behind && p.front == i && p.ready {
			p.told = true
		}
	}
	if was < from {
		return 0, false
	}
	return id(was - from), true
}

// put is the join.
func (s *state) put(i id) (acquired bool) {
	all, _ := s.others(i)
	acquired = s.inLine() == 0 && all == 0 && s.record[i] == none
	s.key[i] = uint8(s.inLine() + 1)
	if acquired {
		s.record[i] = plain
		s.turned |= i.alone()
	}
	return acquired
}

// release is the transaction with which a turn is given up: own key, own record, and
// of the last in line all records.
func (m *machine) release(s *state, i id) (others bool, lender id, lent bool) {
	ours := s.record[i] != none
	if ours {
		lender, lent = s.unrecord(i)
	}
	s.remove(i)
	if ours && s.inLine() == 0 && !m.ClearOnlyOwn {
		s.record = [most]loan{}
	}
	return ours && s.inLine() > 0, lender, lent
}

// withdraw is the deletion of a place of which it is not known how far it has come.
func (m *machine) withdraw(s *state, i id) (found bool) {
	found = s.key[i] > 0
	s.remove(i)
	if m.KeepRecord {
		return found
	}
	if lender, lent := s.unrecord(i); lent {
		s.endLoan(lender)
	}
	return found
}

// borrower is whose record is to be seen to after a release: that of the next in
// line, if nothing says that its turn has begun.
func (s *state) borrower() (next id, any bool) {
	next, any = s.head()
	return next, any && !s.turned.has(next) && s.record[next] == plain
}

// lend puts the record of next under a lease that i has for it.
func (s *state) lend(i, next id) bool {
	ok := s.key[next] > 0 && !s.turned.has(next) && s.record[next] == plain
	if ok {
		s.record[next] = from + loan(i)
	}
	return ok
}

// lapse is the end of a lease that nobody renews, or of a loan that nobody needs.
func (m *machine) lapse(s state, i id) {
	if s.who[i].phase == lost && s.leases.has(i) && !(m.world.Promptly && s.releasing()) {
		next := s
		next.revoke(i)
		m.emit(lapses, i, next)
	}
	if s.loans.has(i) && m.runsOut(&s, i) {
		s.endLoan(i)
		m.emit(loanLapses, i, s)
	}
}

// releasing reports whether somebody gives a turn up.
func (s *state) releasing() bool {
	for _, p := range s.who {
		switch p.phase {
		case releasing, lending, ending, advancing, granting, putting:
			return true
		}
	}
	return false
}

// runsOut reports whether a loan of i's may lapse: it is given for longer than the
// next in line can be without a renewal, so not while he is about to take his record
// back.
func (m *machine) runsOut(s *state, i id) bool {
	for j, r := range s.record {
		if p := s.who[j]; r == from+loan(i) {
			return p.phase == lost || p.phase == running && p.sent&held == 0
		}
	}
	return s.who[i].sent&(lend|takeBack) == 0 && !s.unlending(i) && s.who[i].phase != putting && s.who[i].phase != returning
}

// unlending reports whether somebody is about to revoke the lease of i's loan.
func (s *state) unlending(i id) bool {
	for _, p := range s.who {
		if p.sent&unlend != 0 && p.loan == i {
			return true
		}
	}
	return false
}
