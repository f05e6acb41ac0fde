package status

import "conch/pkg/cli"

var examples = []cli.Example{
	{Text: "All of it in one screen", Command: "conch-status"},
	{Text: "Jobs that have failed, for a script", Command: "conch-status --only jobs --json | jq '.jobs[] | select(.last and .last.state != \"ok\") | .name'"},
	{Text: "As it changes", Command: "conch-status --watch --only offices,semaphores"},
	{Text: "For Prometheus and load balancers, on every address of this machine", Command: "conch-status serve --listen :9191"},
}

var sections = []cli.Section{
	{Title: "DESCRIPTION", Body: "`conch-status` prints offices (who holds, since when, the fencing token, how many stand in line), semaphores, jobs and runners, as they were at one revision of etcd. A section in which there is nothing says `none`. Times of holders and runs are those of the clock of the machine that wrote them. A run whose runner is gone, and that is not known as lost yet, is `?` in the column RUNNING. A job is `over`, in the column NEXT, when it is not due any more, and `unplaced` while no runner is there that it may run on, or those that are stand by; with `-v` it is said how many of its ticks were missed and unplaced.\n\n" +
		"`conch-status serve` answers HTTP. It keeps what it knows by one watch, so that any number of clients cost etcd no more than one. It only answers questions: who may reach ADDRESS may read names, hosts, command lines and schedules."},
	{Title: "BY HTTP", Body: "= /elect: who holds which office\n= /sema: semaphores, their holders and waiters\n= /cron: jobs, their next and latest ticks\n" +
		"= /livez, /healthz, /health: 200 while the process answers\n= /readyz, /ready: 200 if everything was read and etcd has answered within 13 s, else 503 with the reason\n" +
		"= /metrics: for Prometheus\n= /cluster/status, /failover/status: how much there is\n\n" +
		"Any method but GET and HEAD is refused with 405. While /readyz is 503, so are /elect, /sema and /cron, and /metrics has conch_etcd_up 0 and nothing of what may be untrue."},
	{Title: "METRICS", Body: "What begins with conch_cron_ is of the whole cluster, and the same wherever it is asked; conch_runner_ in a runner's own answer is of that runner. Of each job there are, among others:\n\n" +
		"= conch_cron_runs_total{job,state}: runs that have ended, by how\n= conch_cron_run_duration_seconds{job}: a histogram of how long they took\n= conch_cron_retries_total{job}, conch_cron_skipped_total{job}: further attempts, and ticks that came while a run was in progress\n= conch_cron_missed_total{job}, conch_cron_unplaced_total{job}: ticks that nobody could start in time, and those for which no runner was one that the job may run on\n" +
		"= conch_cron_consecutive_failures{job}, conch_cron_last_success_timestamp_seconds{job}: what to alert on\n= conch_cron_eligible_runners{job}: runners that it may run on now; 0: none\n\n" +
		"conch_cron_waiting counts runs that were asked for and that no runner has claimed. What was submitted is no label: its runs are counted in conch_runner_results_total alone. They are kept with the job, from 0 before its first run has ended, and begin anew with another of its name.\n\n" +
		"A runner has besides, of itself and since it was started:\n\n" +
		"= conch_runner_notifications_total{result}: commands that told of how a run has ended: ok, failed\n= conch_runner_reports_total{result}, with `--report`: reports that were delivered, refused and lost\n= conch_runner_reports_waiting, likewise: those that have not been delivered"},
	{Title: "JSON", Body: "`--json` prints one object with `rev`, `cluster` (the id of the etcd cluster, hexadecimal), `at`, `stale` (why it is not of now; empty: it is; `--watch` prints a line when that changes, 13 s after the last answer of etcd), `paused`, and an array for each section. Names are those of the columns and of `--json` of the other tools; times are RFC 3339 in UTC, durations seconds, and an array without elements is `[]`."},
	{Title: "KEYS IN ETCD", Body: "Everything below the prefix is looked at but the history of runs and what `--once` has recorded; nothing is written. An etcd user needs read on the prefix."},
}
