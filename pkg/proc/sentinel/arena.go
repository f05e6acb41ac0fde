package sentinel

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Phases of a sentinel, in Arena.Phase.
const (
	Starting = iota // the command is not forked yet
	Running         // there are processes in the tree, or may be
	Stuck           // those that are left may not be killed
	Empty           // there are none: the kernel said so
)

// Causes of a kill, in Arena.Cause: the first one counts.
const (
	None     = iota // nothing was killed but what the command left behind
	Deadline        // the deadline has passed
	Order           // the supervisor said so
	Orphaned        // the supervisor is dead
)

// Orders on the control pipe. Bytes from 1 to 64 are signals for the command.
const (
	OrderGo      = 100 + iota // the Arena is complete: start the command
	OrderKill                 // kill everything
	OrderDismiss              // leave, now or as soon as the tree is empty
)

// Places where the way to the command can fail, in Arena.FailedAt.
const (
	AtLate  = 1 + iota // the deadline had passed, or the supervisor was dead
	AtFork             // the fork of the command
	AtStdio            // its standard streams
	AtDir              // its directory
	AtExec             // its exec
)

// Values of Arena.Stdio that are no descriptor.
const (
	AsGiven = -1 // leave the stream as it is
	Closed  = -2 // close it: this process was started without it
)

const (
	maxShed = 192 // mappings to drop
	maxKeep = 8   // descriptors to keep
	maxDrop = 64  // descriptors to close at once

	maxQueue  = 1024 // processes whose children are looked for in one pass
	listSize  = 2048 // bytes of a list of pids that are read at once
	maxListed = listSize/2 + 1
	bufSize   = 4096
)

// Arena is all that the sentinel, and the command before its exec, read and
// write. It lies in a mapping of its own, shared by supervisor, sentinel and
// command, at the same address in each. Addresses in it are uintptr; a vector
// is an array of addresses that ends with 0, as execve takes it.
type Arena struct {
	size uint64 // of the mapping
	used uint64 // from its start
	last uint64 // where the epilogues begin

	// What the supervisor sets before the fork, but for what Complete lays out.
	Ctl, Report, Exec, Timer, Child, Parent int32 // descriptors; Parent: pidfd or -1
	Group, GroupKill, GroupEvents           int32 // the tree's cgroup and two files of it, or -1
	Program                                 int32 // the file that this process runs, or -1

	Init     uint32 // the sentinel is the init of a pid namespace
	Bare     uint32 // there will never be a command
	Home     uint32 // the process group of the supervisor, and of the command
	Listing  uint32 // /proc lists the children of this process by numbers that kill understands
	Session  uint32 // the command gets a session of its own
	WaitTree uint32 // the tree ends when it is empty, not when the command has exited
	Spare    uint32 // what the command leaves behind is not killed at once; may change at any time
	Lost     uint32 // sentinels in the tree are spared only briefly; may change at any time
	PidMax   uint32 // no pid is higher

	CloseRange uint32 // the system call works
	MaxFD      uint32 // where it does not: the highest descriptor to close
	keep       [maxKeep]int32
	keeps      uint32
	drop       [maxDrop]int32
	drops      uint32

	name, list, null uintptr // Name, the list of our children in /proc, /dev/null
	none             uintptr // an empty string
	proc             uintptr // "/proc/", and room for a number
	cmdline, comm    uintptr // the names of files there
	task, children   uintptr // and of others, the last below a directory with a number
	group            uintptr // the path of the tree's cgroup, or 0

	ArgStart, ArgEnd uintptr // where ps finds this process's arguments; 0 if not known

	sheds uint32
	page  uintptr
	shed  [2 * maxShed]uintptr // from, to, from, to

	// What the command is to be.
	paths      uintptr // vector of candidates
	argv, envp uintptr // vectors
	sh, shArgv uintptr // /bin/sh, and its vector with the script's place at 1
	dir        uintptr // 0: stay
	Stdio      [3]int32
	Ignored    uint64 // dispositions: bit n-1 for signal n
	Mask       uint64 // blocked signals, if MaskKnown
	MaskKnown  uint32
	NofileSet  uint32
	Nofile     [2]uint64
	pidText    [2]uintptr // where the command writes its own pid: LISTEN_PID, WATCHDOG_PID

	// What the sentinel becomes when the supervisor is dead and the tree is empty:
	// the address of three words, which are path (0: Program), argv and envp; 0:
	// nothing. One word, so that it is the old or the new one that is found.
	epilogue uintptr

	// What the supervisor may read at any time, atomically.
	Phase    uint32
	Pid      uint32 // of the command, as the sentinel sees it
	Cause    uint32
	Exited   uint32 // the command has exited, with Status
	Status   uint32
	Stops    uint32 // how often the command was stopped or continued
	Stopped  uint32 // the signal that stopped it; 0: it runs
	Killed   uint32 // processes besides the command that ended after a kill began
	Denied   uint32 // processes that may not be killed
	Unkilled uint32 // processes that SIGKILL was sent to and that do not end
	FailedAt uint32
	FailedNo uint32      // the errno
	Usage    unix.Rusage // the command's, once Exited

	// What is the sentinel's own.
	self       uint32
	gate       uint32 // 1: the command may go on to its exec
	killing    uint32
	late       uint32 // the deadline has passed
	orphaned   uint32
	dismissed  uint32
	backlog    uint32  // there is more to reap
	spares     uint32  // sentinels are spared in this pass, ...
	spared     uint32  // ... so many
	lingers    uint32  // there is no child, but somebody in the cgroup
	hits       uint32  // processes killed in this pass
	nap        int64   // nanoseconds until the next pass
	began      int64   // when the killing did, by monotonic
	ended      int64   // when a process last ended, or the killing began
	file       uintptr // a list of pids that is open
	digits     uint32  // of a pid that is being read
	listed     uint32  // pids read, which are ...
	pids       [maxListed]uint32
	deep       uint32 // this pass is for all descendants: ...
	found      uint32 // ... those of so many who were killed, which are ...
	queue      [maxQueue]uint32
	looked     uint32  // ... and so many of them have been looked at
	tasks      uintptr // the directory of the last one's threads, and 1; 0: none
	entries    [1024]byte
	entry      uintptr // the next of these,
	entriesEnd uintptr // which end there
	now        [2]int64
	word       [16]byte
	old, all   uint64 // signal masks
	action     [4]uint64
	clone      [11]uint64 // struct clone_args
	ts         [2]int64
	tls        [2]uintptr
	polls      [4]unix.PollFd
	status     uint32
	usage      unix.Rusage
	buf        [bufSize]byte
}

// Spec is the text that goes into an Arena. A string with a NUL in it is
// refused, as it would reach its reader cut short.
type Spec struct {
	Paths, Args []string
	Dir         string
	Group       string // path of the tree's cgroup; empty: none
}

// Late is the text that may be known only after the fork.
type Late struct {
	Env     []string
	PidVars []string // variables whose value is to be the command's own pid
}

// room is what an Arena has left for a Late, and for each of two epilogues: more
// than execve takes of an environment where the stack has its usual limit of 8
// MiB. What is not used of it costs addresses, and no memory.
const room = 4 << 20

// New maps an Arena and lays the text of s out in it.
func New(s *Spec) (*Arena, error) {
	size := int(unsafe.Sizeof(Arena{})) + 4096 + 3*room
	for _, list := range [][]string{s.Paths, s.Args, s.Args, {s.Dir}, {s.Group}} {
		for _, text := range list {
			size += len(text) + 1 + 8 + 32
		}
	}
	mem, err := unix.MmapPtr(-1, 0, nil, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	a := (*Arena)(mem)
	a.size, a.used, a.last = uint64(size), uint64(unsafe.Sizeof(*a)+7)&^7, uint64(size-2*room)&^7
	a.all, a.page = ^uint64(0), uintptr(unix.Getpagesize())
	a.Group, a.GroupKill, a.GroupEvents, a.Program = -1, -1, -1, -1
	if err := a.layOut(s); err != nil {
		a.Free()
		return nil, err
	}
	return a, nil
}

// Free unmaps a, which may not be used after.
func (a *Arena) Free() {
	// The only error is an address that was never mapped.
	_ = unix.MunmapPtr(unsafe.Pointer(a), uintptr(a.size))
}

// Span returns the addresses that a occupies.
func (a *Arena) Span() (from, to uintptr) {
	from = uintptr(unsafe.Pointer(a))
	return from, from + uintptr(a.size)
}

// Keep sets the descriptors that the sentinel keeps; negative ones are none.
func (a *Arena) Keep(fds ...int32) {
	fds = slices.DeleteFunc(fds, func(fd int32) bool { return fd < 0 })
	slices.Sort(fds) // closeRest closes what lies between
	a.keeps = uint32(copy(a.keep[:], fds))
}

// Drop sets the descriptors that are closed at once; the rest, but for those to keep,
// is when the command is started. Those that do not fit wait until then.
func (a *Arena) Drop(fds []int) {
	for _, fd := range fds[:min(len(fds), maxDrop)] {
		a.drop[a.drops] = int32(fd)
		a.drops++
	}
}

// Shed adds a mapping that the sentinel has no use for. Those that do not fit
// stay: they cost memory, no more.
func (a *Arena) Shed(from, to uintptr) {
	if a.sheds < maxShed {
		a.shed[2*a.sheds], a.shed[2*a.sheds+1] = from, to
		a.sheds++
	}
}

func (a *Arena) layOut(s *Spec) error {
	l := a.layer()
	names := l.vector([]string{Name, "/proc/thread-self/children", "/dev/null", "", "/proc/00000000000000000000", "cmdline", "comm", "task", "children"})
	a.paths, a.argv, a.shArgv = l.vector(s.Paths), l.vector(s.Args), l.vector(shell(s.Args))
	if s.Dir != "" {
		a.dir = l.text(s.Dir)
	}
	if s.Group != "" {
		a.group = l.text(s.Group)
	}
	if a.used = l.used; l.err != nil {
		return l.err
	}
	a.name, a.list, a.null, a.none = a.at(names, 0), a.at(names, 1), a.at(names, 2), a.at(names, 3)
	a.proc, a.cmdline, a.comm = a.at(names, 4), a.at(names, 5), a.at(names, 6)
	a.task, a.children = a.at(names, 7), a.at(names, 8)
	a.sh = a.at(a.shArgv, 0)
	return nil
}

// Complete lays the text of s out in a. The sentinel must not have been told to
// go on yet.
func (a *Arena) Complete(s *Late) error {
	l := a.layer()
	a.envp = l.vector(s.Env)
	for i, name := range s.PidVars[:min(len(s.PidVars), len(a.pidText))] {
		a.pidText[i] = l.pid(a.envp, s.Env, name)
	}
	a.used = l.used
	return l.err
}

// Arm sets what the sentinel becomes should the supervisor die: as soon as there
// is no process in the tree, at once if there is no command yet. It takes the
// place of what was set before. An empty path is the program that this process
// runs, from Arena.Program.
func (a *Arena) Arm(path string, argv, env []string) error {
	l := layer{a: a, used: a.last, end: a.last + room}
	if now := atomic.LoadUintptr(&a.epilogue); now != 0 && now < uintptr(unsafe.Pointer(a))+uintptr(l.end) {
		l.used, l.end = l.end, l.end+room // the other is in use
	}
	at := l.words(3)
	args, envp := l.vector(argv), l.vector(env)
	var file uintptr
	if path != "" {
		file = l.text(path)
	}
	if l.err != nil {
		return l.err
	}
	a.set(at, 0, file)
	a.set(at, 1, args)
	a.set(at, 2, envp)
	atomic.StoreUintptr(&a.epilogue, at)
	return nil
}

// Disarm lets the sentinel just end.
func (a *Arena) Disarm() { atomic.StoreUintptr(&a.epilogue, 0) }

// layer lays text out, from used to end; the first error stays.
type layer struct {
	a         *Arena
	used, end uint64 // from the start of a
	err       error
}

func (a *Arena) layer() *layer { return &layer{a: a, used: a.used, end: a.last} }

// take returns where n bytes are, 0 on error.
func (l *layer) take(n uint64) uintptr {
	if l.err == nil && l.used+n > l.end {
		l.err = unix.E2BIG
	}
	if l.err != nil {
		return 0
	}
	at := uintptr(unsafe.Pointer(l.a)) + uintptr(l.used)
	l.used += n
	return at
}

// words makes room for n words.
func (l *layer) words(n int) uintptr {
	l.used = (l.used + 7) &^ 7
	return l.take(uint64(8 * n))
}

// vector lays out list and returns where.
func (l *layer) vector(list []string) uintptr {
	at := l.words(len(list) + 1)
	for i, s := range list {
		if p := l.text(s); l.err == nil {
			l.a.set(at, i, p)
		}
	}
	if l.err == nil {
		l.a.set(at, len(list), 0)
	}
	return at
}

// text lays out s with a NUL behind it and returns where.
func (l *layer) text(s string) uintptr {
	b, err := unix.ByteSliceFromString(s)
	if err != nil && l.err == nil {
		l.err = fmt.Errorf("%.40q: a NUL byte: %w", s, err)
	}
	from := l.used
	at := l.take(uint64(len(b)))
	if l.err == nil {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(l.a)), l.a.size)[from:], b)
	}
	return at
}

// pid makes room, in the place of the variable in env, laid out at envp, for the
// pid that the command will write there, and returns where; 0: there is no such
// variable.
func (l *layer) pid(envp uintptr, env []string, name string) uintptr {
	i := slices.IndexFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
	if i < 0 {
		return 0
	}
	v := l.text(name + "=00000000000000000000")
	if l.err != nil {
		return 0
	}
	l.a.set(envp, i, v)
	return v + uintptr(len(name)) + 1
}

// shell returns the vector that runs a script without a #! line as execvp
// does; the candidate's path goes to place 1.
func shell(args []string) []string {
	sh := []string{"/bin/sh", ""}
	if len(args) > 1 {
		sh = append(sh, args[1:]...)
	}
	return sh
}

func (a *Arena) at(vector uintptr, i int) uintptr { return word(a, vector+uintptr(8*i)) }

func (a *Arena) set(vector uintptr, i int, v uintptr) { setWord(a, vector+uintptr(8*i), v) }
