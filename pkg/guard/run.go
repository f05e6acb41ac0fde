package guard

import (
	"syscall"
	"time"

	"conch/pkg/clock"
	"conch/pkg/proc"
	"conch/pkg/proc/hear"

	"golang.org/x/sys/unix"
)

// run is one command under guard. All of it belongs to one goroutine.
type run struct {
	Guard
	hold     Hold
	tree     *proc.Tree
	failsafe *proc.Failsafe
	began    time.Time

	cause    Cause
	request  syscall.Signal
	asked    time.Time      // when that came
	passed   syscall.Signal // the last one that was passed on to the command alone
	terminal syscall.Signal // the last one that the terminal sent to the whole group
	reached  int
	mark     int32            // behind the signals that came before the command was there
	marked   bool             // they have all been seen
	mourned  bool             // it has been said that something outlives the hold
	halted   bool             // somebody has stopped the command, and not by the terminal
	killAt   <-chan time.Time // set once it has been asked, ...
	killBy   time.Time        // ... for this time; it only comes nearer

	waitTree  bool             // the command has ended when its tree has
	spareOver <-chan time.Time // until then the command's end is taken for an answer to what was passed on
	spareBy   time.Time
	spared    bool
}

// loop serves until the tree is empty, or until the hold has ended and it is not.
func (r *run) loop(deadline clock.Instant, moved <-chan struct{}) proc.Result {
	end := newAlarm(deadline.Add(killLatency))
	defer end.stop()
	near := newAlarm(deadline.Add(-r.LossGrace))
	defer near.stop()
	var overdue <-chan time.Time
	if r.MaxRun > 0 {
		t := time.NewTimer(r.MaxRun)
		defer t.Stop()
		overdue = t.C
	}
	lost, exited, asked := r.hold.Lost(), r.tree.Exited(), r.Asked
	for {
		select {
		case <-r.tree.Done():
			return r.tree.Result()
		case <-exited:
			exited = nil
			r.leave()
		case <-lost:
			lost = nil
			r.lose()
		case <-moved:
			deadline, moved = r.hold.Deadline()
			r.tree.Extend(deadline)
			_ = r.failsafe.Arm(selfKill(deadline)) // it could be armed before
			near.set(deadline.Add(-r.LossGrace))
			end.set(deadline.Add(killLatency))
		case <-near.C:
			if near.due() {
				r.stopFor(Lost, r.stopSignal(), r.LossGrace)
			}
		case <-end.C:
			if end.due() && !r.ends() {
				return r.giveUp()
			}
		case n := <-r.tree.Unkilled():
			r.unkillable(n)
		case <-asked:
			asked = nil
			r.yield()
		case <-overdue:
			r.stopFor(TimedOut, r.stopSignal(), r.KillAfter)
		case <-r.killAt:
			r.kill()
		case <-r.spareOver:
			r.spareOver = nil
			r.tree.Spare(r.killAt != nil)
		case answer := <-r.Pulse:
			answer <- clock.System{}.Now().Before(deadline)
		case s := <-r.Signals:
			r.signal(s)
		case c := <-r.tree.Changes():
			r.follow(c, deadline)
		}
	}
}

func (r *run) stopSignal() syscall.Signal {
	if r.StopSignal != 0 {
		return r.StopSignal
	}
	return syscall.SIGTERM
}

// lose kills: somebody else may already be in our place.
func (r *run) lose() {
	select {
	case <-r.tree.Done(): // it had ended before
		return
	default:
	}
	if !r.over() {
		r.cause = Lost
	}
	r.tree.Lose()
	r.kill()
}

// over reports whether what is to be run has ended; there may be some left of what
// it has started.
func (r *run) over() bool {
	select {
	case <-r.tree.Exited():
		return !r.waitTree
	default:
		return false
	}
}

// yield stops the command because somebody asks for the hold, unless it is being
// stopped, or has ended, as it is.
func (r *run) yield() {
	if r.cause == Finished && !r.over() {
		r.say(Event{Name: "asked"})
		r.stopFor(Asked, r.stopSignal(), r.KillAfter)
	}
}

// stopFor asks everything to end, for a cause. A loss is one also for a command
// that has been asked to end before.
func (r *run) stopFor(why Cause, sig syscall.Signal, grace time.Duration) {
	switch {
	case why != Stopped && r.over():
	case r.cause == Finished, why == Lost:
		r.cause = why
	}
	r.stop(sig, grace)
}

// stop asks everything to end and sets the time of the kill.
func (r *run) stop(sig syscall.Signal, grace time.Duration) {
	r.tree.Spare(true)
	r.reached = r.tree.Ask(sig)
	r.say(Event{Name: "term-sent", Signal: sig, Reached: r.reached})
	// A stopped process acts on TERM only once it goes on.
	r.tree.SignalAll(syscall.SIGCONT)
	if by := time.Now().Add(grace); r.killAt == nil || by.Before(r.killBy) {
		r.killBy, r.killAt = by, time.After(grace)
	}
}

// spare is called before the command is told alone, what may be a request to end:
// if it ends within --kill-after of that, it has been one.
func (r *run) spare() {
	if r.waitTree {
		return
	}
	r.spared = true
	r.tree.Spare(true)
	r.spareBy, r.spareOver = time.Now().Add(r.KillAfter), time.After(r.KillAfter)
}

// leave is called when the command has ended. What it leaves behind has the rest of
// the time that it was given itself, and has to be asked if the command alone was.
func (r *run) leave() {
	switch {
	case r.waitTree, r.killAt != nil, !r.spared:
	case r.spareOver != nil:
		r.spareOver = nil
		r.stop(r.stopSignal(), time.Until(r.spareBy))
	default:
		r.tree.Kill() // the sentinel may have spared it in the last moment
	}
}

// kill kills, and gives the kill the time that the lease still has, and us a moment
// more: then the end is reported as what it is.
func (r *run) kill() {
	r.killAt = nil
	r.tree.Kill()
	deadline, _ := r.hold.Deadline()
	_ = r.failsafe.Arm(deadline.Add(killLatency + lastWord))
	r.say(Event{Name: "kill-sent", Signal: syscall.SIGKILL})
}

func (r *run) say(e Event) {
	if r.Said != nil {
		r.Said(e)
	}
}

// signal acts on a signal that this process got.
func (r *run) signal(s hear.Signal) {
	switch {
	case s.Sig == 0:
		r.marked = r.marked || s.Marked(r.mark)
	case s.FromTerminal() && !r.Several && (r.marked || s.Sig == unix.SIGWINCH):
		r.terminal = s.Sig // it has sent it to the command too; or has the new size, if that came later
	case s.Sig == unix.SIGTSTP:
		r.tree.Signal(s.Sig)
	case r.ignored(s.Sig):
		r.pass(s.Sig) // by us alone: it may have a handler by now
	case s.Sig == unix.SIGTERM || s.Sig == unix.SIGINT:
		r.ask(s)
	default:
		r.passed = s.Sig
		r.pass(s.Sig)
	}
}

// ignored reports whether sig was ignored when this process was started, and is not
// from somebody who has started the command by it.
func (r *run) ignored(sig syscall.Signal) bool { return !r.Several && proc.Ignored(sig) }

// pass passes a signal on to the command alone.
func (r *run) pass(sig syscall.Signal) {
	if requests().Has(sig) {
		r.spare()
	}
	r.tree.Signal(sig)
}

// ask asks everything to end, and kills it when somebody insists.
func (r *run) ask(s hear.Signal) {
	switch {
	case r.request == 0:
		r.request, r.asked = s.Sig, s.At
		r.stopFor(Stopped, s.Sig, r.KillAfter)
	case s.FromOuter(): // who sees to the end of all
	case r.Several, s.At.Sub(r.asked) >= Insist:
		r.kill()
	}
}

// follow does what the command did: when it was stopped, this process stops
// too, so that the shell sees the job as stopped.
func (r *run) follow(c proc.Change, deadline clock.Instant) {
	switch {
	case c.Stopped == 0 && r.halted:
		r.halted = false
		r.say(Event{Name: "continued"})
		return
	case c.Stopped == 0 || r.Signals == nil || r.Several:
		return
	case !byTerminal(c.Stopped): // kill -STOP: the hold is kept meanwhile
		r.halted = true
		r.say(Event{Name: "stopped", Signal: c.Stopped})
		return
	}
	r.say(Event{Name: "suspended", Signal: c.Stopped, Left: deadline.Sub(clock.System{}.Now())})
	proc.StopSelf(c.Stopped)
	r.drain()
	r.tree.Signal(syscall.SIGCONT) // the shell may have continued us alone
	r.say(Event{Name: "resumed"})
}

// drain drops the TSTP that the terminal sent to us as well as to the command:
// left in the queue, it would stop the job that `bg` has just continued.
func (r *run) drain() {
	t := time.NewTimer(20 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case s := <-r.Signals:
			if s.Sig != syscall.SIGTSTP {
				r.signal(s)
			}
		case <-r.tree.Changes(): // stops and continues of before
		case <-t.C:
			return
		}
	}
}

// alarm is a timer for an instant that moves.
type alarm struct {
	*time.Timer
	at clock.Instant
}

func newAlarm(at clock.Instant) *alarm {
	a := &alarm{Timer: time.NewTimer(time.Hour)}
	a.set(at)
	return a
}

func (a *alarm) set(at clock.Instant) {
	a.at = at
	a.Reset(max(0, at.Sub(clock.System{}.Now())))
}

// due reports whether the instant has come. Timers only wake us, and Go's stand
// still in a suspend; the clock decides.
func (a *alarm) due() bool {
	if left := a.at.Sub(clock.System{}.Now()); left > 0 {
		a.Reset(left)
		return false
	}
	return true
}

func (a *alarm) stop() { a.Stop() }
