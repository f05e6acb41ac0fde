package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// gate is a command that runs until we let it end, and of which we can tell
// when it is dead: it reads a line of a fifo.
type gate struct {
	path string
	fifo *os.File
}

func (w *world) gate() (*gate, error) {
	w.logs++
	g := &gate{path: filepath.Join(w.dir, fmt.Sprintf("gate-%d", w.logs))}
	if err := unix.Mkfifo(g.path, 0o600); err != nil {
		return nil, err
	}
	// For both directions, so that it does not wait for a reader.
	f, err := os.OpenFile(g.path, os.O_RDWR, 0)
	g.fifo = f
	return g, err
}

func (g *gate) command() []string { return []string{gatekeeper, "-n1", g.path} }

const gatekeeper = "head"

// open lets the command end, even if it has not begun to read.
func (g *gate) open() { fmt.Fprintln(g.fifo) }

// close lets the command end if it reads.
func (g *gate) close() { g.fifo.Close() }

// dead waits until nobody reads any more, and returns when that was.
func (g *gate) dead() (int64, error) {
	w, err := unix.Open(g.path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(w)
	g.fifo.Close() // which reads as well
	p := []unix.PollFd{{Fd: int32(w)}}
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		if n, err := unix.Poll(p, 1000); n > 0 {
			return now(), nil
		} else if err != nil && err != unix.EINTR {
			return 0, err
		}
	}
	return 0, fmt.Errorf("%s: still read after %v", g.path, limit)
}
