package sentinel

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	firstNap = 1e6   // 1 ms
	lastNap  = 100e6 // 100 ms
	batch    = 64    // children reaped before the pipes are looked at again
	wall     = 0x40000000
)

// step is one turn of the sentinel's loop. The supervisor and the deadline come
// first, and no turn reaps without end: a flood of zombies may not keep the
// sentinel from hearing that it has to kill.
//
//go:nosplit
//go:norace
//go:nocheckptr
func step(a *Arena) {
	wait(a)
	if a.polls[0].Revents != 0 {
		orders(a)
	}
	if a.polls[1].Revents != 0 {
		a.polls[1].Fd = -1
		orphan(a)
	}
	if a.polls[2].Revents != 0 {
		deadline(a)
	}
	if a.polls[3].Revents != 0 {
		drain(a)
	}
	if a.Phase == Empty {
		leave(a)
		return
	}
	if a.killing != 0 {
		killAll(a)
	}
	reap(a)
}

//go:nosplit
//go:norace
//go:nocheckptr
func wait(a *Arena) {
	ts := uintptr(unsafe.Pointer(&a.ts))
	a.ts[0], a.ts[1] = 0, 0
	switch {
	case a.Phase == Empty:
		ts = 0
		if a.orphaned|a.dismissed != 0 {
			ts = uintptr(unsafe.Pointer(&a.ts))
		}
	case a.backlog != 0:
	case a.killing|a.lingers != 0:
		a.ts[1] = a.nap
	default:
		ts = 0
	}
	sys(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&a.polls)), 4, ts, 0)
}

// orders reads the control pipe. Its end means that the supervisor is dead.
//
//go:nosplit
//go:norace
//go:nocheckptr
func orders(a *Arena) {
	n, e := sys(unix.SYS_READ, uintptr(a.Ctl), uintptr(unsafe.Pointer(&a.buf)), 64, 0)
	if e != 0 {
		return
	}
	if n == 0 {
		a.polls[0].Fd = -1
		orphan(a)
		return
	}
	for i := uintptr(0); i < n; i++ {
		switch b := octet(a, i); {
		case b >= 1 && b <= 64:
			// Not reaped by us, its pid is its own.
			if a.Exited == 0 {
				sys(unix.SYS_KILL, uintptr(a.Pid), uintptr(b), 0, 0)
			}
		case b == OrderKill:
			condemn(a, Order)
		case b == OrderDismiss:
			a.dismissed = 1
		}
	}
}

//go:nosplit
//go:norace
//go:nocheckptr
func orphan(a *Arena) {
	a.orphaned = 1
	condemn(a, Orphaned)
}

// deadline is called when the timer has fired. The read says whether it still
// holds: a deadline set meanwhile has taken the expiry back.
//
//go:nosplit
//go:norace
//go:nocheckptr
func deadline(a *Arena) {
	n, _ := sys(unix.SYS_READ, uintptr(a.Timer), uintptr(unsafe.Pointer(&a.buf)), 8, 0)
	if n == 8 {
		a.late = 1
		condemn(a, Deadline)
	}
}

// drain empties the signalfd; what it says is not needed.
//
//go:nosplit
//go:norace
//go:nocheckptr
func drain(a *Arena) {
	sys(unix.SYS_READ, uintptr(a.Child), uintptr(unsafe.Pointer(&a.buf)), bufSize, 0)
}

// condemn begins the kill.
//
//go:nosplit
//go:norace
//go:nocheckptr
func condemn(a *Arena, cause uint32) {
	if a.Phase == Empty {
		return
	}
	if a.Cause == None {
		a.Cause = cause
	}
	begin(a)
	a.nap = firstNap
}

// begin begins the kill, unless it has been.
//
//go:nosplit
//go:norace
//go:nocheckptr
func begin(a *Arena) {
	if a.killing == 0 {
		a.began = monotonic(a)
		a.ended = a.began
	}
	a.killing = 1
}

// reap takes what has ended, a batch at a time.
//
//go:nosplit
//go:norace
//go:nocheckptr
func reap(a *Arena) {
	a.backlog, a.lingers = 0, 0
	for i := 0; i < batch; i++ {
		pid, e := sys(unix.SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&a.status)),
			unix.WNOHANG|unix.WUNTRACED|unix.WCONTINUED|wall, uintptr(unsafe.Pointer(&a.usage)))
		if e == syscall.ECHILD {
			childless(a)
			return
		}
		if e != 0 || pid == 0 {
			return
		}
		note(a, pid)
	}
	a.backlog = 1
}

// note looks at one change of a child's state.
//
//go:nosplit
//go:norace
//go:nocheckptr
func note(a *Arena, pid uintptr) {
	const stopped, continued = 0x7f, 0xffff
	main := uint32(pid) == a.Pid && a.Exited == 0
	switch {
	case a.status == continued || a.status&0xff == stopped:
		if main {
			a.Stopped = 0
			if a.status != continued {
				a.Stopped = a.status >> 8 & 0xff
			}
			a.Stops++
			ping(a)
		}
	case main:
		end(a)
	case a.killing != 0:
		a.Killed++
		a.ended = monotonic(a)
		a.nap = firstNap
	}
}

// end is the end of the command itself. What it leaves behind is killed, unless
// the tree was to be waited for, or the supervisor has asked it to end and will
// say when its time is over.
//
//go:nosplit
//go:norace
//go:nocheckptr
func end(a *Arena) {
	a.Usage = a.usage
	a.Status = a.status
	a.Exited = 1
	ping(a)
	if a.WaitTree|a.Spare == 0 {
		begin(a)
		a.backlog = 1
	}
	a.ended = monotonic(a)
	a.nap = firstNap
}

// leave is reached when the tree is empty: it returns while the supervisor
// lives and has not sent us away.
//
//go:nosplit
//go:norace
//go:nocheckptr
func leave(a *Arena) {
	if a.dismissed != 0 {
		exit(0)
	}
	if a.orphaned == 0 {
		return
	}
	epilogue(a)
	exit(0)
}

// epilogue becomes the program that clears up after the supervisor, if there is
// one. It returns if that cannot be.
//
//go:nosplit
//go:norace
//go:nocheckptr
func epilogue(a *Arena) {
	if a.epilogue == 0 {
		return
	}
	closeFrom(a, 0, 2)
	for i := 0; i < 3; i++ {
		sys(unix.SYS_OPENAT, ^uintptr(99), a.null, unix.O_RDWR, 0)
	}
	for n := uintptr(1); n <= 64; n++ {
		disposition(a, n, 1) // drops what is pending: our SIGPIPE, for one
		disposition(a, n, 0)
	}
	a.Mask = 0
	sys(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&a.Mask)), 0, 8)
	path, argv, envp := word(a, a.epilogue), word(a, a.epilogue+8), word(a, a.epilogue+16)
	if path != 0 {
		sys(unix.SYS_EXECVE, path, argv, envp, 0)
		return
	}
	execat(uintptr(a.Program), a.none, argv, envp)
}
