package wrap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"conch/pkg/cli"
	"conch/pkg/clock"
	"conch/pkg/etcd"
	"conch/pkg/fence"
	"conch/pkg/guard"
	"conch/pkg/proc"
	"conch/pkg/stream"
)

// Sink takes what a command writes to its standard output, in the place of ours. It
// comes into effect as a whole, or not at all.
type Sink interface {
	io.Writer
	// Keep makes it take effect, if the hold that t proves exists.
	Keep(ctx context.Context, c *etcd.Client, t fence.Token) error
	// Close forgets it, unless it was kept.
	Close()
}

// lastWords is how long what was written last may take to be read, once the writers
// are dead: a disk may be slow. Only somebody who was handed the pipe makes it last.
const lastWords = 30 * time.Second

// answers is how long a Sink may take for one thing: its mount may be dead, and a hold
// is not kept for that.
const answers = 5 * time.Second

var errStuck = errors.New("what takes the command's output does not answer")

// output is the pipe between a command and a Sink. It is a pipe, and not the Sink's
// file itself, for many commands do not say when a write has failed: the disk being
// full is ours to see.
type output struct {
	open func() (Sink, error)
	r, w *os.File // w is the command's, and nil once it has it
	sink Sink
	done chan struct{} // closed when all has been read, or cannot be kept
	err  error         // why it cannot

	answers time.Duration
}

func newOutput(open func() (Sink, error)) (*output, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	w.Fd() // makes it blocking, as commands want it
	return &output{open: open, r: r, w: w, done: make(chan struct{}), answers: answers}, nil
}

// start opens the sink, which is filled from then on.
func (o *output) start() error {
	if o == nil {
		return nil
	}
	opened := make(chan error, 1)
	var sink Sink
	go func() { // ends when the file system answers
		var err error
		sink, err = o.open()
		opened <- err
	}()
	select {
	case err := <-opened:
		if err != nil {
			return err
		}
	case <-time.After(o.answers):
		return cli.Errorf(cli.Config, "%w", errStuck)
	}
	o.sink = sink
	go func() { // likewise
		defer close(o.done)
		defer stream.Quiet()() // that a file has its limit is no signal of the command's
		if _, o.err = io.Copy(sink, o.r); o.err != nil {
			o.r.Close() // the command learns of it as of any reader that goes away
		}
	}()
	return nil
}

// started lets go of what is the command's alone now.
func (o *output) started() {
	if o != nil && o.w != nil {
		o.w.Close()
		o.w = nil
	}
}

// stdio is a command's.
func (o *output) stdio() (files [3]*os.File) {
	if o != nil {
		files[1] = o.w
	}
	return files
}

// end returns when all has been read that comes within a time, and why that is not
// all, or could not be kept. The writers are dead. The Sink of which it says that it
// does not answer is in use still; so it may be when ctx ends.
func (o *output) end(ctx context.Context, within time.Duration) error {
	_ = o.r.SetReadDeadline(time.Now().Add(within))
	select {
	case <-o.done:
	case <-time.After(within + o.answers):
		return errStuck
	case <-ctx.Done():
		return ctx.Err()
	}
	if errors.Is(o.err, os.ErrDeadlineExceeded) {
		return errors.New("somebody outside of the command holds its output open")
	}
	return o.err
}

// keep has the sink take effect by a function, and returns what that does. It says
// slow if that takes long: a disk may be slow, and what is written is worth waiting
// for. If ctx ends meanwhile it may still take effect.
func (o *output) keep(ctx context.Context, keep func(context.Context, Sink) error, slow func()) error {
	sink := o.sink
	kept := make(chan error, 1)
	go func() { // ends when the file system answers
		defer stream.Quiet()()
		kept <- keep(ctx, sink)
	}()
	long := time.NewTimer(o.answers)
	defer long.Stop()
	for stopped := ctx.Done(); ; {
		select {
		case err := <-kept:
			return err
		case <-long.C:
			if stopped == nil {
				o.sink = nil // in use still
				return errStuck
			}
			slow()
		case <-stopped: // what waits for etcd alone ends at once
			stopped = nil
			long.Reset(100 * time.Millisecond)
		}
	}
}

// close forgets what was not kept.
func (o *output) close() {
	if o == nil {
		return
	}
	o.started()
	if o.sink != nil && o.end(context.Background(), 0) != errStuck {
		o.sink.Close()
	}
	o.sink = nil
	o.r.Close()
}

// keepOutput makes the output of a command take effect that has succeeded of its
// own accord. How another has ended says all.
func (s *Session) keepOutput(ctx context.Context, t fence.Token, o guard.Outcome) error {
	if s.out == nil {
		return nil
	}
	defer s.out.close()
	if !o.Empty || o.Err != nil || o.Cause == guard.Lost || o.Cause == guard.TimedOut {
		return nil
	}
	err := s.interruptible(ctx, func(ctx context.Context) error { return s.out.end(ctx, lastWords) })
	switch {
	case errors.As(err, new(cli.Signaled)):
		return err
	case err != nil:
	case o.Status.Signaled() || o.Status.ExitStatus() != 0:
		return nil
	case o.Cause == guard.Stopped:
		err = fmt.Errorf("the command was asked to end by %s, and may not have been done", sigName(o.Request))
	case o.Cause == guard.Asked:
		err = errors.New("the command was asked to end, for somebody asked for the turn, and may not have been done")
	}
	if err != nil {
		return cli.Errorf(cli.Failed, "%s: nothing was written: %w", s.Line.Name, err)
	}
	err = s.interruptible(ctx, func(ctx context.Context) error {
		err := s.out.keep(ctx, func(ctx context.Context, sink Sink) error {
			ctx, cancel := context.WithTimeout(ctx, s.DialTimeout)
			defer cancel()
			return sink.Keep(ctx, s.Client, t)
		}, func() {
			s.report.Warn("%s: the command has ended; %v, and the hold is kept until it does", s.Line.Name, errStuck)
		})
		if errors.Is(err, errStuck) {
			s.report.Warn("%s: %v: whether that is written is not known", s.Line.Name, errStuck)
		}
		return err
	})
	return s.Explain(err)
}

// Borrow runs the command under a hold that somebody else has, without a turn of its
// own, and returns what the session comes to. It is for a Sink, which asks at the
// end whether that hold still exists; who has it is the one to kill the command if
// it is lost.
func (s *Session) Borrow(ctx context.Context, t fence.Token) error {
	if err := s.pending(); err != nil {
		return err
	}
	if err := s.out.start(); err != nil {
		return err
	}
	g := s.guard(s.TTL)
	g.Said = s.said(nil)
	g.Started = func(tree *proc.Tree) {
		s.ran = true
		s.report.Say(Event{Event: "child-start", PID: tree.Pid(), Rev: t.Rev})
		s.out.started()
		s.letGo()
	}
	c := s.cmd()
	c.Env = s.dog.environ(s.Options, s.under(t))
	c.Prepared = s.warden.take()
	defer c.Prepared.Drop()
	o, err := s.guarded(g, unheld(clock.System{}.Now().Add(farOff)), c)
	if err == nil {
		err = s.ended(ctx, t, o)
	}
	if err == nil && !o.Empty {
		err = cli.Errorf(cli.Lost, "%s: %v could not be killed", s.Line.Name, s.left)
	}
	return s.result(o, err, nil)
}

// farOff is when nothing that runs now still does.
const farOff = 10 * 365 * 24 * time.Hour
