package cronrunner

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"conch/pkg/cli"
	"conch/pkg/runner"
	"conch/pkg/stream"
)

// log writes the runner's steps: what it does on standard error, and the lines
// that the runs write on standard output. It holds nobody up: what a stream does
// not take is dropped, and said once it takes something again.
type log struct {
	out, err *output
	least    runner.Level // the least that is said
}

// output is a stream of lines that counts those which it does not take.
type output struct {
	*stream.Stream
	format  string // text, json or journald
	mu      sync.Mutex
	dropped int
}

func (o *output) put(next string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.dropped > 0 {
		e := runner.Event{Event: "dropped", Time: time.Now().UTC(), Level: runner.Warning, Count: o.dropped, Reason: "this stream is too slow"}
		if !o.Put([]byte(line(e, o.format) + "\n")) {
			o.dropped++
			return
		}
		o.dropped = 0
	}
	if !o.Put([]byte(next + "\n")) {
		o.dropped++
	}
}

// lastWords is how long what is said last may take to be written.
const lastWords = 2 * time.Second

// close gives readers the time to take what is left. Who reads standard error gets
// it when the process ends.
func (l *log) close() { l.out.Wait(lastWords) }

func newLog(o *options, stdio *cli.Stdio) *log {
	l := &log{
		out:   &output{Stream: stream.New(stdio.Out), format: stdio.LogFormat(o.logFormat, unix.Stdout)},
		err:   &output{Stream: stream.Of(stdio.Err), format: stdio.LogFormat(o.logFormat, unix.Stderr)},
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
	case runner.Missed, runner.Withdrawn, runner.Unplaced:
		return "ticks"
	case "dropped":
		return "lines"
	case "due": // 1: it is this runner's; n: it is, unless n-1 others let it pass
		return "turn"
	}
	return "runs"
}
