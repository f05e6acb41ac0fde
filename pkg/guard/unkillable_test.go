package guard

import (
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"conch/pkg/clock"
	"conch/pkg/proc"
	"conch/pkg/proc/hear"
	"conch/pkg/proctest"
)

// frozen returns what to call with a tree to keep its command from dying, until the
// end of the test or thaw.
func frozen(t *testing.T) (freeze func(*proc.Tree), thaw func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("WHAT CANNOT BE KILLED IS NOT TESTED: a freezer cgroup needs root")
	}
	var mu sync.Mutex
	var f *proctest.Freezer
	freeze = func(tree *proc.Tree) {
		mu.Lock()
		defer mu.Unlock()
		var err error
		if f, err = proctest.Freeze(tree.Pid()); err != nil {
			t.Error(err)
		}
	}
	thaw = func() {
		mu.Lock()
		defer mu.Unlock()
		if f == nil {
			return
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		f = nil
	}
	t.Cleanup(thaw)
	return freeze, thaw
}

// A command that cannot be killed keeps its hold, and that is said.
func TestUnkillable(t *testing.T) {
	freeze, thaw := frozen(t)
	said := make(chan Event, 8)
	signals := make(chan hear.Signal, 1)
	g := Guard{KillAfter: 100 * time.Millisecond, Signals: signals, Started: func(tree *proc.Tree) {
		freeze(tree)
		signals <- hear.Signal{Sig: syscall.SIGTERM}
	}, Said: func(e Event) {
		if e.Name == "unkillable" {
			said <- e
		}
	}}
	go func() {
		if e := <-said; e.Gone || e.Survivors.Count != 1 || !strings.HasSuffix(e.Survivors.String(), ") in uninterruptible sleep") {
			t.Errorf("%+v", e)
		}
		thaw()
	}()
	o, err := g.Run(held(time.Minute), shell(t, "exec sleep 1000"))
	if err != nil || o.Cause != Stopped || !o.Empty || o.Survivors.Count != 0 {
		t.Errorf("%+v, %v", o, err)
	}
}

// Where the hold has ended before it, that is said, and no more waited for.
func TestUnkillablePastDeadline(t *testing.T) {
	freeze, _ := frozen(t)
	if ranApart(t) {
		return
	}
	gone := false
	pulse, quit := make(chan chan<- bool), make(chan struct{})
	h := held(2 * time.Second)
	alive := make(chan bool) // what was answered after the deadline, if anything was
	go func() {
		after := true
		for {
			answer := make(chan bool, 1)
			select {
			case pulse <- answer:
				if well := <-answer; h.deadline.Before(clock.System{}.Now()) {
					after = well
				}
			case <-quit:
				alive <- after
				return
			}
		}
	}()
	g := Guard{LossGrace: 500 * time.Millisecond, Pulse: pulse, Started: freeze, Said: func(e Event) {
		gone = gone || e.Name == "unkillable" && e.Gone
	}}
	o, err := g.Run(h, shell(t, "exec sleep 1000"))
	close(quit)
	if err != nil || o.Cause != Lost || o.Empty || o.Survivors.Count != 1 || !gone {
		t.Errorf("%+v, %v; it was said: %v", o, err, gone)
	}
	if <-alive {
		t.Error("all was well past the deadline")
	}
	o.Dismiss() // waits for nothing
}
