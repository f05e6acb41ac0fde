package cron

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"conch/pkg/clock"
	"conch/pkg/schedule"
)

// Duration is a length of time that is text in JSON, "1h30m" or "2d".
type Duration time.Duration

// String is d as time.Duration writes it.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes d as text.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads text as clock.ParseDuration does.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := clock.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Overlap says what happens at a tick while an earlier run is in progress,
// anywhere in the cluster. A run that waits for its retry is in progress.
type Overlap string

// The overlaps.
const (
	Forbid  Overlap = "forbid"  // the tick is skipped
	Allow   Overlap = "allow"   // both run
	Replace Overlap = "replace" // the earlier one is killed first
)

// Misfire says what happens to ticks that nobody could claim for longer than
// the job's deadline: no runner was up, or etcd was not.
type Misfire string

// The misfires.
const (
	MisfireSkip Misfire = "skip" // they are not run
	MisfireOnce Misfire = "once" // the latest one is
	MisfireAll  Misfire = "all"  // the latest MisfireCap are
)

// MisfireCap is how many missed ticks MisfireAll runs at most.
const MisfireCap = 10

// Output says what of a run's output is kept with its result.
type Output string

// The outputs.
const (
	OutputNone    Output = "none"
	OutputFailure Output = "failure" // the tail, if the run did not end well
	OutputAlways  Output = "always"  // the tail
)

// MaxTail is how much of a run's output is kept at most, in bytes.
const MaxTail = 4096

// Retry says how often a run that did not end well is started again, on
// whichever runner, and after how long: Backoff, doubled each time, at most
// MaxBackoff.
type Retry struct {
	N       int      `json:"n"`
	Backoff Duration `json:"backoff,omitempty"` // 0: DefaultBackoff
}

// Bounds and defaults of a job.
const (
	DefaultBackoff  = Duration(10 * time.Second)
	MaxBackoff      = time.Hour
	DefaultDeadline = Duration(time.Minute)
	DefaultRunTTL   = Duration(10 * time.Minute)
	DefaultKeep     = 20
	MaxKeep         = 1000
	MaxRetries      = 100
	MaxSpec         = 64 << 10 // bytes of a job's JSON
	MaxBy           = 256      // bytes of Job.By
)

// Job is what a job is, as it lies in etcd and in a job file: JSON, or YAML with
// the same names. A field that is left out has the default that its comment
// gives.
type Job struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// Owners are whom to tell; conch does not interpret them.
	Owners []string `json:"owners,omitempty"`

	// When. Schedule is what schedule.Parse takes.
	Schedule string        `json:"schedule"`
	TZ       string        `json:"tz,omitempty"`     // UTC
	DST      schedule.Rule `json:"dst,omitempty"`    // once
	Anchor   *time.Time    `json:"anchor,omitempty"` // of @every: 1970-01-01T00:00:00Z
	// Splay delays each start by a part of itself that the job's name decides:
	// the tick keeps its name, and jobs that are due together do not start so.
	Splay   Duration   `json:"splay,omitempty"`
	Starts  *time.Time `json:"starts,omitempty"`  // no tick before
	Expires *time.Time `json:"expires,omitempty"` // no tick from then on
	Paused  bool       `json:"paused,omitempty"`

	// What. One of Cmd and Script.
	Cmd    []string          `json:"cmd,omitempty"`
	Script string            `json:"script,omitempty"` // for sh -c
	Stdin  string            `json:"stdin,omitempty"`  // what the command reads
	Env    map[string]string `json:"env,omitempty"`
	Cwd    string            `json:"cwd,omitempty"`  // the user's home; / without a user
	User   string            `json:"user,omitempty"` // whom the runner runs as; others if it is root
	// Via is a host to run it on, ssh://[USER@]HOST[:PORT], from the runner.
	Via string `json:"via,omitempty"`

	// Where: "any" (the default), "all" or a number, then labels that the runner
	// must have: "all role=db zone=a".
	On string `json:"on,omitempty"`

	// How.
	Overlap  Overlap  `json:"overlap,omitempty"`  // forbid
	Misfire  Misfire  `json:"misfire,omitempty"`  // skip
	Deadline Duration `json:"deadline,omitempty"` // 1m: a tick is not started later than this
	// RunTTL is after how long a run gets TERM, and KILL after the runner's
	// --kill-after: nil is 10m, 0 never.
	RunTTL *Duration `json:"run-ttl,omitempty"`
	Retry  *Retry    `json:"retry,omitempty"`  // none
	Keep   int       `json:"keep,omitempty"`   // 20 runs
	Output Output    `json:"output,omitempty"` // failure

	// What to run, with sh -c and the run's environment, when a run has ended.
	OnFailure  string `json:"on-failure,omitempty"`  // not well, and is not tried again
	OnRecovery string `json:"on-recovery,omitempty"` // well, and the one before had not
	OnSuccess  string `json:"on-success,omitempty"`
	// OnMissed is likewise for when ticks were missed or unplaced, once for a stretch.
	OnMissed string `json:"on-missed,omitempty"`

	// KeepFor makes it a job of one run, which is removed that long after its
	// end. submit sets it.
	KeepFor Duration `json:"keep-for,omitempty"`
	// Since is when the job was made, resumed, or given other ticks: those up to then
	// are not its. The store sets it, and Updated, which is when the job was last
	// written.
	Since   time.Time `json:"since,omitzero"`
	Updated time.Time `json:"updated,omitzero"`
	// By is who last wrote it, by his own account; see Store.By. At most MaxBy bytes.
	By string `json:"by,omitempty"`
}

// Schedules parses j's schedule.
func (j *Job) Schedules() (*schedule.Schedule, error) {
	o := schedule.Options{Name: j.Name, Zone: j.TZ, DST: j.DST}
	if j.Anchor != nil {
		o.Anchor = *j.Anchor
	}
	return schedule.Parse(j.Schedule, o)
}

// Tells reports whether the job has a command that tells of how a run has ended.
func (j *Job) Tells() bool {
	return j.OnFailure != "" || j.OnRecovery != "" || j.OnSuccess != "" || j.OnMissed != ""
}

// The settings of a job with their defaults.

// Overlaps returns Overlap or its default.
func (j *Job) Overlaps() Overlap { return or(j.Overlap, Forbid) }

// Misfires returns Misfire or its default.
func (j *Job) Misfires() Misfire { return or(j.Misfire, MisfireSkip) }

// Lateness returns Deadline or its default.
func (j *Job) Lateness() time.Duration { return time.Duration(or(j.Deadline, DefaultDeadline)) }

// MaxRun returns RunTTL or its default; 0: a run may last for ever.
func (j *Job) MaxRun() time.Duration {
	if j.RunTTL != nil {
		return time.Duration(*j.RunTTL)
	}
	return time.Duration(DefaultRunTTL)
}

// Keeps returns Keep or its default.
func (j *Job) Keeps() int { return or(j.Keep, DefaultKeep) }

// Outputs returns Output or its default.
func (j *Job) Outputs() Output { return or(j.Output, OutputFailure) }

// Retries returns how often a run is tried again.
func (j *Job) Retries() int {
	if j.Retry == nil {
		return 0
	}
	return j.Retry.N
}

// Backoff returns how long after the end of that attempt, counted from 1, the
// next one may begin.
func (j *Job) Backoff(attempt int) time.Duration {
	d := time.Duration(DefaultBackoff)
	if j.Retry != nil && j.Retry.Backoff > 0 {
		d = time.Duration(j.Retry.Backoff)
	}
	for ; attempt > 1 && d < MaxBackoff; attempt-- {
		d *= 2
	}
	return min(d, MaxBackoff)
}

// Next returns the first tick of j after an instant, in UTC; the zero time if there is
// none. s is its schedule. A tick at Starts is one, and at Expires is none.
func (j *Job) Next(s *schedule.Schedule, after time.Time) time.Time {
	if j.Starts != nil && after.Before(*j.Starts) {
		after = j.Starts.Add(-1)
	}
	t := s.Next(after)
	if t.IsZero() || j.Expires != nil && !t.Before(*j.Expires) {
		return time.Time{}
	}
	return t.UTC()
}

// From returns up to when ticks are not the job's: Since, or Updated of one that was
// written by a conch that had no Since.
func (j *Job) From() time.Time { return or(j.Since, j.Updated) }

// stamp says when j is written and by whom, in the place of old, if that is not nil.
func (j *Job) stamp(old *Job, now time.Time, by string) {
	j.Updated, j.Since, j.By = now, now, bounded(by)
	if old != nil && (!old.Paused || j.Paused) && j.Moves() == old.Moves() {
		j.Since = old.From()
	}
}

// Unstamp takes out of j what the store has put into it.
func (j *Job) Unstamp() { j.Since, j.Updated, j.By = time.Time{}, time.Time{}, "" }

// bounded cuts what somebody calls himself to MaxBy bytes, of whole characters.
func bounded(by string) string { return strings.ToValidUTF8(by[:min(len(by), MaxBy)], "") }

// Moves returns all that moves j's ticks, as a text to be compared. In how many places
// it runs is of that: the runs of a tick are known by their places, and one that has
// been run here would be run again there.
func (j *Job) Moves() string {
	at := func(t *time.Time) string {
		if t == nil {
			return ""
		}
		return t.UTC().Format(time.RFC3339Nano)
	}
	place, _ := ParsePlacement(j.On) // what is wrong with it is said elsewhere
	return strings.Join([]string{j.Schedule, or(j.TZ, "UTC"), string(or(j.DST, schedule.Once)), at(j.Anchor), at(j.Starts), j.Splay.String(),
		strconv.Itoa(place.N)}, "\x00")
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Encode returns the job as it lies in etcd.
func (j *Job) Encode() (string, error) {
	b, err := json.Marshal(j)
	if err == nil && len(b) > MaxSpec {
		err = fmt.Errorf("the job takes %d bytes, %d are possible: keep large input in a file that the command reads", len(b), MaxSpec)
	}
	return string(b), err
}

// DecodeJob reads a job as it lies in etcd. Fields that a newer conch has added
// are left alone.
func DecodeJob(b []byte) (*Job, error) {
	j := new(Job)
	if err := json.Unmarshal(b, j); err != nil {
		return nil, err
	}
	j.By = bounded(j.By)
	return j, nil
}
