package wrap

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"

	"conch/pkg/cli"
	"conch/pkg/etcd"
	"conch/pkg/guard"
	"conch/pkg/keys"
	"conch/pkg/proc"
	"conch/pkg/proc/hear"
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
	out        *output // nil: the command's is ours
	dog        *watchdog
	signals    *hear.Listener
	began      time.Time
	onceKey    string
	hangUp     func() // ends --listen
	stopped    bool   // a signal has asked us to end
	let        bool   // the caller's descriptors have been let go
	joined     bool   // a turn has been asked for
	ran        bool   // the command has been started, in this turn

	left guard.Survivors // of what was started in this turn

	warden   warden
	standing *proc.Tree // whose sentinel stands by; nil: the warden

	leaving sync.WaitGroup // sentinels that have nothing left to do
	threads sync.WaitGroup // being made, that no command can use up what they need
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
	if o.Output != nil {
		if s.out, err = newOutput(o.Output); err != nil {
			return nil, err
		}
	}
	if o.Once != "" {
		s.onceKey = o.Space.Once(line.Name, o.Once)
	}
	s.dog = o.watchdog(s.report)
	if s.signals, err = hear.Listen(hear.All()); err != nil {
		s.out.close()
		s.hangUp()
		return nil, s.end(err)
	}
	hear.Ignore(hear.Of(syscall.SIGTTIN, syscall.SIGTTOU)) // it is the command that they are for
	s.warden.make = s.prepare
	s.leaving.Go(s.warden.prepare)
	s.threads.Go(proc.Reserve)
	if err := s.connect(ctx); err != nil {
		s.leaving.Wait()
		s.warden.take().Drop()
		s.out.close()
		s.hangUp()
		return nil, s.end(err)
	}
	return s, nil
}

// connect connects, unless a signal comes first.
func (s *Session) connect(ctx context.Context) error {
	if s.Wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.Wait)
		defer cancel()
	}
	return s.interruptible(ctx, func(ctx context.Context) (err error) {
		s.Settings.Survey, s.Settings.Hasty = true, s.NonBlock
		s.Settings.Note = func(text string) { s.report.Warn("%s", text) }
		s.Client, err = s.Settings.Open(ctx)
		return err
	})
}

// Close ends the session, with what it came to, and returns that.
func (s *Session) Close(err error) error {
	s.leaving.Wait()
	s.Client.Close()
	s.warden.take().Drop()
	s.out.close()
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
	s.dog.stop()
	s.report.Say(e)
	s.report.Close()
	s.told = true
	return err
}

// interruptible runs f in a context that a signal ends, and then dies of that
// signal: a wrapper that waits is gone at once.
func (s *Session) interruptible(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	var by syscall.Signal
	for {
		select {
		case sig := <-s.signals.C:
			if guard.Undergo(sig) {
				by = sig.Sig
				cancel()
			}
		case err := <-done:
			if by != 0 {
				s.stopped = true
				return cli.Signaled{Signal: by}
			}
			return err
		}
	}
}
