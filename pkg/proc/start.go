package proc

import (
	"fmt"
	"io"
	"os"

	"conch/pkg/clock"
	"conch/pkg/proc/entry"
	"conch/pkg/proc/sentinel"

	"golang.org/x/sys/unix"
)

// Start starts c under a sentinel of its own, and returns when the command has
// been exec'ed. A command that cannot be gives a *StartError, and leaves nothing.
func Start(c *Cmd) (*Tree, error) {
	if len(c.Args) == 0 || len(c.Paths) == 0 || c.Deadline == 0 {
		return nil, fmt.Errorf("proc: a command needs Args, Paths and a Deadline")
	}
	// Orphans of a dead sentinel are to become ours.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("proc: %w", os.NewSyscallError("prctl", err))
	}
	l := new(launch)
	defer l.close()
	if err := l.open(c); err != nil {
		return nil, fmt.Errorf("proc: %w", err)
	}
	t, err := l.fork(c)
	if err != nil {
		return nil, err
	}
	l.close() // the ends that are the sentinel's: what is left open here gives no end of file
	err = l.exec(c, t)
	close(t.ready)
	if err != nil {
		t.Kill()
		t.Dismiss()
		return nil, err
	}
	return t, nil
}

// launch is what exists only until the command runs.
type launch struct {
	arena *sentinel.Arena
	fds   []int // descriptors to be closed

	ctl, report, run     [2]int // pipes
	timer, child, parent int
	deadline             clock.Instant
	clock                clock.System
	userSpaced           bool
	group                subgroup
	groupFDs             [3]int // its directory, cgroup.kill, cgroup.events
}

func (l *launch) close() {
	for _, fd := range l.fds {
		unix.Close(fd)
	}
	l.fds = nil
	if l.arena != nil {
		l.arena.Free()
		l.arena = nil
	}
	l.group.remove()
	l.group = ""
}

// open makes the descriptors that the two processes talk through, and the
// Arena that they share.
func (l *launch) open(c *Cmd) error {
	for _, p := range []*[2]int{&l.ctl, &l.report, &l.run} {
		if err := l.pipe(p); err != nil {
			return os.NewSyscallError("pipe", err)
		}
	}
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if l.timer, err = l.above2(fd, err); err != nil {
		return os.NewSyscallError("timerfd_create", err)
	}
	l.fds = append(l.fds, l.timer)
	l.deadline = c.Deadline
	if err := setTimer(l.timer, l.clock, c.Deadline); err != nil {
		return err
	}
	chld := unix.Sigset_t{}
	chld.Val[0] = 1 << (unix.SIGCHLD - 1)
	fd, err = unix.Signalfd(-1, &chld, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK)
	if l.child, err = l.above2(fd, err); err != nil {
		return os.NewSyscallError("signalfd", err)
	}
	l.fds = append(l.fds, l.child)
	// A pidfd tells of our death even while another child of ours, between
	// fork and exec, holds the control pipe open. Before Linux 5.3 there is none.
	fd, err = unix.PidfdOpen(os.Getpid(), 0)
	if l.parent, err = l.above2(fd, err); err == nil {
		l.fds = append(l.fds, l.parent)
	} else {
		l.parent = -1
	}
	if !c.Contain { // with it the tree has something stronger
		l.openGroup()
	}
	return l.fill(c)
}

// openGroup makes a cgroup for the tree where that can be done.
func (l *launch) openGroup() {
	l.group = sentinels.subgroup()
	if l.group == "" {
		return
	}
	for i, f := range []struct {
		name string
		mode int
	}{{"", unix.O_DIRECTORY | unix.O_RDONLY}, {"/cgroup.kill", unix.O_WRONLY}, {"/cgroup.events", unix.O_RDONLY}} {
		fd, err := unix.Open(string(l.group)+f.name, f.mode|unix.O_CLOEXEC, 0)
		if l.groupFDs[i], err = l.above2(fd, err); err != nil {
			l.group.remove() // before Linux 5.14 there is no cgroup.kill
			l.group = ""
			return
		}
		l.fds = append(l.fds, l.groupFDs[i])
	}
}

func (l *launch) pipe(p *[2]int) (err error) {
	if err = unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return err
	}
	var first, second error
	p[0], first = l.above2(p[0], nil)
	p[1], second = l.above2(p[1], nil)
	l.fds = append(l.fds, p[0], p[1])
	if first != nil {
		return first
	}
	return second
}

// above2 moves fd out of the way of the command's streams.
func (l *launch) above2(fd int, err error) (int, error) {
	if err != nil || fd > 2 {
		return fd, err
	}
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	unix.Close(fd)
	return high, err
}

// fork makes the sentinel.
func (l *launch) fork(c *Cmd) (*Tree, error) {
	pid, err := l.clone(c)
	if err != nil {
		return nil, err
	}
	t := &Tree{
		sentinel: pid,
		arena:    l.arena,
		ctl:      l.ctl[1],
		timer:    l.timer,
		report:   os.NewFile(uintptr(l.report[0]), "report"),
		deadline: l.deadline,
		stay:     c.Epilogue != nil && c.Epilogue.Stay,
		group:    l.group,
		ready:    make(chan struct{}),
		left:     make(chan struct{}),
		exited:   make(chan struct{}),
		done:     make(chan struct{}),
		changes:  make(chan Change, 1),
	}
	t.born = born(pid)
	l.keep(t)
	t.begin()
	return t, nil
}

// keep leaves to t what is t's.
func (l *launch) keep(t *Tree) {
	left := l.fds[:0]
	for _, fd := range l.fds {
		if fd != t.ctl && fd != t.timer && fd != l.report[0] && fd != l.run[0] {
			left = append(left, fd)
		}
	}
	l.fds, l.arena, l.group = left, nil, ""
}

// clone forks with the namespaces asked for. A process that may not make a pid
// namespace by itself makes a user namespace around it.
func (l *launch) clone(c *Cmd) (int, error) {
	if !c.Contain {
		pid, errno := sentinels.fork(l.arena, 0)
		if errno != 0 {
			return 0, &StartError{c.Args[0], os.NewSyscallError("fork", errno)}
		}
		return pid, nil
	}
	l.arena.Init = 1
	pid, errno := sentinels.fork(l.arena, unix.CLONE_NEWPID)
	if errno == unix.EPERM {
		l.userSpaced = true
		l.arena.Gated = 1
		pid, errno = sentinels.fork(l.arena, unix.CLONE_NEWPID|unix.CLONE_NEWUSER)
	}
	if errno != 0 {
		return 0, &StartError{c.Args[0], fmt.Errorf("cannot be contained: a pid namespace is refused here: %w", errno)}
	}
	return pid, nil
}

// exec lets a waiting sentinel go, and waits for the command's exec: it closes
// the last writing end of the run pipe.
func (l *launch) exec(c *Cmd, t *Tree) error {
	run := os.NewFile(uintptr(l.run[0]), "run")
	defer run.Close()
	if l.userSpaced {
		if err := mapUser(t.sentinel); err != nil {
			return &StartError{c.Args[0], fmt.Errorf("cannot be contained: %w", err)}
		}
		t.order(sentinel.OrderGo)
	}
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
func (l *launch) fill(c *Cmd) error {
	s := &sentinel.Spec{Paths: c.Paths, Args: c.Args, Dir: c.Dir, Group: string(l.group)}
	s.Env, s.PidVars = pidVars(c.Env)
	if e := c.Epilogue; e != nil {
		s.Epilogue, s.EpilogueEnv = append([]string{e.Path}, e.Args...), e.Env
	}
	a, err := sentinel.New(s)
	if err != nil {
		return &StartError{c.Args[0], err}
	}
	l.arena = a
	a.Ctl, a.Report, a.Exec = int32(l.ctl[0]), int32(l.report[1]), int32(l.run[1])
	a.Timer, a.Child, a.Parent = int32(l.timer), int32(l.child), int32(l.parent)
	if l.group != "" {
		a.Group, a.GroupKill, a.GroupEvents = int32(l.groupFDs[0]), int32(l.groupFDs[1]), int32(l.groupFDs[2])
	}
	a.Keep(a.Ctl, a.Report, a.Timer, a.Child, a.Parent, a.GroupKill, a.GroupEvents)
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
		return &StartError{name, os.NewSyscallError("fork", errno)}
	case sentinel.AtDir:
		return &StartError{c.Dir, os.NewSyscallError("chdir", errno)}
	case sentinel.AtStdio:
		return &StartError{name, os.NewSyscallError("dup3", errno)}
	}
	return &StartError{name, errno}
}

func setTimer(fd int, c clock.System, at clock.Instant) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(boottime(c, at)))}
	return os.NewSyscallError("timerfd_settime", unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME, &spec, nil))
}
