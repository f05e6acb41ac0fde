package wrap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"conch/pkg/cli"
	"conch/pkg/clock"
	"conch/pkg/guard"
	"conch/pkg/hold"
	"conch/pkg/proc"
	"conch/pkg/stream"
)

// Hold holds the turn without a command: it prints the token and releases when
// standard input ends. Whoever relies on it must end when this process does; so
// that has to be before the deadline, by as much as a command would be given.
func (s *Session) Hold(ctx context.Context, t *hold.Turn) error {
	began := time.Now()
	defer s.standDown()
	if err := s.standBy(s.kept(t)); err != nil {
		_ = s.giveBack(ctx, t, hold.After{})
		return err
	}
	end, err := s.holding(t)
	switch {
	case errors.Is(err, guard.ErrLost):
		// The failsafe is armed, and half of the grace is enough for a word.
		ctx, cancel := context.WithTimeout(ctx, guard.Grace(t.Usable(), s.KillAfter)/2)
		defer cancel()
		why := t.Loss(ctx, s.Space)
		s.sayLost(guard.Outcome{}, why)
		_ = t.Release(ctx, hold.After{})
		return s.lost(guard.Outcome{}, why, "after "+since(began))
	case end != 0:
		s.stopped = true
		err = cli.Signaled{Signal: end}
	}
	s.report.leave()
	after := hold.After{}
	if !asked(t) {
		after.Linger = s.HoldFor - time.Since(began)
	}
	rerr := s.giveBack(ctx, t, after)
	if err != nil {
		return startError(err)
	}
	return s.Explain(rerr)
}

// holding prints the token and waits for what ends the hold: standard input, a
// signal, which it returns, or the loss, which includes that the deadline has
// come near.
func (s *Session) holding(t *hold.Turn) (end syscall.Signal, _ error) {
	failsafe, err := proc.NewFailsafe()
	if err != nil {
		return 0, err
	}
	// It stays armed after a loss: what is left to do then must not take longer.
	grace := guard.Grace(t.Usable(), s.KillAfter)
	s.dog.guards.Store(true)
	defer s.dog.guards.Store(false)
	var ended chan struct{}
	var told <-chan error // what came of printing the token; nobody waits for its reader
	for {
		deadline, moved := t.Deadline()
		left := deadline.Add(-grace).Sub(clock.System{}.Now())
		if left <= 0 {
			return 0, guard.ErrLost
		}
		if err := failsafe.Arm(deadline); err != nil {
			return 0, err
		}
		if ended == nil {
			told = stream.New(s.stdio.Out).Send(fmt.Appendln(nil, t.Token().Rev))
			ended = s.inputEnd()
		}
		near := time.NewTimer(left)
		select {
		case <-moved:
		case answer := <-s.dog.pulse:
			answer <- true
		case <-near.C: // looks again: timers decide nothing
		case err := <-told:
			if told = nil; err != nil {
				return 0, errors.Join(fmt.Errorf("standard output: %w", err), failsafe.Close())
			}
		case <-ended:
			return 0, failsafe.Close()
		case <-t.Lost():
			return 0, guard.ErrLost
		case <-t.Asked():
			s.sayAsked(t)
			return syscall.SIGTERM, failsafe.Close()
		case sig := <-s.signals.C:
			if guard.Undergo(sig) {
				return sig.Sig, failsafe.Close()
			}
		}
		near.Stop()
	}
}

// inputEnd returns a channel that is closed when standard input has ended.
func (s *Session) inputEnd() chan struct{} {
	ended := make(chan struct{})
	go func() { // ends with its stream, or the process
		defer close(ended)
		_, _ = io.Copy(io.Discard, s.stdio.In)
	}()
	return ended
}
