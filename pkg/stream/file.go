package stream

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// openPatience is how long it may take to open a file: a mount may be dead.
const openPatience = 5 * time.Second

// File is a file that is appended to. One that is a FIFO and has no reader yet is
// opened by the first Write, which waits for the reader. It is for one goroutine at
// a time.
type File struct {
	path string
	f    *os.File // nil: a FIFO that nobody reads yet
}

// Open opens path to append to it, and makes it if it is not there. It waits for
// no reader, and for a file system only so long.
func Open(path string, perm fs.FileMode) (*File, error) {
	type opened struct {
		f   *os.File
		err error
	}
	done := make(chan opened, 1)
	go func() { // ends when the file system answers
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|unix.O_NONBLOCK|unix.O_NOCTTY, perm)
		done <- opened{f, err}
	}()
	select {
	case o := <-done:
		if errors.Is(o.err, unix.ENXIO) && isFIFO(path) {
			return &File{path: path}, nil
		}
		return &File{path: path, f: o.f}, o.err
	case <-time.After(openPatience):
		return nil, &fs.PathError{Op: "open", Path: path, Err: fmt.Errorf("no answer within %v", openPatience)}
	}
}

func isFIFO(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&fs.ModeNamedPipe != 0
}

// Write writes b.
func (f *File) Write(b []byte) (int, error) {
	if f.f == nil {
		fifo, err := os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return 0, err
		}
		f.f = fifo
	}
	return raw{f.f}.Write(b)
}

// Close closes the file.
func (f *File) Close() error {
	if f.f == nil {
		return nil
	}
	return f.f.Close()
}
