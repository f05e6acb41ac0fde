package cron

import "slices"

// TookBounds are the upper bounds of Tally.Took, in seconds.
var TookBounds = [...]float64{0.1, 1, 5, 15, 60, 300, 900, 3600, 21600}

// Tally counts the runs of a job that have ended, wherever that was. It only grows: a
// run that was recorded as lost, and whose end became known all the same, counts as both.
type Tally struct {
	OK       uint32 `json:"ok,omitempty"`
	Failed   uint32 `json:"failed,omitempty"`
	TimedOut uint32 `json:"timeout,omitempty"`
	Killed   uint32 `json:"killed,omitempty"`
	Lost     uint32 `json:"lost,omitempty"`
	Unknown  uint32 `json:"unknown,omitempty"`

	Retries uint32 `json:"retries,omitempty"` // attempts after the first of each
	Skipped uint32 `json:"skipped,omitempty"` // ticks that came while one of them ran
	// Took is how many took no longer than each of TookBounds, and longer than the one
	// before; the last is what took longer than all. Seconds is how long all of them took.
	Took    [len(TookBounds) + 1]uint32 `json:"took,omitzero"`
	Seconds float64                     `json:"seconds,omitempty"`
}

// States calls f with each state that a run can have ended in, and how many have.
func (t *Tally) States(f func(State, uint32)) {
	for _, s := range []State{OK, Failed, TimedOut, Killed, Lost, Unknown} {
		f(s, *t.of(s))
	}
}

// of is where the runs of a state are counted; nil: it is not one to end in.
func (t *Tally) of(s State) *uint32 {
	switch s {
	case OK:
		return &t.OK
	case Failed:
		return &t.Failed
	case TimedOut:
		return &t.TimedOut
	case Killed:
		return &t.Killed
	case Lost:
		return &t.Lost
	case Unknown:
		return &t.Unknown
	}
	return nil
}

// add counts a run that has ended. again: it has been counted, with another end.
func (t *Tally) add(r *Run, again bool) {
	n := t.of(r.State)
	if n == nil {
		return
	}
	*n++
	if !again {
		t.Retries += uint32(max(r.Attempt-1, 0))
		t.Skipped += uint32(max(r.Skipped, 0))
	}
	if r.Began.IsZero() || r.Ended.Before(r.Began) || r.State == Lost { // when that ended, nobody knows
		return
	}
	took := r.Ended.Sub(r.Began).Seconds()
	i, _ := slices.BinarySearch(TookBounds[:], took)
	t.Took[i]++
	t.Seconds += took
}
