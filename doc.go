// Package conch is the top of the tree and holds no code but tests. conch is
// flock(1) for a cluster, over etcd: elections, semaphores and cron whose
// commands never overlap and leave nothing behind.
//
// The way of a command through the house:
//
//	argv ─ client ─ lease ─ turn ─ process tree under guard ─ release ─ exit status
//	cli    etcd     lease   hold   proc, guard                hold      cli
//
// From the lowest floor up; each imports only what stands above it here
// (layers_test.go has the table and holds everyone to it):
//
//	pkg/clock      the one clock deadlines are measured on
//	pkg/nearest    what somebody meant who has mistyped a word
//	pkg/keys       where things lie in etcd; what a name may be
//	pkg/fence      the token that proves a hold, and a file that obeys it
//	pkg/schedule   when a job is due
//	pkg/proc/hear  the signals that this process gets, and who sent them
//	pkg/proc       a command and everything it started, stopped as one
//	pkg/stream     writing that waits for no reader, and outlives one
//	pkg/cli        argv, environment, streams, exit statuses, help, manual, completion
//	pkg/guard      a command that never outlives its hold
//	pkg/etcd       a client: endpoints, TLS, user, discovery
//	pkg/lease      a lease with a deadline its holder may trust
//	pkg/hold       who has a turn, who waits: first come, first served
//	pkg/cron       jobs, ticks and runs as they lie in etcd
//	pkg/runner     claims what is due and guards it
//	pkg/jobfile    jobs as files: JSON, YAML, crontab
//	pkg/status     one snapshot of everything: text, JSON, metrics, page
//	pkg/connect    the flags that say which etcd
//	pkg/wrap       the flags and the run of a tool that wraps a command
//	pkg/tool/...   one value for each tool; pkg/tool lists them
//	cmd/...        one line each; cmd/conch is all of them in one binary
//	pkg/etcdtest   for tests: a real etcd, and a road to it that can be cut
//	pkg/proctest   for tests: processes that nothing can kill
//	proof/report   the table that a benchmark prints
//	proof/bench    what conch costs, beside its peers; make bench
//	proof/benchcron  the same of cron; make bench-cron
//	proof/model    the protocol, explored exhaustively; below it, what a SIGKILL leaves
//	proof/promises contenders, faults, and a judge who counts overlaps
//	proof/cronsim  cron's planners in simulated trouble, and their books; make cronsim
//
// Tests that run the real binaries are scripts in testdata/script; the head of
// script_test.go lists their commands. make help lists what can be made, and
// make try shows it at work.
package conch
