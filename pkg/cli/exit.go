package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
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

// report says an error once, in the form of --log-format, and returns its exit
// status. f may be nil.
func (f *Flags) report(io *Stdio, t Tool, err error) int {
	status := StatusOf(err)
	if f != nil && f.failed != nil && err != nil {
		f.failed(Failure{Status: status, Reason: reason(err), Tool: t.voice(), f: f, io: io})
	}
	if err == nil || silent(err) {
		return status
	}
	c := complaint{Event: "error", Time: time.Now().UTC().Truncate(time.Millisecond), Tool: t.voice(), Exit: status, Reason: reason(err)}
	var hint interface{ Hint() string }
	if errors.As(err, &hint) {
		c.Hint = hint.Hint()
	}
	var usage *misused
	if errors.As(err, &usage) {
		c.Usage = usage.synopsis
	}
	_, _ = io.Err.Write([]byte(c.as(f.format(io)))) // at once, lest others write in between
	return status
}

// reason is the text of an error as it may be shown, without its tool.
func reason(err error) string { return JoinLines(maskURLs(err.Error())) }

// complaint is an error as it is said.
type complaint struct {
	Event  string    `json:"event"`
	Time   time.Time `json:"time"` // UTC
	Tool   string    `json:"tool"`
	Exit   int       `json:"exit"`
	Reason string    `json:"reason"`
	Hint   string    `json:"hint,omitempty"`
	Usage  string    `json:"usage,omitempty"`
}

// as is the complaint in a form of --log-format.
func (c complaint) as(format string) string {
	if format == "json" {
		b, err := json.Marshal(c)
		if err != nil {
			panic("cli: " + err.Error())
		}
		return string(b) + "\n"
	}
	var b strings.Builder
	line := func(level, first, text string) {
		if format == "journald" {
			b.WriteString(level)
		}
		b.WriteString(first + ": " + OneLine(text) + "\n")
	}
	line("<3>", c.Tool, c.Reason)
	if c.Hint != "" {
		line("<6>", "hint", c.Hint)
	}
	if c.Usage != "" {
		line("<6>", "usage", c.Usage)
	}
	return b.String()
}

// format is the form in which errors are said: that of --log-format, where the tool
// has it.
func (f *Flags) format(io *Stdio) string {
	if f == nil || f.row("log-format") == nil {
		return "text"
	}
	return io.LogFormat(f.lookup("log-format", io), unix.Stderr)
}

// Failure is how a tool has failed, for Flags.Failed.
type Failure struct {
	Status int
	Reason string
	Tool   string

	f  *Flags
	io *Stdio
}

// Setting returns what was given for a setting, or its default, even where the
// command line could not be read: then as far as it could.
func (f Failure) Setting(name string) string { return f.f.lookup(name, f.io) }

// Failed names who else is to hear of an error, before it is said.
func (f *Flags) Failed(tell func(Failure)) { f.failed = tell }

// lookup is the text of a setting; if that was refused, its default.
func (f *Flags) lookup(name string, io *Stdio) string {
	r := *f.row(name)
	if r.source == "" { // the line was not read to its end
		r.fromEnv(io.Lookup)
		for _, g := range f.given {
			if g.row.Name == name {
				r.text = []string{g.text}
			}
		}
	}
	if len(r.text) == 0 || r.set != nil && r.set(r.text) != nil {
		return r.Default
	}
	return r.text[len(r.text)-1]
}

func silent(err error) bool {
	var exit *Exit
	if errors.As(err, &exit) && exit.Err == nil {
		return true
	}
	return errors.As(err, new(Ended)) || errors.As(err, new(Signaled))
}

// No is the silent answer "no" to a question: status 1.
var No = &Exit{Status: Failed}
