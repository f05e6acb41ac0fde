package sema

import (
	"fmt"

	"conch/pkg/cli"
	"conch/pkg/wrap"
)

var examples = []cli.Example{
	{Text: "At most three at a time in the cluster, on whichever hosts", Command: "xargs -P8 -I{} conch-sema --max 3 encode ffmpeg -i {}"},
	{Text: "Restart a fleet two at a time, one for each rack", Command: "conch-sema restarts --max 2 --spread-by \"$RACK\" -- ./restart"},
	{Text: "A big job takes half of what there is", Command: "conch-sema gpu --max 8 --weight 4 -- ./train"},
	{Text: "Readers share, a writer has it alone: backups wait for the migration, and it for them", Command: "conch-sema db --shared -- ./backup; conch-sema db --exclusive -- ./migrate"},
	{Text: "A guard at the top of a script", Command: `conch-sema encode --held || exec conch-sema encode --max 3 -- "$0" "$@"`},
	{Text: "Who holds, who waits?", Command: "conch-sema encode --who"},
	{Text: "Let five run from now on", Command: "conch-sema encode --resize 5"},
}

func statuses() []cli.Status {
	return append(cli.CommandStatuses(), cli.Status{Code: "1", Meaning: "--who, --resize: nobody is there; --evict: nobody is meant, or several are where one was to be; --once-list, --once-forget: nothing was done"})
}

var sections = []cli.Section{
	{Title: "DESCRIPTION", Body: "`conch-sema` waits until fewer than N hold NAME, runs COMMAND, and gives its place up when COMMAND and everything that it started have ended. All that use the same NAME with the same etcd and the same `--prefix` stand in one line, first come first served: whoever is at its head starts as soon as any holder ends, and nobody passes.\n\n" +
		"COMMAND runs under a lease in etcd and is dead before the lease can end, as under `conch-elect`, whose manual has the rest: signals, streams, descriptors and exit status are COMMAND's here too.\n\n" +
		"One capacity counts for a NAME. While it is in use, another `--max` is refused, with who uses it; when nobody does, the newest caller's counts. `--resize` changes it for all: with more, whoever waits starts at once; with less, holders finish. Who stood in line before takes the new one as it is, `--restart`'s next turn too; whoever comes new has to say it.\n\n" +
		"`--once` records its KEY for NAME as `conch-elect --once` does, in the same place, and `--once-list` and `--once-forget` are about both. With more than one slot, several can begin before one is done.\n\n" +
		"Where the holds of NAME that it runs under itself leave no room, `conch-sema NAME` would wait for ever: the status is 78, or 75 with `--nonblock` or after `--wait`."},
	{Title: "SHARED AND EXCLUSIVE", Body: "With `--shared` or `--exclusive` in the place of `--max`, NAME is held as flock(1) holds a file with `-s` and `-x`: those who share hold it beside each other, however many they are (up to 10001), and whoever excludes holds it alone. It is the same line, first come first served: who comes to share while somebody waits to exclude waits behind him, so that neither kind waits for ever. A NAME is of one sort while it is in use: `--max` is refused for one that is shared, and the reverse, and `--resize` has nothing to change. All else is as with `--max`: `--who` and `--watch` say `shared` and `exclusive`, a slot has a number, and `--spread` is at most one on each host."},
	{Title: "STEPPING DOWN", Body: "`--evict WHO --ask` asks whoever is meant to give up the hold, or the place in line, and waits until they have gone: see conch-elect(1)."},
	{Title: "THE COMMAND'S ENVIRONMENT", Body: wrap.Environment + "= CONCH_SLOT: the lowest number from 0 on that no other holder has at the same time; below N, but for those who began before `--resize` made N smaller; the event `acquired` of `--status-fd`, `--status-file` and `--verbose` has it, too, as `slot`\n= CONCH_KIND: `sema`\n= CONCH_NAME: NAME\n= CONCH_REV: the fencing token, a number that grows with each later holder\n= CONCH_ETCD_KEY: the holder's key in etcd; it exists, with this create-revision, while the hold does\n= CONCH_CLUSTER: the id of the etcd cluster, hexadecimal: tokens of two clusters cannot be compared\n= CONCH_LEASE: the lease, hexadecimal\n= CONCH_HOLDS: all the holds that COMMAND runs under; see conch-elect(1), which has `--held` and `--hold`, too"},
	{Title: "WATCHING", Body: "`--watch` prints who holds and who waits, and a line for each who comes to hold, to wait, or goes. " + fmt.Sprintf(wrap.Watching, "name", "what has changed meanwhile follows")},
	{Title: "WHAT IS NOT PROMISED", Body: "More than N COMMANDs can be alive in the cases that conch(7) lists, and while more hold from before a `--resize` to less; in no other."},
	{Title: "KEYS IN ETCD", Body: "= /conch/v1/sema/NAME/LEASE: one for each holder and waiter, under its own lease; lower create-revisions come first\n= /conch/v1/sema-state/NAME/cap: the capacity, while in use\n= /conch/v1/sema-state/NAME/slot/N: who has slot N, under the holder's lease\n= /conch/v1/sema-state/NAME/run/N: whose command may be alive in it; deleted with the release\n= /conch/v1/sema-host/NAME/LABEL/LEASE: with `--spread`, who stands in line for a host\n= /conch/v1/sema-host-run/NAME/LABEL/LEASE: whose turn of the host may be in use, or is next\n= /conch/v1/evict/LEASE: who evicted that holder\n= /conch/v1/once/NAME/KEY: what `--once` has done, until it is forgotten\n= /conch/v1/once-text/NAME/KEY: the same for a KEY that no NAME could be, longer than 200 bytes or with a slash or a space in it, which are written %2F and %20, and a per cent sign %25\n\nAn etcd user needs readwrite on the prefix."},
	{Title: "SECURITY CONSIDERATIONS", Body: "The command line of each holder and waiter lies in etcd, where all can read it who may read the prefix; `--cmd-shown` keeps it, or its arguments, out of there. See conch-elect(1)."},
}
