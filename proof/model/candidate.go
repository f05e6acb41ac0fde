package model

// What a candidate does: take a place in line, renew, take the turn, run, clear
// up. See etcd.go on rules.

// candidateRules are those about one candidate, or its lease.
var candidateRules = [...]func(*machine, state, id){
	(*machine).lapse, (*machine).revokeByOld, (*machine).operate,
	(*machine).join, (*machine).prepare, (*machine).tidy, (*machine).take, (*machine).seeTurn, (*machine).claim, (*machine).start, (*machine).recordLate,
	(*machine).renew, (*machine).confirm, (*machine).extend, (*machine).accept, (*machine).hear,
	(*machine).give, (*machine).clearUp, (*machine).leave, (*machine).disturb,
}

// tickCandidate moves one candidate's clock by pace ticks. At the deadline its
// command is dead.
func (m *machine) tickCandidate(s *state, i id, pace uint8) {
	c := &s.who[i]
	if (c.phase == out || c.phase == done) && !c.alive {
		return
	}
	if pace != 1 {
		c.slipped = true
	}
	if m.promises&OneIfHeard != 0 && (c.cut || c.stopped) && !s.key[i] {
		c.missed = true
	}
	c.delay -= min(pace, c.delay)
	c.left -= min(pace, c.left)
	if c.left == 0 && c.alive && !m.Outlive {
		c.alive = false
		if c.phase == running {
			m.end(s, i)
		}
	}
	if c.renewal.stage != none {
		c.renewal.age += pace
		switch {
		case m.CountFromReceipt:
			c.renewal.age = min(c.renewal.age, uint8(m.TTL))
		case c.renewal.age >= m.life(): // what it could give has passed
			c.renewal = renewal{}
		}
	}
}

// life is how long a deadline lies after what it counts from.
func (m *machine) life() uint8 { return uint8(m.TTL - m.Margin) }

// owesHearing reports whether i is about to hear that its key has gone.
func (m *machine) owesHearing(s *state, i id) bool {
	c := &s.who[i]
	return (c.phase == claimed || c.phase == running || c.told) && !s.key[i] && !c.cut && !c.stopped && !m.Unwatched
}

// join takes a place in line, with a new lease. Where the line is empty and
// there is no record, that is the acquisition.
func (m *machine) join(s state, i id) {
	c := &s.who[i]
	if c.phase != out || c.alive || s.key[i] || s.leases[i] != unknown || !s.commits() {
		return
	}
	s.leases[i], s.ghosts[i], s.key[i] = uint8(m.TTL), unknown, true
	*c = candidate{phase: waiting, left: m.life(), rev: max(s.who[a].rev, s.who[b].rev, s.last) + 1}
	if s.records&i.record() != 0 {
		s.records = s.records&^i.record() | past
	}
	if s.key[1-i] || s.records != 0 {
		m.emit(join, i, s)
		return
	}
	c.phase = claimed
	m.write(&s, i)
	m.emit(joinAndClaim, i, s)
}

// write puts the running record.
func (m *machine) write(s *state, i id) {
	if !m.NoRecord && !m.RecordLate {
		s.records |= i.record()
	}
}

// behindHolder reports whether the key in front is that of one that has the turn.
func (s *state) behindHolder(i id) bool {
	p := s.who[1-i].phase
	return s.ahead(i) && (p == claimed || p == running)
}

// prepare writes the running record behind one that has the turn.
func (m *machine) prepare(s state, i id) {
	if s.who[i].phase != waiting || !s.key[i] || !s.behindHolder(i) || s.records&i.record() != 0 || !s.commits() {
		return
	}
	m.write(&s, i)
	m.emit(prepare, i, s)
}

// tidy clears the records of the dead behind one that has the turn.
func (m *machine) tidy(s state, i id) {
	if s.who[i].phase != waiting || s.records&i.record() == 0 || s.records&past == 0 || !s.behindHolder(i) || !s.commits() {
		return
	}
	s.records &^= past
	m.emit(tidy, i, s)
}

// take is the news that the holder's record has gone: with one's own written the
// turn is taken, without a question to etcd.
func (m *machine) take(s state, i id) {
	c := &s.who[i]
	gone := m.TakeUnreleased && s.key[i] && !s.ahead(i) && s.records&i.record() != 0
	if c.phase != waiting || !c.told && !gone {
		return
	}
	c.phase, c.told = claimed, false
	m.emit(take, i, s)
}

// seeTurn is the news that nobody is in front. The lock-delay counts from it,
// should there be a foreign record.
func (m *machine) seeTurn(s state, i id) {
	c := &s.who[i]
	if c.phase != waiting || s.ahead(i) {
		return
	}
	c.phase, c.delay, c.told = first, uint8(m.LockDelay), false
	m.emit(seeTurn, i, s)
}

// claim writes the running record, in a transaction that fails unless one's own
// key exists and there is no record, or those that the delay was waited for, which
// it clears. Where it is written and there is no other, a read will do.
func (m *machine) claim(s state, i id) {
	c := &s.who[i]
	foreign := s.records&^i.record() != 0
	if c.phase != first || !s.commits() || (foreign && (c.delay > 0 || m.NeverTakeOver)) || (!s.key[i] && !m.SkipOwnKey) {
		return
	}
	c.phase, c.delay = claimed, 0
	if foreign {
		s.records &= i.record()
	}
	m.write(&s, i)
	m.emit(either(foreign, claimDirty, claim), i, s)
}

// start starts the command, unless the deadline has passed.
func (m *machine) start(s state, i id) {
	c := &s.who[i]
	if c.phase != claimed || c.stopped || (c.left == 0 && !m.SkipDeadline) {
		return
	}
	if c.rev <= s.last && !c.missed {
		s.wrong = tokenFell
	}
	s.last = c.rev
	c.phase, c.alive = running, true
	m.emit(start, i, s)
}

// recordLate is what RecordLate does in the place of write.
func (m *machine) recordLate(s state, i id) {
	if !m.RecordLate || s.who[i].phase != running || s.records&i.record() != 0 || !s.key[i] || !s.commits() {
		return
	}
	s.records |= i.record()
	m.emit(recordLate, i, s)
}

// renew sends the first request of a renewal. One that is still under way is
// given up for it.
func (m *machine) renew(s state, i id) {
	c := &s.who[i]
	if !m.renews(c) || (c.renewal.stage != none && c.renewal.age == 0) {
		return
	}
	for _, r := range [...]role{lead, other} {
		if s.reaches(c, r) {
			c.renewal = renewal{stage: sent, at: r}
			if m.KeepaliveOnly {
				c.renewal.stage = read
			}
			m.emit(renew, i, s)
		}
	}
}

func (m *machine) renews(c *candidate) bool {
	return c.phase >= waiting && c.phase <= running && !c.stopped && (c.left > 0 || m.AcceptLate)
}

// reaches reports whether c's requests get to member r.
func (s *state) reaches(c *candidate, r role) bool {
	return !c.cut || !s.sound(r) || (r == other && s.old)
}

// confirm is a quorum's answer to the read.
func (m *machine) confirm(s state, i id) {
	c := &s.who[i]
	if c.renewal.stage != sent || !s.confirms(c.renewal.at) {
		return
	}
	if s.key[i] {
		c.renewal.stage = read
		m.emit(confirm, i, s)
	} else if !c.cut && !c.stopped {
		m.end(&s, i)
		m.emit(readGone, i, s)
	}
}

// extend is the keepalive that follows the read, through the same member.
func (m *machine) extend(s state, i id) {
	c := s.who[i]
	if c.renewal.stage != read || c.stopped {
		return
	}
	for _, r := range [...]role{lead, other} {
		if (r != c.renewal.at && !m.AnyMember) || !s.reaches(&c, r) {
			continue
		}
		next := s
		if ok, stale := m.keepalive(&next, i, r); ok {
			next.who[i].renewal = renewal{stage: renewed, age: c.renewal.age}
			m.emit(either(stale, extendByOld, extend), i, next)
		}
	}
}

// accept is the answer: it moves the deadline, unless that has passed.
func (m *machine) accept(s state, i id) {
	c := &s.who[i]
	if c.renewal.stage != renewed || c.stopped || (c.left == 0 && !m.AcceptLate) {
		return
	}
	if c.left == 0 {
		s.wrong = revived
	}
	age := c.renewal.age
	if m.CountFromReceipt {
		age = 0
	}
	c.left = max(c.left, m.life()-min(age, m.life()))
	c.renewal = renewal{}
	m.emit(accept, i, s)
}

// hear is the watch's news that one's own key has gone: nothing may run now.
func (m *machine) hear(s state, i id) {
	c := &s.who[i]
	if c.phase < waiting || c.phase > running || s.key[i] || c.cut || c.stopped || m.Unwatched {
		return
	}
	m.end(&s, i)
	m.emit(hear, i, s)
}

// give is a command's end, or a candidate's that is tired of waiting, or whose
// deadline has passed while it waited, or whose supervisor is killed.
func (m *machine) give(s state, i id) {
	c := &s.who[i]
	if c.phase < waiting || c.phase > running {
		return
	}
	m.end(&s, i)
	m.emit(give, i, s)
}

// end leaves nothing running, and key and record to be cleared.
func (m *machine) end(s *state, i id) {
	s.who[i] = candidate{phase: done, rev: s.who[i].rev}
}

// clearUp is the transaction that deletes the record, if it is one's own, and
// the key, and the revoke behind it. It may come late: nothing waits for it.
func (m *machine) clearUp(s state, i id) {
	c := &s.who[i]
	early := m.ReleaseAlive && c.phase == running
	if (c.phase != done && !early) || c.stopped || !s.commits() {
		return
	}
	if s.records&i.record() != 0 {
		next := &s.who[1-i]
		next.told = next.phase == waiting && c.rev < next.rev && (m.TakeUnrecorded || s.records&(1-i).record() != 0)
	}
	s.records &^= i.record()
	if m.ClearAnyRecord {
		s.records = 0
	}
	s.remove(i)
	*c = candidate{rev: c.rev, alive: c.alive, left: c.left}
	if !c.alive {
		c.left = 0
	}
	m.emit(clearUp, i, s)
}

// leave is the end of a candidate that could not clear up: its key, if it has
// one still, lapses, and the record stays.
func (m *machine) leave(s state, i id) {
	c := &s.who[i]
	if c.phase != done {
		return
	}
	*c = candidate{rev: c.rev}
	m.emit(leave, i, s)
}

// disturb cuts a holder off, or stops its supervisor, or ends that. Not both:
// one that is stopped does nothing, reachable or not.
func (m *machine) disturb(s state, i id) {
	if p := s.who[i].phase; p != claimed && p != running {
		return
	}
	if c := s.who[i]; c.cut || (m.may(CutOff) && !c.stopped) {
		next := s
		next.who[i].cut = !c.cut
		m.emit(either(c.cut, heal, cutOff), i, next)
	}
	if c := s.who[i]; c.stopped || (m.may(Stop) && !c.cut) {
		next := s
		next.who[i].stopped = !c.stopped
		m.emit(either(c.stopped, resumeHolder, stop), i, next)
	}
}

func either(is bool, yes, no event) event {
	if is {
		return yes
	}
	return no
}
