package cron

import (
	"context"
	"strings"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
)

// The shapes of --json, which are API: more may be added to them, and that is all.

// jobJSON is a job, with its defaults in place, and where it stands.
type jobJSON struct {
	Name        string            `json:"name"`
	Description string            `json:"description"`
	Owners      []string          `json:"owners"`
	Schedule    string            `json:"schedule"`
	TZ          string            `json:"tz"`
	DST         string            `json:"dst"`
	Anchor      *time.Time        `json:"anchor"`
	Splay       float64           `json:"splay"` // seconds, as all of these
	Starts      *time.Time        `json:"starts"`
	Expires     *time.Time        `json:"expires"`
	Paused      bool              `json:"paused"`
	Cmd         []string          `json:"cmd"`
	Script      string            `json:"script"`
	Stdin       string            `json:"stdin"`
	Env         map[string]string `json:"env"`
	Cwd         string            `json:"cwd"`
	User        string            `json:"user"`
	Via         string            `json:"via"`
	On          string            `json:"on"`
	Overlap     cron.Overlap      `json:"overlap"`
	Misfire     cron.Misfire      `json:"misfire"`
	Deadline    float64           `json:"deadline"`
	RunTTL      float64           `json:"run_ttl"`
	Retries     int               `json:"retries"`
	Backoff     float64           `json:"backoff"`
	Keep        int               `json:"keep"`
	Output      cron.Output       `json:"output"`
	OnFailure   string            `json:"on_failure"`
	OnRecovery  string            `json:"on_recovery"`
	OnSuccess   string            `json:"on_success"`
	OnMissed    string            `json:"on_missed"`
	KeepFor     float64           `json:"keep_for"`
	Updated     *time.Time        `json:"updated"`
	By          string            `json:"by"` // who last wrote it, by his own account
	Rev         int64             `json:"rev"`

	State string      `json:"state"`
	Next  *time.Time  `json:"next"` // null: never, or not while it is paused
	Live  []*liveJSON `json:"live"`
	Last  *lastJSON   `json:"last"` // null: no run is over

	Missed   int `json:"missed"`   // ticks, so far
	Unplaced int `json:"unplaced"` // likewise
}

// liveJSON is a run in progress, or one that was asked for.
type liveJSON struct {
	ID      string     `json:"id"`
	State   string     `json:"state"`
	Attempt int        `json:"attempt"`
	Node    string     `json:"node"`
	Host    string     `json:"host"`
	By      string     `json:"by"`
	Since   *time.Time `json:"since"`
	RetryAt *time.Time `json:"retry_at"`
}

// lastJSON is how the latest run of a job has ended.
type lastJSON struct {
	ID       string     `json:"id"`
	State    cron.State `json:"state"`
	Began    *time.Time `json:"began"`
	Ended    *time.Time `json:"ended"`
	Exit     *int       `json:"exit"`   // the command's
	Status   int        `json:"status"` // that stands for how it ended, as wait gives it
	Host     string     `json:"host"`
	OK       *time.Time `json:"ok"`
	Tick     *time.Time `json:"tick"`
	Runs     int        `json:"runs"`
	Failures int        `json:"failures"`
}

// runJSON is the record of a run.
type runJSON struct {
	ID      string     `json:"id"`
	Job     string     `json:"job"`
	Tick    time.Time  `json:"tick"`
	Place   string     `json:"place"`
	State   cron.State `json:"state"`
	Status  *int       `json:"status"` // exit status that stands for it; null: it is not over
	Attempt int        `json:"attempt"`
	Node    string     `json:"node"`
	Host    string     `json:"host"`
	By      string     `json:"by"`
	Claimed *time.Time `json:"claimed"`
	Began   *time.Time `json:"began"`
	Ended   *time.Time `json:"ended"`
	RetryAt *time.Time `json:"retry_at"`
	Took    *float64   `json:"took"`
	Exit    *int       `json:"exit"`
	Signal  string     `json:"signal"`
	Cause   string     `json:"cause"`
	User    float64    `json:"user"`
	System  float64    `json:"system"`
	Skipped int        `json:"skipped"`
	Trace   string     `json:"trace"`
	Tail    string     `json:"tail"`
	Bytes   int64      `json:"bytes"` // of output
	Log     string     `json:"log"`   // the file on its host with all of that
	Rev     int64      `json:"rev"`

	// Of ticks that nobody has run: how many, and the latest. Tick is the first.
	Count int        `json:"count"`
	Until *time.Time `json:"until"`
}

// nodeJSON is a runner.
type nodeJSON struct {
	ID        string            `json:"id"`
	Host      string            `json:"host"`
	PID       int               `json:"pid"`
	State     string            `json:"state"` // ready, draining, standby
	Standby   string            `json:"standby"`
	Labels    map[string]string `json:"labels"`
	Slots     int               `json:"slots"`
	Running   int               `json:"running"`
	Placement string            `json:"placement"`
	Started   *time.Time        `json:"started"`
	Clock     *time.Time        `json:"clock"`
	TZData    string            `json:"tzdata"`
	Version   string            `json:"version"`
	Lease     string            `json:"lease"`
}

// waiting is the state of a run that was asked for, and of its job.
const waiting = "waiting"

// view is all there is, put together by job.
type view struct {
	*cron.Table
	now  time.Time
	live map[string][]*liveJSON
}

// look reads everything but the history, in a number of reads that does not
// depend on how many jobs there are but for their pages.
func look(ctx context.Context, s cron.Store) (*view, error) {
	t, err := s.Table(ctx)
	if err != nil {
		return nil, err
	}
	return viewOf(t), nil
}

// viewOf adds to a table what goes on, by job.
func viewOf(t *cron.Table) *view {
	v := &view{Table: t, now: time.Now(), live: map[string][]*liveJSON{}}
	for _, a := range t.Acts {
		v.live[a.Job] = append(v.live[a.Job], v.act(a))
	}
	for _, r := range t.Requests {
		if r.Action == cron.RunNow && (r.Expires.IsZero() || v.now.Before(r.Expires)) {
			v.live[r.Job] = append(v.live[r.Job], &liveJSON{ID: r.RunID().String(), State: waiting, By: r.By, Since: at(r.At)})
		}
	}
	return v
}

func (v *view) act(a cron.Act) *liveJSON {
	return &liveJSON{ID: a.String(), State: string(a.State(v.Alive)), Attempt: a.Attempt, Node: a.Node, Host: a.Host, By: a.By, Since: at(a.Claimed), RetryAt: at(a.RetryAt)}
}

// state says where a job stands, and when it is due next.
func (v *view) state(j *cron.Stored) (string, time.Time) {
	if j.Err != nil {
		return cron.Unreadable, time.Time{}
	}
	s, err := j.Schedules()
	if err != nil {
		return cron.Unreadable, time.Time{}
	}
	next := j.Next(s, v.now)
	state := cron.Standing{
		Paused: j.Paused, AllPaused: v.Paused != nil, Due: !next.IsZero(), Manual: s.String() == "@manual",
		Once: j.KeepFor > 0, Ended: v.Lasts[j.Name].ID != "",
	}.State(func() bool { return v.placed(j.On) })
	if j.Paused || v.Paused != nil {
		next = time.Time{}
	}
	if live := v.live[j.Name]; len(live) > 0 {
		state = live[0].State
		if j.Paused {
			state += "," + cron.Paused
		}
	}
	return state, next
}

// placed reports whether a runner is there that a job may run on. Where that cannot be
// read, runners say so.
func (v *view) placed(on string) bool {
	p, err := cron.ParsePlacement(on)
	return err != nil || p.Placed(v.Nodes)
}

func (v *view) job(j *cron.Stored) *jobJSON {
	out := &jobJSON{
		Name: j.Name, Description: j.Description, Owners: j.Owners, Schedule: j.Schedule, TZ: or(j.TZ, "UTC"), DST: or(string(j.DST), "once"),
		Anchor: j.Anchor, Splay: seconds(time.Duration(j.Splay)), Starts: j.Starts, Expires: j.Expires, Paused: j.Paused,
		Cmd: j.Cmd, Script: j.Script, Stdin: j.Stdin, Env: j.Env, Cwd: j.Cwd, User: j.User, Via: j.Via, On: or(j.On, "any"),
		Overlap: j.Overlaps(), Misfire: j.Misfires(), Deadline: seconds(j.Lateness()), RunTTL: seconds(j.MaxRun()), Retries: j.Retries(),
		Keep: j.Keeps(), Output: j.Outputs(), OnFailure: j.OnFailure, OnRecovery: j.OnRecovery, OnSuccess: j.OnSuccess, OnMissed: j.OnMissed,
		KeepFor: seconds(time.Duration(j.KeepFor)), Updated: at(j.Updated), By: j.By, Rev: j.Rev, Live: v.live[j.Name], Last: v.last(j.Name),
	}
	if j.Retries() > 0 {
		out.Backoff = seconds(j.Backoff(1))
	}
	out.Owners, out.Cmd, out.Live = some(out.Owners), some(out.Cmd), some(out.Live)
	if out.Env == nil {
		out.Env = map[string]string{}
	}
	state, next := v.state(j)
	out.State, out.Next = state, at(next)
	out.Missed, out.Unplaced = v.Lasts[j.Name].Missed(), v.Lasts[j.Name].Unplaced()
	return out
}

func (v *view) last(job string) *lastJSON {
	l := v.Lasts[job]
	if l.ID == "" {
		return nil
	}
	return &lastJSON{ID: job + "/" + l.ID, State: l.State, Began: at(l.Began), Ended: at(l.Ended), Exit: l.Exit, Status: l.Status, Host: l.Host, OK: at(l.OK), Tick: at(l.Tick), Runs: l.Runs, Failures: l.Failures}
}

func run(r *cron.Run) *runJSON {
	out := &runJSON{
		ID: r.String(), Job: r.Job, Tick: r.Tick, Place: r.Place, State: r.State, Attempt: r.Attempt, Node: r.Node, Host: r.Host, By: r.By,
		Claimed: at(r.Claimed), Began: at(r.Began), Ended: at(r.Ended), RetryAt: at(r.RetryAt), Exit: r.Exit, Signal: r.Signal, Cause: r.Cause,
		User: r.User, System: r.System, Skipped: r.Skipped, Trace: r.Trace, Tail: r.Tail, Bytes: r.Bytes, Log: r.LogFile(), Rev: r.Rev,
		Count: r.Count, Until: at(r.Until),
	}
	if r.State.Final() {
		status := r.Status()
		out.Status = &status
	}
	if d, ok := took(r); ok {
		s := seconds(d)
		out.Took = &s
	}
	return out
}

// took is how long a run lasted.
func took(r *cron.Run) (time.Duration, bool) {
	if r.Began.IsZero() || r.Ended.IsZero() {
		return 0, false
	}
	return r.Ended.Sub(r.Began), true
}

func node(n cron.Node, acts []cron.Act) *nodeJSON {
	out := &nodeJSON{
		ID: n.ID, Host: n.Host, PID: n.PID, State: cron.Ready, Standby: n.Standby, Labels: n.Labels, Slots: n.Slots, Placement: n.Policy,
		Started: at(n.Started), Clock: at(n.Clock), TZData: n.TZData, Version: n.Version, Lease: keys.Hex(n.Lease),
	}
	for _, a := range acts {
		if a.Node == n.ID && !a.Waits {
			out.Running++
		}
	}
	if n.Labels == nil {
		out.Labels = map[string]string{}
	}
	switch {
	case n.Standby != "":
		out.State = "standby"
	case n.Draining:
		out.State = "draining"
	}
	return out
}

func seconds(d time.Duration) float64 { return d.Seconds() }

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// some is a list that is [] and not null in JSON.
func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// command is what a job runs, as one line.
func command(j *cron.Job) string {
	if j.Script != "" {
		return j.Script
	}
	var words []string
	for _, word := range j.Cmd {
		words = append(words, quote(word))
	}
	return strings.Join(words, " ")
}

// quote makes a word of a shell's, so that the line can be pasted.
func quote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@%+,", r)
	}
	if word != "" && strings.TrimFunc(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
