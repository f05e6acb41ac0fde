package sentinel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// How long, in nanoseconds, nothing has ended of what was killed ...
const (
	deepAfter    = 50e6 // ... when the descendants of those who do not are killed, too
	despairAfter = 1e9  // ... and when we say so
)

// despair is reached at the end of a pass. A process may sleep in the kernel, so
// that SIGKILL has to wait, or may have changed its user, so that we may not send
// it. The first kind is waited for as long as it takes.
//
//go:nosplit
//go:norace
//go:nocheckptr
func despair(a *Arena) {
	still := monotonic(a) - a.ended
	a.deep = 0
	if still > deepAfter {
		a.deep = 1
	}
	if still < despairAfter || a.spared != 0 {
		return
	}
	left := a.hits + a.Denied
	switch {
	case occupied(a): // whoever is in the cgroup was killed, whether we may signal him or not
		if left == 0 {
			left = 1
		}
		unkilled(a, left)
	case a.hits > 0:
		unkilled(a, left)
	case a.Denied > 0:
		stuck(a)
	}
}

// unkilled says how many have been killed and have not ended.
//
//go:nosplit
//go:norace
//go:nocheckptr
func unkilled(a *Arena, n uint32) {
	if a.Unkilled != n {
		a.Unkilled = n
		ping(a)
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
}

// remember notes a process that was killed, to look for its children.
//
//go:nosplit
//go:norace
//go:nocheckptr
func remember(a *Arena, pid uintptr) {
	if a.deep&a.Listing != 0 && a.found < maxQueue {
		*(*uint32)(unsafe.Add(unsafe.Pointer(&a.queue), 4*uintptr(a.found))) = uint32(pid)
		a.found++
	}
}

// nextList opens the next list of the children of somebody who was killed in this
// pass: a process that dies leaves its children to us, and one that does not, in a
// sleep that nothing can end, keeps them, and they would go on. Each thread has a
// list of its own.
//
//go:nosplit
//go:norace
//go:nocheckptr
func nextList(a *Arena) bool {
	for a.tasks != 0 || nextTasks(a) {
		if a.entry >= a.entriesEnd {
			n, e := sys(unix.SYS_GETDENTS64, a.tasks-1, uintptr(unsafe.Pointer(&a.entries)), unsafe.Sizeof(a.entries), 0)
			if e != 0 || n == 0 {
				sys(unix.SYS_CLOSE, a.tasks-1, 0, 0, 0)
				a.tasks = 0
				continue
			}
			a.entry, a.entriesEnd = 0, n
		}
		// struct linux_dirent64: the length at 16, the name at 19
		entry := unsafe.Add(unsafe.Pointer(&a.entries), a.entry)
		a.entry += uintptr(*(*uint16)(unsafe.Add(entry, 16)))
		if within(a, a.tasks-1, uintptr(entry)+19, a.children) {
			return true
		}
	}
	return false
}

// nextTasks opens the directory with the threads of the next one who was killed.
//
//go:nosplit
//go:norace
//go:nocheckptr
func nextTasks(a *Arena) bool {
	for ; a.looked < a.found; a.looked++ {
		pid := *(*uint32)(unsafe.Add(unsafe.Pointer(&a.queue), 4*uintptr(a.looked)))
		decimal(a, a.proc+6, uintptr(pid))
		if within(a, ^uintptr(99), a.proc, a.task) {
			a.looked++
			a.tasks, a.entry, a.entriesEnd = a.file+1, 0, 0
			return true
		}
	}
	return false
}

// within opens a file in the directory dir, which lies in the directory at.
//
//go:nosplit
//go:norace
//go:nocheckptr
func within(a *Arena, at, dir, file uintptr) bool {
	d, e := sys(unix.SYS_OPENAT, at, dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	if e != 0 {
		return false
	}
	a.file, e = sys(unix.SYS_OPENAT, d, file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	sys(unix.SYS_CLOSE, d, 0, 0, 0)
	return e == 0
}
