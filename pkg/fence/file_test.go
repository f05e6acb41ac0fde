package fence

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const cluster = 0xfeed

func sure(context.Context) error { return nil }

// write replaces path under a token.
func write(path, text string, rev int64, unnamed bool) error {
	f, err := open(path, unnamed)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write([]byte(text)); err != nil {
		return err
	}
	return f.Replace(context.Background(), Token{Key: "/k", Rev: rev, Cluster: cluster}, sure)
}

// both runs a test where files need no name, and where they do.
func both(t *testing.T, test func(t *testing.T, dir string, unnamed bool)) {
	for _, unnamed := range []bool{true, false} {
		t.Run(fmt.Sprintf("unnamed=%v", unnamed), func(t *testing.T) {
			dir, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			test(t, dir, unnamed)
		})
	}
}

func want(t *testing.T, path, text string) {
	t.Helper()
	if b, err := os.ReadFile(path); err != nil || string(b) != text {
		t.Errorf("%s holds %q, %v; want %q", path, b, err, text)
	}
}

// entries fails unless dir holds these names and no others.
func entries(t *testing.T, dir string, names ...string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range list {
		got = append(got, e.Name())
	}
	if fmt.Sprint(got) != fmt.Sprint(names) {
		t.Errorf("%s holds %q, want %q", dir, got, names)
	}
}

// One file has one fence, whatever it is called.
func TestFileNames(t *testing.T) {
	both(t, func(t *testing.T, dir string, unnamed bool) {
		t.Chdir(dir)
		for _, err := range []error{
			os.MkdirAll("real/deep", 0o755), os.Mkdir("links", 0o755),
			os.Symlink("real", "alias"),
			os.Symlink("../alias/deep/../file", "links/one"), // a .. behind a symlink
			os.Symlink("one", "links/two"),
			os.Symlink(filepath.Join(dir, "links/two"), "three"),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		for i, path := range []string{"three", "real/file", "links/one", "alias/file", filepath.Join(dir, "links/two"), "./links/../real/file"} {
			rev := int64(10 + i)
			if err := write(path, path, rev, unnamed); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			want(t, "real/file", path)
			for _, other := range []string{"real/file", "three", "alias/file"} {
				if err := write(other, "old", rev-1, unnamed); !errors.Is(err, ErrFenced) {
					t.Errorf("%s: %v", other, err)
				}
			}
		}
		want(t, "real/file", "./links/../real/file")
		entries(t, "real", ".file.conch", "deep", "file")
		entries(t, "links", "one", "two")
		if target, err := os.Readlink("three"); err != nil || target != filepath.Join(dir, "links/two") {
			t.Errorf("the symlink is %q, %v", target, err)
		}
	})
}

func TestFileUnfit(t *testing.T) {
	both(t, func(t *testing.T, dir string, unnamed bool) {
		t.Chdir(dir)
		l, err := net.Listen("unix", "socket")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		gone, err := os.Create("gone")
		if err != nil {
			t.Fatal(err)
		}
		defer gone.Close()
		for _, err := range []error{
			os.Remove("gone"), os.Mkdir("d", 0o755), unix.Mkfifo("pipe", 0o600),
			os.Symlink("/dev/null", "null"), os.Symlink("loop", "loop"), os.Symlink("d", "dlink"),
			os.WriteFile("record", nil, 0o600), os.Symlink("/etc/passwd", ".record.conch"),
			os.WriteFile("record2", nil, 0o600), os.Mkdir(".record2.conch", 0o700),
			os.WriteFile("one", nil, 0o600), os.Link("one", "two"), os.Symlink("two", "second"),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		before, _ := os.ReadDir(".")
		for path, why := range map[string]string{
			"/dev/null":   "it is a device",
			"null":        "it is a device",
			"d":           "it is a directory",
			"d/":          "it is a directory",
			"dlink":       "it is a directory",
			".":           "it is a directory",
			"new/":        "is a directory",
			"pipe":        "it is a pipe",
			"socket":      "it is a socket",
			"one":         "one cannot be replaced in one step: it has 2 hard links",
			"second":      "two cannot be replaced in one step: it has 2 hard links",
			"loop":        "too many levels of symbolic links",
			"none/file":   "no such file or directory",
			"record/file": "not a directory",
			"record":      ".record.conch beside it cannot be opened: too many",
			"record2":     ".record2.conch beside it cannot be opened: is a dir",
			fmt.Sprintf("/proc/self/fd/%d", gone.Fd()): "it is not where its name leads",
			"/proc/self/status":                        "nothing can be made beside it",
			strings.Repeat("x", 256):                   "file name too long",
		} {
			err := write(path, "x", 1, unnamed)
			var unfit *Unfit
			if !errors.As(err, &unfit) || !strings.Contains(err.Error(), why) {
				t.Errorf("%s: %v, want %q", path, err, why)
			}
		}
		after, _ := os.ReadDir(".")
		if len(after) != len(before) {
			t.Errorf("%d entries, and %d before", len(after), len(before))
		}
	})
}

// What a file is but its content stays.
func TestFileAttributes(t *testing.T) {
	both(t, func(t *testing.T, dir string, unnamed bool) {
		path := filepath.Join(dir, "file")
		old := unix.Umask(0o027)
		defer unix.Umask(old)
		if err := write(path, "new", 1, unnamed); err != nil {
			t.Fatal(err)
		}
		if st, _ := os.Stat(path); st.Mode() != 0o640 {
			t.Errorf("a new file is %v", st.Mode())
		}
		for _, mode := range []fs.FileMode{0o600, 0o444, 0o751, 0o777} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			if err := write(path, "more", 1, unnamed); err != nil {
				t.Fatal(err)
			}
			if st, _ := os.Stat(path); st.Mode() != mode {
				t.Errorf("%v has become %v", mode, st.Mode())
			}
		}
		if os.Geteuid() == 0 {
			if err := errors.Join(os.Chown(path, 1234, 4321), unix.Chmod(path, 0o6755)); err != nil {
				t.Fatal(err)
			}
			if err := write(path, "owned", 1, unnamed); err != nil {
				t.Fatal(err)
			}
			var st unix.Stat_t
			if err := unix.Stat(path, &st); err != nil || st.Uid != 1234 || st.Gid != 4321 || st.Mode&0o7777 != 0o6755 {
				t.Errorf("%d:%d %o, %v", st.Uid, st.Gid, st.Mode, err)
			}
		}
		if err := unix.Setxattr(path, "user.note", []byte("kept"), 0); err == nil {
			if err := write(path, "noted", 1, unnamed); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 10)
			if n, err := unix.Getxattr(path, "user.note", b); err != nil || string(b[:n]) != "kept" {
				t.Errorf("user.note is %q, %v", b[:max(n, 0)], err)
			}
		}
	})
}

// An access list stays; where it did not, the group would be given what only the
// list's entries were.
func TestFileAccessList(t *testing.T) {
	both(t, func(t *testing.T, dir string, unnamed bool) {
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		list := acl([][3]uint32{{1, 6, ^uint32(0)}, {2, 6, 1234}, {4, 0, ^uint32(0)}, {16, 6, ^uint32(0)}, {32, 0, ^uint32(0)}})
		if err := unix.Setxattr(path, accessList, list, 0); err != nil {
			t.Skip("no access lists here:", err)
		}
		if err := write(path, "x", 1, unnamed); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 200)
		if n, err := unix.Getxattr(path, accessList, b); err != nil || string(b[:n]) != string(list) {
			t.Errorf("%x, %v; want %x", b[:max(n, 0)], err, list)
		}
		// and a directory's default does not come to a file that had none
		if err := errors.Join(unix.Removexattr(path, accessList), os.Chmod(path, 0o640), unix.Setxattr(dir, "system.posix_acl_default", list, 0)); err != nil {
			t.Fatal(err)
		}
		if err := write(path, "y", 1, unnamed); err != nil {
			t.Fatal(err)
		}
		if n, err := unix.Getxattr(path, accessList, b); err != unix.ENODATA {
			t.Errorf("a list has come: %x, %v", b[:max(n, 0)], err)
		}
	})
}

// acl is an access list as the kernel takes it: tag, permissions and id of each.
func acl(entries [][3]uint32) []byte {
	b := []byte{2, 0, 0, 0}
	for _, e := range entries {
		b = append(b, byte(e[0]), 0, byte(e[1]), 0, byte(e[2]), byte(e[2]>>8), byte(e[2]>>16), byte(e[2]>>24))
	}
	return b
}

// Whatever goes wrong, what was there stays, and nothing is left behind.
func TestFileRefused(t *testing.T) {
	both(t, func(t *testing.T, dir string, unnamed bool) {
		path := filepath.Join(dir, "file")
		if err := write(path, "good", 10, unnamed); err != nil {
			t.Fatal(err)
		}
		over := errors.New("over")
		replace := func(rev int64, cluster uint64, ctx context.Context, holds func(context.Context) error) error {
			f, err := open(path, unnamed)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			f.Write([]byte("bad"))
			return f.Replace(ctx, Token{Rev: rev, Cluster: cluster}, holds)
		}
		if err := replace(9, cluster, context.Background(), sure); !errors.Is(err, ErrFenced) {
			t.Errorf("an older token: %v", err)
		}
		if err := replace(11, cluster, context.Background(), func(context.Context) error { return over }); err != over {
			t.Errorf("a hold that is over: %v", err)
		}
		var other *OtherCluster
		if err := replace(11, 1, context.Background(), sure); !errors.As(err, &other) {
			t.Errorf("another cluster: %v", err)
		}
		lock, err := os.Open(filepath.Join(dir, ".file.conch"))
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if err := replace(11, cluster, ctx, sure); err == nil || !strings.Contains(err.Error(), "is locked") {
			t.Errorf("a stopped writer: %v", err)
		}
		lock.Close()
		if err := write(path, "better", 10, unnamed); err != nil { // not fenced by what was refused
			t.Error(err)
		}
		want(t, path, "better")
		// it became something else meanwhile
		f, err := open(path, unnamed)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Remove(path), os.Symlink("/dev/null", path)); err != nil {
			t.Fatal(err)
		}
		var unfit *Unfit
		if err := f.Replace(context.Background(), Token{Rev: 12, Cluster: cluster}, sure); !errors.As(err, &unfit) {
			t.Errorf("what has become a symlink: %v", err)
		}
		f.Close()
		// or got another name
		if err := errors.Join(os.Remove(path), os.WriteFile(path, []byte("better"), 0o600)); err != nil {
			t.Fatal(err)
		}
		if f, err = open(path, unnamed); err != nil {
			t.Fatal(err)
		}
		second := filepath.Join(t.TempDir(), "second")
		if err := os.Link(path, second); err != nil {
			t.Fatal(err)
		}
		if err := f.Replace(context.Background(), Token{Rev: 12, Cluster: cluster}, sure); !errors.As(err, &unfit) {
			t.Errorf("what has got another name: %v", err)
		}
		f.Close()
		want(t, second, "better")
		entries(t, dir, ".file.conch", "file")
	})
}

// What somebody has left who was killed is removed by the next one; what somebody
// is still writing is not, nor the record of file.conch-aa.
func TestFileLeftovers(t *testing.T) {
	both(t, func(t *testing.T, dir string, unnamed bool) {
		path := filepath.Join(dir, "file")
		for _, name := range []string{".file.conch-new", ".file.conch-abcdefgh", ".file.conchX", ".other.conch-abcdefgh", ".file.conch-aa.conch", ".file.conch-mine"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("left"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		slow, err := open(path, unnamed)
		if err != nil {
			t.Fatal(err)
		}
		defer slow.Close()
		if err := write(path, "fast", 1, unnamed); err != nil {
			t.Fatal(err)
		}
		slow.Write([]byte("slow"))
		if err := slow.Replace(context.Background(), Token{Rev: 2, Cluster: cluster}, sure); err != nil {
			t.Fatal(err)
		}
		want(t, path, "slow")
		rest := []string{".file.conch", ".file.conch-aa.conch"}
		if unnamed { // where files need no name, none are left with one of that kind
			rest = append(rest, ".file.conch-abcdefgh")
		}
		rest = append(rest, ".file.conch-mine")
		entries(t, dir, append(rest, ".file.conchX", ".other.conch-abcdefgh", "file")...)
	})
}

// The longest names have a record, too, and no two the same.
func TestFileLongName(t *testing.T) {
	both(t, func(t *testing.T, dir string, unnamed bool) {
		for i, name := range []string{strings.Repeat("x", 254) + "a", strings.Repeat("x", 254) + "b", strings.Repeat("x", 239)} {
			path := filepath.Join(dir, name)
			if err := write(path, "x", 5, unnamed); err != nil {
				t.Fatal(err)
			}
			if err := write(path, "y", 4, unnamed); !errors.Is(err, ErrFenced) {
				t.Errorf("%d: %v", i, err)
			}
		}
		if list, _ := os.ReadDir(dir); len(list) != 6 {
			t.Errorf("%d entries", len(list))
		}
	})
}

// Of many at the same time the newest wins, and whoever reads finds one of them
// whole.
func TestFileRace(t *testing.T) {
	both(t, func(t *testing.T, dir string, unnamed bool) {
		path := filepath.Join(dir, "file")
		const writers, size = 40, 1 << 16
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				err := write(path, strings.Repeat(string(rune('A'+i)), size), int64(i), unnamed)
				if err != nil && !errors.Is(err, ErrFenced) {
					t.Error(err)
				}
				if b, err := os.ReadFile(path); err == nil && (len(b) != size || strings.Trim(string(b), string(b[:1])) != "") {
					t.Errorf("a mixture of %d bytes", len(b))
				}
			})
		}
		wg.Wait()
		want(t, path, strings.Repeat(string(rune('A'+writers-1)), size))
		entries(t, dir, ".file.conch", "file")
	})
}

// A directory that is renamed meanwhile is the same one: what is in it is replaced,
// with what it has, and nothing is waited for. What has come to lie at its name is
// let alone.
func TestFileDirectoryMoves(t *testing.T) {
	both(t, func(t *testing.T, dir string, unnamed bool) {
		t.Chdir(dir)
		for _, err := range []error{
			os.Mkdir("here", 0o755), os.WriteFile("here/file", []byte("old"), 0o640), os.Chmod("here/file", 0o640),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		f, err := open("here/file", unnamed)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Write([]byte("new")); err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{
			os.Rename("here", "there"), os.Mkdir("here", 0o755), os.WriteFile("here/file", []byte("another"), 0o600),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		done := make(chan error, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		go func() { done <- f.Replace(ctx, Token{Key: "/k", Rev: 1, Cluster: cluster}, sure) }()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("it waits for ever")
		}
		want(t, "there/file", "new")
		want(t, "here/file", "another")
		entries(t, "there", ".file.conch", "file")
		entries(t, "here", "file")
	})
}
