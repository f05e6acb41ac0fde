package proc

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// delegation makes a cgroup, marked as delegated to nobody, for a supervisor to
// be started in.
func delegation(t *testing.T) string {
	t.Helper()
	needRoot(t)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Skip("NOT TESTED, for want of cgroups: ", err)
	}
	dirs := groupDirs(mounts, "/")
	if len(dirs) == 0 {
		t.Skip("NOT TESTED, for want of cgroups: no cgroup2 is mounted")
	}
	dir, err := os.MkdirTemp(dirs[0], "conch-test-*")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Skip("NOT TESTED, for want of cgroups: ", err)
	}
	t.Cleanup(func() {
		subgroup(dir).kill()
		await(t, "removal of "+dir, func() bool { subgroup(dir).remove(); return !exists(dir) })
	})
	if !exists(dir + "/cgroup.kill") {
		t.Skip("NOT TESTED, for want of cgroups: this kernel has no cgroup.kill")
	}
	mark(t, dir, "1")
	for _, name := range []string{"", "/cgroup.procs", "/cgroup.threads", "/cgroup.subtree_control"} {
		if err := os.Chown(dir+name, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func mark(t *testing.T, dir, value string) {
	t.Helper()
	// Before Linux 5.6 a cgroup takes only the trusted one.
	if unix.Setxattr(dir, "user.delegate", []byte(value), 0) != nil {
		if err := unix.Setxattr(dir, "trusted.delegate", []byte(value), 0); err != nil {
			t.Skip("NOT TESTED, for want of cgroups: ", err)
		}
	}
}

// inGroup starts a process in a cgroup.
func inGroup(t *testing.T, dir string) func(*exec.Cmd) {
	t.Helper()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return func(c *exec.Cmd) {
		if c.SysProcAttr == nil {
			c.SysProcAttr = new(syscall.SysProcAttr)
		}
		c.SysProcAttr.UseCgroupFD, c.SysProcAttr.CgroupFD = true, int(d.Fd())
	}
}

// nobodyIn starts an ordinary user's supervisor in a cgroup.
func nobodyIn(t *testing.T, dir, exe string) func(*exec.Cmd) {
	in := inGroup(t, dir)
	return func(c *exec.Cmd) { asNobody(c, exe); in(c) }
}

// groupOf returns the last element of the path of a process's cgroup.
func groupOf(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile("/proc/" + itoa(pid) + "/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	path, ok := unifiedPath(text)
	if !ok {
		t.Fatalf("no cgroup in %q", text)
	}
	return filepath.Base(path)
}

func noSubgroup(t *testing.T, dir string) {
	t.Helper()
	if left := directories(dir); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
}

func TestCgroup(t *testing.T) {
	dir := delegation(t)
	// A cgroup made by the command, and what descriptors it has.
	s := supervised(t, plan{Script: `ls -l /proc/self/fd | grep -q cgroup && exit 9
mkdir ` + dir + `/conch-*/sub; (setsid sleep 1000 &); sleep 0.3; exit 3`}, inGroup(t, dir))
	e := s.next()
	if e.Pid == 0 {
		t.Fatal(e.Err)
	}
	if got, want := groupOf(t, e.Pid), "conch-"+itoa(s.cmd.Process.Pid)+"-1"; got != want {
		t.Errorf("the command is in %s, not in %s", got, want)
	}
	if got := groupOf(t, e.Sentinel); got != filepath.Base(dir) {
		t.Errorf("the sentinel is in %s", got)
	}
	if end := s.next().End; end == nil || end.Status != 3<<8 || !end.Empty || end.Cause != None {
		t.Errorf("%+v", end)
	}
	noSubgroup(t, dir)
}

// TestCgroupOtherUser has a descendant that the sentinel may not signal.
func TestCgroupOtherUser(t *testing.T) {
	dir, exe := delegation(t), copyOfTest(t)
	tool := setUser(t, exe)
	s := supervised(t, plan{Script: tool + " sleep 1000 & sleep 0.3; exit 6"}, nobodyIn(t, dir, exe))
	s.next()
	if end := s.next().End; end == nil || !end.Empty || end.Leftover != 0 || end.Status != 6<<8 {
		t.Errorf("%+v", end)
	}
	if left := tagged(s.Tag); len(left) > 0 {
		t.Errorf("done, but %v live", left)
	}
	noSubgroup(t, dir)
}

// TestCgroupLeft has one that has left the cgroup as well, as su does where
// there is systemd.
func TestCgroupLeft(t *testing.T) {
	dir, exe := delegation(t), copyOfTest(t)
	tool := setUser(t, exe)
	s := supervised(t, plan{Script: "sh -c 'echo $$ >" + dir + "/cgroup.procs; exec " + tool + " sleep 1000' & " + untilOther + "; exit 6"}, nobodyIn(t, dir, exe))
	s.next()
	if end := s.next().End; end == nil || end.Empty || end.Leftover != 1 || end.Status != 6<<8 {
		t.Errorf("%+v", end)
	}
	noSubgroup(t, dir)
}

func TestCgroupSentinelKilled(t *testing.T) {
	dir, exe := delegation(t), copyOfTest(t)
	tool := setUser(t, exe)
	s := supervised(t, plan{Script: tool + " sleep 1000 & sleep 1000"}, nobodyIn(t, dir, exe))
	e := s.started(3)
	await(t, "change of user", func() bool { return asUser(tagged(s.Tag), 1) })
	syscall.Kill(e.Sentinel, syscall.SIGKILL)
	end := s.next().End
	if end == nil || end.Cause != SentinelDied || !end.Empty || end.Leftover != 0 {
		t.Errorf("%+v", end)
	}
	if left := tagged(s.Tag); len(left) > 0 {
		t.Errorf("done, but %v live", left)
	}
	noSubgroup(t, dir)
}

// TestCgroupEpilogue has the supervisor killed: the epilogue runs when all is
// dead, and finds no subgroup.
func TestCgroupEpilogue(t *testing.T) {
	dir, exe := delegation(t), copyOfTest(t)
	tool := setUser(t, exe)
	open := t.TempDir()
	openUp(t, open)
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	found := filepath.Join(open, "found")
	s := supervised(t, plan{Script: tool + " sleep 1000 & sleep 1000", Epilogue: "(cd " + dir + " && ls -d conch-*) >" + found + ".new; mv " + found + ".new " + found}, nobodyIn(t, dir, exe))
	s.started(3)
	await(t, "change of user", func() bool { return asUser(tagged(s.Tag), 1) })
	s.signal(syscall.SIGKILL)
	await(t, "mark of the epilogue", func() bool { return exists(found) })
	if left := tagged(s.Tag); len(left) > 0 {
		t.Errorf("epilogue, but %v live", left)
	}
	if text, err := os.ReadFile(found); err != nil || len(text) > 0 {
		t.Errorf("it found %q, %v", text, err)
	}
}

// TestCgroupWaiting has the supervisor killed before there is a command.
func TestCgroupWaiting(t *testing.T) {
	dir := delegation(t)
	for _, epilogue := range []string{"", "true"} {
		s := supervised(t, plan{Script: "exit", Await: "new", Epilogue: epilogue}, inGroup(t, dir))
		s.next()
		if len(directories(dir)) != 1 {
			t.Fatal("it has no subgroup")
		}
		s.signal(syscall.SIGKILL)
		await(t, "end of the subgroup", func() bool { return len(directories(dir)) == 0 })
	}
}

func TestCgroupForkStorm(t *testing.T) {
	dir := delegation(t)
	s := storm(t, inGroup(t, dir))
	s.signal(syscall.SIGKILL)
	s.empty()
	await(t, "end of the subgroup", func() bool { return len(directories(dir)) == 0 })
}

// TestCgroupStranger puts a process into the subgroup that is no descendant.
func TestCgroupStranger(t *testing.T) {
	dir := delegation(t)
	other := exec.Command("sleep", "1000")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { other.Process.Kill(); other.Wait() }()
	for _, wait := range []bool{false, true} {
		s := supervised(t, plan{Script: "sleep 0.5", WaitTree: wait}, inGroup(t, dir))
		s.started(1)
		subs := directories(dir)
		if len(subs) != 1 {
			t.Fatalf("%q", subs)
		}
		if err := os.WriteFile(subs[0]+"/cgroup.procs", []byte(itoa(other.Process.Pid)), 0); err != nil {
			t.Fatal(err)
		}
		if wait { // it leaves by itself, and that is heard of
			await(t, "end of the command", func() bool { return len(tagged(s.Tag)) == 0 })
			time.Sleep(100 * time.Millisecond)
			other.Process.Kill()
		}
		if end := s.next().End; end == nil || !end.Empty || end.Status != 0 {
			t.Errorf("%+v", end)
		}
		if !wait {
			other.Wait()
			other = exec.Command("sleep", "1000")
			if err := other.Start(); err != nil {
				t.Fatal(err)
			}
		}
		noSubgroup(t, dir)
	}
}

// TestCgroupNotUsed has a cgroup that is not delegated, one that takes no
// subgroup, and one whose subgroup takes no process.
func TestCgroupNotUsed(t *testing.T) {
	for name, spoil := range map[string]func(dir string){
		"plain": func(dir string) { mark(t, dir, "0") },
		"full":  func(dir string) { write(t, dir+"/cgroup.max.descendants", "0", 0o644) },
		"threaded": func(dir string) {
			if err := os.WriteFile(dir+"/cgroup.type", []byte("threaded"), 0); err != nil {
				t.Skip(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := delegation(t)
			spoil(dir)
			s := supervised(t, plan{Script: "(setsid sleep 1000 &); sleep 0.3; exit 3"}, inGroup(t, dir))
			e := s.next()
			if e.Pid == 0 {
				t.Fatal(e.Err)
			}
			if got := groupOf(t, e.Pid); got != filepath.Base(dir) {
				t.Errorf("the command is in %s", got)
			}
			if end := s.next().End; end == nil || end.Status != 3<<8 || !end.Empty {
				t.Errorf("%+v", end)
			}
			noSubgroup(t, dir)
		})
	}
}

func TestGroupPaths(t *testing.T) {
	for text, want := range map[string]string{
		"0::/":                            "/",
		"0::/\n":                          "/",
		"9:name=systemd:/x\n0::/a b/c\n":  "/a b/c",
		"8:pids:/\n":                      "",
		"":                                "",
		"0::/../x\n":                      "",
		"0::\n":                           "",
		"10::/x\n":                        "",
		"0::/x/../y\n":                    "",
		"1:cpu:/0::/x\n0::/y (deleted)\n": "/y (deleted)",
	} {
		if got, ok := unifiedPath([]byte(text)); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q, %v", text, got, ok)
		}
	}
	const mounts = `31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
42 31 0:38 /a/b /mnt rw,relatime - cgroup2 none rw
43 31 0:38 /.. /up rw,relatime - cgroup2 none rw
44 31 0:38 / /with\040space rw,relatime - cgroup2 none rw
45 31 0:38 / /short -
`
	for path, want := range map[string][]string{
		"/":      {"/sys/fs/cgroup/unified"},
		"/a/b":   {"/sys/fs/cgroup/unified/a/b", "/mnt"},
		"/a/b/c": {"/sys/fs/cgroup/unified/a/b/c", "/mnt/c"},
		"/a/bc":  {"/sys/fs/cgroup/unified/a/bc"},
	} {
		if got := groupDirs([]byte(mounts), path); !slices.Equal(got, want) {
			t.Errorf("%s: %q", path, got)
		}
	}
}

// asUser reports whether one of pids belongs to uid.
func asUser(pids []int, uid uint32) bool {
	return slices.ContainsFunc(pids, func(pid int) bool {
		var s unix.Stat_t
		return unix.Stat("/proc/"+itoa(pid), &s) == nil && s.Uid == uid
	})
}

// setUser returns a command prefix that runs the rest as another user. It is
// not for this user's sentinel to kill.
func setUser(t *testing.T, exe string) string {
	t.Helper()
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Skip(err)
	}
	text, err := os.ReadFile(setpriv)
	if err != nil {
		t.Fatal(err)
	}
	tool := write(t, filepath.Join(filepath.Dir(exe), "suid"), string(text), 0o755|os.ModeSetuid)
	return strings.Join([]string{tool, "--reuid=1", "--regid=1", "--clear-groups"}, " ")
}
