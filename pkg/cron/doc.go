// Package cron is jobs, ticks and runs as they lie in etcd: how a tick is
// claimed, how its result is kept, and what is pruned.
//
// Promise: each tick is claimed exactly once and started at most once across the
// cluster; a run whose host dies is recorded as lost, never silently repeated.
// With Job.Retry it is repeated, with a growing attempt number and token: then a
// command can have its effect more than once. Nobody can promise that a command
// has its effect exactly once.
//
// It does not run anything and does not decide when: package runner does both,
// package schedule says when a job is due.
//
// A run is named by the instant it was scheduled for, so a clock that is wrong
// moves when a tick runs, never how often. What guards a claim, in one
// transaction (see Claim):
//
//	run/J/T is absent       nobody has claimed the tick, or its record was pruned, and then
//	lw/J < T                the low water is above it; gone, if the job is
//	job/J is unchanged      so that rm, pause and edits are ordered with claims
//	act/J/ is empty         no run of the job is in progress, unless it may overlap
//	node/ME is ours         our lease lives
//
// Claims are sent together, and so are results: two entries in Raft's log for a
// run alone, a fraction of one in a crowd. Who loses a claim is told by whom it
// was won, in the same answer. A claim whose answer is lost is sent again, with
// the same id, until the answer is definite.
//
// A live marker has no lease. It names a runner, and is alive while that
// runner's key is there: the runner kills what it runs before its lease can end.
// Whoever sees a marker without its runner records the run as lost.
package cron
