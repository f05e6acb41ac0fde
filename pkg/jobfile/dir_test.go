package jobfile_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"conch/pkg/jobfile"
)

// tree makes a directory with these files.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestDir(t *testing.T) {
	dir := tree(t, map[string]string{
		"b.json":         `{"name":"b","schedule":"@daily","cmd":["x"]}`,
		"a.yaml":         "name: a\nschedule: '@daily'\ncmd: [x]\n",
		"c.yml":          "- {name: c2, schedule: '@daily', cmd: [x]}\n- {name: c1, schedule: '@daily', cmd: [x]}\n",
		"d.crontab":      "# name: d\n@daily x\n",
		"e.cron":         "# name: e\n@daily x\n",
		"README.md":      "not a job",
		"x.yaml~":        "not: a job",
		".hidden.yaml":   "not: a job",
		"sub.yaml/x":     "not: a job",
		"deeper/in.yaml": "not: a job",
	})
	if err := unix.Mkfifo(filepath.Join(dir, "pipe.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("README.md", filepath.Join(dir, "z.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "README.md"), []byte(`[{"name":"z"}]`), 0o666); err != nil {
		t.Fatal(err)
	}
	jobs, notes, err := jobfile.Dir(dir)
	var names []string
	for _, j := range jobs {
		names = append(names, j.Name)
	}
	if want := []string{"a", "b", "c2", "c1", "d", "e", "z"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("%q, %v", names, err)
	}
	const inside = ": what lies in a directory of the directory is not read: name it, too"
	want := []string{dir + "/deeper" + inside, dir + "/pipe.yaml: it is no file, and is left out", dir + "/sub.yaml" + inside}
	if len(notes) < 5 || !slices.Equal(notes[:3], want) || !strings.HasPrefix(notes[3], dir+"/d.crontab:2: ") || notes[len(notes)-1] != toChange {
		t.Errorf("notes:\n%s", strings.Join(notes, "\n"))
	}
	if jobs, _, err := jobfile.Dir(filepath.Join(dir, "a.yaml")); err != nil || len(jobs) != 1 {
		t.Errorf("a file alone: %v, %v", jobs, err)
	}
}

// A directory like /etc/cron.d.
func TestSystemDir(t *testing.T) {
	dir := tree(t, map[string]string{
		"anacron": "# name: a\n-30 7 * * * root /x\n", "e2scrub_all": "# name: b\n@daily root /x\n", ".placeholder": "x", "a.dpkg-old": "x", "b~": "x",
	})
	jobs, _, err := jobfile.Options{SystemCrontab: true, NeedJobs: true}.Dir(dir)
	if err != nil || len(jobs) != 2 || jobs[0].Name != "a" || jobs[1].Name != "b" || jobs[1].User != "root" {
		t.Errorf("%+v, %v", jobs, err)
	}
	_, _, err = jobfile.Options{NeedJobs: true}.Dir(dir)
	var empty *jobfile.Empty
	if !errors.As(err, &empty) || empty.Hint() != "crontabs with names as in /etc/cron.d are read with --system-crontab" {
		t.Errorf("%v, %+v", err, empty)
	}
}

func TestNeedJobs(t *testing.T) {
	dir := tree(t, map[string]string{"sub/a.yaml": "x"})
	none := tree(t, map[string]string{"a.yaml": "# none\n", "b.crontab": "@reboot x\n"})
	for path, want := range map[string]string{
		dir:              ": there is no *.json, *.yaml, *.yml, *.crontab or *.cron in it",
		none:             ": there is no job in it",
		none + "/a.yaml": ": there is no job in it",
	} {
		_, notes, err := jobfile.Options{NeedJobs: true}.Dir(path)
		var empty *jobfile.Empty
		if !errors.As(err, &empty) || empty.Path != path || err.Error() != path+want {
			t.Errorf("%s: %v", path, err)
		}
		if path == dir && len(notes) != 1 {
			t.Errorf("the directory in it is not noted: %q", notes)
		}
		if _, _, err := jobfile.Dir(path); err != nil {
			t.Error(err)
		}
	}
}

func TestDirRefuses(t *testing.T) {
	dir := tree(t, map[string]string{
		"a.yaml": "name: x\nschedule: '@daily'\ncmd: [x]\n---\nname: y\nbad: 1\n",
		"b.json": "\n{\"name\":\"x\",\"schedule\":\"@daily\",\"cmd\":[\"x\"]}",
		"c.yaml": "x: y\na: b: c\n",
	})
	if err := os.Symlink("nowhere", filepath.Join(dir, "d.yaml")); err != nil {
		t.Fatal(err)
	}
	jobs, _, err := jobfile.Dir(dir)
	want := strings.ReplaceAll(`DIR/a.yaml:6: "bad" is not a field of a job
DIR/b.json:2: there is a job x in DIR/a.yaml:1 already
DIR/c.yaml:2: not YAML: mapping values are not allowed in this context
stat DIR/d.yaml: no such file or directory`, "DIR", dir)
	if err == nil || err.Error() != want || jobs != nil {
		t.Errorf("got\n%v\nnot\n%s", err, want)
	}
	if _, _, err := jobfile.Dir(dir + "/no"); !os.IsNotExist(err) {
		t.Error(err)
	}
	empty := t.TempDir()
	jobs, notes, err := jobfile.Dir(empty)
	if len(jobs) != 0 || len(notes) != 0 || err != nil {
		t.Error(jobs, notes, err)
	}
	large := filepath.Join(empty, "large.json")
	if err := os.WriteFile(large, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, 1<<40); err != nil {
		t.Fatal(err)
	}
	if _, _, err := jobfile.Dir(large); err == nil || err.Error() != large+": the file is larger than 8 MB" {
		t.Error(err)
	}
}
