package fence

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// locate finds the file that path leads to: the directory that it is in, or is to
// be in, and its name there.
func locate(path string) (*File, error) {
	const looks = 100 // others replace it
	for range looks {
		seen, err := os.Stat(path) // as whoever opens it sees it, what /proc links to as well
		if err == nil && !seen.Mode().IsRegular() {
			return nil, &Unfit{path, "it is " + kind(seen.Mode())}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, &Unfit{path, reason(err)}
		}
		at, base, err := resolve(path)
		if err != nil {
			return nil, &Unfit{path, reason(err)}
		}
		if now, _ := os.Lstat(filepath.Join(at, base)); seen != nil && !os.SameFile(seen, now) {
			continue
		}
		dir, err := os.OpenFile(at, os.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return nil, &Unfit{path, reason(err)}
		}
		return &File{dir: dir, base: base}, nil
	}
	return nil, &Unfit{path, "it is not where its name leads"}
}

// resolve follows symlinks up to the last, also one that leads to what does not
// exist: the directory, resolved, and the name in it.
func resolve(path string) (dir, base string, err error) {
	const limit = 40 // as the kernel has it
	for range limit {
		cut := strings.LastIndexByte(path, '/')
		if dir, base = path[:cut+1], path[cut+1:]; dir == "" {
			dir = "."
		}
		if base == "" || base == "." || base == ".." {
			return "", "", unix.EISDIR
		}
		if dir, err = filepath.EvalSymlinks(dir); err != nil {
			return "", "", err
		}
		target, err := os.Readlink(filepath.Join(dir, base))
		if err != nil { // it is no symlink, or nothing
			return dir, base, nil
		}
		if path = target; !filepath.IsAbs(target) {
			path = dir + "/" + target
		}
	}
	return "", "", unix.ELOOP
}

// old returns what is to be replaced, nil if there is nothing.
func (f *File) old() (*unix.Stat_t, error) {
	var st unix.Stat_t
	err := unix.Fstatat(f.dirFD(), f.base, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case err == unix.ENOENT:
		return nil, nil
	case err != nil:
		return nil, f.unfit("%v", err)
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, f.unfit("it is not a regular file any more")
	case st.Nlink > 1: // each with a record of its own, and a fence that knows nothing of the others
		return nil, f.unfit("it has %d hard links, and the others would keep what they have", st.Nlink)
	}
	var x unix.Statx_t // before Linux 5.8 it is the rename that says so
	err = unix.Statx(f.dirFD(), f.base, unix.AT_SYMLINK_NOFOLLOW, 0, &x)
	if err == nil && x.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 && x.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return nil, f.unfit("%s", mounted)
	}
	return &st, nil
}

// kind is what a file is that is not a regular one.
func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "no regular file"
}

// reason is an error of the kernel's without the path that others name too.
func reason(err error) string {
	var failed *fs.PathError
	if errors.As(err, &failed) {
		return failed.Err.Error()
	}
	return err.Error()
}
