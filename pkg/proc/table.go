package proc

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"conch/pkg/proc/hear"

	"golang.org/x/sys/unix"
)

// process is a line of the process table.
type process struct {
	pid, parent int
	state       byte
	born        uint64 // in clock ticks since boot; 0: not known
}

// identity is a process, and no other that has its pid later.
type identity struct {
	pid  int
	born uint64
}

func (p process) identity() identity { return identity{p.pid, p.born} }

// SignalAll sends sig to each living descendant that is found, each once, and
// returns how many that were. Sig 0 counts them. Not reached is what stands under
// the sentinel of another supervisor: that one is reached, and passes on what it
// gets. Without a usable /proc the command alone is.
//
// A process forked meanwhile by one that was already looked at is found by another
// look; but not one that was forked by a process which has got sig, and may be
// clearing up for that.
func (t *Tree) SignalAll(sig syscall.Signal) int {
	return t.signalAll(sig, nil, make(map[identity]int))
}

// Ask does the same, but reaches no process that it has sent sig to before, and lets
// a conch know whom it is from (hear.Signal.FromOuter). It returns how many it has
// reached in all.
func (t *Tree) Ask(sig syscall.Signal) int {
	t.askMu.Lock()
	defer t.askMu.Unlock()
	if t.asked == nil {
		t.asked = make(map[syscall.Signal]map[identity]int)
	}
	if t.asked[sig] == nil {
		t.asked[sig] = make(map[identity]int)
	}
	return t.signalAll(sig, hear.Outer(sig), t.asked[sig])
}

// signalAll sends sig, and what goes with it, to whoever is not in sent, and puts them
// there with the pid that was the newest then.
func (t *Tree) signalAll(sig syscall.Signal, with *unix.Siginfo, sent map[identity]int) int {
	if !nativeProc() {
		if id := (identity{pid: t.pid}); sent[id] == 0 {
			sent[id] = t.pid
			t.Signal(sig)
		}
		return len(sent)
	}
	const looks = 20 // a tree that forks faster than this is one for Kill
	limit := int(pidMax())
	for range looks {
		news := false
		for _, d := range t.audience() {
			if _, ok := sent[d.identity()]; ok || d.heir(sent, limit) {
				continue
			}
			if signalExactly(d.process, sig, with) {
				sent[d.identity()] = lastPid()
				news = true
			}
		}
		if !news || sig == 0 {
			break
		}
	}
	return len(sent)
}

// descendant is a process of a tree.
type descendant struct {
	process
	from *descendant // its parent; nil: the sentinel
}

// heir reports whether d was forked by a process that had got the signal, or by an
// heir of one: whether its pid was given later than the newest of then.
func (d *descendant) heir(sent map[identity]int, limit int) bool {
	for child := d; child.from != nil; child = child.from {
		if newest := sent[child.from.identity()]; newest != 0 && later(child.pid, newest, limit) {
			return true
		}
	}
	return false
}

// later reports whether pid was given after other, where numbers start again at
// the limit.
func later(pid, other, limit int) bool {
	return pid != other && (pid-other+limit)%limit < limit/2
}

// lastPid returns the pid that was given last, 0 if that cannot be told.
func lastPid() int {
	line, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(line[bytes.LastIndexByte(line, ' ')+1:])))
	if err != nil {
		return 0
	}
	return pid
}

// audience returns the living processes of the tree, each after its parent, but for
// sentinels and what is below them.
func (t *Tree) audience() []*descendant {
	var found []*descendant
	byPid := make(map[int]*descendant) // nil: below a sentinel, or one
	for _, p := range t.descendants() {
		from, known := byPid[p.parent]
		if known && from == nil || isSentinel(p.pid) {
			byPid[p.pid] = nil
			continue
		}
		d := &descendant{p, from}
		byPid[p.pid] = d
		found = append(found, d)
	}
	return found
}

// descendants returns the living processes below the sentinel.
func (t *Tree) descendants() []process {
	t.mu.Lock()
	gone := t.gone
	t.mu.Unlock()
	if gone {
		return nil
	}
	return descendants(process{pid: t.sentinel})
}

// descendants returns the living processes below any of those.
func descendants(of ...process) []process {
	children := make(map[int][]process)
	for _, p := range processes() {
		children[p.parent] = append(children[p.parent], p)
	}
	var found []process
	for todo := slices.Clone(of); len(todo) > 0; todo = todo[1:] {
		for _, p := range children[todo[0].pid] {
			todo = append(todo, p)
			if p.state != 'Z' && p.state != 'X' {
				found = append(found, p)
			}
		}
	}
	return found
}

// signalExactly sends sig to p, and to no process that has come to its pid
// since: the directory in /proc, once open, stands for the process, and what is
// read through it says whether it is the one that was listed.
func signalExactly(p process, sig syscall.Signal, with *unix.Siginfo) bool {
	dir, err := unix.Open("/proc/"+strconv.Itoa(p.pid), unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(dir)
	now, ok := readStat(dir)
	if !ok || now.born != p.born || now.state == 'Z' {
		return false
	}
	switch err := unix.PidfdSendSignal(dir, sig, with, 0); err {
	case nil:
		return true
	case unix.ENOSYS, unix.EBADF, unix.EINVAL: // before Linux 5.1, or forbidden
		return unix.Kill(p.pid, sig) == nil
	default:
		return false
	}
}

func readStat(dir int) (process, bool) {
	fd, err := unix.Openat(dir, "stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return process{}, false
	}
	defer unix.Close(fd)
	var buf [1024]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return process{}, false
	}
	return parseStat(buf[:n])
}

// parseStat reads a line of /proc/<pid>/stat. The name in it may hold anything,
// so what follows is counted from its last parenthesis.
func parseStat(line []byte) (process, bool) {
	open, shut := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 1 || shut < open {
		return process{}, false
	}
	// Fields from the third on: state, ppid, ..., starttime is the 22nd.
	fields := strings.Fields(string(line[shut+1:]))
	if len(fields) < 20 {
		return process{}, false
	}
	pid, err1 := strconv.Atoi(string(bytes.TrimSpace(line[:open])))
	parent, err2 := strconv.Atoi(fields[1])
	born, err3 := strconv.ParseUint(fields[19], 10, 64)
	return process{pid, parent, fields[0][0], born}, err1 == nil && err2 == nil && err3 == nil
}

// processes reads the whole table. One that ends meanwhile is left out.
func processes() []process {
	names, err := readNames("/proc")
	if err != nil {
		return nil
	}
	var all []process
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		dir, err := unix.Open("/proc/"+name, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		if p, ok := readStat(dir); ok {
			all = append(all, p)
		}
		unix.Close(dir)
	}
	return all
}

// born returns when the process pid was forked, 0 if that cannot be told.
func born(pid int) uint64 {
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil || !nativeProc() {
		return 0
	}
	p, _ := parseStat(line)
	return p.born
}

// nativeProc reports whether /proc numbers processes as kill does for us. In a
// pid namespace entered without mounting /proc anew, it does not, and its
// numbers are other people's.
func nativeProc() bool {
	self, err := os.Readlink("/proc/self")
	return err == nil && self == strconv.Itoa(os.Getpid())
}

// pidMax returns the highest pid there can be.
func pidMax() uint32 {
	const limit = 4 << 20 // the kernel's own, on 64 bits
	text, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		return limit
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	if err != nil || n > limit {
		return limit
	}
	return uint32(n)
}

// argArea returns where the kernel looks for this process's arguments.
func argArea() (from, to uintptr) {
	line, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, 0
	}
	fields := strings.Fields(string(line[bytes.LastIndexByte(line, ')')+1:]))
	if len(fields) < 47 {
		return 0, 0
	}
	a, err1 := strconv.ParseUint(fields[45], 10, 64) // arg_start is the 48th of all
	b, err2 := strconv.ParseUint(fields[46], 10, 64)
	if err1 != nil || err2 != nil || b < a || b-a > 1<<22 {
		return 0, 0
	}
	return uintptr(a), uintptr(b)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
