package wrap

import (
	"fmt"
	"strings"

	"conch/pkg/cli"
)

// Mode is one thing that a tool can do instead of a command.
type Mode[Do any] struct {
	Flag string
	On   bool
	Do   Do

	// Named says that a command is not to be run: it makes the name that the mode
	// is about.
	Named bool
	// Runs says that a command may be given all the same, and is run.
	Runs bool
}

// PickMode returns the one mode that is asked for, or the zero Mode for a
// command. It refuses a line that asks for two things, or for none.
func PickMode[Do any](modes []Mode[Do], argv []string) (picked Mode[Do], _ error) {
	var asked []string
	for _, m := range modes {
		if m.On {
			asked = append(asked, m.Flag)
			picked = m
		}
	}
	switch {
	case len(asked) > 1:
		return picked, cli.Usagef("%s ask for different things; use one of them", strings.Join(asked, " and "))
	case len(asked) == 1 && len(argv) > 0 && !picked.Named && !picked.Runs:
		return picked, cli.Usagef("%s runs no command, but one is given: %s", asked[0], argv[0])
	case len(asked) == 0 && len(argv) == 0:
		return picked, cli.Usagef("no command is given")
	}
	return picked, nil
}

// CheckHold refuses what --hold, which runs no command, cannot do.
func (o *Options) CheckHold() error {
	switch {
	case o.Plain:
		return cli.Usagef("--if-configured is about a command and --hold runs none; use one of them")
	case o.Restart || o.Once != "" || o.MaxRun > 0 || o.OnAcquire != "" || o.OnLose != "" || o.WaitTree || o.Contain:
		return cli.Usagef("--hold runs no command; --restart, --once, --max-run, --wait-tree, --contain and hooks are about one")
	}
	return nil
}

// SayUnheld answers an eviction of nobody: what was asked for is so.
func (o *Options) SayUnheld(stdio *cli.Stdio, name string) error {
	if o.Quiet {
		return nil
	}
	_, err := fmt.Fprintf(stdio.Out, "%s: nobody held it\n", name)
	return err
}
