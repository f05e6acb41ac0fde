package status

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"conch/pkg/cron"
	"conch/pkg/hold"
	"conch/pkg/keys"
)

// Sections are the parts of a Snapshot, as --only names them.
func Sections() []string { return []string{"offices", "semaphores", "jobs", "runners"} }

// memberJSON is who holds, or waits for, an office.
type memberJSON struct {
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Cmd     string    `json:"cmd"`
	User    string    `json:"user"`
	State   string    `json:"state"` // held, lingering, waiting
	Since   time.Time `json:"since"` // of the hold or, for a waiter, of the wait
	Rev     int64     `json:"rev"`   // the token
	Lease   string    `json:"lease"`
	Key     string    `json:"key"`
	Value   string    `json:"value,omitempty"` // what a holder publishes
	Ask     string    `json:"ask,omitempty"`   // who has asked for the hold, or the place in line

	Unkilled int `json:"unkilled,omitempty"` // processes that were killed and do not end
}

// shareJSON is who holds, or waits for, a part of a semaphore.
type shareJSON struct {
	memberJSON
	Slot   *int   `json:"slot"` // null: waits
	Weight int    `json:"weight"`
	Mode   string `json:"mode,omitempty"`   // shared or exclusive
	Spread string `json:"spread,omitempty"` // waits for a turn of this host, or label
}

type officeJSON struct {
	Name    string       `json:"name"`
	Holder  *memberJSON  `json:"holder"`
	Waiters []memberJSON `json:"waiters"`
}

type semaphoreJSON struct {
	Name    string      `json:"name"`
	Max     int         `json:"max"`  // 10001: shared and exclusive holds
	Held    int         `json:"held"` // of the capacity
	Holders []shareJSON `json:"holders"`
	Waiters []shareJSON `json:"waiters"`
}

type jobJSON struct {
	Name     string     `json:"name"`
	Schedule string     `json:"schedule"`
	TZ       string     `json:"tz"`
	On       string     `json:"on"`
	Paused   bool       `json:"paused"`
	Next     *time.Time `json:"next"` // null: none, or it is paused
	Last     *lastJSON  `json:"last"`
	Running  []runJSON  `json:"running"`
	State    string     `json:"state"`           // as conch-cron ls has it, but for what was only asked for
	Missed   int        `json:"missed"`          // ticks, so far
	Unplaced int        `json:"unplaced"`        // likewise
	Error    string     `json:"error,omitempty"` // why it cannot be read
}

type lastJSON struct {
	ID       string     `json:"id"`
	State    cron.State `json:"state"`
	Tick     *time.Time `json:"tick"` // the latest that is over; null: only runs asked for by hand
	Began    *time.Time `json:"began"`
	Ended    time.Time  `json:"ended"`
	Duration *float64   `json:"duration"` // seconds
	Exit     *int       `json:"exit"`     // the command's
	Status   int        `json:"status"`   // that stands for how it ended
	Host     string     `json:"host"`
	OK       *time.Time `json:"ok"` // when it last ended well
	Runs     int        `json:"runs"`
	Failures int        `json:"failures"` // since then
}

type runJSON struct {
	ID      string     `json:"id"`
	State   cron.State `json:"state"` // running, retrying, or ?: its runner is gone
	Tick    time.Time  `json:"tick"`
	Attempt int        `json:"attempt"`
	Runner  string     `json:"runner"`
	Host    string     `json:"host"`
	Claimed time.Time  `json:"claimed"`
	RetryAt *time.Time `json:"retry_at,omitempty"`
	By      string     `json:"by,omitempty"`
}

type runnerJSON struct {
	ID        string            `json:"id"`
	Host      string            `json:"host"`
	PID       int               `json:"pid"`
	Labels    map[string]string `json:"labels"`
	Slots     int               `json:"slots"`
	Running   int               `json:"running"`
	Placement string            `json:"placement"`
	Started   time.Time         `json:"started"`
	TZData    string            `json:"tzdata"`
	Version   string            `json:"version"`
	Draining  bool              `json:"draining"`
	Standby   string            `json:"standby"` // why it takes nothing on; "" if it does
}

func member(c *hold.Candidate) memberJSON {
	m := memberJSON{c.Host, c.PID, c.Started, c.Cmd, c.User, c.State, c.Begun(), c.Rev, keys.Hex(c.Lease), c.Key, c.Published(), c.Ask, c.Unkilled}
	if m.State == "" { // of other software
		m.State = hold.Held
	}
	return m
}

// share returns the form of a part of a semaphore of that capacity.
func share(capacity int) func(*hold.Candidate) shareJSON {
	return func(c *hold.Candidate) shareJSON {
		return shareJSON{memberJSON: member(c), Slot: c.Slot, Weight: max(1, c.Weight), Mode: hold.Mode(capacity, c.Weight)}
	}
}

// each converts a list, and gives [] for an empty one.
func each[T, U any](list []T, convert func(T) U) []U {
	all := make([]U, 0, len(list))
	for _, v := range list {
		all = append(all, convert(v))
	}
	return all
}

func (o *Office) json() officeJSON {
	j := officeJSON{Name: o.Name, Waiters: each(o.Waiters, member)}
	if o.Holder != nil {
		h := member(o.Holder)
		j.Holder = &h
	}
	return j
}

func (s *Semaphore) json() semaphoreJSON {
	share := share(s.Max)
	j := semaphoreJSON{s.Name, s.Max, s.Held(), each(s.Holders, share), each(s.Waiters, share)}
	for _, c := range s.Spread {
		w := share(c.Candidate)
		w.Spread = c.Host
		j.Waiters = append(j.Waiters, w)
	}
	return j
}

func (s *Snapshot) job(j *Job, now time.Time, runs []*cron.Act, placed func(*Job) bool) jobJSON {
	state := s.Standing(j, now, placed)
	for _, a := range runs[:min(len(runs), 1)] {
		if state = string(s.State(a)); j.Paused {
			state += ",paused"
		}
	}
	return jobJSON{j.Name, j.Schedule, cmp.Or(j.TZ, "UTC"), cmp.Or(j.On, "any"), j.Paused, moment(j.Next(now)), j.Last.json(j.Name), each(runs, s.run), state, j.Missed, j.Unplaced, j.Bad}
}

func (l *Last) json(job string) *lastJSON {
	if l == nil {
		return nil
	}
	j := &lastJSON{job + "/" + l.ID, l.State, moment(l.Tick), moment(l.Began), l.Ended, nil, l.Last.Exit, l.Exit(), l.Host, moment(l.OK), l.Runs, l.Failures}
	if took, ok := l.Took(); ok {
		s := took.Seconds()
		j.Duration = &s
	}
	return j
}

func (s *Snapshot) run(a *cron.Act) runJSON {
	return runJSON{a.RunID.String(), s.State(a), a.Tick, a.Attempt, a.Node, a.Host, a.Claimed, moment(a.RetryAt), a.By}
}

func (r *Runner) json() runnerJSON {
	labels := r.Labels
	if labels == nil {
		labels = map[string]string{}
	}
	return runnerJSON{r.ID, r.Host, r.PID, labels, r.Slots, r.Running, r.Policy, r.Started, r.TZData, r.Version, r.Draining, r.Standby}
}

// moment is t, null for the zero time.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// WriteJSON writes s as one line, with all sections or those that are named.
// There may be very many jobs: it is written as it is made.
func (s *Snapshot) WriteJSON(w io.Writer, now time.Time, only ...string) error {
	out := writer{Writer: bufio.NewWriter(w)}
	out.text(`{"rev":` + strconv.FormatInt(s.Rev, 10) + `,"cluster":"` + fmt.Sprintf("%x", s.Cluster) + `","at":`)
	out.value(moment(s.At.Truncate(time.Millisecond)))
	out.text(`,"stale":`)
	out.value(s.Stale)
	out.text(`,"paused":`)
	out.value(s.Paused)
	section := func(name string, f func()) {
		if len(only) == 0 || slices.Contains(only, name) {
			out.text(`,"` + name + `":`)
			f()
		}
	}
	section("offices", func() { list(&out, s.Offices, (*Office).json) })
	section("semaphores", func() { list(&out, s.Semaphores, (*Semaphore).json) })
	section("jobs", func() {
		runs, placed := s.runs(), s.Placed()
		list(&out, s.Jobs, func(j *Job) jobJSON { return s.job(j, now, runs(j.Name), placed) })
	})
	section("runners", func() { list(&out, s.Runners, (*Runner).json) })
	out.text("}\n")
	return out.end()
}

// runs returns a function that finds the runs in progress of jobs, which must be
// asked for in order.
func (s *Snapshot) runs() func(job string) []*cron.Act {
	rest := s.Running
	return func(job string) []*cron.Act {
		for len(rest) > 0 && rest[0].Job < job {
			rest = rest[1:]
		}
		n := 0
		for n < len(rest) && rest[n].Job == job {
			n++
		}
		return rest[:n]
	}
}

// writer writes JSON in pieces.
type writer struct {
	*bufio.Writer
	err error
}

func (w *writer) text(s string) {
	if w.err == nil {
		_, w.err = w.WriteString(s)
	}
}

func (w *writer) value(v any) {
	b, err := json.Marshal(v)
	if w.err == nil {
		w.err = err
	}
	if w.err == nil {
		_, w.err = w.Write(b)
	}
}

func (w *writer) end() error {
	if w.err != nil {
		return w.err
	}
	return w.Flush()
}

// list writes an array.
func list[T, U any](w *writer, all []T, convert func(T) U) {
	w.text("[")
	for i, v := range all {
		if i > 0 {
			w.text(",")
		}
		if w.value(convert(v)); w.err != nil {
			return
		}
	}
	w.text("]")
}
