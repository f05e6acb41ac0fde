package fence

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// OtherCluster means that a file was written last under a token of another etcd
// cluster, with which none of this one can be compared.
type OtherCluster struct{ Record, Cluster string }

func (e *OtherCluster) Error() string {
	return fmt.Sprintf("%s was written under a token of another etcd cluster (%s)", e.Record, e.Cluster)
}

// record is the newest token that has replaced a file.
type record struct{ *os.File }

// openRecord opens the record, with these flags beside those it needs. The error is
// ENOENT if there is none, EEXIST if there is one though flags say that it is to be
// made, or an *Unfit.
func (f *File) openRecord(flags int) (record, error) {
	name := f.hidden()
	fd, err := unix.Openat(f.dirFD(), name, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC|flags, 0o600)
	switch {
	case err == unix.ENOENT || err == unix.EEXIST:
		return record{}, err
	case err != nil:
		return record{}, f.unfit("%s beside it cannot be opened: %v", name, err)
	}
	r := record{os.NewFile(uintptr(fd), filepath.Join(f.dir.Name(), name))}
	if st, err := r.Stat(); err != nil || !st.Mode().IsRegular() {
		r.Close()
		return record{}, f.unfit("%s beside it is no regular file", name)
	}
	return r, nil
}

// makeRecord makes the record, for whoever may write the file.
func (f *File) makeRecord() (record, error) {
	r, err := f.openRecord(unix.O_CREAT | unix.O_EXCL)
	if err != nil {
		return r, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.new.Fd()), &st); err == nil {
		_ = unix.Fchown(int(r.Fd()), int(st.Uid), int(st.Gid))
		_ = unix.Fchmod(int(r.Fd()), st.Mode&0o666|0o600)
	}
	return r, nil
}

// lockRecord opens and locks the record. A lock that somebody keeps who was stopped
// is not waited for longer than ctx.
func (f *File) lockRecord(ctx context.Context) (record, error) {
	for {
		r, err := f.openRecord(0)
		if errors.Is(err, unix.ENOENT) {
			r, err = f.makeRecord()
		}
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			return r, err
		}
		if err := r.lock(ctx); err != nil {
			r.Close()
			return record{}, err
		}
		// Somebody may have removed it meanwhile, and somebody else made another.
		if r.lies(f) {
			return r, nil
		}
		r.Close()
	}
}

// lies reports whether the record is what has its name still.
func (r record) lies(f *File) bool {
	var ours, now unix.Stat_t
	err := errors.Join(unix.Fstat(int(r.Fd()), &ours), unix.Fstatat(f.dirFD(), f.hidden(), &now, unix.AT_SYMLINK_NOFOLLOW))
	return err == nil && ours.Dev == now.Dev && ours.Ino == now.Ino
}

func (r record) lock(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(r.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
			return fmt.Errorf("lock %s: %w", r.Name(), err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is locked: somebody else writes, or was stopped as he did", r.Name())
		case <-tick.C:
		}
	}
}

// newest refuses t if a newer token has written, or one of another cluster.
func (r record) newest(t Token) error {
	b, err := io.ReadAll(io.NewSectionReader(r, 0, 4096))
	if err != nil || len(b) == 0 {
		return err
	}
	cluster, rev, ok := strings.Cut(strings.TrimSpace(string(b)), " ")
	n, perr := strconv.ParseInt(rev, 10, 64)
	switch {
	case !ok || perr != nil:
		return fmt.Errorf("%s is not a record of a token", r.Name())
	case strings.TrimLeft(cluster, "0") != strconv.FormatUint(t.Cluster, 16):
		return &OtherCluster{r.Name(), cluster}
	case n > t.Rev:
		return fmt.Errorf("%w: token %d has written since, yours is %d", ErrFenced, n, t.Rev)
	}
	return nil
}

// keep records t. The record has one width, so that it can be written over in
// one step: a crash leaves the old one or the new one.
func (r record) keep(t Token) error {
	if _, err := r.WriteAt(fmt.Appendf(nil, "%016x %020d\n", t.Cluster, t.Rev), 0); err != nil {
		return err
	}
	return r.Sync()
}
