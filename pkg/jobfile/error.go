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
