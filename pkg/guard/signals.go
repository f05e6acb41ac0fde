package guard

import (
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"conch/pkg/proc"
)

// Listener gets the signals that are sent to this process.
type Listener struct {
	C        chan os.Signal
	requests sync.WaitGroup // the signals that ask a process to end are heard, ...
	all      sync.WaitGroup // ... and the others
}

// requests are the signals that ask a process to end.
var requests = []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT}

// IsRequest reports whether s asks a process to end.
func IsRequest(s os.Signal) bool { return slices.Contains(requests, s) }

// Listen listens for every signal that can be passed on to a command; those
// that were ignored when we started stay so, as nohup and background jobs of
// scripts want it. It takes the runtime more than a millisecond, for which Listen
// does not wait: see Requests and Ready.
//
// Not passed on are KILL and STOP, which nobody can catch, the ones for faults
// of our own, CHLD and CONT that are about us, URG that Go's runtime sends
// itself, PIPE that is about our pipes, and TTIN and TTOU: they go to the whole
// group anyway, and would stop us before the command. Nor is 34, the C library's
// SIGRTMIN, for which Go has no handler (golang/go#39343): it ends us, and by
// that the command.
func Listen() *Listener {
	l := &Listener{C: make(chan os.Signal, 64)}
	l.requests.Add(1)
	l.all.Go(func() {
		for _, s := range requests {
			l.hear(s.(syscall.Signal))
		}
		signal.Ignore(syscall.SIGTTIN, syscall.SIGTTOU)
		l.requests.Done()
		for s := syscall.Signal(1); s <= 64; s++ {
			if !skipped(s) && !IsRequest(s) {
				l.hear(s)
			}
		}
	})
	return l
}

func (l *Listener) hear(s syscall.Signal) {
	if !proc.Ignored(s) {
		signal.Notify(l.C, s)
	}
}

// Requests returns when the requests to end are heard. Until then they end the
// process, which must have nothing to clear up.
func (l *Listener) Requests() { l.requests.Wait() }

// Ready returns when all signals are heard.
func (l *Listener) Ready() { l.all.Wait() }

func skipped(s syscall.Signal) bool {
	switch s {
	case syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGURG, syscall.SIGPIPE,
		syscall.SIGTTIN, syscall.SIGTTOU,
		syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL, syscall.SIGTRAP, syscall.SIGSYS, syscall.SIGABRT,
		syscall.SIGPROF, 32, 33: // the last two are the C library's
		return true
	}
	return false
}

// fromTerminal reports whether s is one that a terminal sends to the whole
// foreground group.
func fromTerminal(s syscall.Signal) bool {
	return s == unix.SIGINT || s == unix.SIGQUIT || s == unix.SIGTSTP || s == unix.SIGWINCH
}

// byTerminal reports whether s is one of job control's.
func byTerminal(s syscall.Signal) bool {
	return s == unix.SIGTSTP || s == unix.SIGTTIN || s == unix.SIGTTOU
}
