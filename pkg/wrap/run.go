package wrap

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"conch/pkg/cli"
	"conch/pkg/clock"
	"conch/pkg/fence"
	"conch/pkg/guard"
	"conch/pkg/hold"
	"conch/pkg/proc"
)

// Loop runs turn after turn with --restart, and once without.
func (s *Session) Loop(turn func() error) error {
	wait := backoffMin
	for {
		began := time.Now()
		err := turn()
		if errors.Is(err, errDone) {
			return nil
		}
		if !s.Restart || s.stopped || final(err) {
			return err
		}
		if time.Since(began) > stable {
			wait = backoffMin
		}
		s.ran = false
		d := wait/2 + rand.N(wait/2+1)
		s.report.Say(Event{Event: "backoff", Delay: d.Seconds(), Reason: reason(err)})
		s.complain(err, d)
		if err := s.interruptible(context.Background(), func(ctx context.Context) error {
			select {
			case <-time.After(d):
			case <-ctx.Done():
			}
			return nil
		}); err != nil {
			return err
		}
		wait = min(3*wait, backoffMax)
	}
}

// Between two turns of --restart; a turn that lasted longer than stable starts
// anew.
const (
	backoffMin = time.Second
	backoffMax = 30 * time.Second
	stable     = time.Minute
)

// final reports whether trying again cannot mend err.
func final(err error) bool {
	switch cli.StatusOf(err) {
	case cli.Usage, cli.Config, cli.Refused, cli.NotFound, cli.NotExecutable:
		return !errors.As(err, new(cli.Ended))
	}
	return false
}

// complain says why --restart tries again, unless it is for the command's own
// end: nobody else will ever say it.
func (s *Session) complain(err error, d time.Duration) {
	if err == nil || s.Quiet || s.Verbose || errors.As(err, new(cli.Ended)) || errors.As(err, new(cli.Signaled)) {
		return
	}
	s.report.Warn("%v; again in %v", err, d.Round(100*time.Millisecond))
}

func reason(err error) string {
	if err == nil {
		return ""
	}
	return cli.JoinLines(err.Error())
}

// Run runs what is to be run under the turn: the on-acquire hook, the command,
// the on-lose hook.
func (s *Session) Run(ctx context.Context, t *hold.Turn) (guard.Outcome, error) {
	s.left = guard.Survivors{}
	if err := s.pending(); err != nil {
		return guard.Outcome{}, err
	}
	if err := s.yield(t); err != nil {
		return guard.Outcome{}, err
	}
	o, err := s.hook("on-acquire", s.OnAcquire, t, t)
	if serr := s.stand(t); err == nil {
		err = serr
	}
	switch {
	case err == nil:
		o, err = s.command(ctx, t)
	case cli.StatusOf(err) == cli.Busy:
		err = fmt.Errorf("%w; the turn was given back", err)
	}
	if s.OnLose != "" {
		if lerr := s.onLose(t); lerr != nil {
			s.warn(lerr)
		}
	}
	return o, err
}

// pending acts on signals that came between two phases: one to end by is returned.
func (s *Session) pending() error {
	for {
		select {
		case sig := <-s.signals.C:
			if guard.Undergo(sig) {
				s.stopped = true
				return cli.Signaled{Signal: sig.Sig}
			}
		default:
			return nil
		}
	}
}

// yield returns, if somebody asks for the turn, the signal that the command would have
// got for that, as what the session ends by.
func (s *Session) yield(t *hold.Turn) error {
	if !asked(t) {
		return nil
	}
	s.sayAsked(t)
	return cli.Signaled{Signal: s.StopSignal}
}

// asked reports whether somebody has asked for the turn.
func asked(t *hold.Turn) bool {
	select {
	case <-t.Asked():
		return true
	default:
		return false
	}
}

// sayAsked says who has asked for the turn.
func (s *Session) sayAsked(t *hold.Turn) {
	s.report.Say(Event{Event: "asked", By: t.AskedBy()})
	if !s.Quiet && !s.Verbose {
		s.report.Mention("%s: asked by %s to give up the turn", s.Line.Name, t.AskedBy())
	}
}

func (s *Session) command(ctx context.Context, t *hold.Turn) (guard.Outcome, error) {
	release, err := s.epilogue(s.kept(t))
	if err == nil {
		err = s.out.start()
	}
	if err != nil {
		return guard.Outcome{}, err
	}
	g := s.guard(t.Usable())
	g.Asked = t.Asked()
	g.Said = s.said(t)
	g.Started = func(tree *proc.Tree) {
		s.ran = true
		s.report.Say(Event{Event: "child-start", PID: tree.Pid(), Rev: t.Token().Rev})
		s.out.started()
		s.letGo()
	}
	env := s.dog.environ(s.Options, s.environ(t))
	c := s.cmd()
	c.Env, c.Epilogue, c.Ready = env, release, s.relieve
	c.Prepared = s.warden.take()
	defer c.Prepared.Drop()
	o, err := s.guarded(g, t, c)
	if err != nil {
		return o, err
	}
	return o, s.ended(ctx, t.Token(), o)
}

// ended notes how the command has ended, and keeps its output where somebody wants
// that.
func (s *Session) ended(ctx context.Context, t fence.Token, o guard.Outcome) error {
	s.stopped = o.Cause == guard.Stopped || o.Request != 0
	s.left = s.left.And(o.Survivors)
	e := Event{Event: "child-exit", Duration: time.Since(o.Began).Seconds()}
	if o.Status.Signaled() {
		e.Signal = sigName(o.Status.Signal())
	} else {
		e.Exit = exit(o.Status.ExitStatus())
	}
	s.report.Say(e)
	return s.keepOutput(ctx, t, o)
}

// guarded runs c under guard, which from then on says whether all is well.
func (s *Session) guarded(g guard.Guard, h guard.Hold, c proc.Cmd) (guard.Outcome, error) {
	started := g.Started
	g.Pulse, g.Signals, g.Mark = s.dog.pulse, s.signals.C, s.signals.Mark
	g.Started = func(tree *proc.Tree) {
		s.dog.guards.Store(true)
		if started != nil {
			started(tree)
		}
	}
	defer s.dog.guards.Store(false)
	s.threads.Wait()
	return g.Run(h, c)
}

// cmd is the command, but for what is known only once there is a turn.
func (s *Session) cmd() proc.Cmd {
	return proc.Cmd{Args: s.Argv, Paths: s.paths, WaitTree: s.WaitTree, Contain: s.Contain, Stdio: s.out.stdio()}
}

// prepare makes the sentinel that waits for the command, and meanwhile stands by.
// Without it nothing is asked of etcd.
func (s *Session) prepare() (p *proc.Prepared, err error) {
	if len(s.Argv) == 0 {
		p, err = proc.StandBy()
	} else {
		c := s.cmd()
		p, err = proc.Prepare(&c)
	}
	switch {
	case err != nil && s.Contain && !errors.As(err, new(*proc.Scarcity)):
		err = cli.Errorf(cli.Config, "--contain: %w", err)
	case err != nil:
		err = cli.Errorf(cli.Lost, "no process can be made that would clear up if conch were killed: %w", err)
	}
	return p, err
}

// letGo gives up the caller's descriptors, now the command's, unless there will
// be another command to hand them to.
func (s *Session) letGo() {
	if s.Restart || s.let {
		return
	}
	s.let = true
	if err := proc.LetGo(); err != nil {
		s.report.Say(Event{Event: "error", Reason: "descriptors: " + err.Error()})
	}
}

// said passes on what guard does with what runs under t; nil: under another's turn.
func (s *Session) said(t *hold.Turn) func(guard.Event) {
	return func(e guard.Event) {
		switch e.Name {
		case "unkillable":
			s.unkillable(t, e)
			return
		case "asked":
			s.sayAsked(t)
			return
		}
		s.report.Say(Event{Event: e.Name, Signal: sigName(e.Signal), Reached: e.Reached})
		if e.Name == "suspended" {
			s.report.Warn("%s: suspended; the hold ends, and the command with it, in %v unless it goes on", s.Line.Name, e.Left.Round(100*time.Millisecond))
		}
	}
}

// unkillable tells everybody that something does not end.
func (s *Session) unkillable(t *hold.Turn, e guard.Event) {
	left := e.Survivors
	s.report.Say(Event{Event: e.Name, Left: left.Count, Reason: left.String()})
	switch {
	case t == nil:
		s.report.Warn("%s: %v cannot be killed", s.Line.Name, left)
		return
	case e.Gone:
		s.report.Warn("%s: %v cannot be killed, and may go on beside the next holder", s.Line.Name, left)
		return
	case left.Count == 1:
		s.report.Warn("%s: %v cannot be killed; the hold is kept until it has ended", s.Line.Name, left)
	default:
		s.report.Warn("%s: %v cannot be killed; the hold is kept until they have ended", s.Line.Name, left)
	}
	s.leaving.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), s.DialTimeout) // it is no part of what ends the run
		defer cancel()
		_ = t.NoteUnkilled(ctx, left.Count) // a comfort
	})
}

// onLose runs the on-lose hook. The hold may be gone by then; the hook is
// bounded by its timeout only.
func (s *Session) onLose(t *hold.Turn) error {
	_, err := s.hook("on-lose", s.OnLose, t, unheld(clock.System{}.Now().Add(s.HookTimeout+s.KillAfter+time.Minute)))
	return err
}

// unheld is a hold that is not lost before a deadline far off.
type unheld clock.Instant

func (u unheld) Lost() <-chan struct{}                      { return nil }
func (u unheld) Deadline() (clock.Instant, <-chan struct{}) { return clock.Instant(u), nil }

// hook runs one hook, which is a tree of its own under the same rules. Its
// output goes to standard error: standard output is the command's.
func (s *Session) hook(name, script string, t *hold.Turn, h guard.Hold) (guard.Outcome, error) {
	if script == "" {
		return guard.Outcome{}, nil
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return guard.Outcome{}, err
	}
	defer null.Close()
	left := t.Remains()
	if s.ran {
		left = s.kept(t)
	}
	release, err := s.epilogue(left)
	if err != nil {
		return guard.Outcome{}, err
	}
	g := guard.Guard{KillAfter: s.KillAfter, MaxRun: s.HookTimeout, LossGrace: guard.Grace(t.Usable(), s.KillAfter), Said: s.said(t)}
	if name == "on-acquire" { // the other comes with the end of the turn
		g.Asked, g.StopSignal = t.Asked(), s.StopSignal
	}
	o, err := s.guarded(g, h, proc.Cmd{
		Args: []string{"/bin/sh", "-c", script}, Paths: []string{"/bin/sh"},
		Env:   s.environ(t),
		Stdio: [3]*os.File{null, os.Stderr, os.Stderr}, Epilogue: release, Ready: s.relieve,
	})
	s.left = s.left.And(o.Survivors)
	switch {
	case err != nil:
		return o, err
	case o.Cause == guard.Lost:
		return o, guard.ErrLost
	case o.Cause == guard.Stopped:
		s.stopped = true
		return o, cli.Signaled{Signal: o.Request}
	case o.Cause == guard.Asked:
		s.stopped = o.Request != 0
		return o, cli.Signaled{Signal: s.StopSignal}
	case o.Cause == guard.TimedOut:
		return o, cli.Errorf(cli.Busy, "%s: --%s was killed after --hook-timeout %v", s.Line.Name, name, s.HookTimeout)
	case o.Status.Signaled():
		return o, cli.Errorf(cli.Busy, "%s: --%s died of %s", s.Line.Name, name, sigName(o.Status.Signal()))
	case o.Status.ExitStatus() != 0:
		return o, cli.Errorf(cli.Busy, "%s: --%s failed with status %d", s.Line.Name, name, o.Status.ExitStatus())
	}
	return o, nil
}

// warn tells of a failure that changes no status, even without -v.
func (s *Session) warn(err error) {
	s.report.Say(Event{Event: "error", Reason: err.Error()})
	if !s.Quiet && !s.Verbose {
		s.report.Warn("%v", err)
	}
}

// sigName is a signal as kill(1) names it.
func sigName(s syscall.Signal) string {
	if s == 0 {
		return ""
	}
	if name := unix.SignalName(s); name != "" {
		return strings.TrimPrefix(name, "SIG")
	}
	return fmt.Sprintf("%d", int(s))
}
