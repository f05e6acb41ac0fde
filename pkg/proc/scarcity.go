package proc

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Scarcity says that the system does not give this process what it needs. It is no
// fault of the command's, and may pass.
type Scarcity struct {
	Err   error
	Limit string // which limit may be the reason
}

func (s *Scarcity) Error() string { return s.Err.Error() }

func (s *Scarcity) Unwrap() error { return s.Err }

// Hint says what can be done.
func (s *Scarcity) Hint() string { return "the limit may be too low: " + s.Limit }

// Limits that Scarcity names.
const (
	ofProcesses = "of processes, ulimit -u, or the pids or TasksMax of a container or service"
	ofSignals   = "of pending signals, ulimit -i"
	ofFiles     = "of open files, ulimit -n"
	ofMemory    = "of memory, ulimit -v and -d"
)

// scarce makes err a Scarcity if it says that there is too little of something,
// and returns it as it is otherwise. again is the limit that EAGAIN is about.
func scarce(err error, again string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EAGAIN):
		return &Scarcity{err, again}
	case errors.Is(err, unix.EMFILE):
		return &Scarcity{err, ofFiles}
	case errors.Is(err, unix.ENFILE):
		return &Scarcity{err, "of the system's open files, sysctl fs.file-max"}
	case errors.Is(err, unix.ENOMEM):
		return &Scarcity{err, ofMemory}
	}
	return err
}
