package death

import "slices"

// What etcd does: the transactions, as package hold sends them.

// revoke ends a lease, and with it its key.
func (s *state) revoke(i id) {
	s.leases &^= i.alone()
	s.key[i] = 0
}

// revokeLoan ends the lease that was granted for the record of i, which goes with it.
func (s *state) revokeLoan(i id) {
	s.loans &^= i.alone()
	if s.record[i] == lent {
		s.unrecord(i)
	}
}

// unrecord deletes the record of i. Who is ready behind i has the turn by that.
func (s *state) unrecord(i id) {
	if s.record[i] == none {
		return
	}
	s.record[i] = none
	for j := range s.who {
		if p := &s.who[j]; p.phase == behind && p.front == i && p.ready {
			p.told = true
		}
	}
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

// withdraw deletes what there is of a place of which it is not known how far it has
// come.
func (m *machine) withdraw(s *state, i id) (found bool) {
	found = s.key[i] > 0
	s.key[i] = 0
	if !m.KeepRecord {
		s.unrecord(i)
	}
	return found
}

// release gives a turn up: own key, own record and, of the last in line, all records.
func (m *machine) release(s *state, i id) (others, onLoan bool) {
	ours := s.record[i] != none
	onLoan = s.record[i] == lent || !ours // or may have been
	s.unrecord(i)
	s.key[i] = 0
	if ours && s.inLine() == 0 && !m.ClearOnlyOwn {
		s.record = [most]life{}
	}
	return ours && s.inLine() > 0, onLoan
}

// borrower is whose record is to be seen to after a release: that of the next in
// line, if nothing says that its turn has begun.
func (s *state) borrower() (next id, any bool) {
	next, any = s.head()
	return next, any && !s.turned.has(next) && s.record[next] == plain
}

// lend puts the record of next under its lease, if nothing has happened to it, and
// reports whether that is where it is: somebody else may have done the same.
func (s *state) lend(next id) bool {
	if s.loans.has(next) && s.key[next] > 0 && !s.turned.has(next) && s.record[next] == plain {
		s.record[next] = lent
	}
	return s.record[next] == lent
}

// lapse is the end of a lease that nobody renews, or of a loan.
func (m *machine) lapse(s state, i id) {
	if s.who[i].phase == lost && s.leases.has(i) && !(m.world.Promptly && s.releasing()) {
		next := s
		next.revoke(i)
		m.emit(lapses, i, next)
	}
	if s.loans.has(i) && s.runsOut(i) {
		s.revokeLoan(i)
		m.emit(loanLapses, i, s)
	}
}

// releasing reports whether somebody gives a turn up.
func (s *state) releasing() bool {
	return slices.ContainsFunc(s.who[:], func(p process) bool {
		switch p.phase {
		case releasing, lending, settling, ending, advancing, granting, putting:
			return true
		}
		return false
	})
}

// runsOut reports whether the lease of a loan may lapse. It outlasts whatever a living
// borrower does before it says that it has the turn; where there is none that will
// revoke it, it lapses in the end.
func (s *state) runsOut(i id) bool {
	p := &s.who[i]
	return s.record[i] == lent && (p.phase == lost || p.phase == running && p.sent&(held|reclaim) == 0)
}
