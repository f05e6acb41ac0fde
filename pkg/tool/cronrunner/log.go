package cronrunner

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"conch/pkg/cli"
	"conch/pkg/runner"
)

// log writes the runner's steps: what it does on standard error, and the lines
// that the runs write on standard output.
type log struct {
	out, err io.Writer
	format   string
	least    runner.Level // the least that is said

	mu sync.Mutex
}

func newLog(o *options, stdio *cli.Stdio) *log {
	l := &log{out: stdio.Out, err: stdio.Err, format: o.logFormat, least: runner.Info}
	if o.quiet {
		l.least = runner.Warning
	}
	if o.verbose {
		l.least = runner.Debug
	}
	if l.format == "auto" {
		l.format = "text"
		var st unix.Stat_t
		if err := unix.Fstat(2, &st); err == nil && stdio.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino) {
			l.format = "journald"
		}
	}
	return l
}

// warn says what is wrong with something beside the runs.
func (l *log) warn(text string) {
	l.say(runner.Event{Event: "warning", Time: time.Now().UTC(), Level: runner.Warning, Reason: text})
}

// say writes one step.
func (l *log) say(e runner.Event) {
	if e.Level > l.least {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	to := l.err
	if e.Event == runner.Output {
		to = l.out
	}
	fmt.Fprintln(to, l.line(e))
}

func (l *log) line(e runner.Event) string {
	switch l.format {
	case "json":
		b, err := json.Marshal(e)
		if err != nil {
			return err.Error()
		}
		return string(b)
	case "journald":
		return fmt.Sprintf("<%d>", e.Level) + l.text(e)
	}
	return l.text(e)
}

func (l *log) text(e runner.Event) string {
	if e.Event == runner.Output {
		return cli.OneLine(e.Run + ": " + e.Reason)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: event=%s", name, e.Event)
	field := func(name, value string) {
		if value == "" {
			return
		}
		if strings.ContainsAny(value, " \"=") {
			value = strconv.Quote(value)
		}
		fmt.Fprintf(&b, " %s=%s", name, value)
	}
	if e.Run == "" {
		field("job", e.Job)
	}
	field("run", e.Run)
	if e.Late != 0 {
		field("late", fmt.Sprintf("%.3fs", e.Late))
	}
	field("state", e.State)
	if e.Count != 0 {
		field(countOf(e.Event), strconv.Itoa(e.Count))
	}
	field("trace", e.Trace)
	field("reason", e.Reason)
	return cli.OneLine(b.String())
}

// countOf is what an event's count is a number of.
func countOf(event string) string {
	switch event {
	case "started":
		return "pid"
	case "ready":
		return "jobs"
	case "missed":
		return "ticks"
	}
	return "runs"
}
