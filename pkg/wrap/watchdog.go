package wrap

import (
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// watchdog tells the service manager, as often as it wants to hear that, that all
// is well: this process runs and, while there is something under the hold, whoever
// guards it answers, and says that the deadline has not passed.
type watchdog struct {
	every  time.Duration // 0: nobody wants to hear it
	tell   func() bool   // false: not now
	guards atomic.Bool   // somebody guards, and answers
	pulse  chan chan<- bool

	quit, done chan struct{}
}

// watchdog starts the one that the service manager has asked for: of this process,
// if the socket is for us and not for the command.
func (o *Options) watchdog(r *Reporter) *watchdog {
	w := &watchdog{tell: r.alive, pulse: make(chan chan<- bool), quit: make(chan struct{}), done: make(chan struct{})}
	if o.notifies() {
		interval, _ := daemon.SdWatchdogEnabled(false) // what is no interval is none
		w.every = interval / 2
	}
	if w.every > 0 {
		go w.run()
	} else {
		close(w.done)
	}
	return w
}

// notifies reports whether the service manager's socket is for us.
func (o *Options) notifies() bool { return o.Notify != "" && o.Notify != "child" }

func (w *watchdog) run() {
	defer close(w.done)
	for {
		next := w.every / 10 // not well, or not now
		if w.well() && w.tell() {
			next = w.every
		}
		select {
		case <-time.After(next):
		case <-w.quit:
			return
		}
	}
}

// well asks whoever guards.
func (w *watchdog) well() bool {
	if !w.guards.Load() {
		return true
	}
	answer := make(chan bool, 1)
	select {
	case w.pulse <- answer:
		return <-answer
	case <-time.After(w.every / 4):
	case <-w.quit:
	}
	return false
}

// stop returns when nothing is told any more.
func (w *watchdog) stop() {
	close(w.quit)
	<-w.done
}

// environ returns what a command may know of the service manager: not what is for
// us.
func (w *watchdog) environ(o *Options, env []string) []string {
	if o.notifies() {
		env = without(env, "NOTIFY_SOCKET")
	}
	if w.every > 0 {
		env = without(without(env, "WATCHDOG_USEC"), "WATCHDOG_PID")
	}
	return env
}
