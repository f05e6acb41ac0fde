package cli

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"
)

// Exit is an error that knows its exit status. Any error with a method
// ExitStatus() int does; Exit is for those who have no type of their own.
type Exit struct {
	Status int
	Err    error // nil: nothing is said
	Usage  bool  // the synopsis follows the error
}

// Error returns the text of Err.
func (e *Exit) Error() string {
	if e.Err == nil {
		return "exit status " + strconv.Itoa(e.Status)
	}
	return e.Err.Error()
}

// Unwrap returns Err.
func (e *Exit) Unwrap() error { return e.Err }

// ExitStatus returns Status.
func (e *Exit) ExitStatus() int { return e.Status }

// Errorf is fmt.Errorf with an exit status.
func Errorf(status int, format string, args ...any) error {
	return &Exit{Status: status, Err: fmt.Errorf(format, args...)}
}

// Usagef is an error of the user's: status 64, and the synopsis is shown.
func Usagef(format string, args ...any) error {
	return &Exit{Status: Usage, Err: fmt.Errorf(format, args...), Usage: true}
}

// Hint adds to an error what the user can do, printed as "hint: ..." on a line
// of its own. Any error with a method Hint() string has one.
func Hint(err error, format string, args ...any) error {
	return &hinted{err, fmt.Sprintf(format, args...)}
}

type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }
func (h *hinted) Hint() string  { return h.hint }

// Ended is the result of a command that exited: its status becomes ours and
// nothing is said.
type Ended struct{ Code int }

// Error returns the status in words.
func (e Ended) Error() string { return "exit status " + strconv.Itoa(e.Code) }

// ExitStatus returns Code.
func (e Ended) ExitStatus() int { return e.Code }

// Signaled is the result of a command that died of a signal: so does this
// process, and nothing is said.
type Signaled struct{ Signal syscall.Signal }

// Error returns the signal in words.
func (s Signaled) Error() string { return s.Signal.String() }

// ExitStatus returns what a shell shows for the signal.
func (s Signaled) ExitStatus() int { return 128 + int(s.Signal) }

// StatusOf returns the exit status of an error: that of the outermost error in
// the chain that has one; 0 for nil; Failed otherwise.
func StatusOf(err error) int {
	if err == nil {
		return 0
	}
	var with interface{ ExitStatus() int }
	if errors.As(err, &with) {
		return with.ExitStatus()
	}
	return Failed
}

// report says an error once and returns its exit status.
func report(w io.Writer, t Tool, err error) int {
	status := StatusOf(err)
	if err == nil || silent(err) {
		return status
	}
	fmt.Fprintf(w, "%s: %s\n", t.voice(), OneLine(maskURLs(err.Error())))
	var hint interface{ Hint() string }
	if errors.As(err, &hint) && hint.Hint() != "" {
		fmt.Fprintf(w, "hint: %s\n", OneLine(hint.Hint()))
	}
	var usage *misused
	if errors.As(err, &usage) {
		fmt.Fprintf(w, "usage: %s\n", usage.synopsis)
	}
	return status
}

func silent(err error) bool {
	var exit *Exit
	if errors.As(err, &exit) && exit.Err == nil {
		return true
	}
	return errors.As(err, new(Ended)) || errors.As(err, new(Signaled))
}

// OneLine makes text safe for a line on a terminal: control characters, bytes
// that are not UTF-8 and characters that are not printable are escaped as in a
// Go string, so that a name of someone else's choosing can neither add a line
// nor move the cursor.
func OneLine(text string) string {
	clean := func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }
	if strings.IndexFunc(text, clean) < 0 {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		i += size
	}
	return b.String()
}

// No is the silent answer "no" to a question: status 1.
var No = &Exit{Status: Failed}
