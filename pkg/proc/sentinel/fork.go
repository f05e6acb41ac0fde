package sentinel

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Name is what ps, pkill and killall see of a sentinel. It is not the
// supervisor's, so that `pkill -9 -f conch` does not take both at once.
const Name = "leasewarden"

// Fork makes a sentinel of a copy of this process and returns its pid. Flags
// are those of clone, for namespaces. The caller holds syscall.ForkLock, and
// waits for the sentinel with WALL: its end is no SIGCHLD but a SIGCONT, which
// continues a supervisor that somebody has stopped, to see to the orphans.
//
//go:nosplit
//go:norace
//go:nocheckptr
func Fork(a *Arena, flags uintptr) (int, syscall.Errno) {
	block(a)
	shed(a)
	pid, e := split(a, flags|uintptr(unix.SIGCONT))
	if pid == 0 && e == 0 {
		run(a)
	}
	unshed(a)
	unblock(a)
	return int(pid), e
}

// block blocks all signals. None may find the copy with the runtime's handlers,
// and none may move this goroutine to another thread, whose mask would be the
// wrong one to restore, or to another stack, which would not be copied.
//
//go:nosplit
//go:norace
//go:nocheckptr
func block(a *Arena) {
	sys(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&a.all)), uintptr(unsafe.Pointer(&a.old)), 8)
}

//go:nosplit
//go:norace
//go:nocheckptr
func unblock(a *Arena) {
	sys(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&a.old)), 0, 8)
}

// run is the sentinel's life. It does not return: the frames above belong to
// another process.
//
//go:nosplit
//go:norace
//go:nocheckptr
func run(a *Arena) {
	prepare(a)
	rename(a)
	admit(a)
	if born(a) == 0 {
		tie(a)
		inherit(a)
		become(a)
		exit(127)
	}
	settle(a)
	for {
		step(a)
	}
}

// born forks the command, and returns 0 in it.
//
//go:nosplit
//go:norace
//go:nocheckptr
func born(a *Arena) uint32 {
	pid, ok := into(a)
	if !ok {
		var e syscall.Errno
		pid, e = sys(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0)
		if e != 0 {
			fail(a, AtFork, e)
			exit(1)
		}
	}
	if pid != 0 {
		a.Pid = uint32(pid)
	}
	return uint32(pid)
}

//go:nosplit
//go:norace
//go:nocheckptr
func prepare(a *Arena) {
	pid, _ := sys(unix.SYS_GETPID, 0, 0, 0, 0)
	a.self = uint32(pid)
	if a.Init != 0 && pid != 1 {
		fail(a, AtLate, 0) // no namespace was made: nothing may be started
		exit(1)
	}
	// Our copy of the supervisor's end of Ctl is among them: it would keep us from
	// hearing of its death.
	for i := uintptr(0); i < uintptr(a.drops); i++ {
		fd := *(*int32)(unsafe.Add(unsafe.Pointer(&a.drop), 4*i))
		sys(unix.SYS_CLOSE, uintptr(fd), 0, 0, 0)
	}
	// Blocked and at its default SIGCHLD is queued, which the signalfd needs;
	// an inherited SIG_IGN or SA_NOCLDWAIT would reap behind our back.
	disposition(a, uintptr(unix.SIGCHLD), 0)
	sys(unix.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0)
	// If we are stopped when the supervisor dies, that continues us. It is sent for
	// the thread that we were forked by, and then for each that the kernel gives us
	// to in its place (golang/go#27505): once too often does no harm.
	sys(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGCONT), 0, 0)
	if a.Init == 0 {
		sys(unix.SYS_SETPGID, 0, 0, 0, 0) // a SIGKILL of the whole group must not take both
	}
	if a.Bare != 0 {
		closeRest(a)
	}
}

// rename gives the process its name, in comm and in the arguments that ps
// shows.
//
//go:nosplit
//go:norace
//go:nocheckptr
func rename(a *Arena) {
	sys(unix.SYS_PRCTL, unix.PR_SET_NAME, a.name, 0, 0)
	base := uintptr(unsafe.Pointer(a))
	from := a.name - base
	for p := a.ArgStart; p < a.ArgEnd; p++ {
		// The last byte stays NUL: where it is not, ps reads on into the environment.
		c := byte(0)
		if p+1 < a.ArgEnd {
			c = *(*byte)(unsafe.Add(unsafe.Pointer(a), from))
		}
		if c != 0 {
			from++
		}
		*(*byte)(unsafe.Add(unsafe.Pointer(a), p-base)) = c
	}
}

// shed keeps the supervisor's heap and variables, which the sentinel never touches,
// out of the copy, all but the pages of the stack it runs on. To unmap them in the
// copy would do as well, were it not for the supervisor: it would run into each
// page that it shares, and have to tell its other processors of it, at 3 µs a
// page.
//
//go:nosplit
//go:norace
//go:nocheckptr
func shed(a *Arena) {
	var here byte
	// The sentinel's frames below this one take less than a page, those above
	// that are still in use as well.
	low := uintptr(unsafe.Pointer(&here))&^(a.page-1) - a.page
	high := low + 4*a.page
	p := uintptr(unsafe.Pointer(&a.shed))
	for i := uint32(0); i < a.sheds; i++ {
		from, to := word(a, p), word(a, p+8)
		p += 16
		if to <= low || high <= from {
			sys(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTFORK, 0)
			continue
		}
		if from < low {
			sys(unix.SYS_MADVISE, from, low-from, unix.MADV_DONTFORK, 0)
		}
		if high < to {
			sys(unix.SYS_MADVISE, high, to-high, unix.MADV_DONTFORK, 0)
		}
	}
}

// unshed takes that back.
//
//go:nosplit
//go:norace
//go:nocheckptr
func unshed(a *Arena) {
	p := uintptr(unsafe.Pointer(&a.shed))
	for i := uint32(0); i < a.sheds; i++ {
		from, to := word(a, p), word(a, p+8)
		p += 16
		sys(unix.SYS_MADVISE, from, to-from, unix.MADV_DOFORK, 0)
	}
}

// admit waits for the supervisor's word, and returns if the command may be
// started. Most sentinels wait for long, and some for nothing. One whose
// supervisor dies meanwhile clears up at once: there is no tree. The command is
// to be born in the supervisor's process group, so that is where we go back to.
//
//go:nosplit
//go:norace
//go:nocheckptr
func admit(a *Arena) {
	a.polls[0].Fd, a.polls[0].Events = a.Ctl, unix.POLLIN
	a.polls[1].Fd, a.polls[1].Events = a.Parent, unix.POLLIN
	for {
		sys(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&a.polls)), 2, 0, 0)
		n, e := sys(unix.SYS_READ, uintptr(a.Ctl), uintptr(unsafe.Pointer(&a.buf)), 1, 0)
		if e == 0 && n == 1 && a.buf[0] == OrderGo && a.Bare == 0 {
			break
		}
		if e == 0 && n == 1 {
			refuse(a)
		}
		// There is a pidfd to say that the supervisor is dead, which another
		// child of its may keep the pipe from saying.
		if e == 0 || a.polls[1].Revents != 0 {
			closeRest(a)
			ungroup(a)
			epilogue(a)
			refuse(a)
		}
	}
	n, _ := sys(unix.SYS_READ, uintptr(a.Timer), uintptr(unsafe.Pointer(&a.buf)), 8, 0)
	if n == 8 {
		a.Cause = Deadline
		refuse(a)
	}
	if a.Init == 0 {
		sys(unix.SYS_SETPGID, 0, uintptr(a.Home), 0, 0)
	}
}

// refuse ends a sentinel that may not start its command.
//
//go:nosplit
//go:norace
//go:nocheckptr
func refuse(a *Arena) {
	fail(a, AtLate, 0)
	ungroup(a)
	exit(1)
}

// settle makes the sentinel ready, and then lets the command go on to its exec:
// nothing of the command runs before its guard stands. The session is left only
// now because the command has to be born in it, and it must be left before the
// command runs, or a SIGKILL of the whole group would take both.
//
//go:nosplit
//go:norace
//go:nocheckptr
func settle(a *Arena) {
	sys(unix.SYS_SETSID, 0, 0, 0, 0)
	closeRest(a)
	a.polls[0].Fd, a.polls[0].Events = a.Ctl, unix.POLLIN
	a.polls[1].Fd, a.polls[1].Events = a.Parent, unix.POLLIN
	a.polls[2].Fd, a.polls[2].Events = a.Timer, unix.POLLIN
	a.polls[3].Fd, a.polls[3].Events = a.Child, unix.POLLIN
	a.Phase = Running
	a.gate = 1
	sys(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&a.gate)), 1 /* FUTEX_WAKE */, 1, 0)
}

// closeRest closes every descriptor but the sentinel's own. Another's pipe held
// open here would never give its reader an end of file.
//
//go:nosplit
//go:norace
//go:nocheckptr
func closeRest(a *Arena) {
	from := uintptr(0)
	for i := uintptr(0); i < uintptr(a.keeps); i++ {
		fd := uintptr(*(*int32)(unsafe.Add(unsafe.Pointer(&a.keep), 4*i)))
		if from < fd {
			closeFrom(a, from, fd-1)
		}
		from = fd + 1
	}
	closeFrom(a, from, 1<<32-1)
}

//go:nosplit
//go:norace
//go:nocheckptr
func closeFrom(a *Arena, from, to uintptr) {
	if a.CloseRange != 0 {
		sys(unix.SYS_CLOSE_RANGE, from, to, 0, 0)
		return
	}
	for fd := from; fd <= to && fd <= uintptr(a.MaxFD); fd++ {
		sys(unix.SYS_CLOSE, fd, 0, 0, 0)
	}
}
