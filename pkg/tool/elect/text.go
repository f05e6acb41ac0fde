package elect

import (
	"fmt"

	"conch/pkg/cli"
	"conch/pkg/wrap"
)

var examples = []cli.Example{
	{Text: "Run a server on one host; the others stand by", Command: "conch-elect db-primary -- postgres -D /data"},
	{Text: "In the crontab of thirty hosts: run once, the others skip in silence", Command: "0 2 * * * conch-elect -n -E 0 --hold-for 60s backup restic backup /data"},
	{Text: "Migrate once for ever; replicas wait, then go on", Command: `conch-elect --once "$GIT_SHA" migrate ./migrate && exec app`},
	{Text: "A guard at the top of a script", Command: `conch-elect deploy --held || exec conch-elect -n deploy -- "$0" "$@"`},
	{Text: "Replace a file as a whole, only by a dump that succeeded, and only while the hold exists", Command: `conch-elect db-primary --fenced-file /nfs/app.sql -- pg_dump app`},
	{Text: "A directory of leaders: the holder says where it is", Command: `conch-elect db-primary --publish "$(hostname):5432" -- postgres -D /data; conch-elect db-primary --who -o value`},
	{Text: "Who holds it?", Command: "conch-elect db-primary --who"},
}

func statuses() []cli.Status {
	return append(cli.CommandStatuses(), cli.Status{Code: "1", Meaning: "--who, --assert, --once-list, --once-forget: no; --fenced-put, --fenced-file: refused, nothing was written"})
}

var sections = []cli.Section{
	{Title: "DESCRIPTION", Body: "`conch-elect` waits until it has the turn at NAME, runs COMMAND, and gives the turn up when COMMAND and everything that it started have ended. Of all that use the same NAME with the same etcd and the same `--prefix`, one runs at a time, first come first served.\n\n" +
		"COMMAND runs under a lease in etcd. It is dead before the lease can end: if etcd does not answer for too long, COMMAND gets its stop signal, and it is killed, with all its descendants, daemons included, when the lease can no longer be relied on. The same happens when `conch-elect` itself is killed, stopped or cut off.\n\n" +
		"Streams, terminal, job control, descriptors, limits, signals and exit status are COMMAND's, as if `conch-elect` were not there. It says nothing of its own on success.\n\n" +
		"Without NAME, before `--`, the name is made from the command line: equal command lines exclude each other. `conch-elect --evict -- backup.sh --all` is about the name that this command line makes, and so are the other questions.\n\n" +
		"A `conch-elect NAME` that runs under a hold of NAME itself would wait for ever: the status is 78, or 75 with `--nonblock` or after `--wait`. `--held` asks for that before; see below."},
	{Title: "STEPPING DOWN", Body: "`--evict --ask` asks whoever holds NAME to give it up. Its COMMAND gets `--signal`, and after its own `--kill-after` SIGKILL, and the hold is released as always: nobody waits for a `--lock-delay`. It exits with COMMAND's status, says on standard error who has asked, and as the event `asked`. `--hold-for` counts no more; with `--restart` it stands in line again, behind all others; `--hold` ends as by a TERM. Who waits, for its turn or for the lock-delay, gives up its place, with status 75.\n\n" +
		"Who asks waits until that one has gone; status 75 if `--wait` is over before (`-n` asks and does not wait), which takes nothing back. What is in etcd of a conch older than `--ask` does not hear of it. Without `--ask`, COMMAND is killed at once."},
	{Title: "SIGNALS", Body: "`TERM` and `INT` ask COMMAND and all its descendants to end; after `--kill-after` they are killed. A second one kills at once. What COMMAND leaves behind when it ends within that time keeps the rest of it; what it leaves behind when it ends of its own accord is killed at once. Other signals are passed on to COMMAND alone. What a terminal sends to its whole foreground group is left to COMMAND.\n\n" +
		"A job that is suspended (Ctrl-Z) cannot renew its lease: it is killed when that ends, unless it is continued before."},
	{Title: "THE COMMAND'S ENVIRONMENT", Body: wrap.Environment + "= CONCH_KIND: `elect`\n= CONCH_NAME: NAME\n= CONCH_REV: the fencing token, a number that grows with each later holder\n= CONCH_ETCD_KEY: the holder's key in etcd; it exists, with this create-revision, while the hold does\n= CONCH_CLUSTER: the id of the etcd cluster, hexadecimal: tokens of two clusters cannot be compared\n= CONCH_LEASE: the lease, hexadecimal\n= CONCH_HOLDS: CLUSTER:REV:KEY of each hold that COMMAND runs under, the outermost first, where conches run one another; the other variables are of the innermost"},
	{Title: "A GUARD AT THE TOP OF A SCRIPT", Body: "    conch-elect deploy --held || exec conch-elect -n deploy -- \"$0\" \"$@\"\n\n" +
		"runs the rest of the script under `deploy`, whoever starts it. `--held` is true if the environment says so, if etcd says that this hold lasts, and if this process descends from its `conch-elect` and so dies with it; at whatever depth, and whatever other holds, semaphores and cron runs are in between or have that name. It is false for what was started from elsewhere with the same environment, by at(1) or over ssh(1), and for what has outlived its hold. Where the environment is taken away, as by sudo(8) or `env -i`, it is false, too: have it keep CONCH_HOLDS, and what says where etcd is.\n\n" +
		"The status is 1 if it is not held, and another if that cannot be found out; then the second half does not run the script either. It is asked again, at the price of a round trip, wherever a script wants to know whether it may go on."},
	{Title: "A HOLD WITHOUT A COMMAND", Body: "`--hold` prints the token when it has the turn, holds while its standard input is open, and ends. Whoever goes on without having read the token goes on without the turn. If the hold is lost, it ends with 70, and its end of file says so: `--kill-after` before the lease can end, or at once if the hold was taken away. Nobody kills a script that does not hear that, nor what it has started; for that, run it under the guard above.\n\n" +
		"In bash, where commands that the script starts do not inherit the coprocess, and so do not keep the hold:\n\n" +
		"    coproc HOLD { exec conch-elect --hold db; }\n    conch=$!\n    exec 9<&\"${HOLD[0]}\"\n    read -r token <&9 || { wait $conch; exit; }   # no turn; the status says why\n    { read -r _ <&9; kill $$; } &                 # the hold is over before we are\n    watcher=$!\n    ...\n    kill $watcher; exec {HOLD[1]}>&-; wait $conch # gives it up; so does the end of the script\n\n" +
		"In any shell; here what is started keeps the hold until it ends, unless it closes descriptor 8:\n\n" +
		"    dir=$(mktemp -d) && mkfifo \"$dir/in\" \"$dir/out\" || exit\n    conch-elect --hold db <\"$dir/in\" >\"$dir/out\" &\n    conch=$!\n    exec 8>\"$dir/in\" 9<\"$dir/out\"\n    rm -r \"$dir\"\n    read -r token <&9 || { wait $conch; exit; }\n    { read -r _ <&9; kill $$; } 8>&- &\n    watcher=$!\n    ...\n    kill $watcher; exec 8>&-; wait $conch"},
	{Title: "WATCHING", Body: "`--watch` prints who holds NAME, `NAME -` while nobody does, and a line at each change. " + fmt.Sprintf(wrap.Watching, "office", "who holds is said again") + " With `-o value` the two lines come on standard error, and nothing is said again."},
	{Title: "FENCED WRITES", Body: "    conch-elect NAME --fenced-file PATH -- COMMAND\n    conch-elect NAME --fenced-put KEY -- COMMAND\n\n" +
		"run COMMAND under a turn and, if it ends with 0 of its own accord, put what it has printed in the place of the file, or of the key in etcd, while the turn still exists. Otherwise nothing is touched, and the status is COMMAND's. With `--token`, or under a hold of NAME, a run of a job of that name included, they use that one and take no turn; then what is about a turn, such as `--wait` and hooks, has no effect.\n\n" +
		"Without COMMAND the text is standard input, and a hold is needed. That form cannot know whether the program at the other end of a pipe has failed: in `pg_dump app | conch-elect NAME --fenced-file PATH` half a dump takes the place of a whole one. Use it for what is there already, as in `<FILE`.\n\n" +
		"A file is replaced by renaming: whoever reads it finds the old one or the new one. PATH may be a symlink, which stays. Owner, group, permissions, access list and user's attributes are kept; if they cannot be, or if PATH is no regular file, has other hard links or something mounted on it, or if nothing can be made beside it, the status is 78, as a rule before COMMAND is run. What has not taken effect leaves nothing behind; on a file system without `O_TMPFILE`, such as NFS, a SIGKILL leaves .FILE.conch-XXXXXXXX, which the next one removes.\n\n" +
		"Beside the file lies .FILE.conch, with the cluster and the newest token that has replaced it: who has an older one is refused, though etcd has told him in time that his hold exists. There is one for a file, whatever symlinks lead to it. It is locked by flock(2), over NFS as far as that has locks; one that somebody keeps locked is waited for as long as `--dial-timeout`. A key of etcd needs no such record. It holds 1500 KiB at most."},
	{Title: "WHAT IS NOT PROMISED", Body: "Two COMMANDs can overlap if the older one, though killed, has not yet ended or its effects have not: \n\n" +
		"- both of conch's processes were frozen past the deadline, by a hypervisor or a cgroup, and thawed\n" +
		"- both were killed at the same instant, without `--contain`\n" +
		"- etcd is older than 3.4.42, 3.5.28 or 3.6.9, and a process of it was paused, or its election timeout is set longer than a second\n" +
		"- an operator revoked the lease, or a leader of etcd that had been frozen dropped it, while the holder was cut off from etcd, or its conch was stopped, for longer than `--lock-delay`; `--lock-delay ttl` excludes this\n" +
		"- a process of COMMAND is in an uninterruptible sleep, so that it cannot be killed, and the hold is lost meanwhile; while it is not, it is kept until the process has ended, and `--who` shows `unkilled=`\n" +
		"- a process of COMMAND changed its user, and conch may not kill it: then the hold is not released but left to lapse\n" +
		"- bytes were already in socket buffers, or work had been handed to another daemon or host\n\n" +
		"For these there is the token: have whatever COMMAND writes to compare `CONCH_REV` with the newest that it has seen, or write by `--fenced-put` and `--fenced-file`."},
	{Title: "KEYS IN ETCD", Body: "= /conch/v1/elect/NAME/LEASE: one for each candidate, under its own lease; the lowest create-revision has the turn\n= /conch/v1/elect-run/NAME/LEASE: whose command may be alive, or is next in line and may start at any moment; deleted with the release\n= /conch/v1/evict/LEASE: who evicted that holder\n= /conch/v1/once/NAME/KEY: what `--once` has done, until it is forgotten\n= /conch/v1/once-text/NAME/KEY: the same for a KEY that no NAME could be, longer than 200 bytes or with a slash or a space in it, which are written %2F and %20, and a per cent sign %25\n\nAn etcd user needs readwrite on the prefix."},
	{Title: "SECURITY CONSIDERATIONS", Body: "COMMAND and its arguments, up to 256 bytes of them, lie in etcd with the name of the host and the user for as long as it waits or runs. Whoever may read the prefix sees them: `--who`, `--watch`, conch-status(1) with its page. Give a command its secrets by its environment, a file or standard input, as you would because of ps(1), or set `CONCH_CMD_SHOWN` to `name` or `none`. A name that is made from the command line has a hash of all its words in it, from which a short secret among them can be guessed."},
}
