package cron

import (
	"slices"

	"conch/pkg/cli"
)

var examples = []cli.Example{
	{Text: "Each night at two, in Rome, on one host, for no more than six hours", Command: "conch-cron add backup '0 2 * * *' --tz Europe/Rome --run-ttl 6h -- restic backup /data"},
	{Text: "What is there, and how did it end?", Command: "conch-cron ls --last"},
	{Text: "Keep the jobs in files", Command: "conch-cron apply -f jobs/ --prune --dry-run"},
	{Text: "Now, and wait for it", Command: "conch-cron run backup --wait"},
	{Text: "What does a schedule mean?", Command: "conch-cron check '30 2 * * *' --tz Europe/Rome"},
	{Text: "Run something once, on some host, and have its status", Command: "conch-cron submit --wait -- ./migrate"},
}

// statuses are those of a command that asks etcd, and more of them.
func statuses(more ...int) []cli.Status {
	codes := append([]int{0, cli.Failed, cli.Usage, cli.Unreachable, cli.Refused}, more...)
	slices.Sort(codes)
	list := cli.Statuses(codes...)
	for i, code := range codes {
		switch code {
		case cli.Failed:
			list[i].Meaning = "there is no such job or run, or it does not allow that now"
		case cli.Usage:
			list[i].Meaning = "the command line cannot be understood, or the job cannot be as it says"
		case cli.Busy:
			list[i].Meaning = "somebody else has edited the job meanwhile"
		case cli.Config:
			list[i].Meaning = "a file that cannot be read, or is not one of jobs, or a certificate or key"
		}
	}
	return list
}

// allStatuses are those of all commands but what wait gives.
func allStatuses() []cli.Status {
	list := statuses(cli.Busy, cli.Config)
	list[1].Meaning += "; of `apply`: " + applyStatuses()[1].Meaning
	return list
}

// applyStatuses are those of apply.
func applyStatuses() []cli.Status {
	list := statuses(cli.Busy, cli.Config)
	list[1].Meaning = "a file or directory holds no job"
	return list
}

// waitStatuses are those of a command that waits for the end of a run.
func waitStatuses() []cli.Status {
	return append([]cli.Status{
		{Code: "0 to 255", Meaning: "the status of the run's command; 128+n if it died of signal n"},
		{Code: "70", Meaning: "the run was killed, or is lost: its runner died"},
		{Code: "75", Meaning: "no runner has started it in time"},
		{Code: "124", Meaning: "the run took longer than its --run-ttl"},
	}, statuses()[1:]...)
}

var sections = []cli.Section{
	{Title: "DESCRIPTION", Body: "`conch-cron` keeps the jobs of a cluster in etcd, and shows what came of them. It runs nothing itself: `conch-cronrunner` does, on as many hosts as you like.\n\n" +
		"Each tick is claimed exactly once and started at most once across the cluster; a run whose host dies is recorded as lost, never silently repeated. With `--retry` it is repeated, and then a command can have its effect more than once.\n\n" +
		"An edit leaves alone what is due and not started, unless it moves the job's ticks (schedule, tz, dst, anchor, splay, starts, the number of places in on), pauses it, or has them run elsewhere. A job that is removed and added again is another, with a history of its own.\n\n" +
		"Every change of a job is one transaction: it is ordered with the claims of runners, and fails with status 75 if somebody else has edited the job meanwhile. What `rm` and `pause` have returned from is not claimed any more; a run that was claimed just before may still start, and goes on. Many names are one after the other: `rm` one at a time, `pause` and `resume` a hundred; `apply` has FILES OF JOBS.\n\n" +
		"A job keeps who last wrote it, by that one's own account: user@host, and the user in etcd that `--user` or a token names, if etcd knows users. `show` prints that, as `by`.\n\n" +
		"A name among those that `pause`, `resume` and `rm` take may be a pattern, as `ls` takes it; how many jobs that were is said. What was submitted is meant by no pattern, and a job whose whole name the word is, by that alone."},
	{Title: "SCHEDULES", Body: "= MINUTE HOUR DAY MONTH WEEKDAY: lists, ranges and steps, names of months and weekdays; 7 is Sunday, fri-mon wraps around; six fields begin with the second\n" +
		"= H in a field: a number that depends on the job's name, so that jobs spread; also H(0-29), H/15\n" +
		"= @hourly @daily @weekly @monthly @yearly: as in cron\n" +
		"= @every 90m: in step with 1970-01-01T00:00:00Z, or with --anchor, on every host alike\n" +
		"= @at 2026-03-29T02:30:00Z: once\n" +
		"= @manual: never; see run\n\n" +
		"If the day of the month or the weekday begins with a star, a day must match both, else either is enough. `conch-cron check` says what a schedule means, and what becomes of it when the clocks change. One that is never due is refused."},
	{Title: "RUNS", Body: "A run is called JOB/RUN, as `history` and `runs` print it: the scheduled instant in seconds since 1970; then, of a job that runs in several places, @ and the host's name or # and a number; of one asked for by hand + and the request's id. This is its name everywhere: in lists and `--json`, in logs, events and reports, and for its command, which finds it in CONCH_RUN. Where RUN is to be given, the id of the request will do (`run --id`), or the tick, as a number or as 2026-01-01T00:00:00Z, or the beginning of either id, if that is of one run alone. A run of an older conch has a ! for the +, and keeps that; either is understood.\n\n" +
		"= waiting: asked for, and not claimed yet\n" +
		"= running: claimed\n" +
		"= retrying: it did not end well, and is to be started again\n" +
		"= ?: claimed, without a result, and its runner is gone: soon known as lost\n" +
		"= ok: it ended with status 0\n" +
		"= failed: it ended with another, or of a signal, or could not be started\n" +
		"= timeout: it took longer than --run-ttl, and was stopped\n" +
		"= killed: somebody asked for it, or a later run replaced it\n" +
		"= lost: its runner died, or lost its lease, and the command with it\n" +
		"= unknown: it was claimed, and by the time that was known it was too late to start it"},
	{Title: "TICKS THAT ARE NOT RUN", Body: "A tick is missed that could not be started within the job's `--deadline`: no runner was up, etcd was away, or every slot was taken. It is unplaced if runners were there, and none that `--on` asks for. `show` and `ls --json` have how many there were, since the job was made: all, also those of a time when no runner was up, and each once, whichever runner counts it. What `--misfire` makes up for was missed all the same; of a job that runs in several places a tick was missed that was started in none.\n\n" +
		"`history` has a row for each stretch of them, JOB/TICK:missed or JOB/TICK:unplaced by its first, which goes on until something of the job is run. It is written when the stretch begins, and then once a minute at most; `--keep` counts it as it counts runs, but it is no run, and `logs` refuses it.\n\n" +
		"`--on-missed` is run when a stretch begins, by one runner, which need not be one that `--on` asks for. It finds CONCH_STATE, missed or unplaced, CONCH_COUNT, how many there are by then, CONCH_TICK, the first, and CONCH_UNTIL, the latest, and reads the record of the stretch on standard input."},
	{Title: "STATES OF JOBS", Body: "= ready: due at NEXT, or when it is asked for\n" +
		"= paused: by itself; all-paused: with all the others\n" +
		"= over: not due any more\n" +
		"= unplaced: no runner is there that `--on` asks for, or none at all, or all of those stand by: see nodes\n" +
		"= unreadable: it was written by something else, or by a newer conch\n\n" +
		"While a run is in progress, or was asked for, the state is that of the run."},
	{Title: "FILES OF JOBS", Body: "`apply` reads JSON, YAML and crontabs. A job has the fields that `export` prints, which are the flags of `add` by their long names, but for name, cmd (a list), owners, user (`--run-as`) and retry (n and backoff).\n\n" +
		"    - name: backup\n      schedule: 0 2 * * *\n      tz: Europe/Rome\n      cmd: [restic, backup, /data]\n      run-ttl: 6h\n      retry: {n: 3, backoff: 1m}\n\n" +
		"The files say all that a job is: one that was paused by hand goes on if its file does not say paused. About 3,000 jobs are changed in one transaction. More go into several, each guarded by the one before; if somebody edits a job in between, what was changed is put back.\n\n" +
		"Jobs that were submitted are neither exported nor pruned. A directory is read without those in it. That is said, and is no failure: they may be a version control's or the examples', and one whose jobs are wanted is named, too. A directory without a job, or such a file, is refused with status 1 unless --allow-empty says that there may be none; a file without one beside others in a directory is all right. With --prune not all that are named may be empty, lest it remove all jobs, unless one is named alone."},
	{Title: "CRONTABS", Body: "A crontab is read as cron reads it, and what conch does otherwise is said, with --dry-run or when a job of it is new or changed: a run is stopped after 10 minutes; a tick is skipped while the run before goes on; what a command leaves in the background is killed when it ends, and the run says how much that was; it runs as the runner's user, in /, unless there is a column for the user or `--run-as`; times are UTC's unless `CRON_TZ` or `TZ` names a zone; no mail is sent. `export` then prints the jobs as YAML, in which all of that can be set, and which `apply` takes in the crontab's place.\n\n" +
		"`#` `name: backup` above a line names its job; otherwise the name is made of the command. `SHELL`, and whatever else is set above a line, is in the job's environment; `~`, a random number, becomes H; @reboot is left out. Lines with six or seven fields are refused, and so are those with a user before the command, but for `--system-crontab`, with which a directory is read as cron reads /etc/cron.d and a line without a user is refused. What may be either, such as `git /srv/x.sh` or a command that is called mon, is what the crontab should have there. `--run-as` does not go with `--system-crontab`, and changes no job out of JSON or YAML: where there are no others, that is said."},
	{Title: "WHAT IS NOT PROMISED", Body: "That a command has its effect exactly once; nobody can promise that."},
	{Title: "SECURITY CONSIDERATIONS", Body: "A job lies in etcd as it was added: its command line or script, what `--env` and `--stdin` hold, and the commands that tell of a run's end. Everyone can read that who may read the prefix, with `show`, `export`, etcdctl(1) or the page of conch-status(1), and what `--output` keeps of a run as well: without `--output none` that is the end of what a run has written that did not end well. There is no `--cmd-shown` as conch-elect(1) has it, for the runner must know what to run: have the command read its secrets from a file on the runners' hosts, or from an environment that the runners were started with."},
	{Title: "KEYS IN ETCD", Body: "= /conch/v1/cron/job/NAME: a job\n= /conch/v1/cron/lw/NAME: the tick up to which none can be claimed any more\n= /conch/v1/cron/run/NAME/RUN: a run: the claim, then the result\n= /conch/v1/cron/act/NAME/TICK: a run that has no result yet\n= /conch/v1/cron/last/NAME: how the latest run ended, and how many ticks were not run\n= /conch/v1/cron/lost/NAME/RUN: a lost run of which nobody has told yet\n= /conch/v1/cron/req/NAME/ID: asked for by hand\n= /conch/v1/cron/node/ID: a runner, under its lease\n= /conch/v1/cron/paused: all jobs are paused\n\nAn etcd user needs readwrite on the prefix; one who only looks, read."},
}
