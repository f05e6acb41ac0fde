package plan

import (
	"time"

	"conch/pkg/cron"
)

// Config is what a planner is told once.
type Config struct {
	Node      cron.Node     // this runner, as the others see it
	Hedge     time.Duration // from one runner's turn to the next one's
	Replay    time.Duration // how often what etcd has not taken is offered to it again
	Placement string        // Spread, Capacity or LeastLoaded: whom the runners let go first
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
