package sentinel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// How long, in nanoseconds, the sentinels of conches in the tree are left to clear
// up after those, which the first passes kill. What calls itself a sentinel and is
// none gains no more than that.
const (
	SpareFor     = 5_000_000_000 // longer than a release takes on a machine that is busy
	SpareBriefly = 500_000_000   // if the hold is lost: shorter than the lock-delay of who is next
)

// spares notes whether sentinels are spared still. Past the deadline none is:
// nothing may be left a moment later.
//
//go:nosplit
//go:norace
//go:nocheckptr
func spares(a *Arena) {
	a.spares = 0
	if a.Listing == 0 || a.Init|a.late != 0 {
		return
	}
	if since := monotonic(a) - a.began; since < SpareBriefly || since < SpareFor && a.Lost == 0 {
		a.spares = 1
	}
}

// monotonic is the time on CLOCK_MONOTONIC, in nanoseconds.
//
//go:nosplit
//go:norace
//go:nocheckptr
func monotonic(a *Arena) int64 {
	sys(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&a.now)), 0, 0)
	return a.now[0]*1e9 + a.now[1]
}

// warden reports whether the process pid, a child of ours, is a sentinel, or the
// program that one has become: by its arguments, or where they are not known yet by
// its name.
//
//go:nosplit
//go:norace
//go:nocheckptr
func warden(a *Arena, pid uintptr) bool {
	decimal(a, a.proc+6, pid)
	dir, e := sys(unix.SYS_OPENAT, ^uintptr(99), a.proc, unix.O_PATH|unix.O_CLOEXEC, 0)
	if e != 0 {
		return false
	}
	is := begins(a, dir, a.cmdline) || begins(a, dir, a.comm)
	sys(unix.SYS_CLOSE, dir, 0, 0, 0)
	return is
}

// begins reports whether a file in dir begins with Name, or is empty, as the
// arguments are of a process that is just being made another program.
//
//go:nosplit
//go:norace
//go:nocheckptr
func begins(a *Arena, dir, file uintptr) bool {
	fd, e := sys(unix.SYS_OPENAT, dir, file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if e != 0 {
		return false
	}
	n, e := sys(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&a.word)), uintptr(len(Name)), 0)
	sys(unix.SYS_CLOSE, fd, 0, 0, 0)
	if e != 0 || n != 0 && n != uintptr(len(Name)) {
		return false
	}
	name := unsafe.Add(unsafe.Pointer(a), a.name-uintptr(unsafe.Pointer(a)))
	for i := uintptr(0); i < n; i++ {
		if *(*byte)(unsafe.Add(unsafe.Pointer(&a.word), i)) != *(*byte)(unsafe.Add(name, i)) {
			return false
		}
	}
	return true
}
