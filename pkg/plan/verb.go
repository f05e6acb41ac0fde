package plan

import (
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
)

// Verb is something that is to be done. Verbs are carried out in their order, as far
// as they are about the same run; none is waited for before the next.
type Verb interface{ verb() }

type (
	// Claim: ask for a run, until there is an Answer. Claim.Run lacks its Claim and its
	// Trace, which are to be random.
	Claim struct {
		Claim cron.Claim
		Spec  *cron.Job // what is to be run, as it was when the claim was decided
		Due   time.Time
	}

	// Start: run what was claimed; then say Ended.
	Start struct{ ID keys.RunID }

	// GiveUp: end what was claimed and is not to be started; then say Settled. Run is
	// its record, complete.
	GiveUp struct {
		ID     keys.RunID
		Settle Settle
	}

	// Stop: ask a run of ours to end, because By has asked for that; empty: because the
	// runner is to end. Asked twice, it is killed.
	Stop struct {
		ID keys.RunID
		By string
	}

	// Settle: write down the end of an attempt. Of a run of ours Settled is to be said
	// when that has been done; of another's the table tells.
	//
	// If ReadRun, the Run of the Settlement has its id, the claim and how it ended
	// alone: the rest is taken from its record, which must be of revision Rev. If there
	// is none, only the marker goes. A Cause that is empty is the record's; one that
	// begins with a semicolon comes behind that.
	//
	// If Prune, LowWater is to be found by cron.LowWater for as many as Spec keeps, but
	// not later than Newest.
	Settle struct {
		cron.Settlement
		ReadRun bool
		Ours    bool
		Prune   bool
		Newest  time.Time
		Spec    *cron.Job // of whose end somebody is to be told; nil: of nobody's
	}

	// Tell: take a Loss, and if nobody else has, tell people of the end of that run as of
	// one of ours, and forget it. A Loss that is being told of is not taken again.
	Tell struct {
		Loss cron.Loss
		Spec *cron.Job // nil: there is none any more, and no command of it
	}

	// Withdraw: delete a request, if the key is still the one that was made at Rev; or
	// with no Request the job, if its mod-revision is Rev, and all that is known of it.
	Withdraw struct {
		Job, Request string
		Rev          int64
	}

	// Ask: put a request, unless there is one with its id, or its run is over. Waits
	// says which of the run's markers there is.
	Ask struct {
		Request cron.Request
		ID      keys.RunID
		Waits   bool
	}

	// Note: count ticks that nobody has run, as of what the job is remembered by, unless
	// that has changed; and tell those whom Spec names of the stretches that begin. The
	// table tells what came of it.
	Note struct {
		cron.Note
		Spec *cron.Job
	}

	// Say: tell people.
	Say struct{ Event }
)

func (Claim) verb()    {}
func (Start) verb()    {}
func (GiveUp) verb()   {}
func (Stop) verb()     {}
func (Settle) verb()   {}
func (Tell) verb()     {}
func (Withdraw) verb() {}
func (Ask) verb()      {}
func (Note) verb()     {}
func (Say) verb()      {}

// Event is a step in a runner's life, or in that of a run.
type Event struct {
	Event  string    `json:"event"`
	Time   time.Time `json:"time"` // UTC
	Level  Level     `json:"-"`
	Job    string    `json:"job,omitempty"`
	Run    string    `json:"run,omitempty"`
	Tick   time.Time `json:"tick,omitzero"`
	Trace  string    `json:"trace,omitempty"`
	Late   float64   `json:"late,omitempty"` // seconds from when it was due
	State  string    `json:"state,omitempty"`
	Reason string    `json:"reason,omitempty"`
	Count  int       `json:"count,omitempty"`
}

// The events that say what became of ticks. Count is of how many; Tick is the latest of
// them.
const (
	Due       = "due"       // it is open; Count: this runner's place among those that may claim it, from 1
	Passed    = "passed"    // it is another's
	Skipped   = "skipped"   // Run has it, or Tick and Job alone
	Missed    = "missed"    // likewise
	Withdrawn = "withdrawn" // likewise; Reason has the revision of the edit
	Unplaced  = "unplaced"  // likewise
)

// Level says how much an event matters, in syslog's numbers.
type Level int

// The levels.
const (
	Error   Level = 3
	Warning Level = 4
	Notice  Level = 5
	Info    Level = 6
	Debug   Level = 7
)
