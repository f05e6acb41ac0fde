package sentinel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const intoCgroup = 0x200000000 // CLONE_INTO_CGROUP

// into forks into the tree's cgroup, and returns 0 and true in the child. It
// returns false if there is none or the kernel refuses: then there is to be a
// plain fork, and the cgroup stays empty. To write to cgroup.procs instead would
// wait for every processor to pass through the kernel: 5 to 15 ms.
//
//go:nosplit
//go:norace
//go:nocheckptr
func into(a *Arena) (pid uintptr, ok bool) {
	if a.Group < 0 {
		return 0, false
	}
	// struct clone_args
	a.clone[0], a.clone[4], a.clone[10] = intoCgroup, uint64(unix.SIGCHLD), uint64(a.Group)
	pid, e := sys(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&a.clone)), unsafe.Sizeof(a.clone), 0, 0)
	return pid, e == 0
}

// strikeGroup kills what is in the cgroup: whatever user it has become, and
// though it be forking.
//
//go:nosplit
//go:norace
//go:nocheckptr
func strikeGroup(a *Arena) {
	if a.GroupKill >= 0 {
		a.buf[0] = '1'
		sys(unix.SYS_PWRITE64, uintptr(a.GroupKill), uintptr(unsafe.Pointer(&a.buf)), 1, 0)
	}
}

// occupied reports whether there is a process in the cgroup. Nothing can be
// read of one that has been removed, which had to be empty for that.
//
//go:nosplit
//go:norace
//go:nocheckptr
func occupied(a *Arena) bool {
	if a.GroupEvents < 0 {
		return false
	}
	n, e := sys(unix.SYS_PREAD64, uintptr(a.GroupEvents), uintptr(unsafe.Pointer(&a.buf)), 256, 0)
	if e != 0 {
		return false
	}
	for i := uintptr(2); i < n; i++ {
		// The end of "populated 1"; the other line is about "frozen".
		if octet(a, i-2) == 'd' && octet(a, i-1) == ' ' && octet(a, i) == '1' {
			return true
		}
	}
	return false
}

// childless is reached when the kernel says that we have no child. What is in
// the cgroup all the same is no descendant; still, it is not empty.
//
//go:nosplit
//go:norace
//go:nocheckptr
func childless(a *Arena) {
	if occupied(a) {
		a.lingers = 1
		tire(a)
		return
	}
	ungroup(a)
	a.Phase = Empty
	ping(a)
}

// ungroup removes the tree's cgroup, which is empty.
//
//go:nosplit
//go:norace
//go:nocheckptr
func ungroup(a *Arena) {
	if a.group != 0 {
		sys(unix.SYS_UNLINKAT, ^uintptr(99), a.group, unix.AT_REMOVEDIR, 0)
	}
}
