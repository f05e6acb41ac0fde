package sentinel

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// inherit hands the command what the supervisor was given, not what the
// supervisor made of it. It runs, as all here does, between the second fork and
// the exec.
//
//go:nosplit
//go:norace
//go:nocheckptr
func inherit(a *Arena) {
	for a.gate == 0 {
		sys(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&a.gate)), 0 /* FUTEX_WAIT */, 0, 0)
	}
	dispositions(a)
	streams(a)
	if a.NofileSet != 0 {
		sys(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, uintptr(unsafe.Pointer(&a.Nofile)), 0)
	}
}

// become turns this process into the command, or notes why it could not.
//
//go:nosplit
//go:norace
//go:nocheckptr
func become(a *Arena) {
	if a.Session != 0 {
		sys(unix.SYS_SETSID, 0, 0, 0, 0) // it leads no group, so this does not fail
	}
	if a.dir != 0 {
		if _, e := sys(unix.SYS_CHDIR, a.dir, 0, 0, 0); e != 0 {
			fail(a, AtDir, e)
			return
		}
	}
	signPid(a)
	unmask(a)
	fail(a, AtExec, execute(a))
}

// tie lets the command die with its sentinel. A sentinel that is dead already
// will not send the signal, hence the look at who our parent is.
//
//go:nosplit
//go:norace
//go:nocheckptr
func tie(a *Arena) {
	sys(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0)
	parent, _ := sys(unix.SYS_GETPPID, 0, 0, 0, 0)
	if uint32(parent) != a.self {
		exit(127)
	}
}

//go:nosplit
//go:norace
//go:nocheckptr
func dispositions(a *Arena) {
	ignored := a.Ignored
	for n := uintptr(1); n <= 64; n++ {
		disposition(a, n, uintptr(ignored&1))
		ignored >>= 1
	}
}

//go:nosplit
//go:norace
//go:nocheckptr
func unmask(a *Arena) {
	if a.MaskKnown == 0 {
		a.Mask = a.old
	}
	sys(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&a.Mask)), 0, 8)
}

// streams puts the command's descriptors 0, 1 and 2 in place. A source that is
// itself one of the three is first moved away, lest it be overwritten.
//
//go:nosplit
//go:norace
//go:nocheckptr
func streams(a *Arena) {
	lift(a, &a.Stdio[0])
	lift(a, &a.Stdio[1])
	lift(a, &a.Stdio[2])
	place(a, a.Stdio[0], 0)
	place(a, a.Stdio[1], 1)
	place(a, a.Stdio[2], 2)
}

//go:nosplit
//go:norace
//go:nocheckptr
func lift(a *Arena, fd *int32) {
	if *fd < 0 || *fd > 2 {
		return
	}
	r, e := sys(unix.SYS_FCNTL, uintptr(*fd), unix.F_DUPFD_CLOEXEC, 3, 0)
	if e != 0 {
		fail(a, AtStdio, e)
		exit(127)
	}
	*fd = int32(r)
}

//go:nosplit
//go:norace
//go:nocheckptr
func place(a *Arena, from int32, to uintptr) {
	if from == Closed {
		sys(unix.SYS_CLOSE, to, 0, 0, 0)
	}
	if from < 0 {
		return
	}
	if _, e := sys(unix.SYS_DUP3, uintptr(from), to, 0, 0); e != 0 {
		fail(a, AtStdio, e)
		exit(127)
	}
}

// signPid writes the command's pid into the variables that must hold it:
// sd_listen_fds takes no sockets from a LISTEN_PID that is not its own.
//
//go:nosplit
//go:norace
//go:nocheckptr
func signPid(a *Arena) {
	pid, _ := sys(unix.SYS_GETPID, 0, 0, 0, 0)
	if a.pidText[0] != 0 {
		decimal(a, a.pidText[0], pid)
	}
	if a.pidText[1] != 0 {
		decimal(a, a.pidText[1], pid)
	}
}

// decimal writes n at p, with a NUL behind it.
//
//go:nosplit
//go:norace
//go:nocheckptr
func decimal(a *Arena, p, n uintptr) {
	digits := uintptr(1)
	for m := n; m >= 10; m /= 10 {
		digits++
	}
	at := unsafe.Add(unsafe.Pointer(a), p-uintptr(unsafe.Pointer(a)))
	*(*byte)(unsafe.Add(at, digits)) = 0
	for ; digits > 0; digits-- {
		*(*byte)(unsafe.Add(at, digits-1)) = byte('0' + n%10)
		n /= 10
	}
}

// execute tries the candidates as execvp does, and returns why none would do:
// one that may not be executed is remembered but does not end the search.
//
//go:nosplit
//go:norace
//go:nocheckptr
func execute(a *Arena) syscall.Errno {
	last, denied := syscall.ENOENT, false
	for v := a.paths; ; v += 8 {
		path := word(a, v)
		if path == 0 {
			break
		}
		last = exec(a, path)
		switch last {
		case syscall.EACCES:
			denied = true
		case syscall.ENOENT, syscall.ENOTDIR, syscall.ESTALE, syscall.ENODEV, syscall.ETIMEDOUT:
		default:
			return last
		}
	}
	if denied {
		return syscall.EACCES
	}
	return last
}

// exec runs path, through the shell if it is a script that does not say how it
// is run.
//
//go:nosplit
//go:norace
//go:nocheckptr
func exec(a *Arena, path uintptr) syscall.Errno {
	_, e := sys(unix.SYS_EXECVE, path, a.argv, a.envp, 0)
	if e != syscall.ENOEXEC {
		return e
	}
	setWord(a, a.shArgv+8, path)
	if _, e = sys(unix.SYS_EXECVE, a.sh, a.shArgv, a.envp, 0); e == syscall.ENOENT {
		return syscall.ENOEXEC
	}
	return e
}
