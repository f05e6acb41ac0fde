package sentinel

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	lowPids   = 1 << 16
	pPid      = 1  // P_PID
	idleLimit = 20 // passes, about a second, that could kill nothing before we say so
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
	a.hits = 0
	denied := a.Denied
	a.Denied = 0
	a.spared = 0
	spares(a)
	if a.spares == 0 {
		strikeGroup(a)
	}
	if a.Exited == 0 {
		strike(a, uintptr(a.Pid))
	}
	switch {
	case a.Init != 0:
		strikeAll(a)
	case a.Listing != 0 && listed(a):
	default:
		scan(a)
	}
	if a.spares != 0 && a.hits|a.spared == 0 {
		strikeGroup(a)
	}
	// Those in the cgroup are dead whether we may signal them or not.
	if a.Denied > 0 && a.hits == 0 && a.Denied == denied && !occupied(a) {
		a.idle++
	} else {
		a.idle = 0
	}
	if a.idle == idleLimit {
		stuck(a)
	}
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

// stuck says that those who are left may not be killed by us: they have
// changed their user. They are waited for, but not for the dead.
//
//go:nosplit
//go:norace
//go:nocheckptr
func stuck(a *Arena) {
	if a.Phase != Stuck {
		a.Phase = Stuck
		ping(a)
	}
	if a.orphaned|a.dismissed != 0 {
		exit(1)
	}
	a.idle--
}

// strike kills pid, a child that we have not reaped: the number is still its
// own. It refuses the numbers that stand for more than one process.
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
	switch _, e := sys(unix.SYS_KILL, pid, uintptr(unix.SIGKILL), 0, 0); e {
	case 0:
		a.hits++
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

// listed kills the children that /proc lists, and returns false if it does not
// list any or cannot be read.
//
//go:nosplit
//go:norace
//go:nocheckptr
func listed(a *Arena) bool {
	fd, e := sys(unix.SYS_OPENAT, ^uintptr(99), a.list, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if e != 0 {
		return false
	}
	pid := uintptr(0)
	for {
		n, e := sys(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&a.buf)), bufSize, 0)
		if e != 0 || n == 0 {
			break
		}
		pid = strikeEach(a, pid, n)
	}
	sys(unix.SYS_CLOSE, fd, 0, 0, 0)
	return true
}

// strikeEach kills the pids in n bytes of the buffer, each of which ends with a
// space. Pid is what has been read of one that began in the buffer before; what
// is left of the last one is returned.
//
//go:nosplit
//go:norace
//go:nocheckptr
func strikeEach(a *Arena, pid, n uintptr) uintptr {
	for i := uintptr(0); i < n; i++ {
		c := octet(a, i)
		if c >= '0' && c <= '9' {
			pid = pid*10 + uintptr(c-'0')
			continue
		}
		if pid != 0 {
			strike(a, pid)
		}
		pid = 0
	}
	return pid
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
