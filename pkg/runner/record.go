package runner

import (
	"time"

	"conch/pkg/cron"
)

// record is a run that has ended, as those get it who are told of it.
type record struct {
	Job       string    `json:"job"`
	ID        string    `json:"id"`
	Tick      time.Time `json:"tick"`
	Timestamp time.Time `json:"@timestamp"` // of its end: a data stream asks for that name
	*cron.Run
	Seconds     float64  `json:"seconds"` // from its beginning to its end
	Description string   `json:"description,omitempty"`
	Owners      []string `json:"owners,omitempty"`
}

// newRecord is the record of a run. spec is the job as it was then, nil if that is not
// known.
func newRecord(run *cron.Run, spec *cron.Job) record {
	r := record{Job: run.Job, ID: run.RunID.String(), Tick: run.Tick, Timestamp: run.Ended, Run: run}
	if !run.Began.IsZero() {
		r.Seconds = run.Ended.Sub(run.Began).Seconds()
	}
	if spec != nil {
		r.Description, r.Owners = spec.Description, spec.Owners
	}
	return r
}
