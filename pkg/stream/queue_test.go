package stream

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A thread that ended with what it did would have to be made anew.
func TestThreadsAreGivenBack(t *testing.T) {
	var q Queue
	var used []string // the files of the threads
	for range 20 {
		q.Do(func() { used = append(used, fmt.Sprintf("/proc/self/task/%d/status", unix.Gettid())) })
		if !q.Idle(10 * time.Second) {
			t.Fatal("stuck")
		}
	}
	for _, file := range used {
		given := func() bool {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("a thread has ended: %v", err)
			}
			var blocked uint64
			_, mask, _ := strings.Cut(string(b), "SigBlk:")
			if _, err := fmt.Sscanf(mask, "%x", &blocked); err != nil {
				t.Fatal(err)
			}
			return blocked>>(unix.SIGPIPE-1)&1 == 0
		}
		for late := time.Now().Add(10 * time.Second); !given(); time.Sleep(time.Millisecond) {
			if time.Now().After(late) {
				t.Fatalf("%s: PIPE is still blocked", file)
			}
		}
	}
}
