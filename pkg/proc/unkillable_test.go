package proc

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// freeze freezes a process, but not its children, by a cgroup of the first version:
// until it is thawed, nothing ends it. It stands for one that waits for a disk or a
// mount that is gone, in a sleep that nothing interrupts.
func freeze(t *testing.T, pid int) (thaw func()) {
	t.Helper()
	needRoot(t)
	root := "/sys/fs/cgroup/freezer"
	if !exists(root + "/cgroup.procs") {
		root = t.TempDir()
		if err := unix.Mount("freezer", root, "cgroup", 0, "freezer"); err != nil {
			t.Skipf("WHAT CANNOT BE KILLED IS NOT TESTED: there is no freezer cgroup: %v", err)
		}
		t.Cleanup(func() { unix.Unmount(root, unix.MNT_DETACH) })
	}
	dir, err := os.MkdirTemp(root, "conch-test-")
	if err != nil {
		t.Fatal(err)
	}
	set := func(file, text string) {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0); err != nil {
			t.Error(err)
		}
	}
	set("cgroup.procs", strconv.Itoa(pid))
	set("freezer.state", "FROZEN")
	t.Cleanup(func() {
		set("freezer.state", "THAWED")
		await(t, "an empty cgroup", func() bool { return unix.Rmdir(dir) == nil })
	})
	await(t, "a frozen process", func() bool {
		line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		p, ok := parseStat(line)
		return err == nil && ok && p.state == 'D'
	})
	return func() { set("freezer.state", "THAWED") }
}

// parents is a command of four processes: its own has two children and a grandchild.
const parents = "sleep 1000 & (sleep 1000; :) & wait"

func TestUnkillable(t *testing.T) {
	tree := start(t, parents)
	await(t, "processes", func() bool { return tree.SignalAll(0) == 4 })
	thaw := freeze(t, tree.Pid())
	before := time.Now()
	tree.Kill()
	n := <-tree.Unkilled()
	if time.Since(before) < time.Second || n < 1 {
		t.Errorf("%d processes after %v", n, time.Since(before))
	}
	// Its children are dead although it is not.
	if left := tree.Survivors(); len(left) != 1 || left[0].Pid != tree.Pid() || !left[0].Asleep || left[0].Name != "sh" {
		t.Errorf("%+v", left)
	}
	select {
	case <-tree.Done():
		t.Error("done, but it lives")
	default:
	}
	thaw()
	if r := tree.Result(); !r.Empty || r.Cause != Order {
		t.Errorf("%+v", r)
	}
}

// TestUnkillableOrphans has nobody left but the sentinel to kill.
func TestUnkillableOrphans(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	s := supervised(t, plan{Script: parents, Epilogue: "touch " + mark})
	e := s.started(4)
	thaw := freeze(t, e.Pid)
	s.signal(syscall.SIGKILL)
	await(t, "dead children", func() bool { return len(tagged(s.Tag)) == 1 })
	if exists(mark) {
		t.Error("the epilogue was run beside a living process")
	}
	thaw()
	s.empty()
	await(t, "mark of the epilogue", func() bool { return exists(mark) })
}

// TestUnkillableAdopted has nobody left but the supervisor.
func TestUnkillableAdopted(t *testing.T) {
	s := supervised(t, plan{Script: parents})
	e := s.started(4)
	thaw := freeze(t, e.Pid)
	syscall.Kill(e.Sentinel, syscall.SIGKILL)
	if n := s.next().Unkilled; n < 1 {
		t.Errorf("%d processes", n)
	}
	if left := tagged(s.Tag); len(left) != 1 {
		t.Errorf("%v live", left)
	}
	thaw()
	if end := s.next().End; end == nil || !end.Empty || end.Err != ErrSentinel.Error() {
		t.Errorf("%+v", end)
	}
}

// TestGiveUp leaves the rest to the sentinel.
func TestGiveUp(t *testing.T) {
	tree := start(t, parents)
	await(t, "processes", func() bool { return tree.SignalAll(0) == 4 })
	thaw := freeze(t, tree.Pid())
	tree.Kill()
	<-tree.Unkilled()
	if r := tree.GiveUp(); r.Empty || r.Cause != Order || r.Status.Signal() != syscall.SIGKILL {
		t.Errorf("%+v", r)
	}
	tree.Dismiss() // waits for nothing
	thaw()
	if r := tree.Result(); !r.Empty {
		t.Errorf("%+v", r)
	}
}
