package runner

import (
	"time"

	"conch/pkg/cron"
	"conch/pkg/etcd"
	"conch/pkg/keys"
	"conch/pkg/plan"
	"conch/pkg/proc/hear"
)

// The placements: whom the runners let go first. See pkg/plan.
const (
	Spread      = plan.Spread
	Capacity    = plan.Capacity
	LeastLoaded = plan.LeastLoaded
)

// Config is what a runner is told. The zero value of a field is not its default.
type Config struct {
	Etcd  *etcd.Client
	Space keys.Space

	Host      string            // what the runner calls its machine
	Labels    map[string]string // for placement; "host" is added
	Slots     int               // runs at a time
	Placement string
	TTL       time.Duration // of the lease; see lease.New
	KillAfter time.Duration // from TERM to KILL
	Hedge     time.Duration // from one runner's turn to the next one's
	Drain     time.Duration // how long runs may take to end once the runner is to
	Spool     string        // directory for results that etcd does not have yet; "": none
	Version   string

	// The whole output of runs is kept below LogDir, if that is not empty: in all no
	// more than LogSize bytes, for LogAge, and of each job about as many runs as it is
	// to remember. The oldest goes first, and the disk is not filled.
	LogDir  string
	LogSize int64
	LogAge  time.Duration

	Env       []string    // what commands inherit
	Said      func(Event) // called with each step, in order; nil: nobody
	SkipClock bool        // do not compare the clock with etcd's
	Hooks     Hooks       // for the jobs without their own

	// Report is called with each run that has ended, and with each stretch of ticks that
	// nobody has run when it begins, in any order; nil: nobody. spec is the job as it was
	// then; nil: that is not known. apart says that the attempt has been reported, or was
	// none: a claim was given back, or a run that waited for its next attempt has ended.
	Report func(run *cron.Run, spec *cron.Job, apart bool)

	// Signals, of TERM, INT and QUIT, ask the runner to end: the first drains, the
	// second stops, the third kills. One that comes sooner than guard.Insist after the
	// one before is that one again.
	Signals <-chan hear.Signal

	// For tests.
	Now    func() time.Time   // the wall clock; nil: time.Now
	Seam   func(point string) // called at the named points of a run's life; nil: nothing
	Replay time.Duration      // how often what etcd has not taken is offered to it again; 0: 30s
}

// The points of Config.Seam, in the order of a run.
const (
	BeforeClaim = "before-claim" // nothing has been sent
	ClaimSent   = "claim-sent"   // etcd may have the claim, its answer has not been looked at
	Claimed     = "claimed"      // it is ours, nothing has been started
	Started     = "started"      // the command runs
	Exited      = "exited"       // all of it has ended, nothing has been written
	Spooled     = "spooled"      // the result is in the spool alone
	Settled     = "settled"      // etcd has it
)

// Event and Level are those of pkg/plan.
type (
	Event = plan.Event
	Level = plan.Level
)

// The levels.
const (
	Error   = plan.Error
	Warning = plan.Warning
	Notice  = plan.Notice
	Info    = plan.Info
	Debug   = plan.Debug
)

// The events that say what became of a tick that was not run: see plan.
const (
	Skipped   = plan.Skipped
	Missed    = plan.Missed
	Withdrawn = plan.Withdrawn
	Unplaced  = plan.Unplaced
)
