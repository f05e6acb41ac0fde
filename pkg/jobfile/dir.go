package jobfile

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"conch/pkg/cron"
)

// Dir reads a file, or each *.json, *.yaml, *.yml, *.crontab and *.cron that
// lies in a directory, by name. It does not look into directories there, nor at
// names that begin with a dot.
func Dir(path string) (jobs []cron.Job, notes []string, err error) { return Options{}.Dir(path) }

// Dir is as the function Dir, with options.
func (o Options) Dir(path string) (jobs []cron.Job, notes []string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	if !info.IsDir() {
		return together([]*file{o.open(path)})
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, nil, err
	}
	var files []*file
	for _, e := range entries {
		if isJobFile(e.Name()) {
			files = o.addRegular(files, filepath.Join(path, e.Name()))
		}
	}
	jobs, notes, err = together(files)
	if len(files) == 0 {
		notes = append(notes, path+": there is no *.json, *.yaml, *.yml, *.crontab or *.cron in it")
	}
	return jobs, notes, err
}

// addRegular reads path if it is a file, and not a directory, a pipe or a device
// that has the name of one.
func (o Options) addRegular(files []*file, path string) []*file {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return append(files, &file{name: path, errs: []error{err}})
	case !info.Mode().IsRegular():
		return files
	}
	return append(files, o.open(path))
}

func isJobFile(name string) bool {
	switch filepath.Ext(name) {
	case ".json", ".yaml", ".yml", ".crontab", ".cron":
		return !strings.HasPrefix(name, ".")
	}
	return false
}

// open reads path, of which it takes no more than it can use.
func (o Options) open(path string) *file {
	in, err := os.Open(path)
	if err != nil {
		return &file{name: path, errs: []error{err}}
	}
	defer in.Close()
	b, err := io.ReadAll(io.LimitReader(in, maxSize+1))
	if err != nil {
		return &file{name: path, errs: []error{fmt.Errorf("%s: %w", path, err)}}
	}
	return o.read(path, b)
}
