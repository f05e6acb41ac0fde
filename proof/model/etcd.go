package model

// What etcd does, and what is done to it. Each rule gets a copy of the state,
// and either returns, for its guard is not met, or takes its step in the copy and
// emits that.

// etcdRules are those about etcd as a whole, and time.
var etcdRules = [...]func(*machine, state){
	(*machine).tick, (*machine).trouble, (*machine).mend, (*machine).elect, (*machine).notice,
}

// tick lets all clocks advance, unless something is due before.
func (m *machine) tick(s state) {
	for i := range s.who {
		if m.owesHearing(&s, id(i)) {
			return
		}
	}
	m.tickEtcd(&s)
	if m.world.Faults&Slip == 0 {
		m.tickBoth(s, tick, 1, 1)
		return
	}
	for _, pace := range [...][2]uint8{{1, 1}, {0, 1}, {2, 1}, {1, 0}, {1, 2}} {
		if (pace[a] != 1 && s.who[a].slipped) || (pace[b] != 1 && s.who[b].slipped) {
			continue
		}
		m.tickBoth(s, [...]event{tickSlow, tick, tickFast}[pace[a]*pace[b]], pace[a], pace[b])
	}
}

// tickBoth moves the candidates' clocks.
func (m *machine) tickBoth(s state, e event, paceA, paceB uint8) {
	m.tickCandidate(&s, a, paceA)
	m.tickCandidate(&s, b, paceB)
	for i := range s.who {
		if m.from.who[i].alive && !s.who[i].alive {
			m.emit(tickKills, id(i), s)
			return
		}
	}
	m.emit(e, a, s)
}

func (m *machine) tickEtcd(s *state) {
	s.leases.tick()
	if m.ghostsAge() {
		s.ghosts.tick()
	}
	m.tickRaft(s)
}

func (l *lessor) tick() {
	for i, left := range l {
		if left > 0 && left != unknown {
			l[i]--
		}
	}
}

// ghostsAge reports whether it matters when leases expire in the view of a
// deposed leader. Where not, it acknowledges for ever what it knows, which is
// more than any does and makes for fewer states.
func (m *machine) ghostsAge() bool {
	return m.world.Faults&Wrongful != 0 || m.world.ElectionTimeout > 0
}

// tickRaft counts what raft's election timeout is compared with.
func (m *machine) tickRaft(s *state) {
	timeout := uint8(m.world.ElectionTimeout)
	if timeout == 0 {
		return
	}
	if !s.commits() {
		s.silence = min(s.silence+1, timeout)
	}
	if s.in(lead, apart) || (s.old && !s.in(other, paused)) {
		s.alone++
	}
	if s.old && s.alone >= 2*timeout {
		m.stepDown(s)
	}
	s.alone = min(s.alone, 2*timeout)
}

// trouble pauses a member, or cuts it off from the others. A follower in trouble
// is as good as one that is not asked, so it is left alone.
func (m *machine) trouble(s state) {
	if s.trouble != fine {
		return
	}
	for _, r := range [...]role{lead, other} {
		if (r == other && !s.old) || (r == lead && s.old && m.world.ElectionTimeout > 0) { // alone is of one leader
			continue
		}
		s.troubled = r
		if m.may(Pause) {
			s.trouble = paused
			m.emit([...]event{pauseLeader, pauseOther}[r], a, s)
		}
		if m.may(Part) {
			s.trouble = apart
			m.emit([...]event{partLeader, partOther}[r], a, s)
		}
	}
}

// mend ends the trouble that there is, or lets a member that was paused find
// itself cut off.
func (m *machine) mend(s state) {
	if s.trouble == fine {
		return
	}
	if s.trouble == paused && m.may(Part) {
		next := s
		next.trouble = apart
		m.emit(resumeApart, a, next)
	}
	e := either(s.trouble == paused, resume, rejoin)
	s.troubled, s.trouble, s.silence = lead, fine, 0
	if !s.old {
		s.alone = 0
	}
	m.emit(e, a, s)
}

// elect makes the other member the leader. It gives each lease its whole TTL
// anew, and the old leader does not notice yet.
func (m *machine) elect(s state) {
	if s.old || !s.sound(other) || !m.may(Elect) {
		return
	}
	timeout := uint8(m.world.ElectionTimeout)
	if timeout > 0 && (s.commits() || s.silence < timeout) {
		return
	}
	s.old, s.ghosts = true, s.leases
	for i, left := range s.leases {
		if left == unknown {
			continue
		}
		s.leases[i] = uint8(m.TTL) + timeout
		if !m.ghostsAge() {
			s.ghosts[i] = uint8(m.TTL)
		}
	}
	if s.trouble != fine {
		s.troubled = other
	}
	for i := range s.who {
		if r := &s.who[i].renewal; r.stage == sent || r.stage == read {
			r.at = 1 - r.at
		}
	}
	s.silence = 0
	if timeout > 0 && s.alone >= 2*timeout {
		m.stepDown(&s)
	}
	m.emit(elect, a, s)
}

// notice tells a deposed leader so.
func (m *machine) notice(s state) {
	if !s.old || s.in(other, paused) {
		return
	}
	m.stepDown(&s)
	m.emit(notice, a, s)
}

func (m *machine) stepDown(s *state) {
	s.old, s.ghosts, s.alone = false, lessor{unknown, unknown}, 0
}

// lapse revokes a lease whose time is over. It need not come at once.
func (m *machine) lapse(s state, i id) {
	if !s.commits() || s.leases[i] != 0 {
		return
	}
	s.remove(i)
	m.emit(lapse, i, s)
}

// revokeByOld is what a leader does that was paused for longer than the TTL and
// resumed: it proposes to revoke what it did not see renewed, and what it
// proposes before it knows better, or passes on afterwards, is committed. Here a
// leader that has long been deposed does so even if it was not paused.
func (m *machine) revokeByOld(s state, i id) {
	if !s.old || s.trouble != fine || s.ghosts[i] != 0 || s.leases[i] == unknown || !m.may(Wrongful) {
		return
	}
	s.remove(i)
	m.emit(revokeByOld, i, s)
}

// operate is an operator's revoke, or deletion of the key alone.
func (m *machine) operate(s state, i id) {
	if !s.commits() || !s.key[i] || !m.may(Operator) {
		return
	}
	keyOnly := s
	keyOnly.key[i] = false
	m.emit(deleteKey, i, keyOnly)
	s.remove(i)
	m.emit(revokeLease, i, s)
}

// remove ends a lease and its key.
func (s *state) remove(i id) { s.leases[i], s.key[i] = unknown, false }

// keepalive renews the lease of i through member r, by the leader that r knows:
// itself, even if it was deposed, or the true one. It fails if nobody answers,
// or what answers holds the lease for gone or expired.
func (m *machine) keepalive(s *state, i id, r role) (ok, stale bool) {
	l := &s.leases
	switch {
	case s.in(r, paused):
		return false, false
	case r == other && s.old:
		l, stale = &s.ghosts, true
	case r == other && s.trouble != fine:
		return false, false
	case r == lead && s.in(lead, apart) && m.world.ElectionTimeout > 0 && int(s.alone) >= 2*m.world.ElectionTimeout:
		return false, false // it has stepped down
	}
	if l[i] == unknown || l[i] == 0 {
		return false, stale
	}
	l[i] = uint8(m.TTL)
	return true, stale
}

// confirms reports whether a quorum confirms a read through member r: not if r
// is, or follows, a leader that was deposed.
func (s *state) confirms(r role) bool {
	return s.commits() && s.sound(r) && (r == lead || !s.old)
}
