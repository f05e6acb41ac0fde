package runner

import (
	"os"
	"strconv"
	"strings"
	"time"

	"conch/pkg/cron"
)

// beatEvery is how often the near side says over the connection that it is
// there, and beatMissed how long the far side waits for it: then, and when the
// connection ends, it kills what it has started.
const (
	beatEvery  = time.Second
	beatMissed = 10 * time.Second
)

// remote is the script on the far side, for any POSIX shell. It starts the
// command in a session of its own, and watches standard input. When that is
// silent for too long, or ends, all processes die that are in the session or
// bear the mark in their environment; likewise what the command has left behind
// when it has ended. The mark is one attempt's, and none of the near side's
// processes bears it: the far side may be the same host.
//
// Its arguments: the mark, the seconds, the directory or nothing, then variables
// up to "--", then the command.
const remote = `mark=CONCH_SESSION=$1 patience=$2 dir=$3; shift 3
sweep() {
	kill -KILL "-$1"
	for again in 1 2 3 4 5 6 7 8 9; do
		found=
		for p in /proc/[0-9]*; do
			[ -e "$p/exe" ] || continue
			tr '\0' '\n' <"$p/environ" | grep -qxF "$mark" && kill -KILL "${p#/proc/}" && found=1
		done
		[ "$found" ] || break
	done
}
for tool in setsid timeout; do
	command -v $tool >/dev/null || { echo "conch: $(uname -n) has no $tool, which is needed to end a command with all that it starts" >&2; exit 126; }
done
[ -z "$dir" ] || cd "$dir" || exit 126
exec 3<&0
n=0 vars=
while [ "$1" != -- ]; do n=$((n+1)); eval "v$n=\$1"; vars="$vars \"\$v$n\""; shift; done
shift
eval "setsid env \"\$mark\" $vars \"\$@\" </dev/null 3<&- & child=\$!"
exec >/dev/null 2>&1 # what shells say of those that were killed
(
	trap '' TERM HUP
	while env "$mark" timeout "$patience" sh -c 'read -r beat' <&3; do :; done
	kill -KILL "$child" # it need not have its session yet
	sweep "$child"
) &
watch=$!
exec 3<&-
wait "$child"
status=$?
kill -KILL "$watch"
sweep "$child" # the reader too: sshd's sockets are input and output in one
exit "$status"
`

// overSSH is the command that runs argv on the job's host. A connection that
// breaks ends the near side with ssh's status 255, and the far side by itself.
func overSSH(j *cron.Job, argv, outputs []string, mark string) ([]string, error) {
	via, err := cron.ParseVia(j.Via)
	if err != nil {
		return nil, err
	}
	words := []string{"sh", "-c", remote, "conch", mark, strconv.Itoa(int(beatMissed / time.Second)), j.Cwd}
	for name, value := range j.Env {
		words = append(words, name+"="+value)
	}
	words = append(append(append(words, outputs...), "--"), argv...)
	for i, w := range words {
		words[i] = quote(w)
	}
	// A connection of its own: one that is shared ends with the run that made it.
	ssh := []string{"ssh", "-T", "-o", "BatchMode=yes", "-o", "ControlMaster=no", "-o", "ControlPath=none",
		"-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=2", "-o", "ConnectTimeout=10"}
	if via.Port != 0 {
		ssh = append(ssh, "-p", strconv.Itoa(via.Port))
	}
	if via.User != "" {
		ssh = append(ssh, "-l", via.User)
	}
	return append(ssh, "--", via.Host, "exec "+strings.Join(words, " ")), nil
}

// quote makes one word of s for a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// heartbeat puts a pipe in the place of the command's input, on which a line
// comes each beatEvery for as long as this process lives and the run lasts.
func (o *output) heartbeat() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	blocking(r)
	o.in.Close()
	o.in = r
	o.beats.Go(func() {
		defer w.Close()
		tick := time.NewTicker(beatEvery)
		defer tick.Stop()
		for {
			if _, err := w.Write([]byte("\n")); err != nil {
				return
			}
			select {
			case <-tick.C:
			case <-o.done:
				return
			}
		}
	})
	return nil
}
