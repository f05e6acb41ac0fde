package wrap

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"conch/pkg/cli"
	"conch/pkg/hold"
	"conch/pkg/stream"
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
	Left     int       `json:"left,omitempty"`     // unkillable: processes that do not end
	Reason   string    `json:"reason,omitempty"`   // lost, busy, error; unkillable: which
	By       string    `json:"by,omitempty"`       // exit: "command" or "conch"; asked: who
	Duration float64   `json:"duration,omitempty"` // lost, child-exit: seconds
}

// Reporter tells of transitions whoever asked for them: a descriptor, the log,
// the service manager. It is safe for concurrent use, and waits for no reader:
// each of them has a goroutine that writes, and what it cannot get rid of in time
// is dropped. A pipe that nobody reads must not keep a command alive.
type Reporter struct {
	tool, name string
	format     string // text, json or journald
	notifies   bool   // the service manager
	standby    bool   // it is ready once it waits
	verbose    bool

	held    heldState
	people  *stream.Stream // standard error
	status  *stream.Stream // nil: nobody asked
	manager stream.Queue   // what the service manager is told
	failed  sync.Once      // status could not be written
}

// patience is how long readers may take for the rest at the end.
const patience = 2 * time.Second

// reporter makes the reporter that the settings ask for.
func (o *Options) reporter(tool, name string, stdio *cli.Stdio) (*Reporter, error) {
	r := &Reporter{tool: tool, name: name, format: stdio.LogFormat(o.LogFormat, unix.Stderr), notifies: o.notifies(), standby: o.Notify == "standby", verbose: o.Verbose,
		people: stream.Of(stdio.Err)}
	var err error
	r.status, err = openStatus(o.StatusFile, o.StatusFD)
	return r, err
}

// openStatus opens what events are written to; without one, nil. A descriptor is
// for us, not for the command.
func openStatus(file string, fd int) (*stream.Stream, error) {
	switch {
	case file != "":
		f, err := stream.Open(file, 0o644)
		if err != nil {
			return nil, cli.Errorf(cli.Config, "--status-file: %w", err)
		}
		return stream.New(f), nil
	case fd < 0:
		return nil, nil
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		return nil, cli.Errorf(cli.Usage, "--status-fd: descriptor %d is not open", fd)
	}
	if fd > 2 {
		unix.CloseOnExec(fd)
	}
	ours, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, cli.Errorf(cli.Config, "--status-fd: %w", err)
	}
	return stream.New(os.NewFile(uintptr(ours), "--status-fd")), nil
}

// Close gives readers the time to take what is left. Who reads standard error gets
// it when the process ends.
func (r *Reporter) Close() {
	began := time.Now()
	if r.status != nil {
		r.status.Wait(patience)
		r.noteFailure()
	}
	r.manager.Wait(patience - time.Since(began))
}

// Mention is Warn that waits for nothing.
func (r *Reporter) Mention(format string, args ...any) {
	r.people.Put([]byte(r.warning(fmt.Sprintf(format, args...))))
}

// Warn writes a line for people to standard error, and returns when it is
// written, or after a moment: a terminal may be stopped.
func (r *Reporter) Warn(format string, args ...any) {
	_, _ = r.people.Write([]byte(r.warning(fmt.Sprintf(format, args...))))
}

// warning is a line for people, in the form of the log.
func (r *Reporter) warning(text string) string {
	text = cli.JoinLines(text)
	switch r.format {
	case "json":
		return string(Event{Event: "warning", Time: now(), Tool: r.tool, Name: r.name, Reason: text}.json())
	case "journald":
		return "<4>" + r.tool + ": " + cli.OneLine(text) + "\n"
	}
	return r.tool + ": " + cli.OneLine(text) + "\n"
}

// Say reports one event.
func (r *Reporter) Say(e Event) {
	e.Time, e.Tool, e.Name = now(), r.tool, r.name
	r.held.take(e)
	if r.status != nil {
		r.status.Put(e.json())
		r.noteFailure()
	}
	r.tell(e)
	if r.verbose {
		r.people.Put([]byte(r.line(e) + "\n"))
	}
}

// noteFailure says once that events cannot be written, unless it is because who
// read them has gone: that may be all he wanted to know.
func (r *Reporter) noteFailure() {
	if err := r.status.Err(); err != nil && !errors.Is(err, unix.EPIPE) {
		r.failed.Do(func() {
			r.people.Put([]byte(r.warning(fmt.Sprintf("events are lost: %v", err))))
		})
	}
}

// Note tells the log alone of what is no transition.
func (r *Reporter) Note(format string, args ...any) {
	if !r.verbose {
		return
	}
	e := Event{Event: "note", Time: now(), Tool: r.tool, Name: r.name, Reason: fmt.Sprintf(format, args...)}
	r.people.Put([]byte(r.line(e) + "\n"))
}

// now is the time as events bear it.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// json is e as a line of JSON.
func (e Event) json() []byte {
	b, err := json.Marshal(e)
	if err != nil {
		panic("wrap: " + err.Error())
	}
	return append(b, '\n')
}

// line is e for the log.
func (r *Reporter) line(e Event) string {
	if r.format == "json" {
		return strings.TrimSuffix(string(e.json()), "\n")
	}
	var b strings.Builder
	if r.format == "journald" {
		level := 6
		if e.Event == "lost" || e.Event == "kill-sent" || e.Event == "unkillable" || e.Event == "error" {
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
	number("left", int64(e.Left))
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
	if !r.notifies {
		return
	}
	ready := ""
	if e.Event == "acquired" || (e.Event == "waiting" && r.standby) {
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
	r.manager.Do(func() {
		_, _ = daemon.SdNotify(false, ready+"STATUS="+status) // nobody to tell it to is no reason to stop
	})
}

// alive tells the service manager that we are, unless it is being told something
// else.
func (r *Reporter) alive() bool {
	return r.manager.Try(func() { _, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog) })
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
