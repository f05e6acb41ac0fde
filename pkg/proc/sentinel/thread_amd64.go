package sentinel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// unthread moves the thread-local storage into the Arena. The compiler reloads
// g from it after each call of assembly, and the heap it lies in is about to
// go. What is read is zero, so that code which must not be here, a check of the
// stack for one, faults at once.
//
//go:nosplit
//go:norace
//go:nocheckptr
func unthread(a *Arena) {
	const setFS = 0x1002 // ARCH_SET_FS
	sys(unix.SYS_ARCH_PRCTL, setFS, uintptr(unsafe.Pointer(&a.tls))+unsafe.Sizeof(a.tls), 0, 0)
}
