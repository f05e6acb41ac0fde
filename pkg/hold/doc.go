// Package hold is who has a turn and who waits: offices, which one has at a time,
// and semaphores, first come first served.
//
// It does not stop anything: a Turn tells when it is lost and until when it may
// be relied on, and whoever acts under it must have stopped by then (package
// guard does that for commands). Two holders can overlap only when etcd removed
// the key of a live holder early, as an operator's revoke does, and that holder
// does not hear of it, being cut off or stopped; the lock-delay bounds that (see
// Request.LockDelay), and with LockDelayTTL excludes it.
//
// Each candidate has one key, under its own lease; the lowest create-revision
// is the head of the line, and that revision is the fencing token. Revisions in
// front only disappear, so who is at the head stays there. Each waiter watches
// the one key in front of it, and the first one the running records as well.
//
// Beside the line lie the running records, which have no lease: a candidate's is
// written with the acquisition or, behind a holder, before it, and deleted with the
// release once the command is proven dead. The first waiter, its own record written,
// takes the turn when it sees the holder's go. Who comes to the head and finds one
// that is not its own takes over from a holder that may still be alive, and waits
// for the lock-delay first.
//
// A semaphore (JoinPool) has such a record for each of its slots, beside a key
// under the holder's lease. Who takes a slot compares that nothing below their
// common prefix has been put since it was read: so the capacity is kept whatever
// the line looks like, and the line only says who may try. That is the first who
// waits; everybody behind him watches the key in front until it is held.
package hold
