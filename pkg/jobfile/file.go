package jobfile

import (
	"fmt"

	"conch/pkg/cron"
)

// An entry is a job and the line where it begins.
type entry struct {
	job  cron.Job
	line int
}

// A file is what is read from one.
type file struct {
	name  string
	jobs  []entry
	notes []string
	errs  []error
	tab   Imported // if it is a crontab
}

func (f *file) refuse(line int, format string, a ...any) {
	f.errs = append(f.errs, &Error{f.name, line, fmt.Errorf(format, a...)})
}

// advise refuses, and says what to do.
func (f *file) advise(line int, hint, format string, a ...any) {
	f.errs = append(f.errs, &advised{&Error{f.name, line, fmt.Errorf(format, a...)}, hint})
}

func (f *file) note(line int, format string, a ...any) {
	f.notes = append(f.notes, at(f.name, line)+": "+fmt.Sprintf(format, a...))
}
