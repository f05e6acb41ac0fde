package death

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// most is how many processes there may be.
const most = 3

// id is one of the processes.
type id uint8

func (i id) String() string { return string('A' + rune(i)) }

// set is a set of processes.
type set uint8

func (s set) has(i id) bool { return s>>i&1 != 0 }
func (i id) alone() set     { return 1 << i }

// phase is how far a process has come or, after it was killed, its sentinel.
type phase uint8

const (
	out        phase = iota // not started
	joining                 // grant and join are under way
	behind                  // watches the key in front
	looking                 // is about to read who is in front
	first                   // nobody is; there may be records of others
	turn                    // has the turn, and no command yet
	running                 // has a command
	releasing               // gives the turn up
	lending                 // sees to the record of the next in line
	makingSure              // that nothing is left of what others have lent to it

	// Of one that gives up its place, by itself or by its sentinel.
	withdrawing // key and record
	revoking    // the lease
	again       // key and record, once more

	// Of a sentinel.
	killed    // the tree is not empty yet
	settling  // the transaction of a release
	ending    // the revoke behind it
	advancing // reads who is next
	granting  // the lease for the record of that one
	putting   // the record under it
	returning // the lease is not needed

	lost // the process, and its sentinel: nobody clears up
	gone // and so is whatever was to be cleared up
)

func (p phase) String() string {
	return [...]string{
		"out", "joins", "behind", "looks", "first", "turn", "runs", "releases", "lends", "makes sure",
		"withdraws", "revokes", "withdraws again",
		"killed", "settles", "revokes after it", "reads who is next", "asks for a lease for it", "lends", "takes that back",
		"lost", "gone",
	}[p]
}

// request is what may be under way from a process to etcd.
type request uint16

const (
	grant    request = 1 << iota // the lease
	join                         // the key
	record                       // the running record, behind a holder
	sweep                        // deletes records of the dead
	mark                         // the record and the turn, with nobody in front
	held                         // says in the key that we have the turn
	reclaim                      // takes our record from under the lease of a loan
	release                      // deletes key and record
	revoke                       // the lease
	borrow                       // grants the lease for the next one's record
	lend                         // puts that under it
	takeBack                     // revokes that lease
	requests = iota
)

// posthumous are the requests on which etcd may act when their sender is dead, with an
// effect that they would not have had before. The others either come before his
// sentinel has done anything, which is as if they had come before his death, or are
// guarded by a key that has gone.
const posthumous = grant | join | borrow | lend

// process is what one process knows, and has under way.
type process struct {
	phase phase
	dead  bool // the sentinel acts
	tree  bool // there are processes of the command
	armed bool // there is a sentinel that clears up ...
	ran   bool // ... after a turn
	doubt bool // there may be the lease of a loan with nothing under it
	sent  request

	front id   // whose key is watched, in phase behind
	knows bool // that this one has the turn
	ready bool // our record was written while that of this one was there
	told  bool // and then that went

	recorded bool // our record is written
	others   bool // somebody was in line when we released
	found    bool // there was a key to withdraw

	dirty set // others' records, as they were read last, ...
	loans set // ... and which of them were on loan
	over  set // the same of those that mark replaces
	lent  set
	next  id // in front of the line after our release, while we lend
}

// life is what there is of a running record.
type life uint8

const (
	none  life = iota
	plain      // without a lease
	lent       // under one that somebody who has released has granted for it
)

// state is everything. It is comparable, and small, for there are many.
type state struct {
	who [most]process

	// What etcd has committed.
	key    [most]uint8 // its create-revision, as a rank; 0: there is none
	turned set         // keys that say held
	leases set
	record [most]life
	loans  set // for whose records a lease has been granted
}

// alive reports whether the process itself runs.
func (p *process) alive() bool { return p.phase != out && p.phase != gone && !p.dead }

// anyLost reports whether a process has been lost with its sentinel.
func (s *state) anyLost() bool {
	return slices.ContainsFunc(s.who[:], func(p process) bool { return p.phase == lost })
}

// ahead returns who is directly in front of a place in line.
func (s *state) ahead(i id) (front id, any bool) {
	best := uint8(0)
	for j, r := range s.key {
		if r > best && r < s.key[i] {
			best, front = r, id(j)
		}
	}
	return front, best > 0
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

// head is the first in line.
func (s *state) head() (i id, any bool) {
	for j, r := range s.key {
		if r > 0 && (!any || r < s.key[i]) {
			i, any = id(j), true
		}
	}
	return i, any
}

// inLine counts the keys.
func (s *state) inLine() (n int) {
	for _, r := range s.key {
		if r > 0 {
			n++
		}
	}
	return n
}

// others returns whose records there are but i's, and which are on loan.
func (s *state) others(i id) (all, loans set) {
	for j, r := range s.record {
		if id(j) != i && r != none {
			all |= id(j).alone()
			if r == lent {
				loans |= id(j).alone()
			}
		}
	}
	return all, loans
}

// rank renumbers the keys: only their order is ever looked at.
func (s *state) rank() {
	var used uint16
	for _, r := range s.key {
		used |= 1 << r
	}
	used &^= 1
	for j, r := range s.key {
		s.key[j] = uint8(bits.OnesCount16(used & (1<<(r+1) - 1)))
	}
}

// forget drops what nobody will look at any more, so that there are fewer states.
func (s *state) forget() {
	for j := range s.who {
		p := &s.who[j]
		p.sent &^= s.vain(id(j))
		if p.phase == gone && p.sent == 0 && !p.tree {
			p.dead = false
		}
		q := process{phase: p.phase, dead: p.dead, tree: p.tree, sent: p.sent}
		if p.alive() {
			q.armed, q.ran, q.doubt = p.armed, p.ran, p.doubt
		}
		switch p.phase {
		case behind:
			q.front, q.knows, q.ready, q.told, q.recorded = p.front, p.knows, p.ready, p.told, p.recorded
		case looking, turn:
			q.recorded = p.recorded
		case first:
			q.recorded, q.dirty, q.loans = p.recorded, p.dirty, p.loans
		case releasing, settling, ending:
			q.others = p.others
		case revoking:
			q.found = p.found
		case granting, putting, returning:
			q.next = p.next
		}
		if p.phase == killed {
			q.ran = p.ran
		}
		if p.sent&sweep != 0 {
			q.dirty = p.dirty
		}
		if p.sent&mark != 0 {
			q.over, q.lent = p.over, p.lent
		}
		if p.sent&(borrow|lend|takeBack) != 0 {
			q.next = p.next
		}
		*p = q
	}
}

// vain are the requests of a process that is dead which cannot have an effect any
// more: whether they come or are lost is the same.
func (s *state) vain(i id) (r request) {
	p := &s.who[i]
	if !p.dead {
		return 0
	}
	r = ^posthumous
	if !s.leases.has(i) && p.sent&grant == 0 {
		r |= join
	}
	if !s.loans.has(p.next) && p.sent&borrow == 0 {
		r |= lend
	}
	return r
}

// String is the state on one line, for a trace.
func (s state) String() string {
	var w strings.Builder
	for j, p := range s.who {
		if p.phase == out {
			continue
		}
		fmt.Fprintf(&w, "%v %v", id(j), p)
		if s.key[j] > 0 {
			fmt.Fprintf(&w, " key %d%s", s.key[j], either(s.turned.has(id(j)), " held", ""))
		}
		if s.leases.has(id(j)) {
			w.WriteString(" lease")
		}
		w.WriteString([...]string{"", " record", " record on loan"}[s.record[j]])
		if s.loans.has(id(j)) {
			w.WriteString(" loan")
		}
		w.WriteString(" | ")
	}
	return strings.TrimSuffix(w.String(), " | ")
}

func (p process) String() string {
	w := p.phase.String()
	if p.phase == behind {
		w += " " + p.front.String()
	}
	for _, f := range []struct {
		is   bool
		name string
	}{{p.dead, "DEAD"}, {p.tree, "TREE"}, {p.recorded, "recorded"}, {p.ready, "ready"}, {p.told, "told"}, {p.doubt, "in doubt"}} {
		if f.is {
			w += " " + f.name
		}
	}
	for k := range requests {
		if p.sent>>k&1 != 0 {
			w += " ~" + [...]string{
				"grant", "join", "record", "sweep", "mark", "held", "reclaim", "release", "revoke", "borrow", "lend", "takeBack",
			}[k]
		}
	}
	return w
}
