package sentinel

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// split forks. There is nothing to be done about thread-local storage: g is kept
// in a register.
//
//go:nosplit
//go:norace
//go:nocheckptr
func split(a *Arena, flags uintptr) (uintptr, syscall.Errno) {
	return sys(unix.SYS_CLONE, flags, 0, 0, 0)
}
