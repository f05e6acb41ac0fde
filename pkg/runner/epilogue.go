package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"conch/pkg/cron"
	"conch/pkg/etcd"
	"conch/pkg/keys"
)

// Epilogue records a run as lost whose runner was killed, at once and not when
// its lease has ended: the sentinel of the run's tree has become this process,
// so the tree is empty. Who is to be told of that a runner that is there tells, or the
// next one. will is what EpilogueVar says.
func Epilogue(ctx context.Context, will string) error {
	var w lastWill
	if err := json.Unmarshal([]byte(will), &w); err != nil {
		return fmt.Errorf("%s: %w", EpilogueVar, err)
	}
	id, ok := keys.RunOfID(w.Job.Name, w.ID)
	if !ok {
		return fmt.Errorf("%s: %q is not the id of a run", EpilogueVar, w.ID)
	}
	// The runner's lease ends anyway; the helper need not outlive it for long.
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := etcd.Open(ctx, w.Etcd)
	if err != nil {
		return err
	}
	defer c.Close()
	run := w.Run
	run.RunID, run.Ended = id, time.Now().UTC()
	run.State, run.Cause = cron.Lost, "its runner was killed; so was the command"
	run.TryAgain(w.Job)
	s := cron.Settlement{Run: run, Rev: w.Rev, Untold: true}
	if run.State.Final() {
		s.Memory, s.Over = &cron.Memory{Rev: -1}, w.Over // what there is is found out
	}
	if err := cron.Settle(ctx, c, w.Keys, s); err != nil && !errors.Is(err, cron.ErrSuperseded) {
		return err
	}
	return nil
}
