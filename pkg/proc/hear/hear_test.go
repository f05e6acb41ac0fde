package hear

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// actVar makes the test binary do one thing to itself: see act.
const actVar = "HEAR_TEST_ACT"

var listener *Listener

func TestMain(m *testing.M) {
	if name := os.Getenv(actVar); name != "" {
		os.Exit(act(name))
	}
	var err error
	if listener, err = Listen(All()); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func act(name string) int {
	switch name {
	case "default": // until it is sent one
		Default()
		fmt.Println("ready")
		time.Sleep(time.Hour)
	case "crash":
		Default()
		crash(nil)
	case "starved":
		return starved()
	}
	return 1
}

// starved starves the thread that the kernel prefers for a signal, and reports by its
// status whether each came before the mark.
func starved() int {
	l, err := Listen(All())
	if err == nil {
		err = unix.SchedSetAttr(os.Getpid(), &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	done := make(chan int)
	go func() { // not on that thread
		for range 20 {
			_ = syscall.Kill(os.Getpid(), unix.SIGINT)
			mark := l.Mark()
			if first, second := <-l.C, <-l.C; first.Sig != unix.SIGINT || !second.Marked(mark) {
				fmt.Printf("%+v, %+v\n", first, second)
				done <- 1
			}
		}
		done <- 0
	}()
	return <-done
}

//go:noinline
func crash(p *int) { *p = 1 }

// next returns the next signal.
func next(t *testing.T) Signal {
	t.Helper()
	select {
	case s := <-listener.C:
		return s
	case <-time.After(30 * time.Second):
		t.Fatal("nothing was heard")
		return Signal{}
	}
}

// Each signal is heard, once, also those that Go's runtime does not give away.
func TestEach(t *testing.T) {
	quiet(t)
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		if !All().Has(sig) {
			continue
		}
		if err := syscall.Kill(os.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
		if s := next(t); s.Sig != sig || s.FromTerminal() || s.FromOuter() || time.Since(s.At) > time.Minute {
			t.Errorf("%d: %+v", sig, s)
		}
	}
}

// A fault of our own is a panic as before, and one that somebody sends is not.
func TestFault(t *testing.T) {
	quiet(t)
	func() {
		defer func() {
			if err, ok := recover().(runtime.Error); !ok {
				t.Error("no panic", err)
			}
		}()
		crash(nil)
	}()
	for range 3 {
		_ = syscall.Kill(os.Getpid(), unix.SIGSEGV)
		if s := next(t); s.Sig != unix.SIGSEGV {
			t.Errorf("%+v", s)
		}
	}
}

// What is sent with a signal tells an outer conch's.
func TestOuter(t *testing.T) {
	quiet(t)
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Skip(err)
	}
	defer unix.Close(self)
	for _, sig := range []syscall.Signal{unix.SIGTERM, 40} {
		if err := unix.PidfdSendSignal(self, sig, Outer(sig), 0); err != nil {
			t.Fatal(err)
		}
		if s := next(t); s.Sig != sig || !s.FromOuter() || s.FromTerminal() {
			t.Errorf("%+v", s)
		}
	}
}

// All that was sent before a mark comes before it, unless a thread that has taken a
// signal has had no processor since, which on a busy machine happens now and then.
func TestMark(t *testing.T) {
	quiet(t)
	const rounds, may = 200, 10
	late := 0
	for range rounds {
		_ = syscall.Kill(os.Getpid(), unix.SIGINT)
		mark := listener.Mark()
		first, second := next(t), next(t)
		if first.Sig == 0 {
			first, second = second, first
			late++
		}
		if first.Sig != unix.SIGINT || !second.Marked(mark) || second.Marked(mark+1) {
			t.Fatalf("%+v, %+v", first, second)
		}
	}
	t.Logf("%d of %d came late", late, rounds)
	if late > may {
		t.Errorf("%d of %d came late", late, rounds)
	}
}

// A signal that the kernel means for a thread which gets no processor comes before the
// mark all the same.
func TestMarkStarved(t *testing.T) {
	for range 2 * runtime.NumCPU() {
		busy := exec.Command("sh", "-c", "while :; do :; done")
		if err := busy.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = busy.Process.Kill(); _ = busy.Wait() }()
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), actVar+"=starved")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// A storm from several threads harms nobody, whatever Go is doing.
func TestStorm(t *testing.T) {
	done := make(chan struct{})
	var senders, workers sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for i := range 1000 {
				_ = syscall.Kill(os.Getpid(), []syscall.Signal{unix.SIGUSR1, unix.SIGPROF, unix.SIGSEGV, 34, 50}[i%5])
			}
		})
		workers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					_ = bytes.Repeat([]byte("x"), 10000)
					runtime.Gosched()
				}
			}
		})
	}
	go func() {
		senders.Wait()
		close(done)
	}()
	for storm := true; storm; {
		select {
		case <-listener.C:
		case <-done:
			storm = false
		}
	}
	workers.Wait()
	quiet(t)
}

// quiet returns when nothing is heard any more.
func quiet(t *testing.T) {
	t.Helper()
	for heard := 1; heard > 0; {
		heard = 0
		for mark := listener.Mark(); !next(t).Marked(mark); {
			heard++
		}
	}
}

// Without a listener a signal does what it does to any program, in silence.
func TestDefault(t *testing.T) {
	for _, sig := range []syscall.Signal{unix.SIGQUIT, unix.SIGABRT, unix.SIGSYS, unix.SIGTRAP, unix.SIGSEGV, unix.SIGBUS, unix.SIGTERM, unix.SIGUSR1, unix.SIGALRM, 34, 64} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), actVar+"=default")
		var said bytes.Buffer
		cmd.Stderr = &said
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 6)); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Process.Signal(sig)
		_ = cmd.Wait()
		if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != sig || said.Len() > 0 {
			t.Errorf("%v: %v: %s", sig, cmd.ProcessState, said.Bytes())
		}
	}
}

// A crash of our own is told as ever.
func TestCrash(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), actVar+"=crash")
	out, err := cmd.CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("nil pointer dereference")) || !bytes.Contains(out, []byte("goroutine 1 ")) {
		t.Errorf("%v: %s", err, out)
	}
}
