package jobfile

import "fmt"

// Error is what is wrong with a file, and where.
type Error struct {
	File string
	Line int // 0: not known, or the whole of it
	Err  error
}

func (e *Error) Error() string { return at(e.File, e.Line) + ": " + e.Err.Error() }

// Unwrap returns what is wrong, without the place.
func (e *Error) Unwrap() error { return e.Err }

// Empty is a file or directory without a job, which Options.NeedJobs refuses.
type Empty struct {
	Path       string
	what, hint string
}

func (e *Empty) Error() string {
	if e.what == "" {
		return e.Path + ": there is no job in it"
	}
	return e.Path + ": " + e.what
}

// Hint is how there may be one, or "".
func (e *Empty) Hint() string { return e.hint }

// advised is an error that says what to do.
type advised struct {
	error
	hint string
}

func (a *advised) Unwrap() error { return a.error }

// Hint is what to do, or "".
func (a *advised) Hint() string { return a.hint }

// at is how a place is written.
func at(file string, line int) string {
	if line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}
