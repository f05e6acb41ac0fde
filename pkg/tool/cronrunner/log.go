package cronrunner

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"conch/pkg/cli"
	"conch/pkg/runner"
)

// log writes the runner's steps: what it does on standard error, and the lines
// that the runs write on standard output. It holds nobody up: what a stream does
// not take is dropped, and said once it takes something again.
type log struct {
	out, err *stream
	least    runner.Level // the least that is said
}

// backlog is how many lines may wait for a stream.
const backlog = 10000

// stream is a writer that may be slow, or stopped for good.
type stream struct {
	w       io.Writer
	format  string // text, json or journald
	lines   chan string
	dropped atomic.Int64
	done    chan struct{}
}

func newStream(w io.Writer, format string) *stream {
	s := &stream{w: w, format: format, lines: make(chan string, backlog), done: make(chan struct{})}
	go s.write()
	return s
}

func (s *stream) write() {
	defer close(s.done)
	for next := range s.lines {
		if n := s.dropped.Swap(0); n > 0 {
			fmt.Fprintln(s.w, line(runner.Event{Event: "dropped", Time: time.Now().UTC(), Level: runner.Warning, Count: int(n), Reason: "this stream is too slow"}, s.format))
		}
		fmt.Fprintln(s.w, next)
	}
}

func (s *stream) put(line string) {
	select {
	case s.lines <- line:
	default:
		s.dropped.Add(1)
	}
}

// close writes what waits, if that does not take too long. Nothing may be put
// after it.
func (s *stream) close() {
	close(s.lines)
	select {
	case <-s.done:
	case <-time.After(2 * time.Second):
	}
}

// close writes what is left.
func (l *log) close() {
	l.out.close()
	l.err.close()
}

func newLog(o *options, stdio *cli.Stdio) *log {
	l := &log{
		out:   newStream(stdio.Out, stdio.LogFormat(o.logFormat, unix.Stdout)),
		err:   newStream(stdio.Err, stdio.LogFormat(o.logFormat, unix.Stderr)),
		least: runner.Info,
	}
	if o.quiet {
		l.least = runner.Warning
	}
	if o.verbose {
		l.least = runner.Debug
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
	s := l.err
	if e.Event == runner.Output {
		s = l.out
	}
	s.put(line(e, s.format))
}

func line(e runner.Event, format string) string {
	switch format {
	case "json":
		b, err := json.Marshal(e)
		if err != nil {
			return err.Error()
		}
		return string(b)
	case "journald":
		return fmt.Sprintf("<%d>", e.Level) + text(e)
	}
	return text(e)
}

func text(e runner.Event) string {
	if e.Event == runner.Output {
		return cli.OneLine(e.Run + ": " + e.Reason)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: event=%s", name, e.Event)
	field := func(name, value string) { cli.LogField(&b, name, value) }
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
	case "dropped":
		return "lines"
	case "due": // 1: it is this runner's; n: it is, unless n-1 others let it pass
		return "turn"
	}
	return "runs"
}
