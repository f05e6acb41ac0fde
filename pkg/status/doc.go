// Package status shows what there is under a prefix: offices, semaphores, jobs
// and runners.
//
// It does not decide anything, and what it shows is the past: a Snapshot is
// etcd as it was at one revision. A Keeper's is behind etcd by as long as a
// watch takes, and by more while etcd cannot be reached; then it says so, in
// Stale, and Handler answers 503 rather than what may be untrue. Times such as
// since when somebody holds are those of the clock of the machine that wrote
// them.
//
// There is one Snapshot type, and JSON, metrics and text are renderings of it.
// A Keeper fills it from paged ranges and keeps it by one watch, so what is
// asked of etcd does not grow with who asks the Keeper.
package status
