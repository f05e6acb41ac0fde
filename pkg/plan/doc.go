// Package plan decides what a runner does about the jobs of cron, and when. It does
// none of it.
//
// It has no etcd, lease, clock, file or goroutine of its own, and no random number:
// Planner.Step is given facts, and what time it is, and returns verbs. The same facts
// at the same times give the same verbs, so that a simulation can put many planners
// through years (proof/cronsim), and what went wrong can be gone through again.
//
// # Facts
//
// The table under cron/ as it is at a revision, change by change: jobs, what is
// remembered of them, the markers of runs in progress, losses, runners, requests. The answers
// to claims, the ends of runs, what became of a settlement. Whether the runner stands
// by, or is to end. A reading of the clock on the wall, with what monotonic time says
// of it. Nothing else.
//
// # Verbs
//
// Claim, Start, GiveUp, Stop, Settle, Tell, Withdraw, Ask, Note and Say. Who carries them out
// tells what came of it as a fact. One that was never told of is a verb that failed
// without a word: it is decided again, after a while.
//
// # What becomes of a tick
//
// A tick is due when its instant and the job's splay have passed. From then on it is
// open, until it is one of these, for good:
//
//	run        a runner has claimed it: then the run's record says how that ended
//	skipped    the job must not overlap, and an earlier run was in progress (by whom)
//	missed     it could not be started within the job's deadline
//	withdrawn  the job was edited, paused or removed before somebody claimed it (by which revision)
//	unplaced   within the deadline, no runner was there that the job may run on
//
// The missed and the unplaced are counted in what the job is remembered by, with up to
// which tick that has been done: so each counts once, whoever counts, and however often
// it is derived.
//
// What is open is derived from the table, and kept only so as not to be derived
// again for each change of something else: a runner that has just been started, and
// one that was there all along, have the same ticks to claim. Where the table does not
// tell whether a tick has been run (of a job that may overlap, or runs in several
// places, nobody remembers each) a claim does: etcd refuses the second.
package plan
