// Package model explores conch's locking protocol by machine: every order in
// which lease, renewal, hand-over and faults can meet, within bounds.
//
// It proves nothing about the Go code, which only people can compare with it,
// and nothing beyond the bounds: two candidates, whose places anybody may take
// who joins later; time in ticks, with a TTL of three or four; one renewal under
// way for each candidate; one of etcd's three members in trouble at a time; one
// deposed leader at a time. Faults, elections, joins and steps may be any number:
// of times only what is left of them is kept, so that there are finitely many
// states, and Explore visits each that can be reached.
//
// A state (state.go) is what etcd has committed, what a leader and a deposed
// leader believe of the leases, and what each candidate knows. A rule (etcd.go,
// candidate.go) is one atomic step, and may be taken wherever its guard holds.
// Nobody ever has to take one, so that every delay, every lost message and every
// process that is slow is there without being spelled out. Only two things are
// due, that is, come before the next tick:
//
//   - at its deadline a command is dead, whatever became of its supervisor: this
//     is the sentinel's work, and what pkg/proc is tested for;
//   - a holder that is neither cut off nor stopped hears that its key has gone.
//     So a tick is longer than news takes, as the default lock-delay is.
//
// What stands for what:
//
//	the model                      the code
//	renew, confirm, extend         lease.verify: a read sent, confirmed; a keepalive on the same member
//	accept                         lease.accept: D = sent + TTL - margin, unless the old D has passed
//	hear, readGone                 lease.watch and verify: Gone
//	tickKills                      the sentinel's timer, and guard.Run
//	join, joinAndClaim             lease.Grant and hold's joinTxn, in one
//	prepare, tidy, take            hold's follow and record: what a hand-over needs is written before it
//	seeTurn, claim, claimDirty     hold's look; claim, delay, mark. The lock-delay counts from seeTurn
//	start                          the end of claim, and guard.Run
//	give, clearUp, leave           the end, with Remains.clear, by whoever is alive to do it, or with nothing
//	elect, notice, extendByOld     lessor.Promote; a deposed leader, which acknowledges until it knows
//	revokeByOld                    a resumed leader's revocation of leases that others have renewed
//
// What becomes of what an end leaves, step by step, when processes are killed, is
// explored by package death.
//
// The margin covers a clock that misses a tick or counts one twice (Slip). Not
// modelled: semaphores, lingering places, etcd of versions whose reads prove
// nothing, a running record deleted by hand, a machine that freezes both
// processes of a supervision; and what takes three: a candidate that lost its key
// while it was ready, whose record the one behind it clears. That one hears that its
// record has gone before it can hear that the holder's has, on one watch.
//
// Flaws are departures from the protocol. The tests show that each breaks a
// promise that is kept without it: that is why the rule is there, and that the
// checker finds fault.
package model
