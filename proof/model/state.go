package model

import (
	"fmt"
	"math/bits"
	"strings"
)

// id is one of the two candidates.
type id uint8

const (
	a id = iota
	b
)

func (i id) String() string { return string('A' + rune(i)) }

// phase is how far a candidate has come.
type phase uint8

const (
	out     phase = iota // not in line; its last key may have been left to lapse
	waiting              // in line, behind somebody as far as it knows
	first                // saw that nobody is in front
	claimed              // has the turn, and its record is written: it may start its command
	running              // has started it
	done                 // nothing runs under the key any more; key and record are to go
)

func (p phase) String() string {
	return [...]string{"out", "waits", "first", "claimed", "runs", "done"}[p]
}

// role names a member of etcd by what it is at present. The third member, which
// only votes, is always up and does not appear.
type role uint8

const (
	lead  role = iota // the one that a quorum follows
	other             // a follower, or a leader that was deposed and goes on
)

// renewal is a renewal under way. No rule makes its answers come.
type renewal struct {
	stage stage
	at    role  // the member it goes through
	age   uint8 // ticks since it was sent, on the sender's clock
}

type stage uint8

const (
	none    stage = iota
	sent          // the read is on its way
	read          // it was confirmed and showed the key; the keepalive is to follow
	renewed       // the lease was renewed; the answer is on its way
)

// candidate is one process that wants the turn, with its lease.
type candidate struct {
	phase   phase
	alive   bool  // its command; with a flaw, in other phases than running
	left    uint8 // ticks until its deadline D on its own clock; 0: passed
	delay   uint8 // ticks left of the lock-delay, in phase first
	rev     uint8 // the create-revision of its key, as a rank: the token
	renewal renewal

	// Only a holder has to act in time, so only a holder is ever cut off or
	// stopped explicitly.
	cut     bool // from every member that is in touch with a quorum
	stopped bool // its supervisor
	told    bool // that the turn was released to it, while it waited
	missed  bool // a tick has passed like that since its key went; kept for OneIfHeard
	slipped bool // its clock was wrong once in this candidacy
}

// lessor is a leader's view of the leases: the ticks until each expires.
type lessor [2]uint8

// unknown in a lessor means that there is no such lease.
const unknown = 255

// trouble is what is the matter with one of the two members.
type trouble uint8

const (
	fine   trouble = iota
	paused         // does nothing, but its clock runs
	apart          // cut off from the other members, not from clients
)

// records are the running records that there are: a set.
type records uint8

const (
	ofA records = 1 << iota
	ofB
	past // of candidacies that ended without clearing theirs, before their owners joined anew
)

func (i id) record() records { return ofA << i }

func (r records) String() string {
	var w strings.Builder
	for i, name := range [...]string{"A", "B", "past"} {
		if r>>i&1 != 0 {
			w.WriteString(" " + name)
		}
	}
	if r == 0 {
		return " -"
	}
	return w.String()
}

// state is everything. It is comparable, and small, for there are many.
type state struct {
	who [2]candidate

	// What etcd has committed. That a lease exists is what the leader's lessor says.
	key     [2]bool
	records records

	leases lessor // the leader's
	ghosts lessor // the deposed leader's
	old    bool   // there is one: other believes that it leads

	troubled role
	trouble  trouble
	silence  uint8 // ticks that a quorum has not heard its leader; see World.ElectionTimeout
	alone    uint8 // ticks that a leader has run without a quorum; the same

	last  uint8  // the token of the last command that was started, as a rank
	wrong breach // set by a rule that broke a promise
}

// initial is an etcd in good health that knows of nobody.
var initial = state{leases: lessor{unknown, unknown}, ghosts: lessor{unknown, unknown}}

// in reports whether member r is in trouble of kind t.
func (s *state) in(r role, t trouble) bool { return s.trouble == t && s.troubled == r && t != fine }

// sound reports whether member r is in touch with a quorum and runs.
func (s *state) sound(r role) bool { return s.trouble == fine || s.troubled != r }

// commits reports whether etcd can commit, revoke and confirm reads.
func (s *state) commits() bool { return s.sound(lead) }

// ahead reports whether there is a key in front of that of i.
func (s *state) ahead(i id) bool {
	j := 1 - i
	return s.key[j] && s.who[j].rev < s.who[i].rev
}

// rank renumbers the tokens that matter, so that there are finitely many. Only
// their order is ever looked at.
func (s *state) rank() {
	var used uint8
	oldest := s.last + 1
	for i := range s.who {
		c := &s.who[i]
		if !s.key[i] && (c.phase == out || c.phase == done) && !c.alive {
			c.rev = 0
		}
		used |= 1 << c.rev
		if c.rev > 0 {
			oldest = min(oldest, c.rev)
		}
	}
	if s.last < oldest { // whoever starts next has a newer one anyway
		s.last = 0
	}
	used = (used | 1<<s.last) &^ 1
	for _, rev := range [...]*uint8{&s.who[a].rev, &s.who[b].rev, &s.last} {
		*rev = uint8(bits.OnesCount8(used & (1<<(*rev+1) - 1)))
	}
}

// canonical returns s or its mirror image, whichever has the older key first.
// The rules treat both candidates alike, so one stands for the other.
func (s *state) canonical() state {
	x, y := &s.who[a], &s.who[b]
	for _, d := range [...]int{int(x.rev) - int(y.rev), int(x.phase) - int(y.phase)} {
		switch {
		case d < 0:
			return *s
		case d > 0:
			return s.mirrored()
		}
	}
	if s.records&(ofA|ofB) == ofB { // both are out, or clearing up
		return s.mirrored()
	}
	return *s
}

// mirrored returns the state with the candidates' names exchanged.
func (s *state) mirrored() state {
	m := *s
	m.who[a], m.who[b] = s.who[b], s.who[a]
	m.key[a], m.key[b] = s.key[b], s.key[a]
	m.leases[a], m.leases[b] = s.leases[b], s.leases[a]
	m.ghosts[a], m.ghosts[b] = s.ghosts[b], s.ghosts[a]
	m.records = s.records&past | s.records&ofA<<1 | s.records&ofB>>1
	return m
}

// String is the state on one line, for a trace.
func (s state) String() string {
	var w strings.Builder
	for i, c := range s.who {
		fmt.Fprintf(&w, "%v %v", id(i), c)
		if s.key[i] {
			fmt.Fprintf(&w, " key %d", c.rev)
		}
		w.WriteString(" | ")
	}
	fmt.Fprintf(&w, "records%v | leases %v", s.records, s.leases)
	if s.old {
		fmt.Fprintf(&w, ", old leader's %v", s.ghosts)
	}
	if s.trouble != fine {
		fmt.Fprintf(&w, " | %s %s", [...]string{"leader", "other"}[s.troubled], [...]string{"", "paused", "apart"}[s.trouble])
	}
	return w.String()
}

func (c candidate) String() string {
	w := c.phase.String()
	if c.phase != out && c.phase != done {
		w += fmt.Sprintf(" D-%d", c.left)
	}
	for _, f := range []struct {
		is   bool
		name string
	}{
		{c.alive, "ALIVE"}, {c.told, "told"}, {c.delay > 0, fmt.Sprintf("delay-%d", c.delay)}, {c.cut, "cut off"}, {c.stopped, "stopped"},
		{c.renewal.stage != none, fmt.Sprintf("%s-%d", [...]string{"", "sent", "read", "renewed"}[c.renewal.stage], c.renewal.age)},
	} {
		if f.is {
			w += " " + f.name
		}
	}
	return w
}

func (l lessor) String() string {
	var w []string
	for i, left := range l {
		if left != unknown {
			w = append(w, fmt.Sprintf("%v-%d", id(i), left))
		}
	}
	if w == nil {
		return "none"
	}
	return strings.Join(w, " ")
}
