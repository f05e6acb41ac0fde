package proc

import (
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"conch/pkg/clock"

	"golang.org/x/sys/unix"
)

// Failsafe kills this process, by SIGKILL and from within the kernel, when an
// instant has come. It works while the process is stopped or its runtime is
// stuck, and counts on CLOCK_BOOTTIME. It does not survive the process, nor
// does it reach the processes it has started: their sentinel does that.
type Failsafe struct {
	id    int32
	clock clock.System
}

// NewFailsafe returns a Failsafe that is not armed.
func NewFailsafe() (*Failsafe, error) {
	// struct sigevent: value, signo, notify, and room for what is not used.
	event := struct {
		value         uint64
		signo, notify int32
		_             [48]byte
	}{signo: int32(unix.SIGKILL)}
	f := new(Failsafe)
	_, _, e := syscall.Syscall(unix.SYS_TIMER_CREATE, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&event)), uintptr(unsafe.Pointer(&f.id)))
	runtime.KeepAlive(&event)
	if e != 0 {
		return nil, scarce(os.NewSyscallError("timer_create", e), ofSignals)
	}
	return f, nil
}

// Arm sets the instant, in the place of the one set before. One that has passed
// is acted on at once.
func (f *Failsafe) Arm(at clock.Instant) error { return f.set(boottime(f.clock, at)) }

// Disarm takes the instant back.
func (f *Failsafe) Disarm() error { return f.set(0) }

func (f *Failsafe) set(at time.Duration) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(at))}
	_, _, e := syscall.Syscall6(unix.SYS_TIMER_SETTIME, uintptr(f.id), unix.TFD_TIMER_ABSTIME, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	if e != 0 {
		return os.NewSyscallError("timer_settime", e)
	}
	return nil
}

// Close disarms f for good.
func (f *Failsafe) Close() error {
	if _, _, e := syscall.Syscall(unix.SYS_TIMER_DELETE, uintptr(f.id), 0, 0); e != 0 {
		return os.NewSyscallError("timer_delete", e)
	}
	return nil
}

// boottime is when i comes on the kernel's clock. An instant that has passed,
// even before the machine was started, gives a time that has passed, and not 0,
// which would mean never; one that is out of reach gives one that is far off.
func boottime(c clock.System, i clock.Instant) time.Duration {
	const far = 50 * 365 * 24 * time.Hour
	return max(1, c.Boottime(min(i, c.Now().Add(far))))
}
