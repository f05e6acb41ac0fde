// Package hear tells this process of the signals that it gets, with what the
// kernel knows of each: os/signal does not say who has sent one, knows neither PROF
// nor 34, and leaves QUIT, ABRT and others to a runtime that answers them with a
// dump of its goroutines.
//
// It does not promise that each is heard: of a signal below 32 the kernel keeps one
// until that is delivered, and when 500 wait to be read, further ones are dropped.
//
// A handler of our own does nothing but write the kernel's record to a pipe. It
// knows nothing of Go, and so runs in whatever state a thread of Go's is. Our own
// faults come where those of somebody with kill(1) do: one that the kernel has found
// goes on to Go's handler, as if ours were not there.
package hear

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"conch/pkg/proc/entry"
)

// Set is a set of signals.
type Set uint64

// Of returns the set of some signals.
func Of(signals ...syscall.Signal) (s Set) {
	for _, sig := range signals {
		s |= 1 << (sig - 1)
	}
	return s
}

// Has reports whether sig is in s.
func (s Set) Has(sig syscall.Signal) bool { return sig >= 1 && sig <= 64 && s>>(sig-1)&1 != 0 }

// All are the signals that can be heard. Left out are those that nobody can catch;
// CHLD and CONT, which are about us, and PIPE, which is about our pipes; URG, by
// which Go's runtime wakes its threads; TTIN and TTOU, which go to a whole group, and
// would stop us before a command; and two that are the C library's own.
func All() Set {
	return ^(Of(unix.SIGKILL, unix.SIGSTOP, unix.SIGTTIN, unix.SIGTTOU, 32, 33) | runtimes())
}

// Deadly are those that a program dies of by its own fault.
func Deadly() Set { return faults() | Of(unix.SIGABRT) }

// faults come from the kernel when an instruction cannot be carried out.
func faults() Set {
	return Of(unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGSYS)
}

// runtimes are those that stay Go's.
func runtimes() Set { return Of(unix.SIGCHLD, unix.SIGCONT, unix.SIGPIPE, unix.SIGURG) }

// Signal is a signal that this process has got.
type Signal struct {
	Sig syscall.Signal // 0: see Listener.Mark
	At  time.Time      // when it was read

	code  int32
	value int32 // what was sent with it
}

// What the kernel says of where a signal comes from.
const (
	byKernel = 0x80 // SI_KERNEL
	byQueue  = -1   // SI_QUEUE
)

// outer is sent with a signal by a conch that asks all of its tree to end.
const outer = 0x636f6e63

// FromTerminal reports whether a terminal has sent s to its foreground group.
func (s Signal) FromTerminal() bool {
	return s.code == byKernel && Of(unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP, unix.SIGWINCH).Has(s.Sig)
}

// FromOuter reports whether s is the request of a conch in whose tree we are. That
// sends one only once, and itself kills who does not end.
func (s Signal) FromOuter() bool { return s.code == byQueue && s.value == outer }

// record is the kernel's siginfo_t, of a signal that a process has sent.
type record struct {
	signo, errno, code, _ int32
	pid, uid              uint32
	value                 int32
	_                     [100]byte
}

// Outer is what a conch sends with a signal, to be known by FromOuter.
func Outer(sig syscall.Signal) *unix.Siginfo {
	return (*unix.Siginfo)(unsafe.Pointer(&record{
		signo: int32(sig), code: byQueue, pid: uint32(os.Getpid()), uid: uint32(os.Getuid()), value: outer,
	}))
}

// Listener is what hears.
type Listener struct {
	C     chan Signal // never closed
	marks int32
}

// Listen hears the signals in set from now on, until the process ends. To be called
// once.
func Listen(set Set) (*Listener, error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("signals: %w", os.NewSyscallError("pipe", err))
	}
	l := &Listener{C: make(chan Signal, 64)}
	pipe, heard = int32(ends[1]), set
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		if set.Has(sig) {
			catch(sig)
		}
	}
	go l.read(os.NewFile(uintptr(ends[0]), "signals")) // as long as the process
	return l, nil
}

// read gives what comes through the pipe to C. Signals that were blocked when the
// process was started are on all threads, but for the one this runs on.
func (l *Listener) read(r *os.File) {
	runtime.LockOSThread()
	if unblock()&heard == 0 {
		runtime.UnlockOSThread()
	}
	var records [32]record
	const size = int(unsafe.Sizeof(record{}))
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&records)), len(records)*size)
	for {
		n, err := r.Read(buf) // whole records: each is written at once
		if err != nil {
			return
		}
		now := time.Now()
		for _, rec := range records[:n/size] {
			l.C <- Signal{Sig: syscall.Signal(rec.signo), At: now, code: rec.code, value: rec.value}
		}
	}
}

// unblock unblocks what is heard on this thread, and returns what was blocked.
func unblock() Set { return mask(unix.SIG_UNBLOCK, heard) }

// take runs on this thread the handlers of signals that the kernel has for the process
// and that no thread has taken yet. It looks for such a one when a mask changes.
func take() {
	runtime.LockOSThread()
	old := mask(unix.SIG_BLOCK, heard)
	unblock()
	mask(unix.SIG_SETMASK, old)
	runtime.UnlockOSThread()
}

// mask changes what this thread blocks, and returns what that was.
func mask(how uintptr, set Set) (old Set) {
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, how, uintptr(unsafe.Pointer(&set)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	return old
}

// Mark has C give a Signal whose Sig is 0 behind all that were sent before, and
// returns a number for Marked.
func (l *Listener) Mark() int32 {
	l.marks++
	l.markLater(l.marks)
	return l.marks
}

// taken is how long a thread of ours needs at most to run the handler of a signal
// that the kernel has given to it. One that it has given to no thread yet, for they
// all wait for a processor, is taken here.
const taken = 20 * time.Millisecond

func (l *Listener) markLater(mark int32) {
	time.AfterFunc(taken, func() {
		take()
		rec := record{value: mark}
		if _, err := unix.Write(int(pipe), (*[unsafe.Sizeof(rec)]byte)(unsafe.Pointer(&rec))[:]); err != nil {
			l.markLater(mark) // so many signals are waiting that there is no room
		}
	})
}

// Marked reports whether s is that mark, or a later one.
func (s Signal) Marked(mark int32) bool { return s.Sig == 0 && s.value >= mark }

// Ignore has the signals in set do nothing from now on.
func Ignore(set Set) {
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		if set.Has(sig) {
			swap(sig, action{handler: ignore})
		}
	}
}

// Default gives each signal the effect that it had when this process was started:
// it is ignored, or does what it does to a program without a handler. Go's runtime
// lets USR1 and ALRM pass, and answers QUIT and others with a dump of its goroutines;
// that it still does for a fault of our own.
func Default() {
	given, _ := entry.Given()
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		switch {
		case !(All() | Of(unix.SIGTTIN, unix.SIGTTOU)).Has(sig):
		case Set(given.Ignored).Has(sig):
			swap(sig, action{handler: ignore})
		case faults().Has(sig):
			catch(sig)
		default:
			swap(sig, action{})
		}
	}
}

const ignore = 1 // SIG_IGN

// action is the kernel's struct sigaction, on amd64 and arm64.
type action struct {
	handler, flags, restorer uintptr
	mask                     Set
}

// Read by the handler.
var (
	pipe   int32       // the end to write to
	heard  Set         // what somebody listens for: of another one that was sent, we die
	before [65]uintptr // Go's handlers of faults
	//lint:ignore U1000 the handler has the kernel read a struct sigaction here
	plain [4]uint64
)

// In assembly.
var (
	handlerPC  uintptr
	restorerPC uintptr // 0: the kernel has its own
)

// catch makes the handler that of sig.
func catch(sig syscall.Signal) {
	swap(sig, action{
		handler: handlerPC, restorer: restorerPC, mask: ^Set(0),
		flags: siginfo | onStack | restart | withRestorer,
	})
}

// Flags of an action.
const (
	siginfo = 4
	onStack = 0x08000000
	restart = 0x10000000
)

// swap sets what sig does. What the runtime did for a fault is kept.
func swap(sig syscall.Signal, act action) {
	var old action
	syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&act)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	if faults().Has(sig) && old.handler > ignore && old.handler != handlerPC {
		before[sig] = old.handler
	}
}
