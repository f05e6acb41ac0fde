package fence

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// hidden is the name of what lies beside the file for it. There is room for a
// suffix.
func (f *File) hidden() string {
	const longest = 255 - len(".") - len(".conch-12345678")
	if len(f.base) <= longest {
		return "." + f.base + ".conch"
	}
	sum := sha256.Sum256([]byte(f.base))
	return "." + f.base[:longest-17] + "-" + hex.EncodeToString(sum[:8]) + ".conch"
}

// make makes what is to take the place of old. It has no name where the file system
// can do that; else its lock says that its process lives: see sweep.
func (f *File) make(old *unix.Stat_t, unnamed bool) error {
	mode := uint32(0o666) // less the umask, or by the directory's default list
	if old != nil {
		mode = 0o600
	}
	if unnamed {
		fd, err := unix.Openat(f.dirFD(), ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, mode)
		if err == nil {
			f.new = os.NewFile(uintptr(fd), f.path())
			return nil
		}
		if err != unix.EOPNOTSUPP && err != unix.EISDIR && err != unix.EINVAL && err != unix.ENOENT {
			return err
		}
	}
	for {
		name := f.hidden() + "-" + strings.ToLower(rand.Text()[:drawn])
		fd, err := unix.Openat(f.dirFD(), name, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, mode)
		switch {
		case err == unix.EEXIST:
			continue
		case err != nil:
			return err
		}
		_ = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) // where there are no locks, nobody sweeps
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err == nil && st.Nlink == 0 { // somebody did just then
			unix.Close(fd)
			continue
		}
		f.new, f.name = os.NewFile(uintptr(fd), f.path()), name
		return nil
	}
}

// drawn is how many letters and digits make the name of what is to take a file's place.
const drawn = 8

// isDrawn reports whether they can be these: the record of another file, whose name
// begins like ours, can lie there too.
func isDrawn(suffix string) bool { return len(suffix) == drawn && !strings.Contains(suffix, ".") }

// link gives what has no name one. The record's lock is held: what has that name was
// left by somebody who was killed right here.
func (f *File) link() error {
	if f.name != "" {
		return nil
	}
	name := f.hidden() + "-new"
	if err := unix.Unlinkat(f.dirFD(), name, 0); err != nil && err != unix.ENOENT {
		return err
	}
	fd := fmt.Sprintf("/proc/self/fd/%d", f.new.Fd())
	if err := unix.Linkat(unix.AT_FDCWD, fd, f.dirFD(), name, unix.AT_SYMLINK_FOLLOW); err != nil {
		return err
	}
	f.name = name
	return nil
}

// sweep removes what those have left who were killed before they were done. It is
// a comfort, so nothing is said where it fails.
func (f *File) sweep() {
	fd, err := unix.Openat(f.dirFD(), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	dir := os.NewFile(uintptr(fd), f.dir.Name())
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return
	}
	for _, name := range names {
		if suffix, ok := strings.CutPrefix(name, f.hidden()+"-"); !ok || suffix != "new" && !isDrawn(suffix) {
			continue
		}
		fd, err := unix.Openat(f.dirFD(), name, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = unix.Unlinkat(f.dirFD(), name, 0)
		}
		unix.Close(fd)
	}
}

// accessList is the attribute that holds a file's access list, which the group's
// permissions mean nothing without.
const accessList = "system.posix_acl_access"

// adopt gives what is to take its place the owner, the group, the permissions, the
// access list and the user's attributes of old.
func (f *File) adopt(old *unix.Stat_t) error {
	if old == nil {
		return nil
	}
	fd := int(f.new.Fd())
	var now unix.Stat_t
	if err := unix.Fstat(fd, &now); err != nil {
		return err
	}
	if now.Uid != old.Uid || now.Gid != old.Gid {
		if err := unix.Fchown(fd, int(old.Uid), int(old.Gid)); err != nil {
			return f.unfit("its owner %d:%d cannot be kept: %v", old.Uid, old.Gid, err)
		}
	}
	if err := f.adoptAttributes(fd); err != nil {
		return err
	}
	err := unix.Fchmod(fd, old.Mode&0o7777)
	if err == nil {
		err = unix.Fstat(fd, &now)
	}
	if err == nil && now.Mode != old.Mode { // of another's group, without a word
		err = unix.EPERM
	}
	if err != nil {
		return f.unfit("its permissions %04o cannot be kept: %v", old.Mode&0o7777, err)
	}
	return nil
}

func (f *File) adoptAttributes(fd int) error {
	path := fmt.Sprintf("/proc/self/fd/%d/%s", f.dirFD(), f.base) // the directory may have another name by now
	names, err := attributes(path)
	if err != nil {
		return f.unfit("its attributes cannot be read: %v", err)
	}
	if !slices.Contains(names, accessList) {
		_ = unix.Fremovexattr(fd, accessList) // the directory's default
	}
	for _, name := range names {
		if name != accessList && !strings.HasPrefix(name, "user.") {
			continue
		}
		value := make([]byte, 64<<10) // the longest that Linux allows
		n, err := unix.Lgetxattr(path, name, value)
		if err == nil {
			err = unix.Fsetxattr(fd, name, value[:n], 0)
		}
		if err != nil {
			return f.unfit("its attribute %s cannot be kept: %v", name, err)
		}
	}
	return nil
}

// attributes are the names of a file's extended attributes.
func attributes(path string) ([]string, error) {
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, list)
	switch {
	case err == unix.ENOTSUP:
		return nil, nil
	case err != nil:
		return nil, err
	}
	return strings.FieldsFunc(string(list[:n]), func(r rune) bool { return r == 0 }), nil
}
