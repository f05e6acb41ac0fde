package conch_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// patience is how long the programs of the scripts wait for anything.
const patience = 30 * time.Second

// signalNamed returns the signal of a name or a number.
func signalNamed(name string) syscall.Signal {
	if n, err := strconv.Atoi(name); err == nil {
		return syscall.Signal(n)
	}
	sig := unix.SignalNum("SIG" + name)
	if sig == 0 {
		die("no signal", name)
	}
	return sig
}

// heedMain is the program heed SIGNAL...: it has a handler for each, also for those
// that were ignored when it was started, as no shell has, and says how often each
// came. Only what it has no handler for ends it.
func heedMain() {
	names := make(map[os.Signal]string)
	heard := make(chan os.Signal, 64)
	for _, name := range os.Args[1:] {
		names[signalNamed(name)] = name
		signal.Notify(heard, signalNamed(name))
	}
	fmt.Println("ready")
	count := make(map[os.Signal]int)
	for s := range heard {
		count[s]++
		fmt.Println("got", names[s], count[s])
	}
}

// said is what a process says.
type said struct {
	mu  sync.Mutex
	all []byte
}

// Write keeps what is said.
func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, b...)
	return len(b), nil
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.all)
}

// await returns once it has said something that matches.
func (s *said) await(what *regexp.Regexp) error {
	for end := time.Now().Add(patience); !what.MatchString(s.String()); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return errors.New("it does not say " + what.String())
		}
	}
	return nil
}

// diesMain is the program dies SIGNAL,... REGEXP CMD...: for each signal it starts
// CMD and sends it the signal once it has said what matches. CMD has to die of it,
// and to say nothing of goroutines.
func diesMain() {
	if len(os.Args) < 4 {
		die("usage: dies SIGNAL,... REGEXP CMD...")
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		die(err)
	}
	ready := regexp.MustCompile(os.Args[2])
	for name := range strings.SplitSeq(os.Args[1], ",") {
		var s said
		cmd := exec.Command(os.Args[3], os.Args[4:]...)
		cmd.Stdout, cmd.Stderr = &s, &s
		in, err := cmd.StdinPipe() // stays open: --hold ends with it
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			die(err)
		}
		err = s.await(ready)
		if err == nil {
			err = cmd.Process.Signal(signalNamed(name))
		}
		if status := end(cmd); err == nil && (!status.Signaled() || status.Signal() != signalNamed(name)) {
			err = errors.New(cmd.ProcessState.String())
		}
		in.Close()
		if err == nil && strings.Contains(s.String(), "goroutine") {
			err = errors.New("it dumps")
		}
		if err != nil {
			die(fmt.Sprintf("%s: %v:\n%s", name, err, s.String()))
		}
	}
}

// end waits for the end of a process, and kills it if that does not come.
func end(cmd *exec.Cmd) syscall.WaitStatus {
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	_ = cmd.Wait()
	return cmd.ProcessState.Sys().(syscall.WaitStatus)
}

// ctrlcMain is the program ctrlc N CMD...: N times it runs CMD on a terminal of its
// own, where CMD first says begin and at last up, and presses Ctrl-C at some time from
// the one to a little after the other. CMD has to die of it each time.
func ctrlcMain() {
	n, err := strconv.Atoi(os.Args[1])
	if err != nil {
		die("usage: ctrlc N CMD...")
	}
	span := pressed(time.Hour)
	for range n {
		pressed(rand.N(3 * span / 2))
	}
}

// pressed runs the command, and presses Ctrl-C after a time, or when it is up, which
// it returns how long that took.
func pressed(after time.Duration) time.Duration {
	cmd := exec.Command(os.Args[2], os.Args[3:]...)
	tty, err := pty.Start(cmd)
	if err != nil {
		die(err)
	}
	defer tty.Close()
	var s said
	go func() { _, _ = io.Copy(&s, tty) }()
	err = s.await(regexp.MustCompile("begin"))
	began := time.Now()
	for err == nil && time.Since(began) < after && !bytes.Contains([]byte(s.String()), []byte("up")) {
		time.Sleep(100 * time.Microsecond)
	}
	took := time.Since(began)
	if err == nil {
		_, err = tty.Write([]byte{3})
	}
	if status := end(cmd); err == nil && (!status.Signaled() || status.Signal() != syscall.SIGINT) {
		err = errors.New(cmd.ProcessState.String())
	}
	if err != nil {
		die(fmt.Sprintf("%v after Ctrl-C at %v:\n%s", err, took, s.String()))
	}
	return took
}
