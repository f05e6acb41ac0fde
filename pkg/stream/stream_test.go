package stream

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// limit is how long anything here may take that does not wait for a reader.
const limit = 20 * time.Second

// full returns a pipe that takes nothing more, and what it holds.
func full(t *testing.T) (r, w *os.File, held int) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	if err := w.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for {
		n, err := w.Write(make([]byte, 4096))
		held += n
		if err != nil {
			return r, w, held
		}
	}
}

func prompt(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(limit):
		t.Fatalf("%s waits for a reader", what)
	}
}

func TestFullPipe(t *testing.T) {
	r, w, held := full(t)
	s := New(w)
	s.queue.room = 3
	prompt(t, "a Stream", func() {
		if n, err := s.Write([]byte("one\n")); n != 4 || err != nil {
			t.Errorf("Write: %d, %v", n, err)
		}
		if s.Wait(time.Millisecond) {
			t.Error("written to a full pipe")
		}
		if s.Try([]byte("comfort\n")) {
			t.Error("a comfort was taken behind what is stuck")
		}
		for s.Put([]byte("more\n")) {
		}
	})
	if _, err := io.CopyN(io.Discard, r, int64(held)); err != nil {
		t.Fatal(err)
	}
	if !s.Wait(limit) {
		t.Fatal("not written though there is room")
	}
	w.Close()
	if b, err := io.ReadAll(r); err != nil || string(b) != "one\n"+strings.Repeat("more\n", 3) {
		t.Errorf("%q, %v", b, err)
	}
	if err := s.Err(); err != nil {
		t.Error(err)
	}
}

// One that is stuck costs one moment, and not one for each line.
func TestStuckOnce(t *testing.T) {
	_, w, _ := full(t)
	s := New(w)
	began := time.Now()
	for range 500 {
		_, _ = s.Write([]byte("line\n"))
	}
	if took := time.Since(began); took > 500*moment/2 {
		t.Errorf("500 lines to a stuck pipe took %v", took)
	}
}

// A reader that has gone is an error, and one that comes later gets what is written
// then.
func TestReaderGone(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenFile(fifo, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(fifo, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := New(f)
	r.Close()
	s.Put([]byte("lost\n"))
	if !s.Wait(limit) || !errors.Is(s.Err(), unix.EPIPE) {
		t.Fatalf("%v", s.Err())
	}
	if r, err = os.OpenFile(fifo, os.O_RDONLY|unix.O_NONBLOCK, 0); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s.Put([]byte("read\n"))
	if line, err := bufio.NewReader(r).ReadString('\n'); err != nil || line != "read\n" {
		t.Errorf("%q, %v", line, err)
	}
}

// A FIFO that nobody reads yet is no reason to wait, and its reader misses nothing.
func TestReaderComesLater(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	var s *Stream
	prompt(t, "Open", func() {
		f, err := Open(fifo, 0o600)
		if err != nil {
			t.Error(err)
			return
		}
		s = New(f)
		s.Put([]byte("one\n"))
		s.Put([]byte("two\n"))
		if s.Wait(time.Millisecond) {
			t.Error("written though nobody reads")
		}
	})
	r, err := os.Open(fifo)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := make([]byte, 8)
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "one\ntwo\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestOpenFails(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "no/such"), 0o600); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// A file at its limit sends no signal, and a line that was cut short has an end
// before the next.
func TestFileLimit(t *testing.T) {
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "file")
	f, err := Open(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := New(f)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 6, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	s.Put([]byte("0123\n"))
	s.Put([]byte("4567\n"))
	s.Put([]byte("none\n"))
	written := s.Wait(limit)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if !written || !errors.Is(s.Err(), syscall.EFBIG) {
		t.Errorf("%v, %v", written, s.Err())
	}
	s.Put([]byte("last\n"))
	if !s.Wait(limit) {
		t.Error("not written")
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "0123\n4\nlast\n" {
		t.Errorf("%q, %v", b, err)
	}
}

// What several put at a time comes in whole lines, each one's in order.
func TestConcurrent(t *testing.T) {
	var b bytes.Buffer
	s := New(&b)
	var all sync.WaitGroup
	for id := range 8 {
		all.Go(func() {
			for n := range 100 {
				s.Put([]byte{byte('a' + id), byte(n), '\n'})
			}
		})
	}
	all.Wait()
	if !s.Wait(limit) {
		t.Fatal("not written")
	}
	var next [8]byte
	for got := b.Bytes(); len(got) > 0; got = got[3:] {
		if id := got[0] - 'a'; got[1] != next[id] {
			t.Fatalf("%q after %d", got[:3], next[id])
		} else {
			next[id]++
		}
	}
}
