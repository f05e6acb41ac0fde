package wrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"conch/pkg/cli"
	"conch/pkg/etcd"
	"conch/pkg/guard"
	"conch/pkg/hold"
)

// Release gives the turn up after an outcome, and turns the two into the
// session's result.
func (s *Session) Release(ctx context.Context, t *hold.Turn, o guard.Outcome, err error) error {
	defer s.standDown()
	after := hold.After{}
	if s.ran && s.HoldFor > 0 && o.Cause != guard.Lost && !asked(t) {
		after.Linger = s.HoldFor - time.Since(o.Began)
	}
	if err == nil && o.Cause == guard.Finished {
		if s.onceKey != "" && o.Status.Exited() && o.Status.ExitStatus() == 0 {
			after.Done, after.Value = s.onceKey, doneMarker()
		}
	}
	var why error
	if errors.Is(err, guard.ErrLost) || o.Cause == guard.Lost {
		why = t.Loss(ctx, s.Space)
		s.sayLost(o, why)
	}
	s.report.leave()
	if s.left.Count > 0 { // somebody is alive: let the lease say when it is over
		t.Abandon()
		if why != nil {
			return s.loud(cli.Lost, fmt.Errorf("lost %s after %s: %w; %v could not be killed", s.Line.Name, since(o.Began), why, s.left))
		}
		return cli.Errorf(cli.Lost, "%s: %v could not be killed; the hold is left to lapse", s.Line.Name, s.left)
	}
	rerr := s.giveBack(ctx, t, after)
	if err == nil && after.Done != "" && rerr != nil {
		return s.Explain(fmt.Errorf("%s: the command succeeded, but --once %s could not be recorded: %w", s.Line.Name, s.Once, rerr))
	}
	return s.result(o, err, why)
}

// giveBack releases the turn, and says so, or that it was not.
func (s *Session) giveBack(ctx context.Context, t *hold.Turn, after hold.After) error {
	err := t.Release(ctx, after)
	if errors.As(err, new(*etcd.Unfit)) { // which is said where it matters
		err = errors.New("its etcd has been replaced")
	}
	if err != nil {
		s.warn(fmt.Errorf("%s: not released, it ends with its lease: %w", s.Line.Name, err))
		return err
	}
	s.report.Say(Event{Event: "released"})
	return nil
}

func doneMarker() string {
	self := hold.Self(nil)
	b, err := json.Marshal(hold.Done{Host: self.Host, PID: self.PID, At: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		panic("wrap: " + err.Error())
	}
	return string(b)
}

// result turns how the command ended into an exit status.
func (s *Session) result(o guard.Outcome, err, why error) error {
	switch {
	case errors.Is(err, guard.ErrLost):
		when := "before the command started"
		if !o.Began.IsZero() {
			when = "during --on-acquire"
		}
		return s.lost(guard.Outcome{}, why, when)
	case err != nil:
		return startError(err)
	case o.Cause == guard.Lost:
		return s.lost(o, why, "after "+since(o.Began))
	case o.Err != nil:
		return cli.Errorf(cli.Lost, "%s: %w; the command was killed", s.Line.Name, o.Err)
	case o.Cause == guard.TimedOut:
		return s.loud(cli.Timeout, fmt.Errorf("%s: stopped after --max-run %v", s.Line.Name, s.MaxRun))
	case o.Status.Signaled():
		return cli.Signaled{Signal: o.Status.Signal()}
	case o.Status.ExitStatus() != 0:
		return cli.Ended{Code: o.Status.ExitStatus()}
	}
	return nil
}

// sayLost reports a loss.
func (s *Session) sayLost(o guard.Outcome, why error) {
	e := Event{Event: "lost", Reason: why.Error()}
	if !o.Began.IsZero() {
		e.Duration = time.Since(o.Began).Seconds()
	}
	s.report.Say(e)
}

// lost is the error for a loss.
func (s *Session) lost(o guard.Outcome, why error, when string) error {
	return s.loud(cli.Lost, fmt.Errorf("lost %s %s: %w%s", s.Line.Name, when, why, stopped(o)))
}

// stopped says what was stopped.
func stopped(o guard.Outcome) string {
	switch n := max(o.Killed, o.Reached-1); {
	case o.Began.IsZero():
		return ""
	case n == 1:
		return "; stopped the command and 1 descendant"
	case n > 1:
		return fmt.Sprintf("; stopped the command and %d descendants", n)
	}
	return "; stopped the command"
}

// loud is an error with a status that --quiet silences.
func (s *Session) loud(status int, err error) error {
	if s.Quiet {
		return &cli.Exit{Status: status}
	}
	return cli.Errorf(status, "%w", err)
}

// since is the time that has passed since t, to the second, or finer when it is
// short.
func since(t time.Time) string {
	d := time.Since(t)
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
