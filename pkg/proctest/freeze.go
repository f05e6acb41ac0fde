// Package proctest, for tests, keeps processes from dying. It stands in for a disk
// or a mount that does not answer, and needs root and the freezer cgroup of Linux,
// the one of the first version: what is frozen there not even SIGKILL ends, where the
// second version lets it die.
package proctest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// usual is where the freezer is mounted if it is.
const usual = "/sys/fs/cgroup/freezer"

// Freezer is a cgroup that is frozen.
type Freezer struct {
	dir   string
	mount string // ours, or empty
}

// Freeze freezes processes; their children stay as they are.
func Freeze(pids ...int) (*Freezer, error) {
	f := new(Freezer)
	if err := f.make(); err != nil {
		return nil, fmt.Errorf("no freezer cgroup: %w", err)
	}
	for _, pid := range pids {
		if err := f.write("cgroup.procs", strconv.Itoa(pid)); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	err := f.write("freezer.state", "FROZEN")
	if err == nil {
		err = await(func() bool {
			text, err := os.ReadFile(f.file("freezer.state"))
			return err == nil && string(text) == "FROZEN\n"
		})
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// make makes the cgroup.
func (f *Freezer) make() (err error) {
	root := usual
	if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
		if f.mount, err = os.MkdirTemp("", "freezer"); err != nil {
			return err
		}
		if err := unix.Mount("freezer", f.mount, "cgroup", 0, "freezer"); err != nil {
			return errors.Join(os.NewSyscallError("mount", err), os.Remove(f.mount))
		}
		root = f.mount
	}
	f.dir, err = os.MkdirTemp(root, stem(os.Getpid()))
	return err
}

// stem begins the names of the cgroups of a process.
func stem(pid int) string { return fmt.Sprintf("conch-test-%d-", pid) }

// Release thaws what a process that has died has left frozen.
func Release(pid int) error {
	left, err := filepath.Glob(filepath.Join(usual, stem(pid)+"*"))
	for _, dir := range left {
		err = errors.Join(err, (&Freezer{dir: dir}).Close())
	}
	return err
}

// Thaw lets the processes go on, or die.
func (f *Freezer) Thaw() error { return f.write("freezer.state", "THAWED") }

// Close thaws the processes and removes the cgroup once they have ended.
func (f *Freezer) Close() error {
	err := f.Thaw()
	if err == nil {
		err = await(func() bool { return unix.Rmdir(f.dir) == nil })
	}
	if f.mount != "" {
		err = errors.Join(err, unix.Unmount(f.mount, 0), os.Remove(f.mount))
	}
	return err
}

func (f *Freezer) file(name string) string { return filepath.Join(f.dir, name) }

func (f *Freezer) write(name, text string) error { return os.WriteFile(f.file(name), []byte(text), 0) }

// await waits until ok.
func await(ok func() bool) error {
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			return errors.New("nothing happened for a minute")
		}
	}
	return nil
}
