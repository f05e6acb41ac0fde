package runner

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"conch/pkg/cron"
	"conch/pkg/keys"
	"conch/pkg/stream"
)

const (
	block = 4096 // what a file or a directory takes at least
	// inHand is how much output may wait to be written, of all runs together.
	inHand = 4 << 20
	// anew is how much is written at most before the disk is looked at again.
	anew = 1 << 20
	// tidyEvery is how often old files are looked for.
	tidyEvery = time.Hour
)

// archive keeps the whole output of runs in files, one for each attempt that writes
// anything. A run waits for none of that: one goroutine writes for all of them, and what
// the disk is too slow for is left out, and said in the file.
type archive struct {
	dir  string        // "": nothing is kept
	most int64         // how much all of it may take
	age  time.Duration // how old a file may become; 0: any
	warn func(keys.RunID, error)
	disk func(dir string) (free, all int64, err error)

	queue  stream.Queue
	waits  atomic.Int64 // how much output is in hand
	slow   atomic.Bool  // it was waited for in vain
	tidied atomic.Int64 // when old files were last looked for, nanoseconds of UTC

	// Of the queue's goroutine alone:
	size   int64           // of all there is
	files  map[string]int  // how many, by directory
	open   map[string]bool // by path
	sure   int64           // for how much there is room, before the disk is looked at again
	failed bool            // that has been said
}

func newArchive(cfg *Config, warn func(keys.RunID, error)) *archive {
	a := &archive{dir: cfg.LogDir, most: cfg.LogSize, age: cfg.LogAge, warn: warn, disk: statfs, files: map[string]int{}, open: map[string]bool{}}
	if a.dir != "" {
		a.queue.Do(func() { a.sweep(a.most, time.Time{}) })
	}
	return a
}

// lockLogs makes sure that no other runner has this directory, of which it would remove
// files that are being written. Where a directory cannot be locked, nobody knows.
func lockLogs(dir string) (*os.File, error) {
	if dir == "" {
		return nil, nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, nil // there may be none yet, and none can be made: that is said once something is written
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == unix.EWOULDBLOCK {
		f.Close()
		return nil, fmt.Errorf("--log-dir %s: another runner uses it: each needs one of its own", dir)
	}
	return f, nil
}

// statfs is how much room a disk has for whoever is not root, and how large it is.
func statfs(dir string) (free, all int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(s.Bavail) * s.Bsize, int64(s.Blocks) * s.Bsize, nil
}

// tidy has old files removed, now and then: it may be called often. That of which other
// things depend on the clock is not done while that is wrong.
func (a *archive) tidy(now time.Time) {
	last := a.tidied.Load()
	if a.dir == "" || last != 0 && now.UnixNano()-last < int64(tidyEvery) {
		return
	}
	a.tidied.Store(now.UnixNano())
	var before time.Time
	if a.age > 0 {
		before = now.Add(-a.age)
	}
	a.queue.Do(func() { a.sweep(a.most, before) })
}

// log is the file of one attempt. Its first methods are for the goroutine that reads
// what the command writes.
type log struct {
	*archive
	run     keys.RunID
	path    string
	keep    int // how many the job has
	wrote   bool
	missing int // bytes that were not taken since some were
	ended   chan struct{}

	// Of the queue's goroutine alone:
	f     *os.File
	bytes int64
	cut   bool // nothing more is taken
}

// log returns what the output of a run is written to; nil: it is not kept.
func (a *archive) log(run *cron.Run, keep int) *log {
	if run.Log == "" {
		return nil
	}
	return &log{archive: a, run: run.RunID, path: run.LogFile(), keep: keep, ended: make(chan struct{})}
}

// write has b written, and returns at once.
func (l *log) write(b []byte) {
	if l == nil || len(b) == 0 {
		return
	}
	l.wrote = true
	n, missing := int64(len(b)+1024), l.missing // what waits takes more than its text
	b = bytes.Clone(b)
	if l.waits.Add(n) <= inHand && l.queue.Do(func() { l.waits.Add(-n); l.append(missing, b) }) {
		l.missing = 0
		return
	}
	l.waits.Add(-n)
	l.missing += len(b)
}

// close ends the file, and returns when all of it is there, or a moment later, but
// does not wait twice for a disk that hangs.
func (l *log) close() {
	if l == nil || !l.wrote {
		return
	}
	missing := l.missing
	end := func() { l.end(missing) }
	if !l.queue.Do(end) { // so much is waiting that there is no room, and the file is open
		go func() {
			for !l.queue.Do(end) {
				time.Sleep(100 * time.Millisecond)
			}
		}()
		return
	}
	if l.slow.Load() {
		return
	}
	select {
	case <-l.ended:
	case <-time.After(lastWords):
		l.slow.Store(true)
	}
}

// append writes b, and before that, how much is missing there.
func (l *log) append(missing int, b []byte) {
	if missing > 0 {
		b = append(gap(missing), b...)
	}
	if l.cut {
		return
	}
	err := l.room(int64(len(b)))
	if err == nil && l.f == nil {
		err = l.create()
	}
	if err == nil {
		_, err = l.f.Write(b)
	}
	if err != nil {
		l.fail(err)
		return
	}
	l.grow(int64(len(b)))
}

func gap(missing int) []byte {
	return fmt.Appendf(nil, "\n[%d bytes are missing here: the disk was too slow for them]\n", missing)
}

// grow notes that the file has grown.
func (l *log) grow(n int64) {
	before := blocks(l.bytes)
	l.bytes += n
	l.size += blocks(l.bytes) - before
	l.sure -= n
}

func blocks(n int64) int64 { return (n + block - 1) / block * block }

// fail ends the file early. The disk may be full, and what came of that is said once,
// until something can be written again.
func (l *log) fail(err error) {
	l.cut = true
	if l.f != nil {
		if info, serr := l.f.Stat(); serr == nil { // a part may have been written
			l.grow(info.Size() - l.bytes)
		}
		if n, _ := fmt.Fprintf(l.f, "\n[the rest is missing: %v]\n", err); n > 0 {
			l.grow(int64(n))
		}
	}
	if isLong := errors.Is(err, errLong); isLong || !l.failed {
		l.failed = !isLong
		l.warn(l.run, err)
	}
}

// end closes the file.
func (l *log) end(missing int) {
	if missing > 0 {
		l.append(missing, nil)
	}
	if l.f != nil {
		l.f.Close()
	}
	l.failed = l.failed && l.cut
	delete(l.open, l.path)
	l.slow.Store(false)
	close(l.ended)
}

// create makes the file, and the directory of the job where it is the first one.
func (l *log) create() error {
	dir := filepath.Dir(l.path)
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		l.size += block
		f, err = os.OpenFile(l.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	}
	if err != nil {
		return err
	}
	l.f = f
	l.open[l.path] = true
	if l.files[dir]++; l.files[dir] > l.keep+l.keep/4 { // not with each run
		l.trim(dir)
	}
	return nil
}

// trim removes the oldest files of a job, but for as many as it is to have.
func (l *log) trim(dir string) {
	all := filesIn(dir)
	slices.SortFunc(all, older)
	l.files[dir] = len(all)
	for _, f := range all[:max(0, len(all)-l.keep)] {
		l.remove(f)
	}
}

// file is one that is there.
type file struct {
	path string
	at   time.Time // when it was last written to
	size int64     // what it takes
}

func older(x, y file) int { return cmp.Or(x.at.Compare(y.at), cmp.Compare(x.path, y.path)) }

// filesIn are the files of a directory that are ours.
func filesIn(dir string) []file {
	var files []file
	all, _ := os.ReadDir(dir) // of what cannot be read nothing can be removed
	for _, f := range all {
		if info, err := f.Info(); err == nil && cron.IsLogName(f.Name()) {
			files = append(files, file{filepath.Join(dir, f.Name()), info.ModTime(), blocks(info.Size())})
		}
	}
	return files
}

// remove removes a file that nobody writes to, and its directory with the last one.
func (a *archive) remove(f file) {
	if a.open[f.path] || os.Remove(f.path) != nil {
		return
	}
	a.size -= f.size
	dir := filepath.Dir(f.path)
	if a.files[dir]--; a.files[dir] == 0 && os.Remove(dir) == nil {
		a.size -= block
		delete(a.files, dir)
	}
}

// errLong: the output of one run is more than a quarter of what all may take.
var errLong = errors.New("it is more than a quarter of --log-size")

// room makes sure that there is room for n bytes, of what all may take and on the disk,
// of which a twentieth, or a gigabyte, is left to others.
func (l *log) room(n int64) error {
	if l.bytes+n > l.most/4 {
		return errLong
	}
	if l.size+n <= l.most && n <= l.sure && l.f != nil {
		return nil
	}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return err
	}
	free, all, err := l.disk(l.dir)
	if err != nil {
		return err
	}
	limit := min(l.most, l.size+free-min(all/20, 1<<30))
	if l.size+n > limit {
		l.sweep(limit-limit/10-n, time.Time{}) // some more, not to have to do it again soon
	}
	l.sure = min(anew, (limit-l.size)/2) // others write as well
	switch {
	case l.size+n <= limit:
		return nil
	case limit < l.most:
		return fmt.Errorf("%s: the disk is nearly full", l.dir)
	}
	return fmt.Errorf("%s: the runs in progress take all of --log-size", l.dir)
}

// sweep counts what there is, and removes the oldest files until that is no more than
// limit, and those that are older than some time.
func (a *archive) sweep(limit int64, before time.Time) {
	var all []file
	a.size = 0
	clear(a.files)
	dirs, _ := os.ReadDir(a.dir) // there may be none yet
	for _, d := range dirs {
		dir := filepath.Join(a.dir, d.Name())
		files := filesIn(dir)
		if len(files) > 0 {
			a.files[dir] = len(files)
			a.size += block
		}
		for _, f := range files {
			a.size += f.size
		}
		all = append(all, files...)
	}
	slices.SortFunc(all, older)
	for _, f := range all {
		if a.size <= limit && !f.at.Before(before) {
			break
		}
		a.remove(f)
	}
}
