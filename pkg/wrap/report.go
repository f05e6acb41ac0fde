package wrap

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"conch/pkg/cli"
	"conch/pkg/hold"
)

// Event is one transition, as --status-fd and --status-file give it: a line of
// JSON. Fields that do not belong to an event are left out.
type Event struct {
	Event    string    `json:"event"`
	Time     time.Time `json:"time"` // UTC
	Tool     string    `json:"tool"`
	Name     string    `json:"name,omitempty"`
	Rev      int64     `json:"rev,omitempty"`      // the token
	Slot     *int      `json:"slot,omitempty"`     // acquired: of a semaphore
	PID      int       `json:"pid,omitempty"`      // of the command
	Ahead    string    `json:"ahead,omitempty"`    // waiting: who is directly in front
	Delay    float64   `json:"delay,omitempty"`    // waiting: seconds of lock-delay left; backoff: until the next try
	Signal   string    `json:"signal,omitempty"`   // term-sent, kill-sent, child-exit
	Exit     *int      `json:"exit,omitempty"`     // child-exit, exit
	Reached  int       `json:"reached,omitempty"`  // term-sent: processes
	Reason   string    `json:"reason,omitempty"`   // lost, busy, error
	By       string    `json:"by,omitempty"`       // exit: "command" or "conch"
	Duration float64   `json:"duration,omitempty"` // lost, child-exit: seconds
}

// Reporter tells of transitions whoever asked for them: a descriptor, the log,
// the service manager. It is safe for concurrent use, and never waits for a
// reader: one goroutine writes, and what it cannot get rid of in time is
// dropped. A pipe that nobody reads must not keep a command alive.
type Reporter struct {
	tool, name string
	stderr     io.Writer
	log        io.Writer // nil: not verbose
	format     string    // text, json or journald
	notify     string    // standby, leader, or empty

	held  heldState
	queue chan func() // of what is to be written, in order
	done  chan struct{}

	// Of the writing goroutine alone.
	status *os.File // nil: nobody asked
}

// What a reader is given.
const (
	backlog  = 1024            // events that may wait to be written
	patience = 2 * time.Second // for the rest at the end
)

// reporter makes the reporter that the settings ask for.
func (o *Options) reporter(tool, name string, stdio *cli.Stdio) (*Reporter, error) {
	r := &Reporter{tool: tool, name: name, format: stdio.LogFormat(o.LogFormat, unix.Stderr), notify: o.Notify, stderr: stdio.Err,
		queue: make(chan func(), backlog), done: make(chan struct{})}
	if o.Verbose {
		r.log = stdio.Err
	}
	switch {
	case o.StatusFile != "":
		f, err := os.OpenFile(o.StatusFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
		if err != nil {
			return nil, cli.Errorf(cli.Config, "--status-file: %w", err)
		}
		r.status = f
	case o.StatusFD >= 0:
		if _, err := unix.FcntlInt(uintptr(o.StatusFD), unix.F_GETFD, 0); err != nil {
			return nil, cli.Errorf(cli.Usage, "--status-fd: descriptor %d is not open", o.StatusFD)
		}
		if o.StatusFD > 2 {
			unix.CloseOnExec(o.StatusFD) // it is for us, not for the command
		}
		fd, err := unix.FcntlInt(uintptr(o.StatusFD), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return nil, cli.Errorf(cli.Config, "--status-fd: %w", err)
		}
		r.status = os.NewFile(uintptr(fd), "status")
	}
	go r.write()
	return r, nil
}

// write writes what is queued, until Close.
func (r *Reporter) write() {
	defer close(r.done)
	for f := range r.queue {
		f()
	}
}

// later queues f, or drops it if the reader is that far behind.
func (r *Reporter) later(f func()) {
	select {
	case r.queue <- f:
	default:
	}
}

// Close writes what is left, if that can be done in time. Nothing may be said
// after it.
func (r *Reporter) Close() {
	close(r.queue)
	select {
	case <-r.done:
	case <-time.After(patience):
	}
}

// Warn writes a line for people to standard error, and returns when it is
// written, or after a moment: a terminal may be stopped.
func (r *Reporter) Warn(format string, args ...any) {
	written := make(chan struct{})
	r.later(func() {
		fmt.Fprintf(r.stderr, "%s: %s\n", r.tool, cli.OneLine(fmt.Sprintf(format, args...)))
		close(written)
	})
	select {
	case <-written:
	case <-time.After(100 * time.Millisecond):
	}
}

// Say reports one event.
func (r *Reporter) Say(e Event) {
	e.Time, e.Tool, e.Name = now(), r.tool, r.name
	r.held.take(e)
	r.later(func() {
		if r.status != nil {
			if err := writeLine(r.status, e); err != nil {
				r.status = nil // whoever read it has gone
			}
		}
		r.tell(e)
		if r.log != nil {
			fmt.Fprintln(r.log, r.line(e))
		}
	})
}

// Note tells the log alone of what is no transition.
func (r *Reporter) Note(format string, args ...any) {
	if r.log == nil {
		return
	}
	e := Event{Event: "note", Time: now(), Tool: r.tool, Name: r.name, Reason: fmt.Sprintf(format, args...)}
	r.later(func() { fmt.Fprintln(r.log, r.line(e)) })
}

// now is the time as events bear it.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

func writeLine(w io.Writer, e Event) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// line is e for the log.
func (r *Reporter) line(e Event) string {
	if r.format == "json" {
		b, err := json.Marshal(e)
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
	var b strings.Builder
	if r.format == "journald" {
		level := 6
		if e.Event == "lost" || e.Event == "kill-sent" || e.Event == "error" {
			level = 4
		}
		fmt.Fprintf(&b, "<%d>", level)
	}
	fmt.Fprintf(&b, "%s: event=%s name=%s", r.tool, e.Event, e.Name)
	field := func(name, value string) { cli.LogField(&b, name, value) }
	number := func(name string, n int64) {
		if n != 0 {
			field(name, strconv.FormatInt(n, 10))
		}
	}
	number("rev", e.Rev)
	if e.Slot != nil {
		field("slot", strconv.Itoa(*e.Slot))
	}
	number("pid", int64(e.PID))
	field("ahead", e.Ahead)
	if e.Delay != 0 {
		field("delay", fmt.Sprintf("%.1fs", e.Delay))
	}
	field("signal", e.Signal)
	if e.Exit != nil {
		field("exit", strconv.Itoa(*e.Exit))
	}
	number("reached", int64(e.Reached))
	field("reason", e.Reason)
	field("by", e.By)
	if e.Duration != 0 {
		field("duration", fmt.Sprintf("%.1fs", e.Duration))
	}
	return cli.OneLine(b.String())
}

// tell keeps the service manager informed. A standby is ready once it waits in
// line: else it would be killed for not starting up in time.
func (r *Reporter) tell(e Event) {
	if r.notify == "" || r.notify == "child" {
		return
	}
	ready := ""
	if e.Event == "acquired" || (e.Event == "waiting" && r.notify == "standby") {
		ready = daemon.SdNotifyReady + "\n"
	}
	status := ""
	switch e.Event {
	case "waiting":
		status = "standby for " + r.name
		if e.Ahead != "" {
			status += ", behind " + e.Ahead
		}
	case "acquired":
		status = "holds " + r.name
	case "lost":
		status = "lost " + r.name + ": " + e.Reason
	case "term-sent":
		ready = daemon.SdNotifyStopping + "\n"
		status = "stopping the command"
	}
	if ready+status == "" {
		return
	}
	// Nobody to tell it to is no reason to stop.
	_, _ = daemon.SdNotify(false, ready+"STATUS="+status)
}

// acquired is the event of a turn that has come.
func acquired(t *hold.Turn) Event {
	e := Event{Event: "acquired", Rev: t.Token().Rev}
	if slot, ok := t.Slot(); ok {
		e.Slot = &slot
	}
	return e
}

// exit is a pointer to a status, for Event.Exit.
func exit(code int) *int { return &code }

// place turns a place in line into an event.
func place(p hold.Place) Event {
	e := Event{Event: "waiting", Rev: p.Joined.Rev, Delay: p.Delay.Seconds()}
	if p.Ahead.Key != "" {
		e.Ahead = p.Ahead.String()
	}
	return e
}
