package wrap

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"conch/pkg/proc"
)

// A sentinel that somebody kills is replaced, and nothing is kept of it.
func TestWardenKilled(t *testing.T) {
	w := warden{make: proc.StandBy}
	w.prepare()
	defer func() { w.take().Drop() }()
	before := 0
	for i := range 10 {
		p := w.standing()
		syscall.Kill(child(t), syscall.SIGKILL)
		for end := time.Now().Add(time.Minute); w.standing() == p; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("it was not replaced")
			}
		}
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			before = len(open)
		} else if len(open) > before {
			t.Fatalf("%d descriptors are open, and %d were before", len(open), before)
		}
	}
}

func (w *warden) standing() *proc.Prepared {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// child is the pid of the only child of this process.
func child(t *testing.T) int {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, list := range lists {
		text, _ := os.ReadFile(list) // a thread may have ended
		all = append(all, strings.Fields(string(text))...)
	}
	if len(all) != 1 {
		t.Fatalf("children: %v", all)
	}
	pid, err := strconv.Atoi(all[0])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}
