package runner

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"conch/pkg/cron"
	"conch/pkg/guard"
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
// Its arguments: the mark, the seconds, the directory or nothing, the length of
// what comes first on standard input, and the command. That is the variables, as
// a shell reads them: arguments can be seen by everybody on either machine.
const remote = `mark=CONCH_SESSION=$1 patience=$2 dir=$3 length=$4; shift 4
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
vars=$(dd bs=1 count="$length" 2>/dev/null)
exec 3<&0
set -- "$(command -v setsid)" "$(command -v env)" "$mark" "$@" # not by the job's PATH
(eval "$vars"; exec "$@" </dev/null 3<&-) & child=$!
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

// overSSH is the command that runs argv on the job's host, and what it is to read
// before the beats: the job's variables and outputs. A connection that breaks ends
// the near side with ssh's status 255, and the far side by itself, at the latest
// after patience.
func overSSH(j *cron.Job, argv, outputs []string, mark string, patience time.Duration) (ssh []string, first string, _ error) {
	via, err := cron.ParseVia(j.Via)
	if err != nil {
		return nil, "", err
	}
	var vars strings.Builder
	export := func(name, value string) { fmt.Fprintf(&vars, "export %s=%s\n", name, quote(value)) }
	for name, value := range j.Env {
		if isShellName(name) { // a shell can have no other
			export(name, value)
		}
	}
	for _, o := range outputs {
		name, value, _ := strings.Cut(o, "=")
		export(name, value)
	}
	words := append([]string{"sh", "-c", remote, "conch", mark, strconv.Itoa(int(patience / time.Second)), j.Cwd, strconv.Itoa(vars.Len())}, argv...)
	for i, w := range words {
		words[i] = quote(w)
	}
	// A connection of its own: one that is shared ends with the run that made it.
	ssh = []string{"ssh", "-T", "-o", "BatchMode=yes", "-o", "ControlMaster=no", "-o", "ControlPath=none",
		"-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=2", "-o", "ConnectTimeout=10"}
	if via.Port != 0 {
		ssh = append(ssh, "-p", strconv.Itoa(via.Port))
	}
	if via.User != "" {
		ssh = append(ssh, "-l", via.User)
	}
	return append(ssh, "--", via.Host, "exec "+strings.Join(words, " ")), vars.String(), nil
}

func isShellName(s string) bool {
	for i, c := range []byte(s) {
		if !(c == '_' || 'a' <= c|0x20 && c|0x20 <= 'z' || i > 0 && '0' <= c && c <= '9') {
			return false
		}
	}
	return s != ""
}

// silence is how long the far side may hear nothing: it has ended before the
// runner's lease can, even if the runner's host is gone.
func (r *running) silence() time.Duration {
	usable := r.lease.Usable()
	left := usable - guard.Renew(usable, r.cfg.KillAfter) - time.Second
	return max(2*time.Second, min(left, beatMissed).Truncate(time.Second))
}

// quote makes one word of s for a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// heartbeat puts a pipe in the place of the command's input, on which a line
// comes each beatEvery, after what comes first, for as long as this process lives
// and the run lasts.
func (o *output) heartbeat(first string) error {
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
		for beat := first + "\n"; ; beat = "\n" {
			if _, err := io.WriteString(w, beat); err != nil {
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
