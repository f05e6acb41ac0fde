package proc

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"syscall"

	"conch/pkg/clock"
	"conch/pkg/proc/entry"
	"conch/pkg/proc/sentinel"

	"golang.org/x/sys/unix"
)

// Prepared is a sentinel that waits for the word to start its command. It costs
// a fork ahead of time, and saves it when the time has come.
type Prepared struct {
	arena *sentinel.Arena
	fds   []int // descriptors to be closed
	tree  *Tree
	used  bool

	ctl, report, run     [2]int // pipes
	timer, child, parent int
	program              int // the file that this process runs, or -1
	clock                clock.System
	group                subgroup
	groupFDs             [3]int // its directory, cgroup.kill, cgroup.events
}

// Prepare does all of what Start does that needs no Env, Epilogue or Deadline.
// The result is for the Prepared of the same Cmd. What is not started must be
// dropped.
func Prepare(c *Cmd) (*Prepared, error) {
	if len(c.Args) == 0 || len(c.Paths) == 0 {
		return nil, fmt.Errorf("proc: a command needs Args and Paths")
	}
	return newPrepared(c)
}

// StandBy returns a sentinel for no command: all that it is good for is Arm. It
// holds nothing open that this process was given.
func StandBy() (*Prepared, error) { return newPrepared(&Cmd{}) }

func newPrepared(c *Cmd) (*Prepared, error) {
	// Orphans of a dead sentinel are to become ours.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("proc: %w", os.NewSyscallError("prctl", err))
	}
	p := new(Prepared)
	defer p.close() // the ends that are the sentinel's: what is left open here gives no end of file
	if err := p.open(c); err != nil {
		return nil, fmt.Errorf("proc: %w", scarce(err, ofProcesses))
	}
	if err := p.fork(c); err != nil {
		return nil, err
	}
	return p, nil
}

// Arm sets what the sentinel becomes should this process die before the command
// is started, and after that (see Cmd.Epilogue); it takes the place of what was
// set before, and nil takes that back. Stay is of no account until the start.
func (p *Prepared) Arm(e *Epilogue) error {
	p.tree.mu.Lock()
	defer p.tree.mu.Unlock()
	if p.tree.gone { // and the Arena with it
		return nil
	}
	if e == nil {
		p.arena.Disarm()
		return nil
	}
	if err := p.arena.Arm(e.Path, e.Args, e.Env); err != nil {
		return fmt.Errorf("proc: %w", err)
	}
	return nil
}

// Gone is closed when the sentinel has ended, which before the start means that
// somebody has killed it, or that it was dropped.
func (p *Prepared) Gone() <-chan struct{} { return p.tree.done }

// Drop ends a sentinel that was not told to start anything. It may be called of
// one that was, and more than once.
func (p *Prepared) Drop() {
	if p == nil || p.used {
		return
	}
	p.used = true
	unix.Close(p.run[0])
	close(p.tree.ready)
	p.tree.order(sentinel.OrderDismiss)
	p.tree.wake()
	<-p.tree.left
}

// dead reports whether the sentinel is no more: somebody has killed it.
func (p *Prepared) dead() bool {
	select {
	case <-p.tree.done:
		return true
	default:
		return false
	}
}

// Start starts c under a sentinel of its own, and returns when the command has
// been exec'ed. A command that cannot be gives a *StartError, and leaves nothing.
func Start(c *Cmd) (*Tree, error) {
	if c.Deadline == 0 {
		return nil, fmt.Errorf("proc: a command needs a Deadline")
	}
	p := c.Prepared
	if p == nil || p.used || p.dead() {
		p.Drop()
		var err error
		if p, err = Prepare(c); err != nil {
			return nil, err
		}
	}
	if err := p.complete(c); err != nil {
		p.Drop()
		return nil, err
	}
	t := p.tree
	p.used = true
	err := p.exec(c)
	close(t.ready)
	if err != nil {
		t.Kill()
		t.Dismiss()
		return nil, err
	}
	return t, nil
}

// complete tells a waiting sentinel what Prepare did not know.
func (p *Prepared) complete(c *Cmd) error {
	late := &sentinel.Late{}
	late.Env, late.PidVars = pidVars(c.Env)
	if err := p.arena.Complete(late); err != nil {
		return &StartError{c.Args[0], err}
	}
	if e := c.Epilogue; e != nil {
		p.tree.setStay(e.Stay)
		if err := p.Arm(e); err != nil {
			return err
		}
	}
	if err := setTimer(p.timer, p.clock, c.Deadline); err != nil {
		return err
	}
	p.tree.deadline = c.Deadline
	if c.Ready != nil {
		c.Ready(p.tree)
	}
	return nil
}

// close closes what is not the tree's; without a tree, all.
func (p *Prepared) close() {
	for _, fd := range p.fds {
		unix.Close(fd)
	}
	p.fds = nil
	if p.tree == nil && p.arena != nil {
		p.arena.Free()
		p.group.remove()
	}
}

// open makes the descriptors that the two processes talk through, and the
// Arena that they share.
func (p *Prepared) open(c *Cmd) error {
	for _, ends := range []*[2]int{&p.ctl, &p.report, &p.run} {
		if err := p.pipe(ends); err != nil {
			return os.NewSyscallError("pipe", err)
		}
	}
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if p.timer, err = p.above2(fd, err); err != nil {
		return os.NewSyscallError("timerfd_create", err)
	}
	p.fds = append(p.fds, p.timer)
	chld := unix.Sigset_t{}
	chld.Val[0] = 1 << (unix.SIGCHLD - 1)
	fd, err = unix.Signalfd(-1, &chld, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK)
	if p.child, err = p.above2(fd, err); err != nil {
		return os.NewSyscallError("signalfd", err)
	}
	p.fds = append(p.fds, p.child)
	// A pidfd tells of our death even while another child of ours, between
	// fork and exec, holds the control pipe open. Before Linux 5.3 there is none.
	fd, err = unix.PidfdOpen(os.Getpid(), 0)
	if p.parent, err = p.above2(fd, err); err == nil {
		p.fds = append(p.fds, p.parent)
	} else {
		p.parent = -1
	}
	if fd, err = p.above2(openProgram()); err == nil {
		p.fds = append(p.fds, fd)
	}
	p.program = fd
	if !c.Contain { // with it the tree has something stronger
		p.openGroup()
	}
	return p.fill(c)
}

// openGroup makes a cgroup for the tree where that can be done.
func (p *Prepared) openGroup() {
	p.group = sentinels.subgroup()
	if p.group == "" {
		return
	}
	for i, f := range []struct {
		name string
		mode int
	}{{"", unix.O_DIRECTORY | unix.O_RDONLY}, {"/cgroup.kill", unix.O_WRONLY}, {"/cgroup.events", unix.O_RDONLY}} {
		fd, err := unix.Open(string(p.group)+f.name, f.mode|unix.O_CLOEXEC, 0)
		if p.groupFDs[i], err = p.above2(fd, err); err != nil {
			p.group.remove() // before Linux 5.14 there is no cgroup.kill
			p.group = ""
			return
		}
		p.fds = append(p.fds, p.groupFDs[i])
	}
}

func (p *Prepared) pipe(ends *[2]int) (err error) {
	if err = unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return err
	}
	var first, second error
	ends[0], first = p.above2(ends[0], nil)
	ends[1], second = p.above2(ends[1], nil)
	p.fds = append(p.fds, ends[0], ends[1])
	if first != nil {
		return first
	}
	return second
}

// above2 moves fd out of the way of the command's streams.
func (p *Prepared) above2(fd int, err error) (int, error) {
	if err != nil || fd > 2 {
		return fd, err
	}
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	unix.Close(fd)
	return high, err
}

// fork makes the sentinel.
func (p *Prepared) fork(c *Cmd) error {
	pid, userSpaced, err := p.clone(c)
	if err != nil {
		return err
	}
	t := &Tree{
		sentinel: pid,
		arena:    p.arena,
		ctl:      p.ctl[1],
		timer:    p.timer,
		report:   os.NewFile(uintptr(p.report[0]), "report"),
		group:    p.group,
		ready:    make(chan struct{}),
		left:     make(chan struct{}),
		exited:   make(chan struct{}),
		done:     make(chan struct{}),
		changes:  make(chan Change, 1),
		unkilled: make(chan int, 1),
	}
	if !c.Contain {
		_ = unix.Setpgid(pid, pid) // as it does itself: whoever is first
	}
	t.born = born(pid)
	p.fds = slices.DeleteFunc(p.fds, func(fd int) bool {
		return fd == t.ctl || fd == t.timer || fd == p.report[0] || fd == p.run[0]
	})
	p.tree = t
	t.begin()
	if userSpaced {
		if err := mapUser(pid); err != nil {
			p.close() // while its ends are open here, its end is not seen
			p.Drop()
			return &StartError{c.Args[0], fmt.Errorf("cannot be contained: %w", err)}
		}
	}
	return nil
}

// clone forks with the namespaces asked for. A process that may not make a pid
// namespace by itself makes a user namespace around it.
func (p *Prepared) clone(c *Cmd) (pid int, userSpaced bool, _ error) {
	if !c.Contain {
		pid, errno := sentinels.fork(p.arena, 0)
		if errno != 0 {
			return 0, false, forkError(c.name(), errno)
		}
		return pid, false, nil
	}
	p.arena.Init = 1
	pid, errno := sentinels.fork(p.arena, unix.CLONE_NEWPID)
	if errno == unix.EPERM {
		userSpaced = true
		pid, errno = sentinels.fork(p.arena, unix.CLONE_NEWPID|unix.CLONE_NEWUSER)
	}
	if errno == unix.EAGAIN || errno == unix.ENOMEM {
		return 0, false, forkError(c.name(), errno)
	}
	if errno != 0 {
		return 0, false, &StartError{c.Args[0], fmt.Errorf("cannot be contained: a pid namespace is refused here: %w", errno)}
	}
	return pid, userSpaced, nil
}

// exec lets the sentinel go, and waits for the command's exec: it closes the
// last writing end of the run pipe.
func (p *Prepared) exec(c *Cmd) error {
	run := os.NewFile(uintptr(p.run[0]), "run")
	defer run.Close()
	t := p.tree
	t.order(sentinel.OrderGo)
	if _, err := io.Copy(io.Discard, run); err != nil {
		return fmt.Errorf("proc: %w", err)
	}
	if err := t.failure(c); err != nil {
		return err
	}
	t.pid = t.innerPid()
	if c.Contain {
		t.pid = outerPid(t.sentinel, t.pid)
	}
	return nil
}

// fill writes the Arena.
func (p *Prepared) fill(c *Cmd) error {
	a, err := sentinel.New(&sentinel.Spec{Paths: c.Paths, Args: c.Args, Dir: c.Dir, Group: string(p.group)})
	if err != nil {
		return &StartError{c.name(), err}
	}
	p.arena = a
	a.Ctl, a.Report, a.Exec = int32(p.ctl[0]), int32(p.report[1]), int32(p.run[1])
	a.Timer, a.Child, a.Parent, a.Program = int32(p.timer), int32(p.child), int32(p.parent), int32(p.program)
	a.Home = uint32(unix.Getpgrp())
	if len(c.Args) == 0 {
		a.Bare = 1
	}
	if p.group != "" {
		a.Group, a.GroupKill, a.GroupEvents = int32(p.groupFDs[0]), int32(p.groupFDs[1]), int32(p.groupFDs[2])
	}
	a.Drop(p.ourOwn(c))
	a.Keep(a.Ctl, a.Report, a.Timer, a.Child, a.Parent, a.GroupKill, a.GroupEvents, a.Program)
	if c.Session {
		a.Session = 1
	}
	if c.WaitTree {
		a.WaitTree = 1
	}
	if unix.CloseRange(1<<32-1, 1<<32-1, 0) == nil {
		a.CloseRange = 1
	}
	a.MaxFD = uint32(highestFD())
	a.PidMax = pidMax()
	if nativeProc() && exists("/proc/thread-self/children") {
		a.Listing = 1
	}
	a.ArgStart, a.ArgEnd = argArea()
	shed(a)
	fillGiven(a)
	return fillStdio(a, c)
}

// ourOwn returns the descriptors that this process has opened for itself, but for
// those that the sentinel needs. A sentinel that waits with our end of its control
// pipe would not hear of our death, and with a connection of ours would keep that
// from being closed.
func (p *Prepared) ourOwn(c *Cmd) []int {
	ours := []int{p.ctl[1], p.report[0], p.run[0]}
	keep := slices.Clone(p.fds)
	for _, f := range c.Stdio {
		if f == nil {
			continue
		}
		if conn, err := f.SyscallConn(); err == nil {
			_ = conn.Control(func(fd uintptr) { keep = append(keep, int(fd)) })
		}
	}
	names, err := readNames("/proc/self/fd")
	if err != nil { // the rest goes when the command starts
		return ours
	}
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil || slices.Contains(keep, fd) {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC != 0 {
			ours = append(ours, fd)
		}
	}
	return ours
}

// fillGiven says what the command is to be given because we were.
func fillGiven(a *sentinel.Arena) {
	a.Ignored = ignored
	given, ok := entry.Given()
	for i := range a.Stdio {
		a.Stdio[i] = sentinel.AsGiven
		if ok && given.Closed[i] {
			a.Stdio[i] = sentinel.Closed
		}
	}
	if !ok {
		return
	}
	a.Mask, a.MaskKnown = given.Mask, 1
	if given.Nofile != [2]uint64{} {
		a.Nofile, a.NofileSet = given.Nofile, 1
	}
}

// fillStdio sets the streams that c sets. Fd would make a file blocking, for
// everyone who shares it.
func fillStdio(a *sentinel.Arena, c *Cmd) error {
	for i, f := range c.Stdio {
		if f == nil {
			continue
		}
		conn, err := f.SyscallConn()
		if err == nil {
			err = conn.Control(func(fd uintptr) { a.Stdio[i] = int32(fd) })
		}
		if err != nil {
			return &StartError{c.Args[0], fmt.Errorf("stream %d: %w", i, err)}
		}
	}
	return nil
}

// failure returns why the command was not started, if it was not.
func (t *Tree) failure(c *Cmd) error {
	at, errno := t.failedAt()
	name := c.Args[0]
	switch at {
	case 0:
		return nil
	case sentinel.AtLate:
		return &StartError{name, ErrLate}
	case sentinel.AtFork:
		return forkError(name, errno)
	case sentinel.AtDir:
		return &StartError{c.Dir, os.NewSyscallError("chdir", errno)}
	case sentinel.AtStdio:
		return &StartError{name, os.NewSyscallError("dup3", errno)}
	}
	return ExecError(name, c.Paths, errno)
}

func forkError(name string, errno syscall.Errno) error {
	return &StartError{name, scarce(os.NewSyscallError("fork", errno), ofProcesses)}
}

func setTimer(fd int, c clock.System, at clock.Instant) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(boottime(c, at)))}
	return os.NewSyscallError("timerfd_settime", unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME, &spec, nil))
}
