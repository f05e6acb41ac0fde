package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"conch/pkg/proc/entry"
	"conch/pkg/proc/hear"
	"conch/pkg/stream"
)

// Main runs a tool as this process, and exits. Entries of internal are run
// instead when the process was started under their name; that is how a helper
// process of our own is made, and no user finds them.
func Main(t Tool, internal ...Tool) {
	hear.Default()
	args := os.Args
	if len(args) == 0 {
		args = []string{t.Name} // execve(2) allows it
	}
	if i := find(internal, filepath.Base(args[0])); i >= 0 {
		t = internal[i]
	}
	stdio := stdio()
	leave(t, stdio, args[1:])
}

func stdio() *Stdio {
	entry.Restore()
	return &Stdio{In: os.Stdin, Out: os.Stdout, Err: stream.New(os.Stderr), Env: os.Environ()}
}

func find(tools []Tool, name string) int {
	return slices.IndexFunc(tools, func(t Tool) bool { return t.Name == name })
}

// lastWords is how long what is said last may take to be written: a terminal may be
// stopped, and a pipe's reader do something else.
const lastWords = 2 * time.Second

// leave runs the tool, reports what comes of it and exits, by the signal that the
// command died of if it did: only so does a shell's loop stop on Ctrl-C. The kernel
// lets no signal kill PID 1, which exits as a shell would.
func leave(t Tool, stdio *Stdio, args []string) {
	f, err := t.run(context.Background(), stdio, args)
	status := f.report(stdio, t, err)
	stream.Of(stdio.Err).Wait(lastWords)
	var dead Signaled
	if errors.As(err, &dead) && t.Raise != nil && os.Getpid() != 1 {
		t.Raise(dead.Signal)
	}
	os.Exit(status)
}

// Exec runs the tool with the arguments after its name, says on io.Err what
// went wrong, and returns the exit status, 128+n for a command that died of
// signal n.
func (t Tool) Exec(ctx context.Context, io *Stdio, args ...string) int {
	f, err := t.run(ctx, io, args)
	return f.report(io, t, err)
}

// completeFlag is what the scripts of --completion call. It is a flag and not
// a word so that it can be no one's NAME.
const completeFlag = "--__complete"

// run runs the tool, and returns the table that it has read its arguments by; nil,
// if it has not.
func (t Tool) run(ctx context.Context, io *Stdio, args []string) (*Flags, error) {
	switch {
	case len(args) > 1 && args[0] == completeFlag:
		return nil, completion{tool: t, io: io, shell: args[1]}.print(ctx, args[2:])
	case len(args) == 0 && (t.Shape != Plain || len(t.Commands) > 0):
		return nil, t.lost(io)
	case len(t.Commands) > 0:
		return t.runCommand(ctx, io, args)
	}
	f, run := t.flags()
	l, err := f.walk(args, t.Shape.words())
	if err != nil {
		return f, t.said(err)
	}
	return f, t.said(t.start(ctx, io, f, l, run))
}

// start acts on a line that could be read.
func (t Tool) start(ctx context.Context, io *Stdio, f *Flags, l line, run Run) error {
	if l.action != nil {
		return l.action.row.act(t, io, l.action.text)
	}
	err := f.resolve(l.given, io.Lookup)
	if f.debugEnv {
		if printErr := f.printEnv(io.Out); printErr != nil {
			return printErr
		}
		return err
	}
	if err != nil {
		return err
	}
	return run(ctx, io, l.args())
}

// runCommand finds the subcommand and runs it with the flags from before its
// word put after it: the subcommand declares them again, bound to its own
// variables.
func (t Tool) runCommand(ctx context.Context, io *Stdio, args []string) (*Flags, error) {
	f, _ := t.flags()
	l, err := f.walk(args, 0)
	switch {
	case err != nil:
		return f, t.said(err)
	case l.action != nil || f.wantsEnv(l):
		return f, t.start(ctx, io, f, l, nil)
	case len(l.command) == 0:
		return f, t.lost(io)
	}
	c, err := t.command(l.command[0])
	if err != nil {
		return f, t.said(err)
	}
	before := args[:len(args)-len(l.command)]
	if l.dashed {
		before = before[:len(before)-1]
	}
	return c.run(ctx, io, slices.Concat(before, l.command[1:]))
}

func (f *Flags) wantsEnv(l line) bool {
	return len(l.command) == 0 && slices.ContainsFunc(l.given, func(g given) bool { return g.row.Name == "debug-env" })
}

// command returns the subcommand of that name.
func (t Tool) command(name string) (Tool, error) {
	all := t.commands()
	i := find(all, name)
	if i < 0 {
		var names []string
		for _, c := range all {
			names = append(names, c.Name)
		}
		return Tool{}, Usagef("unknown command %q%s", name, didYouMean(name, names, t.full()+" "))
	}
	c := all[i]
	c.parent = t.full()
	if c.Raise == nil {
		c.Raise = t.Raise
	}
	return c, nil
}

// lost answers a command line with nothing on it.
func (t Tool) lost(io *Stdio) error {
	if err := print(io.Err, t.brief()); err != nil {
		return err
	}
	return &Exit{Status: Usage}
}

// said puts with a usage error the synopsis that belongs to it: a subcommand's
// own.
func (t Tool) said(err error) error {
	var exit *Exit
	if !errors.As(err, &exit) || !exit.Usage || errors.As(err, new(*misused)) {
		return err
	}
	return &misused{err, t.synopsis(0)}
}

// misused is a usage error with the synopsis that helps.
type misused struct {
	error
	synopsis string
}

func (m *misused) Unwrap() error { return m.error }
