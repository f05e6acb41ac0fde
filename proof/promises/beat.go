package main

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"conch/pkg/cli"
)

const beatName = "beat"

// The roles of the processes that run under a turn.
const (
	roleCommand = "command" // what conch starts
	roleDaemon  = "daemon"  // has left its session and its parent, and ignores TERM
)

// runEnv names the start of a contender whose processes these are.
const runEnv = "PROMISES_RUN"

// beat is the program that runs under a turn: beat [--stubborn] LEDGER. It
// leaves a daemon behind and says, until it is killed, that it is alive. TERM
// ends it once it has tidied up, unless it is stubborn; USR2 does at once.
type beat struct{ stubborn, daemon, orphan bool }

// tidying is how long a command takes to end that is asked to, far less than
// conch gives it.
const tidying = killAfter / 5

func (b *beat) run(_ context.Context, _ *cli.Stdio, args cli.Args) error {
	if len(args.Words) != 1 {
		return cli.Usagef("the LEDGER is missing")
	}
	ledger, role := args.Words[0], roleDaemon
	switch {
	case b.orphan: // between the command and its daemon
		return leave(false, "--daemon", ledger)
	case !b.daemon:
		role = roleCommand
		if err := leave(true, "--orphan", ledger); err != nil {
			return err
		}
	}
	signal.Ignore(syscall.SIGTERM)
	ends := make(chan os.Signal, 8)
	if role == roleCommand {
		signal.Notify(ends, unix.SIGUSR2)
		if !b.stubborn {
			signal.Notify(ends, syscall.SIGTERM)
		}
	}
	life, err := openLife(ledger, role)
	if err != nil {
		return err
	}
	life.live(ends)
	return nil
}

// live writes down that it is alive until it ends.
func (l *life) live(ends <-chan os.Signal) {
	atomic.StoreInt64(&l.from, boottime())
	defer func() { atomic.StoreInt64(&l.ended, boottime()) }()
	var tidy <-chan time.Time
	for tick := time.NewTicker(2 * time.Millisecond); ; {
		atomic.StoreInt64(&l.to, boottime())
		select {
		case <-tick.C:
		case s := <-ends:
			if s != syscall.SIGTERM {
				return
			}
			if tidy == nil {
				tidy = time.After(tidying)
			}
		case <-tidy:
			return
		}
	}
}

// leave starts another beat in a session of its own.
func leave(wait bool, args ...string) error {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = beatName
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err := cmd.Start()
	if err == nil && wait {
		err = cmd.Wait()
	}
	return err
}

// life is what a process writes down: when it was first and last alive, and when
// it ended by itself, in nanoseconds of CLOCK_BOOTTIME. It is memory that is
// shared with a file, so that it outlives a process which is killed between two
// instructions.
type life struct{ from, to, ended int64 }

// openLife makes the file of this process. Its name says all but the times.
func openLife(ledger, role string) (*life, error) {
	dir := filepath.Join(ledger, os.Getenv("CONCH_NAME"))
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	name := strings.Join([]string{os.Getenv("CONCH_REV"), os.Getenv(runEnv), role, strconv.Itoa(os.Getpid())}, "_")
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size := int(unsafe.Sizeof(life{}))
	if err := f.Truncate(int64(size)); err != nil {
		return nil, err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return (*life)(unsafe.Pointer(&b[0])), nil
}

func boottime() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err)
	}
	return ts.Nano()
}
