package runner

import (
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"conch/pkg/proc"
)

// BecomeName is what the helper is started as that becomes a user and then the
// command: see Become.
const BecomeName = "conch-become"

// become lets c be run by who, if that is another user.
func (r *running) become(c *proc.Cmd, who *user.User) {
	if who == nil || isSelf(who) {
		return
	}
	c.Args = slices.Concat([]string{BecomeName, who.Username, c.Dir, strconv.Itoa(len(c.Paths))}, c.Paths, c.Args)
	c.Paths = []string{selfExe}
	c.Dir = "/" // the user's may not be root's to enter, on a network's file system
}

// Become becomes a user, with that user's groups, goes to a directory, and
// becomes the command. args are the user's name, the directory, how many files to
// try, those, and the command's arguments. It returns only if that fails.
func Become(args, env []string) error {
	if len(args) < 4 {
		return fmt.Errorf("%s is started by conch itself", BecomeName)
	}
	name, dir, rest := args[0], args[1], args[3:]
	n, err := strconv.Atoi(args[2])
	if err != nil || n < 0 || n >= len(rest) {
		return fmt.Errorf("%s is started by conch itself", BecomeName)
	}
	paths, argv := rest[:n], rest[n:]
	if err := becomeUser(name); err != nil {
		return fmt.Errorf("become %s: %w", name, err)
	}
	// The kernel forgets it when the user changes.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	if err := unix.Chdir(dir); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	errno := syscall.ENOENT
	for _, path := range paths {
		errors.As(unix.Exec(path, argv, env), &errno)
	}
	return proc.ExecError(argv[0], paths, errno)
}

// unbecome is why Become has failed, of a command that was to be another user's: what it has
// said then is all that was written. Empty: it has not failed.
func unbecome(status syscall.WaitStatus, output string) string {
	if !status.Exited() || status.ExitStatus() != 126 && status.ExitStatus() != 127 {
		return ""
	}
	why, ok := strings.CutPrefix(strings.TrimSuffix(output, "\n"), BecomeName+": ")
	if !ok || strings.Contains(why, "\n") {
		return ""
	}
	return why
}

func becomeUser(name string) error {
	u, err := lookupUser(name)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	var ids []string
	if _, err := user.LookupId(u.Uid); !isNobody(err) { // else no group knows of it
		if ids, err = u.GroupIds(); err != nil {
			return err
		}
	}
	groups := make([]int, 0, len(ids))
	for _, id := range ids {
		if n, err := strconv.Atoi(id); err == nil {
			groups = append(groups, n)
		}
	}
	if err := syscall.Setgroups(groups); err != nil {
		return err
	}
	if err := syscall.Setgid(gid); err != nil {
		return err
	}
	return syscall.Setuid(uid)
}

// giveTo lets a user open the command's output anew, by /dev/stderr say.
func (o *output) giveTo(who *user.User) {
	uid, err := strconv.Atoi(who.Uid)
	if err == nil {
		_ = o.w.Chown(uid, -1) // else it is root's, and open all the same
	}
}
