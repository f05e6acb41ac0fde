package proc

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"conch/pkg/clock"

	"golang.org/x/sys/unix"
)

// actVar makes the test binary do one thing to itself: see act.
const actVar = "PROC_TEST_ACT"

func act(name string) int {
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGTERM, syscall.SIGTSTP)
	switch name {
	case "sleep":
		time.Sleep(time.Hour)
	case "daemon":
		os.Setenv(actVar, "sleep")
		for range 2 {
			cmd := exec.Command(os.Args[0])
			cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr // there is no /dev/null
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := cmd.Start(); err != nil {
				panic(err)
			}
		}
		time.Sleep(500 * time.Millisecond)
		return 3
	case "raise":
		Raise(syscall.SIGTERM)
	case "stop":
		StopSelf(syscall.SIGTSTP)
		// The handler is back.
		syscall.Kill(os.Getpid(), syscall.SIGTSTP)
		<-caught
		return 5
	case "failsafe":
		f, err := NewFailsafe()
		if err != nil {
			panic(err)
		}
		now := clock.System{}.Now()
		f.Arm(now.Add(50 * time.Millisecond))
		f.Disarm()
		f.Arm(now.Add(time.Hour))
		f.Arm(now.Add(100 * time.Millisecond))
		StopSelf(syscall.SIGSTOP)
		time.Sleep(time.Hour)
	case "reserve":
		Reserve()
		before := threads()
		var wg sync.WaitGroup
		for range blocking {
			wg.Go(func() { unix.Nanosleep(&unix.Timespec{Nsec: 200e6}, nil) })
		}
		wg.Wait()
		if now := threads(); now > before {
			fmt.Fprintf(os.Stderr, "%d threads, and now %d\n", before, now)
			return 8
		}
		return 7
	case "failsafe off":
		f, _ := NewFailsafe()
		f.Arm(clock.System{}.Now().Add(500 * time.Millisecond))
		f.Disarm()
		g, _ := NewFailsafe()
		g.Arm(clock.System{}.Now().Add(500 * time.Millisecond))
		g.Close()
		time.Sleep(time.Second)
		return 6
	}
	return 1
}

func threads() int {
	names, err := readNames("/proc/self/task")
	if err != nil {
		panic(err)
	}
	return len(names)
}

// What blocks in the kernel needs a thread, and finds one.
func TestReserve(t *testing.T) {
	if instrumented {
		t.Skip("the race detector makes threads of its own")
	}
	if ws := status(t, acting(t, "reserve")); ws.ExitStatus() != 7 {
		t.Errorf("%v", ws)
	}
}

func acting(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), actVar+"="+name)
	cmd.Stderr = os.Stderr
	// A group of its own, with a parent in another one of this session: TSTP does
	// not stop an orphaned group, which ours is where there is no terminal.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd
}

func status(t *testing.T, cmd *exec.Cmd) syscall.WaitStatus {
	t.Helper()
	_ = cmd.Wait()
	return cmd.ProcessState.Sys().(syscall.WaitStatus)
}

func TestRaise(t *testing.T) {
	if ws := status(t, acting(t, "raise")); !ws.Signaled() || ws.Signal() != syscall.SIGTERM {
		t.Errorf("%v", ws)
	}
}

func TestStopSelf(t *testing.T) {
	cmd := acting(t, "stop")
	await(t, "stop", func() bool { return stateOf(cmd.Process.Pid) == 'T' })
	cmd.Process.Signal(syscall.SIGCONT)
	if ws := status(t, cmd); ws.ExitStatus() != 5 {
		t.Errorf("%v", ws)
	}
}

func TestFailsafe(t *testing.T) {
	if ws := status(t, acting(t, "failsafe")); !ws.Signaled() || ws.Signal() != syscall.SIGKILL {
		t.Errorf("%v", ws)
	}
	if ws := status(t, acting(t, "failsafe off")); ws.ExitStatus() != 6 {
		t.Errorf("%v", ws)
	}
}

func stateOf(pid int) byte {
	for _, p := range processes() {
		if p.pid == pid {
			return p.state
		}
	}
	return 0
}

func TestParseStat(t *testing.T) {
	line := "12 (a) b (c)) S 7 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9 9"
	p, ok := parseStat([]byte(line))
	if want := (process{12, 7, 'S', 4242}); !ok || p != want {
		t.Errorf("%+v, %v", p, ok)
	}
	for _, bad := range []string{"", "12", "12 (x", "12 (x) S", ") 12 ("} {
		if _, ok := parseStat([]byte(bad)); ok {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestWritten(t *testing.T) {
	const maps = `00400000-00500000 r-xp 00000000 08:01 12 /bin/x
00500000-00600000 rw-p 00100000 08:01 12 /bin/x
00600000-00700000 rw-p 00000000 00:00 0
c000000000-c000400000 rw-p 00000000 00:00 0 [anon: Go: heap]
c000400000-c004000000 ---p 00000000 00:00 0 [anon: Go: heap reservation]
7f0000000000-7f0000100000 rw-p 00000000 00:00 0
7f0000200000-7f0000300000 rw-s 00000000 00:01 9 /dev/zero (deleted)
7ffc00000000-7ffc00100000 rw-p 00000000 00:00 0 [stack]
`
	spans, ok := written([]byte(maps))
	if !ok || !slices.Equal(spans, [][2]uintptr{
		{0x500000, 0x600000}, {0x600000, 0x700000}, {0xc000000000, 0xc000400000}, {0x7f0000000000, 0x7f0000100000},
	}) {
		t.Errorf("%x, %v", spans, ok)
	}
	for _, more := range []string{
		"7f1000000000-7f1000100000 r-xp 00000000 08:01 13 /lib/libc.so.6\n",
		"01000000-01100000 rw-p 00000000 00:00 0 [heap]\n",
	} {
		if _, ok := written([]byte(maps + more)); ok {
			t.Errorf("taken for Go alone: %s", more)
		}
	}
}
