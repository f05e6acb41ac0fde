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
	out       phase = iota // not started
	joining                // grant and join are under way
	behind                 // watches the key in front
	looking                // is about to read who is in front
	first                  // nobody is; there may be records of others
	turn                   // has the turn, and no command yet
	running                // has a command
	releasing              // the transaction and the revoke are under way
	lending                // sees to the record of the next in line
	leaving                // gives up its place; the revoke is under way
	clearing               // and now the deletion of its record

	killed      // the sentinel is about to empty the tree
	withdrawing // leave: key and record
	revoking    // withdraw: the lease
	again       // withdraw: leave, once more
	settling    // clear: the transaction of a release
	ending      // clear: the revoke
	advancing   // entrust: reads
	granting    // entrust: the lease
	putting     // entrust: the record under it
	returning   // entrust: nobody needs the lease

	lost // it, and its sentinel: nobody clears up
	gone // and so is whatever it was to clear up
)

func (p phase) String() string {
	return [...]string{
		"out", "joins", "behind", "looks", "first", "turn", "RUNS", "releases", "lends", "leaves", "clears",
		"killed", "sentinel: leave", "sentinel: revoke", "sentinel: leave again", "sentinel: release", "sentinel: revoke after it",
		"sentinel: reads the next", "sentinel: lease for the next", "sentinel: lends", "sentinel: takes that back", "lost", "gone",
	}[p]
}

// request is what may be under way from a process to etcd. What it has been sent
// for it still does if its sender is dead; or it is lost with him.
type request uint16

const (
	grant    request = 1 << iota // the lease
	join                         // the key
	record                       // the running record, behind a holder
	sweep                        // deletes records of the dead
	mark                         // the record and the turn, with nobody in front
	held                         // says in the key that we have the turn, in the record that it is not on loan
	unlend                       // revokes the lease of that loan
	release                      // deletes key and record
	revoke                       // the lease
	unrecord                     // deletes the record
	borrow                       // grants a lease for the next one's record
	lend                         // puts that under it
	takeBack                     // revokes that lease
	requests = iota
)

// process is what one process knows, and has under way.
type process struct {
	phase phase
	sent  request

	front id  // whose key is watched, in phase behind
	dirty set // others' records, as they were read last: while first, and for sweep
	loans set // and which of them were on loan
	over  set // what mark replaces, and ...
	lent  set // ... which of that was on loan
	next  id  // in front of the line after our release, while we lend
	loan  id  // who had lent our record, for unlend

	knows    bool // that the one in front has the turn
	recorded bool // our record is written
	ready    bool // it was while that of the one in front was there
	told     bool // and then that went
	others   bool // somebody was in line when we released
	found    bool // the sentinel has seen our key

	armed bool // there is a sentinel that clears up
	ran   bool // and it clears up after a turn
	tree  bool // there are processes of the command
}

// loan is what there is of a running record: nothing, the record, or one on loan from
// somebody who has released.
type loan uint8

const (
	none  loan = iota
	plain      // without a lease
	from       // + id: under the lease that this one has granted for it
)

// state is everything. It is comparable, and small, for there are many.
type state struct {
	who [most]process

	// What etcd has committed.
	key    [most]uint8 // its create-revision, as a rank; 0: there is none
	turned set         // keys that say held
	leases set
	record [most]loan
	loans  set // leases that have been granted for the record of the next
}

// alive reports whether the process itself runs.
func (p phase) alive() bool { return p > out && p < killed }

// anyLost reports whether a process has been lost with its sentinel.
func (s *state) anyLost() bool {
	return slices.ContainsFunc(s.who[:], func(p process) bool { return p.phase == lost })
}

// ahead returns who is directly in front of a place in line.
func (s *state) ahead(i id) (front id, any bool) {
	best := uint8(0)
	for j := range s.key {
		if r := s.key[j]; r > best && r < s.key[i] {
			best, front = r, id(j)
		}
	}
	return front, best > 0
}

// head returns who is first in line.
func (s *state) head() (i id, any bool) {
	for j := range s.key {
		if r := s.key[j]; r > 0 && (!any || r < s.key[i]) {
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
func (s *state) others(i id) (all, lent set) {
	for j, r := range s.record {
		if id(j) != i && r != none {
			all |= id(j).alone()
			if r != plain {
				lent |= id(j).alone()
			}
		}
	}
	return all, lent
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
		q := process{phase: p.phase, sent: p.sent, armed: p.armed, ran: p.ran, tree: p.tree}
		if p.phase == behind {
			q.front, q.knows, q.recorded, q.ready, q.told = p.front, p.knows, p.recorded, p.ready, p.told
		}
		if p.phase == looking || p.phase == first || p.phase == turn || p.sent&mark != 0 {
			q.recorded = p.recorded
		}
		if p.phase == first {
			q.dirty, q.loans = p.dirty, p.loans
		}
		if p.sent&(record|sweep) != 0 {
			q.front = p.front
		}
		if p.sent&sweep != 0 {
			q.dirty, q.ready = p.dirty, p.ready
		}
		if p.sent&mark != 0 {
			q.over, q.lent = p.over, p.lent
		}
		if p.sent&unlend != 0 {
			q.loan = p.loan
		}
		switch p.phase {
		case releasing, settling, ending:
			q.others = p.others
		case revoking:
			q.found = p.found
		case granting, putting, returning:
			q.next = p.next
		case gone, lost:
			q.armed, q.ran = false, false
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
	if p.phase.alive() {
		return 0
	}
	if !s.leases.has(i) && p.sent&grant == 0 {
		r |= join | revoke
	}
	if s.key[i] == 0 && p.sent&join == 0 {
		r |= record | mark | held
		if s.record[i] == none {
			r |= release | unrecord
		}
	}
	if s.loans.has(i) == false && p.sent&borrow == 0 {
		r |= lend | takeBack
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
			fmt.Fprintf(&w, " key %d%s", s.key[j], map[bool]string{true: " held"}[s.turned.has(id(j))])
		}
		if s.leases.has(id(j)) {
			w.WriteString(" lease")
		}
		switch r := s.record[j]; {
		case r == plain:
			w.WriteString(" record")
		case r >= from:
			fmt.Fprintf(&w, " record of %v's", id(r-from))
		}
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
	}{{p.tree, "TREE"}, {p.recorded, "recorded"}, {p.ready, "ready"}, {p.told, "told"}} {
		if f.is {
			w += " " + f.name
		}
	}
	for k := range requests {
		if p.sent>>k&1 != 0 {
			w += " ~" + [...]string{
				"grant", "join", "record", "sweep", "mark", "held", "unlend", "release", "revoke", "unrecord", "borrow", "lend", "takeBack",
			}[k]
		}
	}
	return w
}
