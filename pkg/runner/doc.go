// Package runner claims what is due and runs it under guard: the daemon of
// cron, the same on every host.
//
// What it does not promise: that a tick runs at its instant (who is to claim it
// may be slow, or dead; the next one does after Config.Hedge), nor that it runs
// at all (nobody was up, the job was still running, every slot was taken for
// longer than the job's deadline), nor that a command has its effect once. Each
// tick is claimed by one runner at most, which starts it at most once, and what
// it has started is dead before its lease can end.
//
// One goroutine gathers facts, of etcd, of the clock, and of what runs, and has a
// planner decide (see pkg/plan); what that says is carried out by goroutines of their
// own, a run with a process tree under guard. All runs of a runner share its lease; its
// key in etcd says that it lives. A result is in the spool before anybody hears of it,
// and is offered to etcd until that has it.
//
// For each tick all runners compute the same order of who may claim it: that of
// their scores in a rendezvous hash of the tick's job, the full ones last. The
// first claims at once, each further one after another Hedge, unless it sees the
// claim before.
package runner
