package cron

// The states of a job of which no run is in progress, or was asked for; Unplaced is one, too.
const (
	Ready      = "ready"
	Paused     = "paused"
	AllPaused  = "all-paused"
	Over       = "over"       // it is not due any more
	Unreadable = "unreadable" // it was written by something else, or by a newer conch
)

// Standing is what the state of a job depends on of which no run is in progress.
type Standing struct {
	Bad       bool // it cannot be read
	Paused    bool
	AllPaused bool // all jobs are
	Due       bool // there is a next tick
	Manual    bool // it has no ticks
	Once      bool // it was submitted
	Ended     bool // a run of it has
}

// State is where the job stands; placed says whether a runner takes it, if that matters.
func (s Standing) State(placed func() bool) string {
	switch {
	case s.Bad:
		return Unreadable
	case s.Paused:
		return Paused
	case s.AllPaused:
		return AllPaused
	case s.Once && s.Ended, !s.Due && !s.Manual:
		return Over
	case !placed():
		return string(Unplaced)
	}
	return Ready
}
