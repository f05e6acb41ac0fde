// Package guard runs a command that never outlives its hold.
//
// Two commands under one hold can overlap only in these cases: both processes
// of the older one's supervision were frozen past the deadline and thawed (or,
// without proc.Cmd.Contain, killed at the same instant); one of its processes
// was in an uninterruptible sleep when the hold ended, or changed its user; or the
// hold itself ended before the deadline that it had promised, and the news has not
// arrived.
//
// Otherwise: when the hold is lost, everything the command started is killed at
// once. When renewals stay out, it gets its stop signal at
//
//	deadline - grace    with grace = min(KillAfter, half of what is usable of the TTL)
//
// and is killed at the deadline, by whichever comes first of this package, the
// sentinel's kernel timer, and the supervisor's own.
package guard

import (
	"errors"
	"syscall"
	"time"

	"conch/pkg/clock"
	"conch/pkg/proc"
	"conch/pkg/proc/hear"
)

// Hold is what a command runs under.
type Hold interface {
	// Lost is closed when the hold is known to be gone.
	Lost() <-chan struct{}
	// Deadline returns when everything under the hold must have ended, and a
	// channel that is closed when that moves. It never moves back.
	Deadline() (clock.Instant, <-chan struct{})
}

// Guard says how a command is stopped.
type Guard struct {
	StopSignal syscall.Signal // the first request to end; 0: TERM
	KillAfter  time.Duration  // from the request to SIGKILL
	LossGrace  time.Duration  // the same, when the deadline comes near; see Grace
	MaxRun     time.Duration  // the command is stopped after this; 0: never

	// Signals are those that this process gets; nil: none, and job control is not
	// followed.
	Signals <-chan hear.Signal
	// Mark, if not nil, is that of a hear.Listener whose signals these are: what came
	// before the command was there, the terminal has not sent to it.
	Mark func() int32
	// Several says that this process runs other commands too: what Signals gives
	// is for this one alone, and job control is not followed.
	Several bool

	// Pulse, if not nil, has each question answered that comes from it: whether the
	// deadline is still to come. No answer means that the command is not guarded.
	Pulse <-chan chan<- bool

	// Asked, if not nil, is closed when somebody asks for the hold: the command is
	// stopped as by a request.
	Asked <-chan struct{}

	// Started, if not nil, is called once the command runs.
	Started func(*proc.Tree)
	// Said, if not nil, is called before each step that a user may want to
	// know of, with stop-signals' names and the like.
	Said func(Event)
}

// Event is a step of a command's supervision.
type Event struct {
	Name    string // "asked": for the hold; "term-sent", "kill-sent", "unkillable", "suspended", "resumed"; "stopped", "continued": the command alone
	Signal  syscall.Signal
	Reached int           // term-sent: how many processes
	Left    time.Duration // suspended: until the deadline

	// unkillable: what has not ended a second after SIGKILL, or by the end of the hold
	Survivors Survivors
	Gone      bool // the hold cannot be kept until they have
}

// Grace returns how long before the deadline a command gets its stop signal,
// where that much of a lease's TTL is usable after a renewal: killAfter, but not
// more than half of it, for renewals need room too.
func Grace(usable, killAfter time.Duration) time.Duration {
	return min(killAfter, usable/2)
}

// Renew returns the interval of renewals with which three in a row may fail
// before a command is stopped for it.
func Renew(usable, killAfter time.Duration) time.Duration {
	return (usable - Grace(usable, killAfter)) / 4
}

// Cause is why a command ended.
type Cause int

const (
	Finished Cause = iota // by itself, or by a signal that it was sent
	Stopped               // it was asked to, by TERM or INT to us
	Asked                 // it was asked to, for somebody asked for the hold
	TimedOut              // MaxRun
	Lost                  // the hold was lost, or about to be
)

// Outcome is how a command ended.
type Outcome struct {
	proc.Result
	Cause   Cause
	Began   time.Time
	Request syscall.Signal // what asked: of Stopped, and of others that were, too
	Reached int            // processes that the last signal to the whole tree reached

	Survivors Survivors // what is left of a tree that is not Empty

	tree *proc.Tree
}

// Dismiss lets the sentinel go. Until then it stands by with the command's
// epilogue, should this process be killed before it has cleared up itself.
func (o Outcome) Dismiss() {
	if o.tree != nil {
		o.tree.Dismiss()
	}
}

// ErrLost means that the hold was lost before the command could be started.
var ErrLost = errors.New("the hold was lost before the command started")

// Run starts c under h and returns when everything it started is proven dead,
// or when that proof has become impossible (Outcome.Empty is false then). c's
// Deadline is set from h. The error is that of proc.Start, or ErrLost.
func (g Guard) Run(h Hold, c proc.Cmd) (Outcome, error) {
	deadline, moved := h.Deadline()
	now := clock.System{}.Now()
	select {
	case <-h.Lost():
		return Outcome{}, ErrLost
	default:
	}
	if !now.Before(deadline.Add(-g.LossGrace)) {
		return Outcome{}, ErrLost
	}
	failsafe, err := proc.NewFailsafe()
	if err != nil {
		return Outcome{}, err
	}
	defer failsafe.Close()
	c.Deadline = deadline
	if err := failsafe.Arm(selfKill(deadline)); err != nil {
		return Outcome{}, err
	}
	tree, err := proc.Start(&c)
	if err != nil {
		if errors.Is(err, proc.ErrLate) {
			err = ErrLost
		}
		return Outcome{}, err
	}
	mark := int32(0)
	if g.Mark != nil {
		mark = g.Mark()
	}
	if g.Started != nil {
		g.Started(tree)
	}
	r := run{Guard: g, hold: h, tree: tree, failsafe: failsafe, began: time.Now(), waitTree: c.WaitTree, mark: mark, marked: g.Mark == nil}
	result := r.loop(deadline, moved)
	if s := result.Status; r.cause == Finished && s.Signaled() && (s.Signal() == r.terminal || s.Signal() == r.passed) {
		r.cause, r.request = Stopped, s.Signal() // Ctrl-C, or a hang-up, was for both of us
	}
	o := Outcome{Result: result, Cause: r.cause, Began: r.began, Request: r.request, Reached: r.reached, tree: tree}
	if !result.Empty {
		o.Survivors = r.survivors(result.Leftover)
	}
	return o, nil
}

// killLatency is what lies between a deadline and the earliest end of the lease.
const killLatency = 200 * time.Millisecond

// selfKill is when the supervisor's own timer fires: late enough that a tree
// killed at the deadline is reported first, early enough that the lease is
// still ours (the deadline lies a whole kill latency before its end).
func selfKill(deadline clock.Instant) clock.Instant {
	return deadline.Add(100 * time.Millisecond)
}
