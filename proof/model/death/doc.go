// Package death explores by machine what SIGKILLs leave behind in etcd, and who
// waits for it: every order in which processes join, wait, take turns and end, in
// which any of them is killed, and in which the sentinels of the dead clear up.
//
// It is package model's other half. There two candidates meet leases, clocks and
// two leaders, and an end is one step; here three processes meet nothing but each
// other and SIGKILL, there is no time, and what is one transaction or one request to
// etcd is one step. A request is under way until etcd acts on it; whoever has sent it
// may be dead by then, and it may also be lost with him. Nobody ever has to take a
// step, but most come by themselves (event.due). Where none is left to come all is
// quiet, and that is where it shows whether something was left and whether somebody
// waits in vain: for the lapse of a lease, say, or for a lock-delay.
//
// What stands for what:
//
//	the model                          the code
//	starts, grants, joins, acquires    hold.join: Standby, then lease.Grant and joinTxn, one behind the other
//	hearsHeld, records, sweeps         follow and record: what a hand-over needs is written before it
//	hearsTurn, hearsGone, looks        follow; look
//	asks, marks, begins                claim, delay, mark, begin
//	saysHeld, reclaims                 markHeld, reclaim
//	ends, releases, revokes            Turn.Release: Remains.clear, with the revoke close behind it or before
//	goesOn, borrows, lends, takesBack  Remains.entrust, of the record of the next in line: it lends that a lease
//	leaves                             abandon
//	withdraws to withdrawsAgain        Remains.withdraw, by who leaves, or by the sentinel of one that had no command
//	makesSure                          undoubt, and the end of Remains.Clear: revoke of the heir
//	kill, empties                      SIGKILL, and what package proc is tested for
//	settles, endsLease                 Remains.release, by the sentinel of one that had a command
//	lose, lapses                       SIGKILL of both, or the end of the host
//
// The sentinel waits for what the dead may have sent (hold's late) for as long as the
// network can take with it: RevokeOnce is what happens if it does not.
//
// Not modelled: semaphores, lingering places, and requests that are sent a second time
// for a lost answer.
//
// Two things may be left for longer than a moment. If somebody is killed in the moment
// after a release in which it sees to the record of the next in line, the lease that
// it has granted for that may stay with no record under it, and lapses after twice the
// TTL. And if a waiter is lost with its sentinel, and its lease lapses in the moment in
// which the turn before is released, its record stays until somebody has the turn.
package death
