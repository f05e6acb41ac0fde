package wrap

import (
	"context"
	"fmt"
	"io"
	"syscall"
	"time"

	"conch/pkg/cli"
	"conch/pkg/guard"
	"conch/pkg/hold"
	"conch/pkg/proc"
)

// Hold holds the turn without a command: it prints the token and releases when
// standard input ends. Whoever relies on it must end when this process does.
func (s *Session) Hold(ctx context.Context, t *hold.Turn) error {
	began := time.Now()
	failsafe, err := proc.NewFailsafe()
	if err != nil {
		return err
	}
	defer failsafe.Close()
	if _, err := fmt.Fprintln(s.stdio.Out, t.Token().Rev); err != nil {
		return s.Release(ctx, t, guard.Outcome{}, fmt.Errorf("standard output: %w", err))
	}
	ended := make(chan struct{})
	go func() { // ends with its stream, or the process
		_, _ = io.Copy(io.Discard, s.stdio.In)
		close(ended)
	}()
	var result error
	for over := false; !over; {
		deadline, moved := t.Deadline()
		_ = failsafe.Arm(deadline.Add(100 * time.Millisecond))
		select {
		case <-moved:
			continue
		case <-ended:
		case <-t.Lost():
			result = guard.ErrLost
		case sig := <-s.signals.C:
			if !guard.IsRequest(sig) {
				continue
			}
			s.stopped = true
			result = cli.Signaled{Signal: sig.(syscall.Signal)}
		}
		over = true
	}
	_ = failsafe.Disarm()
	if result == guard.ErrLost {
		why := t.Loss(ctx, s.Space)
		s.sayLost(guard.Outcome{}, why)
		_ = t.Release(ctx, hold.After{})
		return s.lost(guard.Outcome{}, why, "after "+since(began))
	}
	s.report.leave()
	err = t.Release(ctx, hold.After{Linger: s.HoldFor - time.Since(began)})
	s.report.Say(Event{Event: "released"})
	if result != nil {
		return result
	}
	return s.Explain(err)
}
