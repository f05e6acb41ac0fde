package fence

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrFenced means that the hold which a token proves is over.
var ErrFenced = errors.New("the hold is over")

// Unfit means that what is at Path cannot be replaced in one step, as a File is.
type Unfit struct{ Path, Why string }

func (e *Unfit) Error() string { return e.Path + " cannot be replaced in one step: " + e.Why }

// File is a file that is replaced as a whole, by whoever has the newest token. What
// is written to it is seen by nobody before Replace, and never if it is closed
// without.
//
// The newest token that has replaced it is kept beside it, in .NAME.conch, under
// whose lock tokens are compared and the file is renamed: a holder of before cannot
// undo what a later one wrote, though its last look at etcd was in time. That is
// found from where symlinks lead, so a file has one, whatever it is called. A file
// with several hard links would have several: it is refused.
type File struct {
	dir  *os.File // that it is in
	base string   // its name there
	new  *os.File // what is to take its place, ...
	name string   // ... and its name in dir; empty: it has none
}

// OpenFile opens a file to replace, which need not exist. Owner, group, permissions,
// access list and user's attributes of one that does are kept. The error is an
// *Unfit if it is not a regular file or has other hard links, if those cannot be
// kept, or if nothing can be made beside it.
func OpenFile(path string) (*File, error) { return open(path, true) }

// open is OpenFile. Where a file can be made that has no name, there is none to be
// left behind.
func open(path string, unnamed bool) (_ *File, err error) {
	f, err := locate(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	old, err := f.old()
	if err != nil {
		return nil, err
	}
	if err := f.make(old, unnamed); err != nil {
		return nil, f.unfit("nothing can be made beside it: %v", err)
	}
	if err := f.adopt(old); err != nil {
		return nil, err
	}
	if r, err := f.openRecord(0); err == nil {
		r.Close()
	} else if !errors.Is(err, unix.ENOENT) {
		return nil, err
	}
	return f, nil
}

// path is where the file is, symlinks resolved.
func (f *File) path() string { return filepath.Join(f.dir.Name(), f.base) }

func (f *File) unfit(format string, args ...any) error {
	return &Unfit{f.path(), fmt.Sprintf(format, args...)}
}

// Write adds to what is to take the file's place.
func (f *File) Write(p []byte) (int, error) {
	n, err := f.new.Write(p)
	var failed *os.PathError
	if errors.As(err, &failed) {
		err = fmt.Errorf("beside %s: %w", f.path(), failed.Err)
	}
	return n, err
}

// Close forgets what has not been used.
func (f *File) Close() {
	if f.name != "" {
		_ = unix.Unlinkat(f.dirFD(), f.name, 0)
		f.name = ""
	}
	if f.new != nil {
		f.new.Close()
	}
	f.dir.Close()
}

// Replace puts what was written in the place of the file, if no token newer than t
// has done so before, and holds says, asked last, that t still counts. Otherwise it
// changes nothing and returns an error; ErrFenced, for a newer token. It waits for
// whoever is doing the same until ctx ends.
func (f *File) Replace(ctx context.Context, t Token, holds func(context.Context) error) error {
	if err := f.new.Sync(); err != nil {
		return fmt.Errorf("beside %s: %w", f.path(), errors.Unwrap(err))
	}
	r, err := f.lockRecord(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.newest(t); err != nil {
		return err
	}
	if err := holds(ctx); err != nil {
		return err
	}
	old, err := f.old() // it may be another one by now
	if err != nil {
		return err
	}
	if err := f.adopt(old); err != nil {
		return err
	}
	// The token first: a crash in between refuses an older holder all the same.
	if err := r.keep(t); err != nil {
		return err
	}
	return f.rename()
}

// rename is the one step. The record's lock is held.
func (f *File) rename() error {
	named := f.name != "" // others may have left theirs behind
	if err := f.link(); err != nil {
		return fmt.Errorf("beside %s: %w", f.path(), err)
	}
	switch err := unix.Renameat(f.dirFD(), f.name, f.dirFD(), f.base); {
	case err == unix.EBUSY:
		return f.unfit("%s", mounted)
	case err != nil:
		return fmt.Errorf("replace %s: %w", f.path(), err)
	}
	f.name = ""
	if named {
		f.sweep()
	}
	if err := f.dir.Sync(); err != nil {
		return fmt.Errorf("%s is replaced, but may not be after a power cut: %w", f.path(), err)
	}
	return nil
}

// mounted is why a file cannot be renamed over that is a mount point.
const mounted = "something is mounted on it, as containers mount single files; mount its directory instead"

// dirFD is the descriptor of the directory, which stays blocking: nobody waits
// for it.
func (f *File) dirFD() int { return int(f.dir.Fd()) }
