// Package clock is the one clock that deadlines are measured on.
//
// It does not tell the time of day, and instants of two machines, or of two
// processes, cannot be compared. What it gives is an upper bound: the time that
// has really passed since an earlier instant is, within the rate error of the
// machine's oscillator, never more than what this clock says. It counts while
// the machine is suspended (CLOCK_BOOTTIME does) and is not slowed by NTP
// slewing (CLOCK_MONOTONIC_RAW is not slewed), because it is the faster of the
// two. Go's time.Now and its timers are neither: they stand still in a suspend,
// so they may wake us but decide nothing.
package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// Instant is a reading of this process's clock, in nanoseconds. The zero
// Instant is before every reading, so a zero deadline has always passed.
type Instant int64

// Add returns the instant d later.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Sub returns how much later i is than j.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// Before reports whether i is earlier than j.
func (i Instant) Before(j Instant) bool { return i < j }

// Clock gives readings. Its zero value is not usable; see System.
type Clock interface {
	// Now returns the present instant. Readings never go backwards.
	Now() Instant
}

// System is the machine's clock. Readings of it taken anywhere in one process
// can be compared.
type System struct{}

// start is where both of the kernel's clocks stood when the process began;
// System counts what has passed on either since. It is written once.
var start = [2]int64{read(unix.CLOCK_BOOTTIME), read(unix.CLOCK_MONOTONIC_RAW)}

// Now returns the time since the process began, on the faster of
// CLOCK_BOOTTIME and CLOCK_MONOTONIC_RAW, plus one second so that no reading is
// the zero Instant.
func (System) Now() Instant {
	boot := read(unix.CLOCK_BOOTTIME) - start[0]
	raw := read(unix.CLOCK_MONOTONIC_RAW) - start[1]
	return Instant(max(boot, raw) + int64(time.Second))
}

// Boottime returns the reading of the kernel's CLOCK_BOOTTIME at which the
// instant i will have been reached on it, for timers that the kernel keeps
// (timerfd, POSIX timers). It is what remains of i from now, added to
// CLOCK_BOOTTIME as it stands.
func (c System) Boottime(i Instant) time.Duration {
	return time.Duration(read(unix.CLOCK_BOOTTIME)) + i.Sub(c.Now())
}

func read(id int32) int64 {
	var ts unix.Timespec
	// These clocks exist on every kernel that Go runs on; there is nothing to
	// recover to if they do not.
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic("clock: " + err.Error())
	}
	return ts.Nano()
}

// Least is the machine's clock as a lower bound: at least as much time has
// passed between two of its readings as they say. It is for who must wait for
// somebody else's deadline to pass; System is for who must act before its own.
type Least struct{}

// Now returns the time since the process began, on the slower of
// CLOCK_BOOTTIME and CLOCK_MONOTONIC_RAW. It cannot be compared with System's.
func (Least) Now() Instant {
	boot := read(unix.CLOCK_BOOTTIME) - start[0]
	raw := read(unix.CLOCK_MONOTONIC_RAW) - start[1]
	return Instant(min(boot, raw) + int64(time.Second))
}
