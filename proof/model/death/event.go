package death

import "strings"

// event is the kind of a step.
type event uint8

const (
	starts event = iota
	kill
	lose
	leaves
	givesBack
	ends
	delayOver
	looksAgain // the last that may come, or never

	grants
	joins
	acquires
	hearsHeld
	records
	sweeps
	hearsTurn
	hearsGone
	looks
	hearsCleared
	asks
	marks
	begins
	runs
	saysHeld
	unlends
	releases
	revokes
	unrecords
	readsNext
	borrows
	lends
	takesBack
	finishes
	lapses
	loanLapses
	isLost
	empties
	withdraws
	sentinelRevokes
	withdrawsAgain
	settles
	endsLease
	events // how many there are
)

// said is what a trace says of each event; X is the process.
var said = [events]string{
	starts:     "X starts; a sentinel stands by; grant and join are under way",
	kill:       "X is killed",
	lose:       "X is killed, and its sentinel",
	leaves:     "X is tired of waiting; the revoke is under way",
	givesBack:  "X gives its turn back unused",
	ends:       "X's command ends; the release is under way",
	delayOver:  "X has waited for the lock-delay",
	looksAgain: "X has waited for long, and looks",

	grants:          "etcd grants X's lease",
	joins:           "X's join is committed: it stands in line",
	acquires:        "X's join is committed: it has the turn",
	hearsHeld:       "X hears that the one in front has the turn; its record is under way",
	records:         "X's record is committed, or refused",
	sweeps:          "X's deletion of dead records is committed, or refused",
	hearsTurn:       "X hears that the turn was released to it",
	hearsGone:       "X hears that the key in front has gone",
	looks:           "X reads who is in front",
	hearsCleared:    "X hears that a record has gone that it waits for",
	asks:            "X asks for the turn, there being no other record",
	marks:           "X's claim is committed, or refused",
	begins:          "X takes the turn, with its record written",
	runs:            "X starts its command",
	saysHeld:        "X's key says that it has the turn",
	unlends:         "the lease is revoked under which X's record was",
	releases:        "X's release is committed",
	revokes:         "X's lease is revoked",
	unrecords:       "X's record is deleted",
	readsNext:       "X reads who is first now",
	borrows:         "X is granted a lease for the record of the next",
	lends:           "X puts that record under it, or is refused",
	takesBack:       "X revokes that lease",
	finishes:        "X ends",
	lapses:          "X's lease lapses",
	loanLapses:      "the lease lapses that X had for the record of another",
	isLost:          "something that X had sent is lost",
	empties:         "X's sentinel has emptied the tree",
	withdraws:       "X's sentinel deletes key and record",
	sentinelRevokes: "X's sentinel revokes the lease, or gives up waiting for one",
	withdrawsAgain:  "X's sentinel deletes key and record again",
	settles:         "X's sentinel releases the turn",
	endsLease:       "X's sentinel revokes the lease",
}

// due reports whether a step comes by itself, and soon.
func (e event) due() bool { return e > looksAgain }

// step is an event, and the process that it is about.
type step struct {
	event event
	who   id
}

func (s step) String() string { return strings.ReplaceAll(said[s.event], "X", s.who.String()) }
