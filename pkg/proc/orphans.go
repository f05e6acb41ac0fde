package proc

import (
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"conch/pkg/proc/sentinel"

	"golang.org/x/sys/unix"
)

// sentinels is the one mutable variable of this package. Which children a
// process has is the process's own state, not a Tree's: when a sentinel dies,
// its orphans lie among the living sentinels of other trees, and only a list of
// those tells them apart.
var sentinels = nursery{alive: make(map[int]bool)}

// nursery knows the living sentinels. Its lock is held whenever a child may
// appear or be reaped, so that no pid changes hands under a kill.
type nursery struct {
	mu     sync.Mutex
	alive  map[int]bool
	groups int // subgroups made
}

func (n *nursery) fork(a *sentinel.Arena, flags uintptr) (int, syscall.Errno) {
	n.mu.Lock()
	defer n.mu.Unlock()
	syscall.ForkLock.Lock()
	pid, errno := sentinel.Fork(a, flags)
	syscall.ForkLock.Unlock()
	if errno == 0 {
		n.alive[pid] = true
	}
	return pid, errno
}

// bury waits for the end of a sentinel and reaps it.
func (n *nursery) bury(pid int) {
	// Wait first, without the lock and without reaping.
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT|unix.WALL, nil) == unix.EINTR {
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	_, _ = unix.Wait4(pid, nil, unix.WNOHANG|unix.WALL, nil)
	delete(n.alive, pid)
}

// orphaned is what came of emptying a dead sentinel's tree.
type orphaned struct {
	statuses map[int]syscall.WaitStatus
	killed   int
	denied   int
}

// empty kills our children, but not living sentinels and not those born before
// the sentinel was, and whoever is in g, until there are none.
func (n *nursery) empty(born uint64, g subgroup) orphaned {
	o := orphaned{statuses: make(map[int]syscall.WaitStatus)}
	const patience = 30 // passes, about a second, that find only processes which may not be killed
	quiet, idle := 0, 0
	for nap := 100 * time.Microsecond; ; nap = min(2*nap, 50*time.Millisecond) {
		g.kill()
		found, denied := n.pass(born, &o)
		held := g.occupied()
		switch {
		case found > 0, held:
			quiet = 0
		case childless():
			return o
		default:
			quiet++ // there are others, so it is the list that has to say it, twice
		}
		if found > 0 && denied == found && !held {
			idle++
		} else {
			idle = 0
		}
		if quiet == 2 || idle == patience {
			o.denied = denied
			return o
		}
		time.Sleep(nap)
	}
}

// pass kills, and reaps, the orphans there are at this moment.
func (n *nursery) pass(born uint64, o *orphaned) (found, denied int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	orphans := n.strangers(ownChildren(), born)
	if len(orphans) == 0 {
		orphans = n.strangers(otherChildren(), born)
	}
	for _, p := range orphans {
		if unix.Kill(p.pid, unix.SIGKILL) == unix.EPERM {
			denied++
		}
		var ws unix.WaitStatus
		if pid, _ := unix.Wait4(p.pid, &ws, unix.WNOHANG|unix.WALL, nil); pid == p.pid {
			o.statuses[pid] = syscall.WaitStatus(ws)
			o.killed++
		}
	}
	return len(orphans), denied
}

// strangers returns those of list that are no living sentinels and were not
// born before born.
func (n *nursery) strangers(list []process, born uint64) []process {
	return slices.DeleteFunc(list, func(p process) bool {
		return n.alive[p.pid] || p.born != 0 && p.born < born
	})
}

// buryStrays reaps dead children that are not ours by birth: the init of a pid
// namespace is given everyone's.
func (n *nursery) buryStrays() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range ownChildren() {
		if !n.alive[p.pid] && (p.state == 'Z' || p.state == 0) {
			_, _ = unix.Wait4(p.pid, nil, unix.WNOHANG|unix.WALL, nil)
		}
	}
}

// childless reports whether the kernel knows of no child of ours.
func childless() bool {
	return unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil) == unix.ECHILD
}

// lowPids is where the pids of a small system end. Without a usable /proc each
// possible pid is asked for, and there may be four million.
const lowPids = 1 << 16

// ownChildren lists the children of this process; without a usable /proc, those
// with low pids.
func ownChildren() []process {
	if !nativeProc() {
		return probe(2, lowPids)
	}
	var own []process
	for _, p := range processes() {
		if p.parent == os.Getpid() {
			own = append(own, p)
		}
	}
	return own
}

// otherChildren lists the children that ownChildren leaves out.
func otherChildren() []process {
	if nativeProc() || childless() {
		return nil
	}
	return probe(lowPids, int(pidMax())+1)
}

// probe finds our children without /proc, or with one that numbers processes as
// another namespace does: it asks of each pid whether there is anything to wait
// for.
func probe(from, to int) []process {
	var own []process
	for pid := from; pid < to; pid++ {
		if unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil) == nil {
			own = append(own, process{pid: pid})
		}
	}
	return own
}
