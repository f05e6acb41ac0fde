package guard

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"conch/pkg/proc"
	"conch/pkg/proc/hear"
)

// requests are the signals that ask a process to end.
func requests() hear.Set {
	return hear.Of(unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT)
}

// Insist is how long after a request to end another one means at once. What comes
// sooner is the same one again: timeout(1) tells its child and then its whole group,
// and so do others.
const Insist = time.Second

// Undergo has a signal do to this process what it would do to a program without
// handlers that was started in its place: one that was ignored then has no effect, a
// stop happens here and now. It reports whether the process is to end by s.
func Undergo(s hear.Signal) (ends bool) {
	switch {
	case s.Sig == 0, s.Sig == unix.SIGWINCH, proc.Ignored(s.Sig):
		return false
	case s.Sig == unix.SIGTSTP:
		proc.StopSelf(s.Sig)
		return false
	}
	return true
}

// byTerminal reports whether s is one of job control's.
func byTerminal(s syscall.Signal) bool {
	return hear.Of(unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU).Has(s)
}
