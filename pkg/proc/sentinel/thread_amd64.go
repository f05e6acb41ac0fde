package sentinel

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// clone is the system call, with thread-local storage for the copy.
func clone(flags, tls uintptr) (uintptr, syscall.Errno)

// split forks. The copy's thread-local storage is in the Arena: the compiler
// reloads g from it after each call of assembly, the first time when the fork
// itself returns, and the heap that ours lies in is not in the copy. What is read
// is zero, so that code which must not be here, a check of the stack for one,
// faults at once.
//
//go:nosplit
//go:norace
//go:nocheckptr
func split(a *Arena, flags uintptr) (uintptr, syscall.Errno) {
	if a.sheds == 0 {
		return sys(unix.SYS_CLONE, flags, 0, 0, 0)
	}
	return clone(flags|unix.CLONE_SETTLS, uintptr(unsafe.Pointer(&a.tls))+unsafe.Sizeof(a.tls))
}
