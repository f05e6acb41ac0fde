package proc

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// mapUser maps our user and group, as themselves, into the user namespace of
// the process pid. An unprivileged process may map no others, and a group only
// after giving up setgroups.
func mapUser(pid int) error {
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	for _, f := range []struct{ name, text string }{
		{"setgroups", "deny"},
		{"uid_map", fmt.Sprintf("%d %[1]d 1", os.Geteuid())},
		{"gid_map", fmt.Sprintf("%d %[1]d 1", os.Getegid())},
	} {
		if err := os.WriteFile(dir+f.name, []byte(f.text), 0); err != nil {
			return err
		}
	}
	return nil
}

// outerPid returns the pid, as seen from here, of the process that is inner in
// the pid namespace of the sentinel; inner itself if it cannot be found.
func outerPid(sentinel, inner int) int {
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
