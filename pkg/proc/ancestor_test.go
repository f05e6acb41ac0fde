package proc

import (
	"os"
	"testing"
)

func TestDescends(t *testing.T) {
	if !Descends(os.Getppid()) {
		t.Error("not from our parent")
	}
	for _, pid := range []int{os.Getpid(), 1 << 30, 0, -1} {
		if Descends(pid) {
			t.Errorf("from %d", pid)
		}
	}
	parent, own := lineage("Name:\tPid: 3\nPid:\t70\nPPid:\t69\nNSpid:\t70\t7\t1\n")
	if parent != "69" || own != "1" {
		t.Errorf("lineage = %s, %s", parent, own)
	}
	if parent, own = lineage("Pid:\t70\nPPid:\t69\n"); parent != "69" || own != "70" {
		t.Errorf("lineage = %s, %s", parent, own)
	}
}
