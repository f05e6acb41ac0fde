package proc

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Raise ends this process by sig, as a command that was killed by sig has
// ended, without a core of its own. It returns if the signal does not end a
// process: it is not one that does, or this is the init of a pid namespace.
func Raise(sig syscall.Signal) {
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) // at worst a second core
	deliver(sig)
}

// StopSelf stops this process by sig (TSTP, TTIN, TTOU or STOP) and returns
// when it has been continued, with the handler of sig as it was. signal.Reset
// leaves the runtime's handler in place (golang/go#46321), so os/signal cannot
// do this. In an orphaned process group the kernel drops all but STOP.
func StopSelf(sig syscall.Signal) {
	var old sigaction
	if rtSigaction(sig, nil, &old) == nil {
		defer rtSigaction(sig, &old, nil)
	}
	deliver(sig)
}

// deliver sends sig to this thread with its default disposition. A signal that
// the sender does not block is delivered before the system call returns.
func deliver(sig syscall.Signal) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = rtSigaction(sig, &sigaction{}, nil) // KILL and STOP refuse, and need none
	var old uint64
	set := uint64(1) << (sig - 1)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_UNBLOCK, uintptr(unsafe.Pointer(&set)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	_ = unix.Tgkill(os.Getpid(), unix.Gettid(), sig)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
}

// LetGo gives up what this process holds only for the command: standard input
// and output, and every descriptor that the command has inherited, except keep.
// Else a command that closes its output would not give `| cat` its end of file.
// To be called once the command has been started.
func LetGo(keep ...int) error {
	if err := letGoStreams(); err != nil {
		return err
	}
	kept := make(map[int]bool)
	for _, fd := range keep {
		kept[fd] = true
	}
	for _, fd := range descriptors() {
		if fd < 3 || kept[fd] {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			unix.Close(fd)
		}
	}
	return nil
}

// letGoStreams puts something harmless in the place of 0 and 1. The numbers
// stay in use, lest the next file opened be taken for standard output.
func letGoStreams() error {
	in, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	out := in
	if err != nil {
		// No /dev: two ends of a pipe whose other ends are closed.
		var a, b [2]int
		if err := unix.Pipe2(a[:], unix.O_CLOEXEC); err != nil {
			return os.NewSyscallError("pipe", err)
		}
		if err := unix.Pipe2(b[:], unix.O_CLOEXEC); err != nil {
			return os.NewSyscallError("pipe", err)
		}
		unix.Close(a[1])
		unix.Close(b[0])
		in, out = a[0], b[1]
	}
	for fd, from := range []int{in, out} {
		if err := unix.Dup3(from, fd, 0); err != nil && from != fd {
			return os.NewSyscallError("dup3", err)
		}
	}
	if in > 2 {
		unix.Close(in)
	}
	if out > 2 && out != in {
		unix.Close(out)
	}
	return nil
}

// descriptors returns the open ones, and without /proc all that may be.
func descriptors() []int {
	var fds []int
	names, err := readNames("/proc/self/fd")
	if err != nil {
		for fd := range highestFD() + 1 {
			fds = append(fds, fd)
		}
	}
	for _, name := range names {
		if fd, err := strconv.Atoi(name); err == nil {
			fds = append(fds, fd)
		}
	}
	return fds
}

func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// highestFD bounds the descriptors that are looked for where nothing lists
// them. Beyond 65535, looking would take longer than it is worth.
func highestFD() int {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return 1023
	}
	return int(min(lim.Cur, 1<<16)) - 1
}

// openProgram opens the file that this process runs, for an epilogue: the file
// may be replaced or removed by then. Without /proc there is only the name that
// it was started by.
func openProgram() (int, error) {
	fd, err := unix.Open("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil && strings.Contains(os.Args[0], "/") {
		fd, err = unix.Open(os.Args[0], unix.O_PATH|unix.O_CLOEXEC, 0)
	}
	return fd, err
}
