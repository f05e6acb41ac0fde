package stream

import (
	"cmp"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Queue does things one after another, for whoever must not wait for them. The
// zero value is ready for use. It is safe for concurrent use.
type Queue struct {
	room int // how many things may wait; 0: backlog

	mu      sync.Mutex
	waiting []thing
	busy    bool          // there is a goroutine that works; it ends when nothing waits
	owed    int           // things, not comforts, that have not been done
	step    chan struct{} // closed when one more has been; nil: nobody waits for that
}

// backlog is how many things may wait: what a busy process says in a second.
const backlog = 10000

// thing is one that is to be done.
type thing struct {
	do      func()
	comfort bool
}

// Do has f done once everything before it has been, and returns at once. False:
// too much waits already, and f is dropped.
func (q *Queue) Do(f func()) bool { return q.add(thing{do: f}) }

// Try is Do for what is of no use later, and which nobody need wait for: it is
// dropped unless the queue has nothing else to do.
func (q *Queue) Try(f func()) bool { return q.add(thing{f, true}) }

func (q *Queue) add(t thing) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) >= cmp.Or(q.room, backlog) || t.comfort && q.busy {
		return false
	}
	q.waiting = append(q.waiting, t)
	if !t.comfort {
		q.owed++
	}
	if !q.busy {
		q.busy = true
		go q.work()
	}
	return true
}

// work does what waits, and ends.
func (q *Queue) work() {
	defer Quiet()()
	for t, ok := q.next(nil); ok; t, ok = q.next(&t) {
		t.do()
	}
}

// next notes that one thing has been done and returns what is to be done now.
func (q *Queue) next(done *thing) (t thing, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if done != nil && !done.comfort {
		q.owed--
	}
	if q.step != nil {
		close(q.step)
		q.step = nil
	}
	if len(q.waiting) == 0 {
		q.busy, q.waiting = false, nil
		return t, false
	}
	t, q.waiting = q.waiting[0], q.waiting[1:]
	return t, true
}

// Wait returns when all that Do has taken is done, or after d; and whether it is
// done.
func (q *Queue) Wait(d time.Duration) bool { return q.until(d, func() bool { return q.owed == 0 }) }

// Idle is Wait for what Try has taken, too.
func (q *Queue) Idle(d time.Duration) bool { return q.until(d, func() bool { return !q.busy }) }

// until returns when what the queue says of itself is met, or after d.
func (q *Queue) until(d time.Duration, met func() bool) bool {
	late := time.NewTimer(d)
	defer late.Stop()
	for {
		q.mu.Lock()
		if met() {
			q.mu.Unlock()
			return true
		}
		if q.step == nil {
			q.step = make(chan struct{})
		}
		step := q.step
		q.mu.Unlock()
		select {
		case <-step:
		case <-late.C:
			return false
		}
	}
}

// Quiet lets no signal come of what the goroutine writes, until it calls loud: the
// kernel sends PIPE and XFSZ to the thread that wrote, and TTOU to nobody if that
// thread blocks it. Others send them to the whole process, which is none of this.
//
// The thread is given back. One that ended with its goroutine would be made anew for
// the next, which cannot be where somebody has used up the processes.
func Quiet() (loud func()) {
	runtime.LockOSThread()
	var set, before unix.Sigset_t
	for _, sig := range []unix.Signal{unix.SIGPIPE, unix.SIGXFSZ, unix.SIGTTOU} {
		set.Val[0] |= 1 << (uint(sig) - 1)
	}
	_ = unix.PthreadSigmask(unix.SIG_BLOCK, &set, &before) // cannot fail
	return func() {
		for pending(&set) {
		}
		_ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
		runtime.UnlockOSThread()
	}
}

// pending takes one of the signals of set that wait for this thread; false: there is
// none.
func pending(set *unix.Sigset_t) bool {
	var now unix.Timespec
	_, _, e := unix.RawSyscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(set)), 0, uintptr(unsafe.Pointer(&now)), 8, 0, 0)
	return e == 0 || e == unix.EINTR
}
