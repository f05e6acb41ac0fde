package proc

import (
	"errors"
	"os"

	"conch/pkg/clock"
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
	// the tree has been emptied; nil: nothing.
	Epilogue *Epilogue
}

// Epilogue is a program to be run in the place of a dead supervisor. It is run
// only when the tree is proven empty, in a session of its own, with /dev/null
// on its standard streams.
type Epilogue struct {
	Path      string
	Args, Env []string

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
