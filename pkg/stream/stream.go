package stream

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Stream is a writer that is written to without waiting. It is safe for
// concurrent use.
type Stream struct {
	queue Queue
	w     io.Writer
	torn  bool // the last line ends before its end; of the queue's goroutine alone
	slow  atomic.Bool

	mu  sync.Mutex
	err error
}

// moment is how long Write and Settle wait: what a person reads, and what comes after it
// from somebody else, are to be in order wherever that costs nothing.
const moment = 100 * time.Millisecond

// New returns a Stream to w. A file is written to past its os.File, which would
// end the process where the reader of standard output or error has gone.
func New(w io.Writer) *Stream {
	if f, ok := w.(*os.File); ok {
		w = raw{f}
	}
	return &Stream{w: w}
}

// Of returns w if that is a Stream, and else a Stream to it.
func Of(w io.Writer) *Stream {
	if s, ok := w.(*Stream); ok {
		return s
	}
	return New(w)
}

// Put has b written, which belongs to the Stream from now on, and returns at
// once. False: too much waits already, and b is dropped.
func (s *Stream) Put(b []byte) bool { return s.queue.Do(func() { _ = s.write(b) }) }

// Send is Put for who has to know what came of it.
func (s *Stream) Send(b []byte) <-chan error {
	sent := make(chan error, 1)
	if !s.queue.Do(func() { sent <- s.write(b) }) {
		sent <- errFull
	}
	return sent
}

var errFull = errors.New("too much waits to be written")

// Waiting returns a writer to the stream that waits until all is written.
func (s *Stream) Waiting() io.Writer { return waiting{s} }

type waiting struct{ *Stream }

func (w waiting) Write(b []byte) (int, error) {
	if err := <-w.Send(bytes.Clone(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Try is Put for what is of no use later: it is dropped unless everything before
// it has been written, and Wait does not wait for it.
func (s *Stream) Try(b []byte) bool { return s.queue.Try(func() { _ = s.write(b) }) }

// Settle returns when nothing is being written, or after a moment; and whether it is
// so.
func (s *Stream) Settle() bool { return s.queue.Idle(moment) }

// Write has b written, and returns when that has been done, or after a moment. It
// does not fail: whether somebody reads what is said is no concern of who says it.
func (s *Stream) Write(b []byte) (int, error) {
	s.Put(bytes.Clone(b))
	if s.slow.Load() && !s.Wait(0) {
		return len(b), nil // one moment for all that is stuck
	}
	s.slow.Store(!s.Wait(moment))
	return len(b), nil
}

// Wait returns when everything has been written, or could not be, or after d; and
// whether it was in time.
func (s *Stream) Wait(d time.Duration) bool { return s.queue.Wait(d) }

// Err returns what the first write that failed failed with.
func (s *Stream) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Terminal reports whether the stream is a terminal.
func (s *Stream) Terminal() bool {
	r, ok := s.w.(raw)
	if !ok {
		return false
	}
	terminal := false
	err := r.with(func(fd int) error {
		_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		terminal = err == nil
		return nil
	})
	return err == nil && terminal
}

// write writes b. After a failure it is tried again with the next: a disk may have
// room again, a pipe another reader; a line that was cut short gets an end.
func (s *Stream) write(b []byte) error {
	if s.torn {
		b = append([]byte("\n"), b...)
	}
	n, err := s.w.Write(b)
	s.torn = n > 0 && n < len(b) || n == 0 && s.torn
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	return err
}

// raw writes to a file by the system call alone.
type raw struct{ *os.File }

// with calls f with the descriptor. Fd would make it blocking, for everybody who
// shares the open file.
func (r raw) with(f func(fd int) error) error {
	conn, err := r.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := conn.Control(func(fd uintptr) { ferr = f(int(fd)) }); err != nil {
		return err
	}
	return ferr
}

// Write writes all of b, and waits for room where the descriptor does not.
func (r raw) Write(b []byte) (n int, _ error) {
	err := r.with(func(fd int) error {
		for n < len(b) {
			m, err := unix.Write(fd, b[n:])
			switch {
			case err == unix.EINTR:
			case err == unix.EAGAIN:
				_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1) // or the write says why not
			case err != nil:
				return &os.PathError{Op: "write", Path: r.Name(), Err: err}
			default:
				n += m
			}
		}
		return nil
	})
	return n, err
}
