package cron

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"conch/pkg/keys"
)

// State is where a run stands.
type State string

// The states. All but Running, Retrying and Adrift are final.
const (
	Running  State = "running"  // claimed: it is being started, or runs
	Retrying State = "retrying" // an attempt has ended, and another is due at RetryAt
	OK       State = "ok"       // status 0
	Failed   State = "failed"   // another status, a signal, or it could not be started
	TimedOut State = "timeout"  // it was stopped for its run-ttl
	Killed   State = "killed"   // somebody asked for it, or a later run replaced it
	Lost     State = "lost"     // its runner died, or lost its lease
	Unknown  State = "unknown"  // it was claimed, and too late to start when that became known

	// Adrift is a run that is in progress, and whose runner is gone: it will be known
	// as lost, or by its true end. No record says so; it follows from which runners
	// there are.
	Adrift State = "?"
)

// The states of a stretch of ticks that nobody has run, of which there is one record
// beside those of the runs.
const (
	Missed   State = "missed"   // they could not be started within the job's deadline
	Unplaced State = "unplaced" // runners were there, and none that the job may run on
)

// Final reports whether a run in this state is over.
func (s State) Final() bool { return s != Running && s != Retrying && s != Adrift }

// with is s, as who shows it sees it: alive says whether its runner is there.
func (s State) with(alive bool) State {
	if s == Running && !alive {
		return Adrift
	}
	return s
}

// Well reports whether a run that is over is one that nobody needs to look at.
func (s State) Well() bool { return s == OK }

// Run is the record of a run: the claim, and later its result.
type Run struct {
	keys.RunID `json:"-"`

	State   State  `json:"state"`
	Claim   string `json:"claim"` // its id: the same in every record of one attempt
	Attempt int    `json:"attempt"`
	Node    string `json:"node"` // of the runner
	Host    string `json:"host"`
	By      string `json:"by,omitempty"` // who asked for it, of a run asked for by hand
	// JobRev is the create-revision of the job: one that has its name later has
	// another. 0: it is not known.
	JobRev int64 `json:"job_rev,omitempty"`

	Claimed time.Time `json:"claimed"`        // on the runner's clock, as all of these
	First   time.Time `json:"first,omitzero"` // when its first attempt was claimed, of a later one
	Began   time.Time `json:"began,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
	RetryAt time.Time `json:"retry_at,omitzero"`

	Exit    *int    `json:"exit,omitempty"`    // the command's status
	Signal  string  `json:"signal,omitempty"`  // that it died of
	Cause   string  `json:"cause,omitempty"`   // in words, where state and status do not say it
	User    float64 `json:"user,omitempty"`    // seconds of CPU of the command itself
	System  float64 `json:"system,omitempty"`  // likewise
	Skipped int     `json:"skipped,omitempty"` // ticks of the job that came while it ran, and were skipped for it
	Trace   string  `json:"trace,omitempty"`   // TRACEPARENT
	Tail    string  `json:"tail,omitempty"`    // of its output
	Bytes   int64   `json:"bytes,omitempty"`   // how much output there was
	Log     string  `json:"log,omitempty"`     // where Host keeps all of it: see LogFile

	// Of a stretch of ticks that nobody has run: how many they are, and the latest.
	Count int       `json:"count,omitempty"`
	Until time.Time `json:"until,omitzero"`

	Rev int64 `json:"-"` // of the record
}

// TryAgain turns the end of an attempt into the wait for the next one, if the job
// wants one.
func (r *Run) TryAgain(j *Job) {
	if r.Attempt <= j.Retries() {
		r.State, r.RetryAt = Retrying, r.Ended.Add(j.Backoff(r.Attempt))
	}
}

// Status returns the exit status that stands for how the run has ended: the
// command's, 128+n for signal n, 124 for a timeout, 70 for one that was lost or
// killed, 75 for one that was not started.
func (r *Run) Status() int {
	switch {
	case r.State == OK:
		return 0
	case r.State == TimedOut:
		return 124
	case r.State == Lost, r.State == Killed:
		return 70
	case r.State == Unknown, r.State == Missed, r.State == Unplaced:
		return 75
	case r.Exit != nil && *r.Exit != 0:
		return *r.Exit
	case r.Signal != "":
		return 128 + int(unix.SignalNum(r.Signal))
	}
	return 1
}

// Since returns when the run was first claimed: it has been in progress from then on.
func (r *Run) Since() time.Time { return or(r.First, r.Claimed) }

// How says in words how the run has ended, where Cause does not; of ticks that nobody
// has run, how many they are.
func (r *Run) How() string {
	switch {
	case r.Count == 1:
		return "1 tick, at " + instant(r.Until)
	case r.Count > 1:
		return fmt.Sprintf("%d ticks up to %s", r.Count, instant(r.Until))
	case r.Signal != "":
		return "died of " + r.Signal
	case r.Exit != nil:
		return fmt.Sprintf("exit status %d", *r.Exit)
	}
	return string(r.State)
}

// MaxCause is how much of a run's Cause is kept, in bytes.
const MaxCause = 1024

// Encode returns the record as it lies in etcd.
func (r *Run) Encode() string {
	if len(r.Cause) <= MaxCause {
		return encode(r)
	}
	kept := *r
	kept.Cause = strings.ToValidUTF8(r.Cause[:MaxCause-len("...")], "") + "..."
	return encode(&kept)
}

// DecodeRun reads the record of a run.
func DecodeRun(id keys.RunID, b []byte, rev int64) (*Run, error) {
	r := &Run{RunID: id, Rev: rev}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("the record of %s: %w", id, err)
	}
	return r, nil
}

// Act is the marker of a run that is in progress.
type Act struct {
	keys.RunID `json:"-"`

	Node    string    `json:"node"` // of the runner; while it waits for a retry, of the one before
	Host    string    `json:"host,omitempty"`
	Claim   string    `json:"claim"`
	Attempt int       `json:"attempt"`
	Claimed time.Time `json:"claimed"`
	First   time.Time `json:"first,omitzero"` // as of the run
	RetryAt time.Time `json:"retry_at,omitzero"`
	By      string    `json:"by,omitempty"`
	JobRev  int64     `json:"job_rev,omitempty"` // as of the run

	// Rev is the revision of the run's record: what writes one writes the other.
	Rev   int64 `json:"-"`
	Waits bool  `json:"-"` // for its next attempt, at RetryAt
}

// Since returns when the run was first claimed: it has been in progress from then on.
func (a *Act) Since() time.Time { return or(a.First, a.Claimed) }

// State is where the run stands; alive says which runners there are.
func (a *Act) State(alive func(node string) bool) State {
	if a.Waits {
		return Retrying
	}
	return Running.with(alive(a.Node))
}

// Rivals reports whether two runs of a job that may not overlap keep each other waiting:
// those in the same place do, and one that may be in any with all.
func Rivals(x, y keys.RunID) bool {
	anywhere := func(id keys.RunID) bool { _, manual := id.Request(); return manual || id.Place == "" }
	return anywhere(x) || anywhere(y) || x.Place == y.Place
}

// Last is how the latest run of a job has ended, and how many of its ticks nobody has
// run. Of one without a run it has no ID, and the latter alone.
type Last struct {
	ID    string    `json:"id"` // of the run
	State State     `json:"state"`
	Began time.Time `json:"began,omitzero"`
	Ended time.Time `json:"ended"`
	Exit  *int      `json:"exit,omitempty"`
	Host  string    `json:"host,omitempty"` // of its runner
	// Status is Run.Status's.
	Status int `json:"status"`
	// OK is when the job last ended well, Tick the latest tick that is over, and
	// Runs how many runs there have been.
	OK   time.Time `json:"ok,omitzero"`
	Tick time.Time `json:"tick,omitzero"`
	Runs int       `json:"runs"`
	// Failures is how many have ended otherwise since then.
	Failures int `json:"failures,omitempty"`
	// Tally counts them by how they ended.
	Tally Tally `json:"tally,omitzero"`
	// Reckoned is never changed, but replaced.
	Reckoned *Reckoning `json:"reckoned,omitempty"`
}

// Missed is how many ticks were missed so far.
func (l Last) Missed() int {
	if l.Reckoned == nil {
		return 0
	}
	return l.Reckoned.Missed.Total
}

// Unplaced is how many ticks were unplaced so far.
func (l Last) Unplaced() int {
	if l.Reckoned == nil {
		return 0
	}
	return l.Reckoned.Unplaced.Total
}

// With returns what the job is remembered by when a run of it has ended, with which
// its ticks up to over are. counted says that the run has been remembered before,
// with another end.
func (l Last) With(r *Run, over time.Time, counted bool) Last {
	if over.After(l.Tick) {
		l.Tick = over
	}
	if !counted {
		l.Runs++
	}
	l.Tally.add(r, counted)
	latest := l.ID == r.ID() || !r.Ended.Before(l.Ended)
	switch {
	case r.State.Well() && latest:
		l.Failures = 0
	case r.State.Well() && counted && r.Ended.After(l.OK): // it was thought to have failed
		l.Failures = max(l.Failures-1, 0)
	case !r.State.Well() && !counted && r.Ended.After(l.OK):
		l.Failures++
	}
	if r.State.Well() && r.Ended.After(l.OK) {
		l.OK = r.Ended
	}
	if latest {
		l.ID, l.State, l.Began, l.Ended, l.Exit, l.Status, l.Host = r.ID(), r.State, r.Began, r.Ended, r.Exit, r.Status(), r.Host
	}
	return l
}

// Memory is what a job was remembered by when somebody looked.
type Memory struct {
	Last
	Rev int64 `json:"-"` // the mod-revision of its key; 0: there was none
}

// Node is a runner, as the others see it.
type Node struct {
	ID       string            `json:"id"` // host-xxxx: new at each session
	Host     string            `json:"host"`
	PID      int               `json:"pid"`
	Labels   map[string]string `json:"labels,omitempty"`
	Slots    int               `json:"slots"`
	Policy   string            `json:"placement"`
	Started  time.Time         `json:"started"`
	Clock    time.Time         `json:"clock"` // its wall clock when this was written
	TZData   string            `json:"tzdata"`
	Version  string            `json:"version"`
	Draining bool              `json:"draining,omitempty"` // it takes nothing on any more
	Standby  string            `json:"standby,omitempty"`  // why it takes nothing on

	Rev   int64 `json:"-"` // create-revision
	Lease int64 `json:"-"`
}

// The actions of a Request.
const (
	RunNow = "run"
	Kill   = "kill"
)

// Request is something asked for by hand. That of a run is consumed by its
// claim, that of a kill by whoever has the run, when it is over.
type Request struct {
	Job string `json:"-"`
	ID  string `json:"-"`

	Action  string    `json:"action"`
	Run     string    `json:"run,omitempty"` // Kill: the id of the run, without the job
	By      string    `json:"by"`
	At      time.Time `json:"at"`
	Expires time.Time `json:"expires,omitzero"` // RunNow: not to be started after this

	Rev int64 `json:"-"` // of its key
}

// RunID is the run that a RunNow asks for.
func (r Request) RunID() keys.RunID {
	return keys.RunID{Job: r.Job, Tick: r.At.UTC().Truncate(time.Second), Place: keys.ManualPlace(r.ID)}
}

// encode is JSON that cannot fail: all of the types above are plain.
func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}
