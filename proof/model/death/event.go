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
	reclaims
	releases
	revokes
	goesOn
	borrows
	lends
	takesBack
	withdraws
	revokesAtLast
	withdrawsAgain
	makesSure
	lapses
	loanLapses
	isLost
	empties
	settles
	endsLease
	events // how many there are
)

// said is what a trace says of each event; X is the process.
var said = [events]string{
	starts:     "X starts; a sentinel stands by; grant and join are under way",
	kill:       "X is killed",
	lose:       "X is killed, and its sentinel",
	leaves:     "X is tired of waiting",
	givesBack:  "X gives its turn back unused",
	ends:       "X's command ends; the release is under way",
	delayOver:  "X has waited for the lock-delay",
	looksAgain: "X has waited for long, and looks",

	grants:         "etcd grants X's lease",
	joins:          "X's join is committed: it stands in line",
	acquires:       "X's join is committed: it has the turn",
	hearsHeld:      "X hears that the one in front has the turn; its record is under way",
	records:        "X's record is committed, or refused",
	sweeps:         "X's deletion of dead records is committed, or refused",
	hearsTurn:      "X hears that the turn was released to it",
	hearsGone:      "X hears that the key in front has gone",
	looks:          "X reads who is in front",
	hearsCleared:   "X hears that a record has gone that it waits for",
	asks:           "X asks for the turn, there being no other record",
	marks:          "X's claim is committed, or refused",
	begins:         "X takes the turn, with its record written",
	runs:           "X starts its command",
	saysHeld:       "X's key says that it has the turn",
	reclaims:       "X's record is on loan no more",
	releases:       "X's release is committed",
	revokes:        "X's lease is revoked",
	goesOn:         "X goes on with what comes after a release",
	borrows:        "X is granted a lease for the record of the next in line",
	lends:          "X puts that record under it, or is refused",
	takesBack:      "X has the lease of a loan revoked",
	withdraws:      "key and record of X are deleted",
	revokesAtLast:  "X's lease is revoked, or not waited for any more",
	withdrawsAgain: "key and record of X are deleted once more",
	makesSure:      "the lease is revoked that X's record may have been under",
	lapses:         "X's lease lapses",
	loanLapses:     "the lease lapses that X's record was under",
	isLost:         "something that X had sent is lost",
	empties:        "X's sentinel has emptied the tree",
	settles:        "X's sentinel releases the turn",
	endsLease:      "X's sentinel revokes the lease",
}

// due reports whether a step comes by itself, and soon.
func (e event) due() bool { return e > looksAgain }

// step is an event, and the process that it is about.
type step struct {
	event event
	who   id
}

func (s step) String() string { return strings.ReplaceAll(said[s.event], "X", s.who.String()) }
