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
// lies in a directory, by name, and with SystemCrontab what has a name like those in
// /etc/cron.d, too. It does not look into directories there, which it notes, nor at
// names that begin with a dot.
func Dir(path string) (jobs []cron.Job, notes []string, err error) { return Options{}.Dir(path) }

// Dir is as the function Dir, with options.
func (o Options) Dir(path string) (jobs []cron.Job, notes []string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	if !info.IsDir() {
		return o.together(&Empty{Path: path}, o.open(path))
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, nil, err
	}
	d := directory{Options: o, path: path}
	for _, e := range entries {
		d.add(e.Name())
	}
	jobs, notes, err = o.together(d.empty(), d.files...)
	return jobs, append(d.notes, notes...), err
}

// A directory is one that is being read.
type directory struct {
	Options
	path   string
	files  []*file
	notes  []string
	others int // files that SystemCrontab would have read
}

// add reads name if it is a file of jobs, and not a directory, a pipe or a device.
func (d *directory) add(name string) {
	path := filepath.Join(d.path, name)
	info, err := os.Stat(path)
	switch of := kindOf(name); {
	case of == hidden, of == unknown && (err != nil || !info.IsDir()):
	case err != nil:
		d.files = append(d.files, &file{name: path, errs: []error{err}})
	case info.IsDir():
		d.notes = append(d.notes, path+": what lies in a directory of the directory is not read: name it, too")
	case !info.Mode().IsRegular():
		d.notes = append(d.notes, path+": it is no file, and is left out")
	case of == likeCron && !d.SystemCrontab:
		d.others++
	default:
		d.files = append(d.files, d.open(path))
	}
}

// empty is what to say if there is no job in it.
func (d *directory) empty() *Empty {
	e := &Empty{Path: d.path}
	if len(d.files) == 0 {
		e.what = "there is no *.json, *.yaml, *.yml, *.crontab or *.cron in it"
	}
	if d.others > 0 {
		e.hint = "crontabs with names as in /etc/cron.d are read with --system-crontab"
	}
	return e
}

type nameKind int

const (
	unknown  nameKind = iota
	hidden            // it begins with a dot
	jobFile           // its ending says what it is
	likeCron          // cron would read it in /etc/cron.d
)

// kindOf says what a file in a directory may be.
func kindOf(name string) nameKind {
	odd := func(r rune) bool { return !isLetter(r) && !strings.ContainsRune("0123456789_-", r) }
	switch filepath.Ext(name) {
	case ".json", ".yaml", ".yml", ".crontab", ".cron":
		if name[0] != '.' {
			return jobFile
		}
	}
	switch {
	case name[0] == '.':
		return hidden
	case !strings.ContainsFunc(name, odd):
		return likeCron
	}
	return unknown
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
