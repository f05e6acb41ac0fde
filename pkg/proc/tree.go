package proc

import (
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"conch/pkg/clock"
	"conch/pkg/proc/sentinel"

	"golang.org/x/sys/unix"
)

// Tree is a running command and everything it has started.
type Tree struct {
	sentinel int
	pid      int
	born     uint64 // when the sentinel was forked, in ticks since boot
	group    subgroup
	arena    *sentinel.Arena
	report   *os.File
	clock    clock.System

	ready        chan struct{} // closed when Start has read the Arena
	left         chan struct{} // closed when nothing of t is in use any more
	exited, done chan struct{}
	changes      chan Change
	unkilled     chan int

	mu       sync.Mutex // of what follows
	ctl      int        // writing end of the control pipe; -1 once closed
	timer    int        // likewise
	deadline clock.Instant
	gone     bool // the sentinel has been reaped: its pid may be another's
	stay     bool // the sentinel stays until it is dismissed
	givenUp  bool // see GiveUp
	lost     bool // see Lose

	askMu sync.Mutex
	asked map[syscall.Signal]map[identity]int // whom Ask has reached

	result Result // complete when done is closed
}

// Change says that the command was stopped or continued.
type Change struct {
	Stopped syscall.Signal // 0: continued
}

// Cause is why a tree was killed.
type Cause int

// Causes of a kill. The first one counts.
const (
	None         Cause = iota // it was not, but for what the command left behind
	Deadline                  // the deadline passed
	Order                     // Tree.Kill
	SentinelDied              // somebody killed the sentinel
)

// Result is how a tree has ended.
type Result struct {
	Status   syscall.WaitStatus // of the command
	Usage    unix.Rusage        // of the command; zero if the sentinel died before it
	Cause    Cause
	Killed   int   // processes besides the command that were killed, or ended meanwhile
	Leftover int   // processes that may not be killed: they have changed their user, and are in no cgroup of the tree's
	Empty    bool  // nothing is left: the kernel has said so
	Err      error // ErrSentinel, or nil
}

// Pid returns the command's pid, as it is seen from here.
func (t *Tree) Pid() int { return t.pid }

// SentinelPid returns the sentinel's pid.
func (t *Tree) SentinelPid() int { return t.sentinel }

// Exited is closed when the command itself has ended.
func (t *Tree) Exited() <-chan struct{} { return t.exited }

// Status returns how the command itself has ended, once Exited is closed.
func (t *Tree) Status() syscall.WaitStatus {
	<-t.exited
	return t.result.Status
}

// Done is closed when the tree is proven empty, or when nothing more can be
// done about what is left: see Result.
func (t *Tree) Done() <-chan struct{} { return t.done }

// Changes gives the last stop or continuation of the command that has not been
// received yet. It is never closed.
func (t *Tree) Changes() <-chan Change { return t.changes }

// Unkilled gives how many processes SIGKILL was sent to that have not ended, when a
// second has passed in which none did, and again when that changes: the last number
// that has not been received yet. It is never closed.
func (t *Tree) Unkilled() <-chan int { return t.unkilled }

// Result returns how the tree has ended, once Done is closed.
func (t *Tree) Result() Result {
	<-t.done
	return t.result
}

// Extend moves the deadline to d. It never brings it nearer, and has no effect
// once it has passed: the kill has begun then.
func (t *Tree) Extend(d clock.Instant) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer < 0 || !t.deadline.Before(d) {
		return
	}
	// On failure the old deadline stands, which errs on the safe side; there is
	// none that a valid timer can give.
	if setTimer(t.timer, t.clock, d) == nil {
		t.deadline = d
	}
}

// Signal sends sig to the command alone, once, if it has not ended. The
// sentinel does it, as the command's parent: the pid cannot be another's.
func (t *Tree) Signal(sig syscall.Signal) {
	if sig >= 1 && sig <= 64 {
		t.order(byte(sig))
	}
}

// Spare says whether what the command leaves behind when it ends is left alone, until
// Kill, or the deadline. It has no effect once the command has ended.
func (t *Tree) Spare(yes bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone { // and perhaps the Arena
		return
	}
	spare := uint32(0)
	if yes {
		spare = 1
	}
	atomic.StoreUint32(&t.arena.Spare, spare)
}

// Lose says that somebody else may soon have what the tree runs under: the sentinels
// of conches in it are not to be left as long when it is killed, to clear up after
// those.
func (t *Tree) Lose() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lost = true
	if !t.gone {
		atomic.StoreUint32(&t.arena.Lost, 1)
	}
}

// spares reports whether sentinels in a tree that this process has killed for so long
// are to be spared still, as package sentinel does.
func (t *Tree) spares(since time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	limit := time.Duration(sentinel.SpareFor)
	if t.lost {
		limit = sentinel.SpareBriefly
	}
	return since < limit && t.clock.Now().Before(t.deadline)
}

// Kill kills everything, now.
func (t *Tree) Kill() {
	t.order(sentinel.OrderKill)
	t.wake()
}

// GiveUp returns what is known of a tree for which nobody can wait any longer: it
// is not empty. The sentinel stays with what is left of it, and when that has ended
// runs the epilogue, if this process has ended, too; Dismiss does nothing any more.
func (t *Tree) GiveUp() Result {
	t.mu.Lock()
	select {
	case <-t.done:
		t.mu.Unlock()
		return t.result
	default:
	}
	defer t.mu.Unlock()
	t.givenUp = true
	a := t.arena
	r := Result{Cause: Cause(atomic.LoadUint32(&a.Cause)), Killed: int(atomic.LoadUint32(&a.Killed)), Status: syscall.WaitStatus(unix.SIGKILL)}
	if t.gone {
		r.Cause, r.Err = SentinelDied, ErrSentinel
	}
	if atomic.LoadUint32(&a.Exited) != 0 {
		r.Status, r.Usage = syscall.WaitStatus(atomic.LoadUint32(&a.Status)), a.Usage
	}
	return r
}

// Dismiss lets a sentinel that was told to stay go, and the epilogue with it. To
// be called after Done: it returns when the sentinel has gone, which that does
// not before the tree is empty.
func (t *Tree) Dismiss() {
	t.mu.Lock()
	givenUp := t.givenUp
	t.mu.Unlock()
	if givenUp {
		return
	}
	t.order(sentinel.OrderDismiss)
	t.wake()
	<-t.left
}

// order writes one byte to the control pipe. It does not block: a sentinel that
// has left 64 KiB of orders unread is not going to read this one.
func (t *Tree) order(b byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctl >= 0 {
		_, _ = unix.Write(t.ctl, []byte{b})
	}
}

func (t *Tree) setStay(stay bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stay = stay
}

func (t *Tree) stays() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stay
}

// wake continues a sentinel that somebody has stopped.
func (t *Tree) wake() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.gone {
		_ = unix.Kill(t.sentinel, unix.SIGCONT)
	}
}

// begin starts the two goroutines of t. They end by themselves, and Done is
// closed after that unless the sentinel stays.
func (t *Tree) begin() {
	chld := make(chan os.Signal, 1)
	signal.Notify(chld, unix.SIGCHLD)
	over := make(chan struct{})
	nursed := make(chan struct{})
	go func() {
		defer close(nursed)
		t.nurse(chld, over)
	}()
	go func() {
		t.follow()
		signal.Stop(chld)
		close(over)
		<-nursed
		t.finish()
	}()
}

// nurse answers each SIGCHLD: the sentinel may have been stopped.
func (t *Tree) nurse(chld <-chan os.Signal, over <-chan struct{}) {
	for {
		select {
		case <-chld:
			t.wake()
		case <-over:
			return
		}
	}
}

// follow reads the report pipe to its end, which is the end of the sentinel.
func (t *Tree) follow() {
	buf := make([]byte, 64)
	var stops, unkilled uint32
	var told bool
	for {
		_, err := t.report.Read(buf)
		a := t.arena
		if n := atomic.LoadUint32(&a.Stops); n != stops {
			stops = n
			t.change(Change{syscall.Signal(atomic.LoadUint32(&a.Stopped))})
		}
		if n := atomic.LoadUint32(&a.Unkilled); n != unkilled {
			unkilled = n
			t.sayUnkilled(int(n))
		}
		if atomic.LoadUint32(&a.Exited) != 0 {
			t.noteExit(syscall.WaitStatus(atomic.LoadUint32(&a.Status)))
		}
		if err != nil {
			return
		}
		phase := atomic.LoadUint32(&a.Phase)
		if told || phase != sentinel.Empty && phase != sentinel.Stuck {
			continue
		}
		told = true
		if t.stays() {
			t.conclude()
			t.group.remove()
			close(t.done)
		} else {
			t.order(sentinel.OrderDismiss)
		}
	}
}

// change gives c to the reader of Changes, in the place of one it has not read.
func (t *Tree) change(c Change) {
	select {
	case <-t.changes:
	default:
	}
	t.changes <- c // there is room: only we send
}

// sayUnkilled gives n to the reader of Unkilled, in the place of one not read yet.
func (t *Tree) sayUnkilled(n int) {
	select {
	case <-t.unkilled:
	default:
	}
	t.unkilled <- n
}

func (t *Tree) noteExit(status syscall.WaitStatus) {
	select {
	case <-t.exited:
	default:
		t.result.Status = status
		close(t.exited)
	}
}

// finish is called when the sentinel is dead.
func (t *Tree) finish() {
	t.bury()
	phase := atomic.LoadUint32(&t.arena.Phase)
	at, _ := t.failedAt()
	unborn := at == sentinel.AtLate || at == sentinel.AtFork
	select {
	case <-t.done: // it had stayed, and has nothing left to say
	default:
		t.conclude()
		if phase != sentinel.Empty && phase != sentinel.Stuck && !unborn {
			t.adopt()
		}
		t.noteExit(t.result.Status)
		t.group.remove()
		close(t.done)
	}
	sentinels.settled()
	<-t.ready
	t.mu.Lock()
	t.arena.Free()
	t.mu.Unlock()
	close(t.left)
}

// bury reaps the sentinel and closes what led to it.
func (t *Tree) bury() {
	sentinels.bury(t.sentinel)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gone = true
	unix.Close(t.ctl)
	unix.Close(t.timer)
	t.ctl, t.timer = -1, -1
	t.report.Close()
}

// conclude takes the sentinel's account of the end.
func (t *Tree) conclude() {
	a := t.arena
	t.result.Empty = atomic.LoadUint32(&a.Phase) == sentinel.Empty
	t.result.Cause = Cause(atomic.LoadUint32(&a.Cause))
	t.result.Killed = int(atomic.LoadUint32(&a.Killed))
	if !t.result.Empty {
		t.result.Leftover = int(atomic.LoadUint32(&a.Denied))
	}
	if atomic.LoadUint32(&a.Exited) != 0 {
		t.result.Usage = a.Usage
	}
}

// adopt empties the tree of a sentinel that was killed.
func (t *Tree) adopt() {
	t.result.Cause, t.result.Err = SentinelDied, ErrSentinel
	o := sentinels.empty(t.born, t.group, t.spares, t.sayUnkilled)
	t.result.Empty, t.result.Killed, t.result.Leftover = o.denied == 0, o.killed, o.denied
	select {
	case <-t.exited:
	default:
		// The command, tied to its sentinel's life, was killed with it.
		t.result.Status = syscall.WaitStatus(unix.SIGKILL)
		if ws, ok := o.statuses[t.innerPid()]; ok {
			t.result.Status = ws
		}
	}
}

func (t *Tree) innerPid() int { return int(atomic.LoadUint32(&t.arena.Pid)) }

func (t *Tree) failedAt() (at uint32, errno syscall.Errno) {
	return atomic.LoadUint32(&t.arena.FailedAt), syscall.Errno(atomic.LoadUint32(&t.arena.FailedNo))
}
