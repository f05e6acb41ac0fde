package jobfile

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"conch/pkg/cron"
)

// Options is how files are read. Its zero value works.
type Options struct {
	// SystemCrontab says that crontabs have a column for the user, as /etc/crontab
	// and the files of /etc/cron.d do.
	SystemCrontab bool
	// User is whom the jobs of crontabs without that column run as.
	User string
	// Prefix begins the name of each job out of a crontab.
	Prefix string
	// NeedJobs says that it is a mistake if there is no job: an *Empty.
	NeedJobs bool
	// Imported, if not nil, gets the jobs of crontabs, whose notes then are not among those
	// that are returned.
	Imported *Imported
	// Check is asked about each job; what it says is reported with the place.
	Check func(*cron.Job) error
}

// Read reads the jobs of a file, whose name says what it is: *.json, *.yaml,
// *.yml, *.crontab, *.cron or crontab. That of any other is seen from what is in
// it.
func Read(name string, b []byte) ([]cron.Job, error) {
	jobs, _, err := Options{}.Read(name, b)
	return jobs, err
}

// Read is as the function Read, with options, and with notes on what a crontab
// means to conch.
func (o Options) Read(name string, b []byte) (jobs []cron.Job, notes []string, err error) {
	return o.together(&Empty{Path: name}, o.read(name, b))
}

func (o Options) read(name string, b []byte) *file {
	f := &file{name: name}
	if len(b) > maxSize {
		f.refuse(0, "the file is larger than %d MB", maxSize>>20)
		return f
	}
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	if !f.isUTF8(b) {
		return f
	}
	var roots []*node
	var err error
	switch o.format(name, b) {
	case "json":
		roots, err = readJSON(b)
	case "yaml":
		roots, err = readYAML(b)
	default:
		f.readCrontab(b, o)
	}
	if place := new(Error); errors.As(err, &place) {
		hint := new(advised)
		errors.As(err, &hint)
		f.advise(place.Line, hint.hint, "%w", place.Err)
	}
	f.take(roots)
	f.check(o)
	return f
}

// isUTF8 refuses what is written in another way, and names that.
func (f *file) isUTF8(b []byte) bool {
	if isUTF16(b) {
		f.advise(0, "iconv -f UTF-16 -t UTF-8 makes that of it", "the file is UTF-16, and not UTF-8")
		return false
	}
	n := validUTF8(b)
	if n == len(b) {
		return true
	}
	if bytes.IndexByte(b, 0) >= 0 {
		f.refuse(0, "the file is not text")
		return false
	}
	f.advise(1+bytes.Count(b[:n], []byte("\n")), "iconv -f WINDOWS-1252 -t UTF-8 makes that of Latin-1", "the file is not UTF-8%s", latin1(b[n]))
	return false
}

// latin1 says what a byte is in Latin-1, if it is a letter there.
func latin1(b byte) string {
	if b < 0xc0 {
		return ""
	}
	return fmt.Sprintf(": in Latin-1 its byte %#x is %c", b, b)
}

// isUTF16 reports whether b begins with the mark of UTF-16, or with two characters of
// ASCII in it.
func isUTF16(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	return b[0] == 0xff && b[1] == 0xfe || b[0] == 0xfe && b[1] == 0xff ||
		b[0] != 0 && b[1] == 0 && b[2] != 0 && b[3] == 0 || b[0] == 0 && b[1] != 0 && b[2] == 0 && b[3] != 0
}

// validUTF8 returns how many bytes of b are text.
func validUTF8(b []byte) (n int) {
	for n < len(b) {
		r, size := utf8.DecodeRune(b[n:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		n += size
	}
	return n
}

// check asks o.Check about each job.
func (f *file) check(o Options) {
	for i := range f.jobs {
		if o.Check == nil {
			return
		}
		for _, err := range parts(o.Check(&f.jobs[i].job)) {
			f.refuse(f.jobs[i].line, "%w", err)
		}
	}
}

// parts returns what errors.Join has joined, or the error itself, or nothing.
func parts(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// format says what a file is: json, yaml or crontab.
func (o Options) format(name string, b []byte) string {
	switch base := filepath.Base(name); {
	case strings.HasSuffix(base, ".json"):
		return "json"
	case strings.HasSuffix(base, ".yaml"), strings.HasSuffix(base, ".yml"):
		return "yaml"
	case strings.HasSuffix(base, ".crontab"), strings.HasSuffix(base, ".cron"), base == "crontab", o.SystemCrontab:
		return "crontab"
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		switch _, _, isSetting := setting(line); {
		case line == "" || line[0] == '#':
		case line[0] == '{' || line[0] == '[':
			return "json"
		case isSetting || strings.ContainsRune("*@0123456789", rune(line[0])):
			return "crontab"
		default:
			return "yaml"
		}
	}
	return "yaml"
}

func byLine(a, b error) int {
	var x, y *Error
	if !errors.As(a, &x) || !errors.As(b, &y) {
		return 0
	}
	return x.Line - y.Line
}

// together returns the jobs of all files, or all that is wrong with these. No
// two jobs may have one name. If there is none, that is empty.
func (o Options) together(empty *Empty, files ...*file) (jobs []cron.Job, notes []string, err error) {
	first := map[string]string{}
	var errs []error
	var tabs Imported
	for _, f := range files {
		for _, e := range f.jobs {
			place, twice := first[e.job.Name]
			if twice {
				f.refuse(e.line, "there is a job %s in %s already", e.job.Name, place)
				continue
			}
			first[e.job.Name] = at(f.name, e.line)
			jobs = append(jobs, e.job)
		}
		notes = append(notes, f.notes...)
		tabs.add(f.tab)
		slices.SortStableFunc(f.errs, byLine)
		errs = append(errs, f.errs...)
	}
	if len(errs) > 0 {
		return nil, notes, errors.Join(errs...)
	}
	if len(jobs) == 0 && o.NeedJobs {
		return nil, notes, empty
	}
	if o.Imported != nil {
		o.Imported.add(tabs)
		return jobs, notes, nil
	}
	return jobs, append(notes, tabs.Notes(nil)...), nil
}
