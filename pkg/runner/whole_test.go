package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
)

// anArchive is one on a disk that is what *free says, and tells of what is not kept.
func anArchive(t *testing.T, most int64, free *int64) (*archive, *[]string) {
	t.Helper()
	said := &[]string{}
	a := newArchive(&Config{LogDir: t.TempDir(), LogSize: most, LogAge: time.Hour}, func(_ keys.RunID, err error) { *said = append(*said, err.Error()) })
	a.disk = func(string) (int64, int64, error) { return *free, 20 << 20, nil }
	settled(t, a)
	return a, said
}

func settled(t *testing.T, a *archive) {
	t.Helper()
	if !a.queue.Wait(10 * time.Second) {
		t.Fatal("the queue is stuck")
	}
}

var claims int

func aRun(a *archive, job string, tick int) *cron.Run {
	claims++
	return &cron.Run{RunID: keys.RunID{Job: job, Tick: time.Unix(int64(tick), 0)}, Claim: fmt.Sprintf("%016x", claims), Attempt: 1, Log: a.dir}
}

// writes has a run write texts, and returns its file.
func writes(t *testing.T, a *archive, run *cron.Run, keep int, texts ...string) string {
	t.Helper()
	l := a.log(run, keep)
	for _, text := range texts {
		l.write([]byte(text))
	}
	l.close()
	return run.LogFile()
}

func files(t *testing.T, a *archive) []string {
	t.Helper()
	settled(t, a)
	all, err := filepath.Glob(filepath.Join(a.dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestWhole(t *testing.T) {
	free := int64(1 << 40)
	a, said := anArchive(t, 1<<30, &free)
	path := writes(t, a, aRun(a, "..", 7), 20, "one\n", "two")
	if b, err := os.ReadFile(path); string(b) != "one\ntwo" {
		t.Errorf("%q, %v", b, err)
	}
	for _, p := range []string{path, filepath.Dir(path)} {
		if info, err := os.Stat(p); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", p, info.Mode(), err)
		}
	}
	if filepath.Dir(filepath.Dir(path)) != a.dir {
		t.Errorf("%s is not in a directory of %s", path, a.dir)
	}
	writes(t, a, aRun(a, "quiet", 7), 20)
	if _, err := os.Stat(filepath.Join(a.dir, "quiet")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a run without output has left something: %v", err)
	}
	if len(*said) > 0 {
		t.Error(*said)
	}
}

func TestWholeKeepsTheLatestOfAJob(t *testing.T) {
	free := int64(1 << 40)
	a, _ := anArchive(t, 1<<30, &free)
	var last string
	for tick := range 30 {
		last = writes(t, a, aRun(a, "job", tick), 8, "x")
		if n := len(files(t, a)); n > 10 {
			t.Fatalf("%d files after %d runs", n, tick+1)
		}
	}
	all := files(t, a)
	if len(all) < 8 || all[len(all)-1] != last {
		t.Errorf("%q, the last one was %s", all, last)
	}
}

func TestWholeIsBounded(t *testing.T) {
	free := int64(1 << 40)
	a, said := anArchive(t, 100*block, &free)
	for tick := range 200 {
		writes(t, a, aRun(a, fmt.Sprint("job", tick), tick), 20, strings.Repeat("x", 2*block))
		settled(t, a)
		if a.size > a.most {
			t.Fatalf("%d of %d", a.size, a.most)
		}
	}
	all := files(t, a)
	if len(all) > 34 || len(all) < 20 {
		t.Errorf("%d files of 8 KiB in as many directories in 400 KiB", len(all))
	}
	if _, err := os.Stat(filepath.Join(a.dir, "job199")); err != nil {
		t.Error("the latest has gone")
	}
	if dirs, _ := os.ReadDir(a.dir); len(dirs) != len(all) {
		t.Errorf("%d directories for %d files", len(dirs), len(all))
	}
	// another that counts finds the same
	was := a.size
	a.sweep(a.most, time.Time{})
	if a.size != was {
		t.Errorf("counted %d, there are %d", was, a.size)
	}
	if len(*said) > 0 {
		t.Error(*said)
	}
}

func TestWholeLeavesADiskThatIsNearlyFull(t *testing.T) {
	free := int64(1 << 40)
	a, said := anArchive(t, 1<<30, &free)
	old := writes(t, a, aRun(a, "job", 1), 20, "old")
	settled(t, a)
	free = 0 // somebody else has filled it
	for tick := range 5 {
		writes(t, a, aRun(a, "job", 2+tick), 20, "new")
	}
	if all := files(t, a); len(all) != 0 {
		t.Errorf("%q are left, %s among them", all, old)
	}
	if len(*said) != 1 || !strings.Contains((*said)[0], "nearly full") {
		t.Errorf("it was said %q", *said)
	}
	free = 1 << 40
	writes(t, a, aRun(a, "job", 10), 20, "new")
	if all := files(t, a); len(all) != 1 {
		t.Errorf("%q are there once there is room", all)
	}
}

func TestWholeOfOneRunIsAQuarter(t *testing.T) {
	free := int64(1 << 40)
	a, said := anArchive(t, 40*block, &free)
	path := writes(t, a, aRun(a, "job", 1), 20, strings.Repeat("x", 6*block), strings.Repeat("y", 6*block), "z")
	settled(t, a)
	b, err := os.ReadFile(path)
	if err != nil || !strings.HasSuffix(string(b), "x\n[the rest is missing: it is more than a quarter of --log-size]\n") {
		t.Errorf("%d bytes, %v, %.80q", len(b), err, b[max(0, len(b)-80):])
	}
	if len(*said) != 1 {
		t.Errorf("it was said %q", *said)
	}
}

func TestWholeIsRemovedWhenOld(t *testing.T) {
	free := int64(1 << 40)
	a, _ := anArchive(t, 1<<30, &free)
	foreign := filepath.Join(a.dir, "nginx", "access.log")
	if err := errors.Join(os.Mkdir(filepath.Dir(foreign), 0o700), os.WriteFile(foreign, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	path := writes(t, a, aRun(a, "job", 1), 20, "x")
	a.tidy(time.Now())
	settled(t, a)
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	later := time.Now().Add(2 * time.Hour)
	a.age = 0 // for ever
	a.tidy(later)
	settled(t, a)
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	a.age = time.Hour
	a.tidy(later.Add(tidyEvery))
	if all := files(t, a); len(all) != 1 || all[0] != foreign {
		t.Errorf("%q are left, of which %s is none of ours", all, foreign)
	}
}

// A disk that hangs holds no run up, nor takes all memory.
func TestWholeWaitsForNoDisk(t *testing.T) {
	free := int64(1 << 40)
	a, _ := anArchive(t, 1<<30, &free)
	hang := make(chan struct{})
	a.queue.Do(func() { <-hang })
	l := a.log(aRun(a, "job", 1), 20)
	chunk := make([]byte, maxLine)
	start := time.Now()
	for range 10000 {
		l.write(chunk)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("writing took %v", took)
	}
	if n := a.waits.Load(); n > inHand {
		t.Errorf("%d bytes wait", n)
	}
	l.close()
	start = time.Now()
	for tick := range 20 {
		writes(t, a, aRun(a, "job", 2+tick), 20, "x")
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("20 more took %v: each waits", took)
	}
	close(hang)
	settled(t, a)
	b, err := os.ReadFile(l.path)
	if missing := 10000*maxLine - len(b); err != nil || !strings.HasSuffix(string(b), "the disk was too slow for them]\n") || missing <= 0 {
		t.Errorf("%v, %d bytes, which end in %.80q", err, len(b), b[max(0, len(b)-80):])
	}
	if a.waits.Load() != 0 {
		t.Errorf("%d bytes wait when all is done", a.waits.Load())
	}
}

// What cannot be written costs the file alone, and is said once.
func TestWholeCannotBeWritten(t *testing.T) {
	free := int64(1 << 40)
	a, said := anArchive(t, 1<<30, &free)
	if err := os.WriteFile(filepath.Join(a.dir, "job"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for tick := range 3 {
		writes(t, a, aRun(a, "job", tick), 20, "x")
	}
	settled(t, a)
	if len(*said) != 1 || !strings.Contains((*said)[0], syscall.ENOTDIR.Error()) {
		t.Errorf("it was said %q", *said)
	}
}
