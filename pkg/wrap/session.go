package wrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"conch/pkg/cli"
	"conch/pkg/etcd"
	"conch/pkg/guard"
	"conch/pkg/hold"
	"conch/pkg/keys"
	"conch/pkg/proc"
)

// Session is one run of a wrapping tool: a command, a name, and the road to
// etcd.
type Session struct {
	*Options
	Client *etcd.Client
	Line   keys.Line
	Argv   []string

	kind, tool string
	stdio      *cli.Stdio
	paths      []string
	report     *Reporter
	signals    *guard.Listener
	began      time.Time
	onceKey    string
	hangUp     func() // ends --listen
	stopped    bool   // a signal has asked us to end
	let        bool   // the caller's descriptors have been let go
	ran        bool   // the command has been started, in this turn
}

// Open prepares a session: everything that can be found wrong is, before etcd
// is asked for anything. argv may be empty, for --hold.
func Open(ctx context.Context, o *Options, tool, kind string, line keys.Line, argv []string, stdio *cli.Stdio) (*Session, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	s := &Session{Options: o, Line: line, Argv: argv, kind: kind, tool: tool, stdio: stdio, began: time.Now(), hangUp: func() {}}
	var err error
	if len(argv) > 0 {
		if s.paths, err = look(argv, stdio); err != nil {
			return nil, err
		}
	}
	if s.report, err = o.reporter(tool, line.Name, stdio); err != nil {
		return nil, err
	}
	if o.Listen != "" {
		if s.hangUp, err = s.report.listen(o.Listen); err != nil {
			return nil, err
		}
	}
	if o.Once != "" {
		s.onceKey = o.Space.Once(line.Name, o.Once)
	}
	s.signals = guard.Listen()
	if err := s.connect(ctx); err != nil {
		s.hangUp()
		return nil, s.end(err)
	}
	return s, nil
}

// connect connects, unless a signal comes first.
func (s *Session) connect(ctx context.Context) error {
	return s.interruptible(ctx, func(ctx context.Context) (err error) {
		s.Client, err = s.Settings.Open(ctx)
		return err
	})
}

// Close ends the session, with what it came to, and returns that.
func (s *Session) Close(err error) error {
	s.Client.Close()
	s.hangUp()
	return s.end(err)
}

// end reports how the session ended, in the words that tell our exit from the
// command's.
func (s *Session) end(err error) error {
	e := Event{Event: "exit", Exit: exit(cli.StatusOf(err)), By: "conch"}
	var signaled cli.Signaled
	var exit *cli.Exit
	switch {
	case errors.As(err, &signaled):
		e.Signal = sigName(signaled.Signal)
	case errors.As(err, &exit) && exit.Err == nil: // its reason has been reported
	default:
		e.Reason = reason(err)
	}
	if s.ran && (err == nil || errors.As(err, new(cli.Ended)) || errors.As(err, &signaled)) {
		e.By, e.Reason = "command", ""
	}
	s.report.Say(e)
	return err
}

// interruptible runs f in a context that a signal ends, and then dies of that
// signal: a wrapper that waits is gone at once.
func (s *Session) interruptible(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	var by os.Signal
	for {
		select {
		case sig := <-s.signals.C:
			switch {
			case sig == syscall.SIGTSTP:
				proc.StopSelf(syscall.SIGTSTP)
			case guard.IsRequest(sig):
				by = sig
				cancel()
			}
		case err := <-done:
			if by != nil {
				s.stopped = true
				return cli.Signaled{Signal: by.(syscall.Signal)}
			}
			return err
		}
	}
}

// Join is how a turn is taken; it is hold.Join for an office.
type Join func(context.Context, *etcd.Client, hold.Request) (*hold.Turn, error)

// errDone means that --once has nothing left to do.
var errDone = errors.New("done before")

// Take waits for the turn.
func (s *Session) Take(ctx context.Context, join Join) (*hold.Turn, error) {
	if s.Wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.Wait-time.Since(s.began))
		defer cancel()
	}
	line := s.waitingLine(ctx)
	defer line.clear()
	var turn *hold.Turn
	err := s.interruptible(ctx, func(ctx context.Context) (err error) {
		if err = s.skipIfDone(ctx); err != nil {
			return err
		}
		turn, err = join(ctx, s.Client, s.request(line))
		return err
	})
	if turn != nil && err != nil { // a signal came just then
		_ = turn.Release(ctx, hold.After{})
	}
	if err != nil {
		return nil, s.refusal(err, line)
	}
	s.report.Say(Event{Event: "acquired", Rev: turn.Token().Rev})
	if err := s.skipIfDone(ctx); err != nil {
		_ = turn.Release(ctx, hold.After{})
		return nil, s.Explain(err)
	}
	return turn, nil
}

func (s *Session) request(line *waitingLine) hold.Request {
	return hold.Request{
		Line: s.Line, Holder: hold.Self(s.Argv), TTL: s.TTL,
		Renew:    guard.Renew(s.TTL, s.KillAfter),
		NonBlock: s.NonBlock, LockDelay: s.LockDelay, Contact: s.DialTimeout,
		OnWait: func(p hold.Place) {
			s.report.Say(place(p))
			line.show(p)
		},
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
	switch {
	case errors.Is(err, errDone):
		return err
	case errors.As(err, &busy):
		s.report.Say(Event{Event: "busy", Reason: busy.Error()})
		return s.conflict("%s: %w", s.Line.Name, err)
	case errors.Is(err, context.DeadlineExceeded):
		s.report.Say(Event{Event: "busy", Reason: "waited " + s.Wait.String()})
		return s.conflict("%s: no turn within %v%s", s.Line.Name, s.Wait, line.why())
	}
	return s.Explain(err)
}

// Release gives the turn up after an outcome, and turns the two into the
// session's result.
func (s *Session) Release(ctx context.Context, t *hold.Turn, o guard.Outcome, err error) error {
	after := hold.After{}
	if err == nil && o.Cause == guard.Finished {
		if s.HoldFor > 0 {
			after.Linger = s.HoldFor - time.Since(o.Began)
		}
		if s.onceKey != "" && o.Status.Exited() && o.Status.ExitStatus() == 0 {
			after.Done, after.Value = s.onceKey, doneMarker()
		}
	}
	if err == nil && !o.Empty { // somebody may still be alive: let the lease say when it is over
		t.Abandon()
		o.Dismiss()
		return cli.Errorf(cli.Lost, "%s: %d processes could not be killed (they run as another user); the hold is left to lapse", s.Line.Name, o.Leftover)
	}
	var why error
	select {
	case <-t.Lost():
		why = t.Loss(context.WithoutCancel(ctx), s.Space)
	default:
	}
	if why != nil || errors.Is(err, guard.ErrLost) || o.Cause == guard.Lost {
		s.sayLost(o, why)
	}
	s.report.leave()
	rerr := t.Release(ctx, after)
	o.Dismiss()
	s.report.Say(Event{Event: "released"})
	if err == nil && after.Done != "" && rerr != nil {
		return s.Explain(fmt.Errorf("%s: the command succeeded, but --once %s could not be recorded: %w", s.Line.Name, s.Once, rerr))
	}
	return s.result(o, err, why)
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
	e := Event{Event: "lost", Reason: cause(why)}
	if !o.Began.IsZero() {
		e.Duration = time.Since(o.Began).Seconds()
	}
	s.report.Say(e)
}

// lost is the error for a loss.
func (s *Session) lost(o guard.Outcome, why error, when string) error {
	return s.loud(cli.Lost, fmt.Errorf("lost %s %s: %s%s", s.Line.Name, when, cause(why), stopped(o)))
}

func cause(why error) string {
	if why == nil {
		return "no keepalive was answered in time"
	}
	return why.Error()
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
