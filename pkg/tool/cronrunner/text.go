package cronrunner

import "conch/pkg/cli"

var examples = []cli.Example{
	{Text: "On each host that is to run jobs", Command: "conch-cronrunner --endpoints etcd-1:2379,etcd-2:2379,etcd-3:2379"},
	{Text: "With labels that jobs can ask for, and eight runs at a time", Command: "conch-cronrunner --label role=db,zone=a --slots 8"},
	{Text: "With metrics, and a record of each run", Command: "conch-cronrunner --status-addr 127.0.0.1:9191 --report /var/log/conch-runs.json"},
}

func statuses() []cli.Status {
	return cli.Statuses(0, cli.Usage, cli.Unreachable, cli.Refused, cli.Config)
}

var sections = []cli.Section{
	{Title: "DESCRIPTION", Body: "`conch-cronrunner` runs the jobs that `conch-cron` has put into etcd. The same daemon runs on every host; there is no leader. Each tick of a schedule is claimed exactly once and started at most once across the cluster; a run whose host dies is recorded as lost, never silently repeated. A job with `--retry` is tried again, with a growing attempt number and token: its command can then have its effect more than once.\n\n" +
		"Jobs come from etcd and are followed there: there is nothing to reload.\n\n" +
		"For each tick all runners compute whose turn it is. That one claims it at once, the next after `--hedge`, and so on: a runner that is dead or full costs that long. A runner of which all slots are taken claims nothing.\n\n" +
		"Each run is a process tree under guard, as with conch-elect(1): it is dead before the runner's lease can end, and when the runner is killed. It gets `TERM` after the job's run-ttl, and `KILL` after `--kill-after`. A run that ends with its runner is known as lost at once, or, if the whole host has gone, when the runner's lease has ended. A runner that is there, or else the next one, tells of it as of its own: in reports, its log and its metrics, and by the job's on-failure."},
	{Title: "SIGNALS", Body: "`TERM`, `INT` and `QUIT` drain: nothing is taken on any more, and what runs may end within `--drain`, then it is stopped and recorded as lost. A second one stops it at once, a third one kills it; one that comes within a second of the one before is that one again, and one that was ignored when the runner was started is ignored. `HUP` is ignored, too: there is nothing to read again."},
	{Title: "A RUN'S ENVIRONMENT", Body: "The runner's own, without its settings (`CONCH_*`, `ETCDCTL_*`) and what its service manager told it; with `--run-as` that user's HOME, USER and LOGNAME, and /bin/sh as SHELL; then the job's; then\n\n" +
		"= CONCH_KIND: `cron`\n= CONCH_JOB, CONCH_NAME: the job\n= CONCH_TICK: the scheduled instant, RFC 3339, UTC\n= CONCH_RUN: the run, JOB/ID\n= CONCH_ATTEMPT: from 1\n= CONCH_REV: the fencing token, which grows with each run and each attempt\n= CONCH_ETCD_KEY: a key in etcd that exists, with this create-revision, while the run is in progress\n= CONCH_CLUSTER, CONCH_LEASE: as in conch-elect(1)\n= TRACEPARENT: made for each run\n\n" +
		"Commands that tell of how a run has ended find `CONCH_STATE` and `CONCH_STATUS` too, and read the run's record, a line of JSON, on standard input."},
	{Title: "CLOCKS", Body: "A tick is known by the instant that it was scheduled for, so a clock that is wrong moves when it runs, never how often. The runner compares its clock with that of etcd's host: it warns above 1 s, and above 5 s it stands by until the clock is right. It also stands by when etcd's revision has gone back, as after a restore from a backup, until `conch-cron resume --restored` says that it may go on; and where its spool is that of another cluster.\n\nWhile it stands by it is not ready, and `event=standby`, `conch-cron nodes`, the status that systemd(1) shows, and /readyz and `conch_runner_ready` of `--status-addr` say so. It ends with status 0 all the same when it is asked to end."},
	{Title: "LIMITS", Body: "Where the host lacks processes, memory, open files or room on a disk to start a command, that is no failure of the command's: the run goes back, with the attempt that it had, for whichever runner comes first, and this one stands by, for a second at first and twice as long each time, up to a minute, until it has started a command."},
	{Title: "OUTPUT", Body: "What runs write comes out of the runner line by line, with the run's name before it. All of it is kept as well, as it was written, in `--log-dir`: a directory for each job and a file for each attempt that has written something, which nobody but the runner's user may read. `conch-cron logs --whole` prints it on this host, and the end of it is in etcd, as the job's `--output` says; with `--output none` nothing is kept anywhere.\n\n" +
		"The files are removed, oldest first, when they are older than `--log-age`, when a job has some more than it is to remember runs, when all take more than `--log-size`, and when the disk has less than a twentieth of its room left, at most 1 GiB. A run waits for none of that: what the disk is too slow for is left out, which the file says, and where nothing can be written that is said once, as event=unlogged, and the run goes on."},
	{Title: "OVER SSH", Body: "A job with `--via ssh://[USER@]HOST[:PORT]` is run on another host, from here, by ssh(1) and with the runner's keys; the runner asks for no password. The host needs a POSIX shell, setsid and timeout, as util-linux, coreutils and busybox have them. When the run is killed, or the connection breaks, all that it has started there is killed, at the latest after 10 s without a sign of life."},
	{Title: "SYSTEMD", Body: "With `Type=notify` the runner is ready once it knows all jobs. `WatchdogSec=` is answered. `StateDirectory=` is the spool, `LogsDirectory=` where output is kept. `TimeoutStopSec=` has to be longer than `--drain` and `--kill-after` together, and by 30 s more where jobs have commands that tell of how a run has ended: those may finish."},
	{Title: "KEYS IN ETCD", Body: "All lie under /conch/v1/cron/; conch(7) lists them. An etcd user needs readwrite on that prefix and, with `--status-addr`, read on /conch/v1/."},
}
