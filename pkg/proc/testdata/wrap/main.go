// Wrap runs its arguments as a tree, and ends the way the command did. Tests
// build it with and without -ldflags='-E conch_entry'.
package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"conch/pkg/clock"
	"conch/pkg/proc"
)

func main() {
	paths, err := proc.Look(os.Args[1], os.Getenv("PATH"))
	if err != nil {
		fail(err)
	}
	t, err := proc.Start(&proc.Cmd{Args: os.Args[1:], Paths: paths, Env: os.Environ(), Deadline: clock.System{}.Now().Add(time.Minute)})
	if err != nil {
		fail(err)
	}
	if err := proc.LetGo(); err != nil {
		fail(err)
	}
	r := t.Result()
	if r.Status.Signaled() {
		proc.Raise(r.Status.Signal())
	}
	os.Exit(r.Status.ExitStatus())
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	if errors.Is(err, proc.ErrNotFound) {
		os.Exit(127)
	}
	os.Exit(126)
}
