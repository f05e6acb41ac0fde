package wrap

import (
	"context"
	"errors"
	"time"

	"conch/pkg/cli"
	"conch/pkg/etcd"
	"conch/pkg/guard"
	"conch/pkg/hold"
	"conch/pkg/lease"
)

// Join is how a turn is taken; it is hold.Join for an office.
type Join func(context.Context, *etcd.Client, hold.Request) (*hold.Turn, error)

// errDone means that --once has nothing left to do.
var errDone = errors.New("done before")

// Take waits for the turn.
func (s *Session) Take(ctx context.Context, join Join) (*hold.Turn, error) {
	waiting := ctx
	if s.Wait > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, s.Wait-time.Since(s.began))
		defer cancel()
	}
	line := s.waitingLine(ctx)
	defer line.clear()
	var turn *hold.Turn
	err := s.interruptible(waiting, func(ctx context.Context) (err error) {
		if err = s.skipIfDone(ctx); err != nil {
			return err
		}
		if !s.joined {
			if err = s.endless(ctx); err != nil {
				return err
			}
			s.joined = true
		}
		ctx, over := s.Client.Surveyed(ctx)
		turn, err = join(ctx, s.Client, s.request(line))
		if unfit := over(); unfit != nil {
			return unfit
		}
		return err
	})
	if turn != nil && err != nil { // a signal came just then
		s.giveBack(ctx, turn, hold.After{})
		s.standDown()
	}
	if err != nil {
		return nil, s.refusal(err, line)
	}
	s.report.took(turn)
	s.noteTimings(turn)
	if s.onceKey == "" {
		return turn, nil
	}
	if err := s.interruptible(ctx, s.skipIfDone); err != nil {
		s.giveBack(ctx, turn, hold.After{})
		s.standDown()
		return nil, s.Explain(err)
	}
	return turn, nil
}

func (s *Session) request(line *waitingLine) hold.Request {
	who := hold.Self(s.shown())
	who.Value = s.Publish
	return hold.Request{
		Standby: s.standBy,
		Line:    s.Line, Holder: who, TTL: s.TTL,
		Renew:    func(usable time.Duration) time.Duration { return guard.Renew(usable, s.KillAfter) },
		NonBlock: s.NonBlock, Linger: s.HoldFor > 0, LockDelay: s.LockDelay, Contact: s.DialTimeout,
		OnWait: func(p hold.Place) {
			s.report.Say(place(p))
			line.show(p)
		},
	}
}

// noteTimings tells where the timings are not what was asked for.
func (s *Session) noteTimings(t *hold.Turn) {
	if margin, version := t.Unverified(); margin > 0 {
		s.report.Note("etcd %s cannot verify a renewal, so %v of --ttl %v are given away (not with %s)", version, margin, s.TTL, etcd.Verifying)
	}
	if grace := guard.Grace(t.Usable(), s.KillAfter); grace < s.KillAfter {
		s.report.Note("should the hold be lost, --kill-after is %v and not %v: half of what is usable of --ttl %v", grace, s.KillAfter, s.TTL)
	}
}

// skipIfDone returns errDone if --once has been satisfied by somebody.
func (s *Session) skipIfDone(ctx context.Context) error {
	if s.onceKey == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.DialTimeout)
	defer cancel()
	done, err := hold.WasDone(ctx, s.Client, s.onceKey)
	if err == nil && done {
		s.report.Say(Event{Event: "skipped", Reason: "done before"})
		return errDone
	}
	return err
}

// refusal says why there is no turn.
func (s *Session) refusal(err error, line *waitingLine) error {
	var busy *hold.Busy
	var short *lease.TooShort
	var asked *hold.Asked
	switch {
	case errors.Is(err, errDone):
		return err
	case errors.As(err, &busy):
		s.report.Say(Event{Event: "busy", Reason: busy.Error()})
		return s.conflict("%s: %w", s.Line.Name, err)
	case errors.As(err, &asked):
		s.report.Say(Event{Event: "asked", By: asked.By})
		return s.conflict("%s: %w", s.Line.Name, err)
	case errors.As(err, &short):
		return cli.Errorf(cli.Config, "--%w", short)
	case errors.Is(err, context.DeadlineExceeded):
		s.report.Say(Event{Event: "busy", Reason: "waited " + s.Wait.String()})
		return s.conflict("%s: no turn within %v%s", s.Line.Name, s.Wait, line.why())
	}
	return s.Explain(err)
}
