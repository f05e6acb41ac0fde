package model

import "strings"

// event is the kind of a step.
type event uint8

const (
	tick event = iota
	tickKills
	tickSlow
	tickFast

	pauseLeader
	pauseOther
	partLeader
	partOther
	resume
	resumeApart
	rejoin
	elect
	notice
	lapse
	revokeByOld
	deleteKey
	revokeLease

	join
	joinAndClaim
	prepare
	tidy
	take
	seeTurn
	claim
	claimDirty
	start
	recordLate
	renew
	confirm
	readGone
	extend
	extendByOld
	accept
	hear
	give
	clearUp
	leave
	cutOff
	heal
	stop
	resumeHolder

	events // how many there are
)

// told is what a trace says of each event; X is the candidate.
var told = [events]string{
	tick:      "a tick passes",
	tickKills: "a tick passes; X's command is killed at its deadline",
	tickSlow:  "a tick passes that one candidate's clock misses",
	tickFast:  "a tick passes that one candidate's clock counts twice",

	pauseLeader: "etcd's leader is paused",
	pauseOther:  "etcd's other member is paused",
	partLeader:  "etcd's leader is cut off from the other members",
	partOther:   "etcd's other member is cut off from the other members",
	resume:      "the paused member goes on",
	resumeApart: "the paused member goes on, cut off from the others",
	rejoin:      "the member that was cut off is back",
	elect:       "the other member is elected: all leases get their whole TTL",
	notice:      "the old leader notices that it was deposed",
	lapse:       "the leader revokes X's lease, which has expired; X's key goes",
	revokeByOld: "the old leader revokes X's lease, thinking it expired; X's key goes",
	deleteKey:   "an operator deletes X's key",
	revokeLease: "an operator revokes X's lease; X's key goes",

	join:         "X joins the line",
	joinAndClaim: "X joins the empty line, and writes the running record",
	prepare:      "X writes its record behind the holder",
	tidy:         "X clears the records of the dead",
	take:         "X hears that the turn was released to it",
	seeTurn:      "X sees that nobody is in front",
	claim:        "X has its record written, there being no other",
	claimDirty:   "X writes the running record in the place of others",
	start:        "X starts its command",
	recordLate:   "X writes the running record, late",
	renew:        "X sends a renewal",
	confirm:      "X's read is confirmed, and shows its key",
	readGone:     "X's read shows that its key has gone; whatever it runs is killed",
	extend:       "the leader renews X's lease",
	extendByOld:  "the old leader renews X's lease, which is worth nothing",
	accept:       "X accepts the renewal and moves its deadline",
	hear:         "X hears that its key has gone; whatever it runs is killed",
	give:         "X ends, and whatever it runs is dead",
	clearUp:      "X's key goes, and its record; its lease is revoked",
	leave:        "X is gone without clearing up",
	cutOff:       "X is cut off from etcd's quorum",
	heal:         "X reaches etcd's quorum again",
	stop:         "X's supervisor is stopped",
	resumeHolder: "X's supervisor goes on",
}

// fault says which events are faults.
var fault = [events]bool{
	tickSlow: true, tickFast: true, pauseLeader: true, pauseOther: true, partLeader: true, partOther: true,
	resumeApart: true, elect: true, revokeByOld: true, deleteKey: true, revokeLease: true, cutOff: true, stop: true,
}

// step is an event, and the candidate that it is about.
type step struct {
	event event
	who   id
}

func (s step) String() string { return strings.ReplaceAll(told[s.event], "X", s.who.String()) }
