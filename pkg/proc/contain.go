package proc

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mapUser maps our user and group, as themselves, into the user namespace of
// our child pid. An unprivileged process may map no others, and a group only
// after giving up setgroups.
func mapUser(pid int) error {
	dir, err := procDir(pid)
	if err != nil {
		return err
	}
	for _, f := range []struct{ name, text string }{
		{"setgroups", "deny"},
		{"uid_map", fmt.Sprintf("%d %[1]d 1", os.Geteuid())},
		{"gid_map", fmt.Sprintf("%d %[1]d 1", os.Getegid())},
	} {
		if err := os.WriteFile(dir+"/"+f.name, []byte(f.text), 0); err != nil {
			return err
		}
	}
	return nil
}

// procDir returns where our child pid is in /proc. In a pid namespace that has no
// /proc of its own, as a contained command is in, it has another number there,
// which a pidfd tells.
func procDir(pid int) (string, error) {
	if nativeProc() {
		return "/proc/" + strconv.Itoa(pid), nil
	}
	fd, err := unix.PidfdOpen(pid, 0) // our own child, not reaped: it is no other
	if err != nil {
		return "", os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	text, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if number, ok := strings.CutPrefix(line, "Pid:"); ok {
			return "/proc/" + strings.TrimSpace(number), nil
		}
	}
	return "", errors.New("/proc is another pid namespace's")
}

// outerPid returns the pid, as seen from here, of the process that is inner in
// the pid namespace of the sentinel; inner itself if it cannot be found.
func outerPid(sentinel, inner int) int {
	if !nativeProc() {
		return inner
	}
	for _, p := range processes() {
		if p.parent != sentinel {
			continue
		}
		status, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/status")
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(status), "\nNSpid:")
		line, _, _ := strings.Cut(rest, "\n")
		if f := strings.Fields(line); len(f) > 0 && f[len(f)-1] == strconv.Itoa(inner) {
			return p.pid
		}
	}
	return inner
}
