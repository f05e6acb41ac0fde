package sentinel

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sys makes a system call of up to four arguments; any more are zero. It is
// assembly because syscall.RawSyscall6 takes, in a build without optimization,
// half of the stack there is.
func sys(nr, a, b, c, d uintptr) (uintptr, syscall.Errno)

// execat is the system call execveat of a descriptor, with AT_EMPTY_PATH. It
// returns only if that fails.
func execat(fd, none, argv, envp uintptr)

// word reads the word at address p, which lies in a.
//
//go:nosplit
//go:norace
//go:nocheckptr
func word(a *Arena, p uintptr) uintptr {
	return *(*uintptr)(unsafe.Add(unsafe.Pointer(a), p-uintptr(unsafe.Pointer(a))))
}

//go:nosplit
//go:norace
//go:nocheckptr
func setWord(a *Arena, p, v uintptr) {
	*(*uintptr)(unsafe.Add(unsafe.Pointer(a), p-uintptr(unsafe.Pointer(a)))) = v
}

// octet returns byte i of the buffer.
//
//go:nosplit
//go:norace
//go:nocheckptr
func octet(a *Arena, i uintptr) byte {
	return *(*byte)(unsafe.Add(unsafe.Pointer(&a.buf), i))
}

// ping tells the supervisor to look at the Arena. A byte that does not fit is
// no loss: the supervisor looks after each read, and there is one to come.
//
//go:nosplit
//go:norace
//go:nocheckptr
func ping(a *Arena) {
	a.status = 0
	sys(unix.SYS_WRITE, uintptr(a.Report), uintptr(unsafe.Pointer(&a.status)), 1, 0)
}

//go:nosplit
//go:norace
//go:nocheckptr
func exit(code uintptr) {
	for {
		sys(unix.SYS_EXIT_GROUP, code, 0, 0, 0)
	}
}

// disposition sets signal n to SIG_DFL (0) or SIG_IGN (1).
//
//go:nosplit
//go:norace
//go:nocheckptr
func disposition(a *Arena, n, handler uintptr) {
	a.action[0], a.action[1], a.action[2], a.action[3] = uint64(handler), 0, 0, 0
	sys(unix.SYS_RT_SIGACTION, n, uintptr(unsafe.Pointer(&a.action)), 0, 8)
}

// fail notes why the command could not be started.
//
//go:nosplit
//go:norace
//go:nocheckptr
func fail(a *Arena, at uint32, e syscall.Errno) {
	a.FailedNo = uint32(e)
	a.FailedAt = at
}
