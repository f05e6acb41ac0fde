package wrap

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"conch/pkg/cli"
	"conch/pkg/fence"
	"conch/pkg/hold"
	"conch/pkg/proc"
)

// outputs are the variables that a command finds; of an outer conch's, the
// inner one's take the place.
var outputs = []string{"CONCH_KIND", "CONCH_NAME", "CONCH_REV", "CONCH_ETCD_KEY", "CONCH_CLUSTER", "CONCH_LEASE", "CONCH_SLOT", fence.HoldsVar}

// environ is the environment of a command: what was inherited, without our own
// settings, and at its end what it may know of the hold.
func (s *Session) environ(t *hold.Turn) []string {
	env := s.under(t.Token())
	if slot, ok := t.Slot(); ok {
		env = append(env, "CONCH_SLOT="+strconv.Itoa(slot))
	}
	return env
}

// under is the environment of a command under t, but for a slot. Where this process
// is under t itself, it is what was inherited.
func (s *Session) under(t fence.Token) []string {
	env := s.flags.Environ(s.stdio.Env)
	for _, outer := range fence.Enclosing(s.stdio.Lookup) {
		if outer.Key == t.Key && outer.Rev == t.Rev {
			return env
		}
	}
	env = slices.DeleteFunc(env, func(entry string) bool {
		key, _, _ := strings.Cut(entry, "=")
		return slices.Contains(outputs, key)
	})
	env = append(env, "CONCH_KIND="+s.kind, "CONCH_NAME="+s.Line.Name)
	env = append(env, t.Env()...)
	return append(env, t.Under(s.stdio.Lookup))
}

// Argv returns the command line, which -c makes a shell's.
func (o *Options) Argv(command []string) []string {
	if o.Shell == "" {
		return command
	}
	argv := []string{"/bin/sh", "-c", o.Shell}
	if len(command) > 0 { // as `sh -c SHELL` has it, $0 comes first
		argv = append(append(argv, "sh"), command...)
	}
	return argv
}

// shown is what others may see of the command line.
func (s *Session) shown() []string {
	switch {
	case s.CmdShown == "none":
		return nil
	case s.CmdShown == "name" && len(s.Argv) > 0:
		return s.Argv[:1]
	}
	return s.Argv
}

// look finds the command before anything is asked of etcd: a command that
// cannot run is no reason to take a turn.
func look(argv []string, stdio *cli.Stdio) ([]string, error) {
	path, ok := stdio.Lookup("PATH")
	if !ok {
		path = "/usr/local/bin:/usr/bin:/bin"
	}
	paths, err := proc.Look(argv[0], path)
	return paths, startError(err)
}

// startError gives the failure to start a command its exit status.
func startError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, proc.ErrNotFound):
		return cli.Errorf(cli.NotFound, "%w", err)
	case errors.Is(err, proc.ErrNotExecutable):
		return cli.Errorf(cli.NotExecutable, "%w", err)
	case errors.As(err, new(*proc.Scarcity)):
		return cli.Errorf(cli.Lost, "%w", err)
	}
	return err
}

// Exec becomes the command, without a hold. It returns only if that fails.
func (o *Options) Exec(argv []string, stdio *cli.Stdio) error {
	paths, err := look(argv, stdio)
	if err != nil {
		return err
	}
	env := o.flags.Environ(stdio.Env)
	for _, path := range paths {
		if err = unix.Exec(path, argv, env); errors.Is(err, syscall.ENOEXEC) {
			err = unix.Exec("/bin/sh", append([]string{"sh", path}, argv[1:]...), env)
		}
	}
	var errno syscall.Errno
	errors.As(err, &errno)
	return startError(proc.ExecError(argv[0], paths, errno))
}
