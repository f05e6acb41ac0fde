package proc

import (
	"errors"
	"os"

	"conch/pkg/clock"
	"conch/pkg/proc/sentinel"
)

// Cmd is a command to start.
type Cmd struct {
	Args  []string    // argv; Args[0] is the name it was called by
	Paths []string    // the files to try, from Look
	Env   []string    // the complete environment, passed byte for byte
	Stdio [3]*os.File // nil: the stream this process was given, untouched
	Dir   string      // "": this process's

	// Deadline is when the tree is killed unless Extend has moved it; it has
	// to be set. It is the kernel that keeps it, on CLOCK_BOOTTIME.
	Deadline clock.Instant

	// Contain puts the tree in a pid namespace, whose init is the sentinel:
	// the kernel kills all of it when the sentinel dies. It needs root or user
	// namespaces. The command sees other pids than the rest of the system, and
	// in a user namespace set-id programs do not work.
	Contain bool

	// Session gives the command a session of its own, and so a process group:
	// what is sent to this process's does not reach it, and it has no terminal.
	Session bool

	// WaitTree lets what the command leaves behind run to its end, for
	// commands that turn into daemons. Else it is killed when the command has
	// exited.
	WaitTree bool

	// Prepared is what Prepare made of this Cmd, or nil: then Start prepares.
	Prepared *Prepared

	// Epilogue is what the sentinel becomes when the supervisor has died and
	// the tree has been emptied; nil: what Prepared was armed with, or nothing.
	Epilogue *Epilogue

	// Ready, if not nil, is called when all is ready but the command has not
	// been started: from here on the sentinel stands by with the Epilogue, so
	// that another that has stood by can be let go.
	Ready func(*Tree)
}

// name is the command, for messages.
func (c *Cmd) name() string {
	if len(c.Args) == 0 {
		return "sentinel"
	}
	return c.Args[0]
}

// SentinelName is what a sentinel calls itself. A program that it becomes should
// have a name that begins with that: whoever kills the tree that it is in, as an
// outer conch does, leaves it five seconds then, or half a second if it has lost its hold.
const SentinelName = sentinel.Name

// Epilogue is a program to be run in the place of a dead supervisor. It is run
// only when the tree is proven empty, in a process group of its own and once a
// command was started in a session of its own, with /dev/null on its standard
// streams.
type Epilogue struct {
	Path      string   // empty: the program that this process runs, though its file be gone
	Args, Env []string // Args[0] is the name it is called by

	// Stay keeps the sentinel, and so the epilogue, in place after Done until
	// Tree.Dismiss is called: then the supervisor's death between the end of
	// the tree and the end of its own clearing up is covered too.
	Stay bool
}

// Errors of Start and of a Result.
var (
	// ErrSentinel: the sentinel died before the tree did. The tree was killed.
	ErrSentinel = errors.New("the sentinel was killed")
	// ErrLate: the deadline had passed before the command could be started.
	ErrLate = errors.New("the deadline has passed")
)
