package proc

import (
	"os/signal"
	"syscall"
	"unsafe"

	"conch/pkg/proc/entry"

	"golang.org/x/sys/unix"
)

const sigIgn = 1

// sigaction is the kernel's struct, on amd64 and arm64.
type sigaction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

// ignored has bit n-1 set if signal n was ignored when the process started. It
// is found out before anything else can have changed it, and not written again.
var ignored = func() uint64 {
	if given, ok := entry.Given(); ok {
		return given.Ignored
	}
	// Without the entry, TSTP, TTIN, TTOU, CONT and the real-time signals below
	// 34 are as they were, and os/signal knows of HUP and INT. The others have
	// the runtime's handler.
	var set uint64
	for n := syscall.Signal(1); n <= 64; n++ {
		var act sigaction
		rtSigaction(n, nil, &act)
		if act.handler == sigIgn || (n == unix.SIGHUP || n == unix.SIGINT) && signal.Ignored(n) {
			set |= 1 << (n - 1)
		}
	}
	return set
}()

// Ignored reports whether sig was ignored when this process was started, as it
// will be in the command.
func Ignored(sig syscall.Signal) bool {
	return sig >= 1 && sig <= 64 && ignored>>(sig-1)&1 != 0
}

func rtSigaction(sig syscall.Signal, act, old *sigaction) error {
	_, _, e := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(act)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}
