package status

import (
	"bufio"
	"io"
	"time"

	"conch/pkg/cron"
	"conch/pkg/hold"
)

// The shapes in which the reference answers /elect, /sema and /cron.

type theirOffice struct {
	Office  string    `json:"office"`
	Leader  string    `json:"leader"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Cmd     string    `json:"cmd"`
	Rev     int64     `json:"create_revision"`
}

type theirHolder struct {
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Cmd     string    `json:"cmd"`
	Rev     int64     `json:"create_revision"`
}

type theirSemaphore struct {
	Name     string        `json:"name"`
	Max      int           `json:"max"`
	Holders  []theirHolder `json:"holders"`
	Waitlist []theirHolder `json:"waitlist"`
}

type theirJob struct {
	Name     string `json:"name"`
	Schedule string `json:"schedule"`
	NextTick string `json:"next_tick"`
	LastTick string `json:"last_tick"`
	Node     string `json:"node"`
	Exit     *int   `json:"exit"` // null: it has not ended
	Duration string `json:"duration"`
}

// nothing is what they write where there is none.
const nothing = "—"

// writeElect writes who holds which office. One that nobody holds is left out,
// as theirs is in their list until somebody does.
func (s *Snapshot) writeElect(w io.Writer, _ time.Time) error {
	var held []theirOffice
	for _, o := range s.Offices {
		if h := o.Holder; h != nil {
			held = append(held, theirOffice{o.Name, h.Host, h.PID, h.Started, h.Cmd, h.Rev})
		}
	}
	return array(w, held, func(o theirOffice) theirOffice { return o })
}

func (s *Snapshot) writeSema(w io.Writer, _ time.Time) error {
	holder := func(c *hold.Candidate) theirHolder { return theirHolder{c.Host, c.PID, c.Started, c.Cmd, c.Rev} }
	return array(w, s.Semaphores, func(s *Semaphore) theirSemaphore {
		t := theirSemaphore{s.Name, s.Max, each(s.Holders, holder), each(s.Waiters, holder)}
		for _, c := range s.Spread {
			t.Waitlist = append(t.Waitlist, holder(c.Candidate))
		}
		return t
	})
}

func (s *Snapshot) writeCron(w io.Writer, now time.Time) error {
	runs := s.runs()
	return array(w, s.Jobs, func(j *Job) theirJob { return j.theirs(now, runs(j.Name)) })
}

// theirs is j with its latest tick, be that over or not.
func (j *Job) theirs(now time.Time, runs []*cron.Act) theirJob {
	t := theirJob{Name: j.Name, Schedule: j.Schedule, NextTick: clock(j.Next(now)), LastTick: nothing, Node: nothing, Duration: nothing}
	if l := j.Last; l != nil {
		exit := l.Exit()
		t.LastTick, t.Exit = clock(l.Tick), &exit
		if l.Host != "" {
			t.Node = l.Host
		}
		if took, ok := l.Took(); ok {
			t.Duration = took.Round(time.Millisecond).String()
		}
	}
	if n := len(runs); n > 0 && (j.Last == nil || runs[n-1].Tick.After(j.Last.Tick)) {
		a := runs[n-1]
		t.LastTick, t.Node, t.Exit, t.Duration = clock(a.Tick), a.Host, nil, nothing
	}
	return t
}

func clock(t time.Time) string {
	if t.IsZero() {
		return nothing
	}
	return t.UTC().Format(time.RFC3339)
}

func array[T, U any](w io.Writer, all []T, convert func(T) U) error {
	out := writer{Writer: bufio.NewWriter(w)}
	list(&out, all, convert)
	out.text("\n")
	return out.end()
}
