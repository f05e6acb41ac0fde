package proc

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"conch/pkg/proctest"
)

// freeze freezes a process, but not its children, until it is thawed.
func freeze(t *testing.T, pid int) (thaw func()) {
	t.Helper()
	needRoot(t)
	f, err := proctest.Freeze(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return func() {
		if err := f.Thaw(); err != nil {
			t.Error(err)
		}
	}
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
