package jobfile_test

import (
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
	if len(notes) != 2 || !strings.HasPrefix(notes[0], dir+"/d.crontab:2: ") {
		t.Errorf("notes: %q", notes)
	}
	if jobs, _, err := jobfile.Dir(filepath.Join(dir, "a.yaml")); err != nil || len(jobs) != 1 {
		t.Errorf("a file alone: %v, %v", jobs, err)
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
	if len(jobs) != 0 || err != nil || !slices.Equal(notes, []string{empty + ": there is no *.json, *.yaml, *.yml, *.crontab or *.cron in it"}) {
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
