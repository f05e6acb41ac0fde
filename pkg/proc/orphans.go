package proc

import (
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

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
	buried int  // sentinels whose orphans, if they have left any, may not have been seen to
	strays bool // dead children that are no sentinels are to be reaped: see BuryStrays
	groups int  // subgroups made
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
	n.buried++
}

// settled is called when the orphans of a sentinel that was buried are seen to.
func (n *nursery) settled() {
	n.mu.Lock()
	n.buried--
	n.mu.Unlock()
	n.buryStrays()
}

// orphaned is what came of emptying a dead sentinel's tree.
type orphaned struct {
	statuses map[int]syscall.WaitStatus
	killed   int
	denied   int
}

// empty kills our children, but not living sentinels and not those born before
// the sentinel was, and whoever is in g, until there are none. It calls say when for
// a second nobody has ended of so many. Sentinels in the tree are spared while spares
// says so, of how long this has gone on.
func (n *nursery) empty(born uint64, g subgroup, spares func(time.Duration) bool, say func(left int)) orphaned {
	const (
		deepAfter    = 50 * time.Millisecond // as package sentinel does
		despairAfter = time.Second           // likewise
	)
	o := orphaned{statuses: make(map[int]syscall.WaitStatus)}
	quiet, said, began, ended, killed := 0, 0, time.Now(), time.Now(), 0
	for nap := 100 * time.Microsecond; ; nap = min(2*nap, 50*time.Millisecond) {
		spare := nativeProc() && spares(time.Since(began))
		if !spare {
			g.kill()
		}
		found, denied := n.pass(born, spare, time.Since(ended) > deepAfter, &o)
		if spare && found == 0 {
			g.kill()
		}
		held := g.occupied()
		switch {
		case found > 0, held:
			quiet = 0
		case childless():
			return o
		default:
			quiet++ // there are others, so it is the list that has to say it, twice
		}
		if o.killed != killed {
			killed, ended = o.killed, time.Now()
		}
		despair := !spare && time.Since(ended) > despairAfter
		if quiet == 2 || despair && found > 0 && denied == found && !held {
			o.denied = denied
			return o
		}
		if left := max(found, 1); despair && left != said {
			said = left
			say(left)
		}
		time.Sleep(nap)
	}
}

// pass kills, and reaps, the orphans there are at this moment, but for sentinels if
// they are to be spared; with deep all descendants of those orphans: one that cannot
// end does not leave its children to us.
func (n *nursery) pass(born uint64, spare, deep bool, o *orphaned) (found, denied int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	orphans := n.strangers(ownChildren(), born)
	if len(orphans) == 0 {
		orphans = n.strangers(otherChildren(), born)
	}
	if deep && nativeProc() {
		for _, p := range descendants(orphans...) {
			if !(spare && isSentinel(p.pid)) && signalExactly(p, unix.SIGKILL, nil) {
				found++
			}
		}
	}
	for _, p := range orphans {
		if !(spare && isSentinel(p.pid)) && unix.Kill(p.pid, unix.SIGKILL) == unix.EPERM {
			denied++
		}
		var ws unix.WaitStatus
		if pid, _ := unix.Wait4(p.pid, &ws, unix.WNOHANG|unix.WALL, nil); pid == p.pid {
			o.statuses[pid] = syscall.WaitStatus(ws)
			o.killed++
		}
	}
	return found + len(orphans), denied
}

// isSentinel reports whether a process calls itself a sentinel, or what one becomes. The
// arguments of a process that is just being made another program are empty.
func isSentinel(pid int) bool {
	dir := "/proc/" + strconv.Itoa(pid)
	for _, name := range []string{dir + "/cmdline", dir + "/comm"} {
		if text, err := os.ReadFile(name); err == nil && (len(text) == 0 || strings.HasPrefix(string(text), SentinelName)) {
			return true
		}
	}
	return false
}

// strangers returns those of list that are no living sentinels and were not
// born before born.
func (n *nursery) strangers(list []process, born uint64) []process {
	return slices.DeleteFunc(list, func(p process) bool {
		return n.alive[p.pid] || p.born != 0 && p.born < born
	})
}

// BuryStrays reaps every child of this process that has died, until the returned
// function is called: those of the program that this process was before an exec,
// and the orphans that the init of a pid namespace, or a subreaper, is given. It is
// for a program that starts processes by this package only; it would take the ends
// of all others away.
func BuryStrays() (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		chld := make(chan os.Signal, 1)
		signal.Notify(chld, unix.SIGCHLD)
		defer signal.Stop(chld)
		sentinels.setStrays(true)
		for {
			sentinels.buryStrays() // some may be older than we are
			select {
			case <-chld:
			case <-quit:
				sentinels.setStrays(false)
				return
			}
		}
	}()
	return func() { close(quit); <-done }
}

func (n *nursery) setStrays(bury bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.strays = bury
}

// buryStrays reaps the dead children that are nobody's here, if it is to. The
// orphans of a sentinel are not: their tree is asked how they ended.
func (n *nursery) buryStrays() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.strays {
		pid := deadChild(unix.P_ALL, 0)
		if pid == 0 || n.alive[pid] || n.bereaved() {
			return // the end of a sentinel is followed by another look
		}
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG|unix.WALL, nil)
	}
}

// bereaved reports whether any of our children may be the orphan of a sentinel.
func (n *nursery) bereaved() bool {
	for pid := range n.alive {
		if deadChild(unix.P_PID, pid) != 0 {
			return true
		}
	}
	return n.buried > 0
}

// deadChild returns the pid of a child that can be reaped, 0 if there is none.
func deadChild(kind, id int) int {
	var info struct { // siginfo_t, as waitid fills it in
		_   [4]int32
		pid int32
		_   [108]byte
	}
	if unix.Waitid(kind, id, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil) != nil {
		return 0
	}
	return int(info.pid)
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
