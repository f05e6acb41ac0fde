package proc

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// subgroup is the path of a cgroup that was made for one tree; "" is none.
type subgroup string

// subgroup makes a cgroup below our own, if that has been delegated to us. It is
// an addition to what kills a tree without one, so no failure is an error.
func (n *nursery) subgroup() subgroup {
	own := ownGroup()
	if own == "" {
		return ""
	}
	for range 8 {
		n.mu.Lock()
		n.groups++ // a number is not used again: a sentinel may come late to remove its own
		g := subgroup(fmt.Sprintf("%s/conch-%d-%d", own, os.Getpid(), n.groups))
		n.mu.Unlock()
		switch unix.Mkdir(string(g), 0o755) {
		case nil:
			return g
		case unix.EEXIST: // left by a process that had our pid
		default:
			return ""
		}
	}
	return ""
}

// kill kills what is in g.
func (g subgroup) kill() {
	if g != "" {
		_ = os.WriteFile(string(g)+"/cgroup.kill", []byte("1"), 0) // occupied says what came of it
	}
}

// occupied reports whether there is a process in g. One that cannot be read has
// been removed.
func (g subgroup) occupied() bool {
	if g == "" {
		return false
	}
	text, err := os.ReadFile(string(g) + "/cgroup.events")
	return err == nil && bytes.Contains(text, []byte("populated 1"))
}

// remove removes g, if it is empty, and what cgroups the tree has made in it.
func (g subgroup) remove() {
	if g == "" {
		return
	}
	for nap := time.Millisecond; nap < 50*time.Millisecond; nap *= 2 {
		if unix.Rmdir(string(g)) != unix.EBUSY || g.occupied() {
			return
		}
		for _, dir := range slices.Backward(directories(string(g))) {
			_ = unix.Rmdir(dir) // seen by the next turn
		}
		time.Sleep(nap)
	}
}

// directories returns those below root, each after the one it lies in.
func directories(root string) (dirs []string) {
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != root {
			dirs = append(dirs, path)
		}
		return nil
	})
	return dirs
}

// ownGroup returns the directory of the cgroup (v2) that this process is in if
// it has been delegated to us, and "" if not. The mounts are read only then, or
// where cgroups are mounted in an unusual place: their list can be long.
func ownGroup() string {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	path, ok := unifiedPath(text)
	if !ok {
		return ""
	}
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var s unix.Statfs_t
		dir := filepath.Join(mount, path)
		if unix.Statfs(dir, &s) == nil && s.Type == unix.CGROUP2_SUPER_MAGIC && !delegated(dir) {
			return ""
		}
	}
	if text, err = os.ReadFile("/proc/self/mountinfo"); err != nil {
		return ""
	}
	for _, dir := range groupDirs(text, path) {
		if delegated(dir) {
			return dir
		}
	}
	return ""
}

// delegated reports whether dir is marked as a cgroup whose processes manage
// what is below it, as systemd does for Delegate=yes. That we may write to it is
// not enough: root may write to all of them.
func delegated(dir string) bool {
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		var value [2]byte
		if n, err := unix.Getxattr(dir, name, value[:]); err == nil && n == 1 && value[0] == '1' {
			return true
		}
	}
	return false
}

// unifiedPath finds the cgroup of the v2 hierarchy in the text of
// /proc/self/cgroup. One outside of our cgroup namespace starts with "/..".
func unifiedPath(text []byte) (string, bool) {
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return path, filepath.IsAbs(path) && filepath.Clean(path) == path
		}
	}
	return "", false
}

// groupDirs returns where, by the text of mountinfo, the v2 cgroup path can be
// reached: below each mount whose root is path or above it. A name that had to
// be escaped is not looked for.
func groupDirs(mounts []byte, path string) (dirs []string) {
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		dash := slices.Index(f, "-")
		if dash < 6 || len(f) < dash+2 || f[dash+1] != "cgroup2" || strings.Contains(f[4], `\`) {
			continue
		}
		rel, err := filepath.Rel(f[3], path)
		if err == nil && filepath.IsLocal(rel) && !strings.Contains(f[3], "..") {
			dirs = append(dirs, filepath.Join(f[4], rel))
		}
	}
	return dirs
}
