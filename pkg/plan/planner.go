package plan

import (
	"time"

	"conch/pkg/cron"
)

// The placements: whom the runners let go first.
const (
	Spread      = "spread"       // each job has a home, and jobs spread evenly over runners
	Capacity    = "capacity"     // likewise, in proportion to their slots
	LeastLoaded = "least-loaded" // whoever has the smallest part of its slots taken
)

// Config is what a planner is told once.
type Config struct {
	Node      cron.Node     // this runner, as the others see it
	Placement string        // Spread, Capacity or LeastLoaded: whom the runners let go first
	Hedge     time.Duration // from one runner's turn to the next one's
	Replay    time.Duration // how often what etcd has not taken is offered to it again
	SkipClock bool          // a clock that was set is not compared with etcd's
}

// Planner is what one runner knows and has decided, for the life of one lease.
type Planner struct {
	cfg Config
}

// New returns a planner that knows of nothing.
func New(cfg Config) *Planner { return &Planner{cfg: cfg} }

// Step takes facts in, as of now, and returns what is to be done, and how long there
// is nothing to do unless there are more facts.
func (p *Planner) Step(now Reading, facts ...Fact) (verbs []Verb, idle time.Duration) {
	return nil, time.Second
}

// Jobs returns how many jobs there are.
func (p *Planner) Jobs() int { return 0 }
