package sentinel

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	lowPids = 1 << 16
	pPid    = 1 // P_PID
)

// killAll is one pass: SIGKILL to each child that is found. Which children are
// found is not what proves the tree empty, wait4 does; the pass is repeated
// until then, and until the tree's cgroup is empty, if it has one. A child that
// dies leaves its own children to us before we hear of its death, so each death is
// answered with another pass.
//
//go:nosplit
//go:norace
//go:nocheckptr
func killAll(a *Arena) {
	spares(a)
	if a.spares == 0 {
		strikeGroup(a)
	}
	if a.Exited == 0 {
		strike(a, uintptr(a.Pid))
	}
	a.hits, a.Denied, a.spared = 0, 0, 0
	a.found, a.looked = 0, 0
	switch {
	case a.Init != 0:
		strikeAll(a)
	case a.Listing != 0 && children(a):
		strikeList(a)
	default:
		scan(a)
	}
	if a.spares != 0 && a.hits|a.spared == 0 {
		strikeGroup(a)
	}
	for nextList(a) {
		strikeList(a)
	}
	despair(a)
	tire(a)
}

// tire makes the next nap longer.
//
//go:nosplit
//go:norace
//go:nocheckptr
func tire(a *Arena) {
	a.nap += a.nap / 2
	if a.nap > lastNap {
		a.nap = lastNap
	}
}

// strike kills pid, a child that we have not reaped: the number is still its own.
// So is that of a child of one that has been killed and has not ended: it does not
// reap any more. Strike refuses the numbers that stand for more than one process.
//
//go:nosplit
//go:norace
//go:nocheckptr
func strike(a *Arena, pid uintptr) {
	if int(pid) < 2 {
		return
	}
	if a.spares != 0 && warden(a, pid) {
		a.spared++
		return
	}
	hit(a, pid)
}

//go:nosplit
//go:norace
//go:nocheckptr
func hit(a *Arena, pid uintptr) {
	switch _, e := sys(unix.SYS_KILL, pid, uintptr(unix.SIGKILL), 0, 0); e {
	case 0:
		a.hits++
		remember(a, pid)
	case syscall.EPERM:
		a.Denied++
	}
}

// strikeAll kills whatever this process may kill, which is only right for the
// init of a pid namespace. It asks the kernel whether it is one, and does not
// trust a word in memory with that: anywhere else this would be the end of
// everything on the machine.
//
//go:nosplit
//go:norace
//go:nocheckptr
func strikeAll(a *Arena) {
	if pid, e := sys(unix.SYS_GETPID, 0, 0, 0, 0); pid != 1 || e != 0 {
		return
	}
	switch _, e := sys(unix.SYS_KILL, ^uintptr(0), uintptr(unix.SIGKILL), 0, 0); e {
	case 0:
		a.hits++
	case syscall.EPERM:
		a.Denied++
	}
}

// children opens the list of our children in /proc.
//
//go:nosplit
//go:norace
//go:nocheckptr
func children(a *Arena) bool {
	fd, e := sys(unix.SYS_OPENAT, ^uintptr(99), a.list, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	a.file = fd
	return e == 0
}

// strikeList kills those that the open list names, and closes it.
//
//go:nosplit
//go:norace
//go:nocheckptr
func strikeList(a *Arena) {
	a.digits = 0
	for readList(a) {
		for i := uint32(0); i < a.listed; i++ {
			strike(a, uintptr(*(*uint32)(unsafe.Add(unsafe.Pointer(&a.pids), 4*uintptr(i)))))
		}
	}
	sys(unix.SYS_CLOSE, a.file, 0, 0, 0)
}

// readList reads pids, each of which ends with a space; false: there are no more.
// What has been read of the last one is kept for the next time.
//
//go:nosplit
//go:norace
//go:nocheckptr
func readList(a *Arena) bool {
	a.listed = 0
	n, e := sys(unix.SYS_READ, a.file, uintptr(unsafe.Pointer(&a.buf)), listSize, 0)
	if e != 0 || n == 0 {
		return false
	}
	for i := uintptr(0); i < n; i++ {
		c := octet(a, i)
		if c >= '0' && c <= '9' {
			a.digits = a.digits*10 + uint32(c-'0')
			continue
		}
		if a.digits != 0 && a.listed < maxListed {
			*(*uint32)(unsafe.Add(unsafe.Pointer(&a.pids), 4*uintptr(a.listed))) = a.digits
			a.listed++
		}
		a.digits = 0
	}
	return true
}

// scan finds our children without /proc: for each possible pid it asks the
// kernel whether there is anything to wait for. Where pids go up to four
// million that takes half a second, so the low ones come first.
//
//go:nosplit
//go:norace
//go:nocheckptr
func scan(a *Arena) {
	probe(a, 2, lowPids)
	if a.hits == 0 {
		probe(a, lowPids, uintptr(a.PidMax)+1)
	}
}

//go:nosplit
//go:norace
//go:nocheckptr
func probe(a *Arena, from, to uintptr) {
	for pid := from; pid < to; pid++ {
		_, e := sys(unix.SYS_WAITID, pPid, pid, 0, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|wall)
		if e == 0 {
			strike(a, pid)
		}
	}
}
