package runner

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"conch/pkg/cron"
	"conch/pkg/guard"
	"conch/pkg/proc"
	"conch/pkg/proc/hear"
)

// running is a run of ours, from the claim on. The planner makes it; then it
// belongs to the goroutine of execute, but for what the mutex guards.
type running struct {
	*session
	run   *cron.Run
	spec  *cron.Job
	duty  *duty
	due   time.Time
	next  int64         // the job's next tick
	splay time.Duration // of the job
	last  cron.Memory   // of the job, when the run was claimed

	signals chan hear.Signal // for the command
	telling chan hear.Signal // for those that tell of its end
	skipped atomic.Int32     // ticks of the job that were skipped for it, ...
	skipTo  atomic.Int64     // ... the latest of them

	mu       sync.Mutex
	killedBy string   // who asked for its end
	requests []string // the ids of those requests
}

// memory is what is known of the latest run of a job: all that a later one is added
// to.
func (j *job) memory() cron.Memory {
	m := cron.Memory{Rev: j.lastRev, Last: cron.Last{OK: fromNanos(j.ok), Ended: fromNanos(j.ended), Runs: int(j.total), Failures: int(j.fails)}}
	if j.last != 0 {
		m.Tick = time.Unix(j.last, 0).UTC()
	}
	return m
}

func newSignals() chan hear.Signal { return make(chan hear.Signal, 4) }

// stop asks the run to end; asked twice, it is killed.
func (r *running) stop() { ask(r.signals) }

func ask(signals chan<- hear.Signal) {
	select {
	case signals <- hear.Signal{Sig: syscall.SIGTERM}:
	default: // it has been asked often enough
	}
}

// killFor ends the run because somebody asked for it.
func (r *running) killFor(q *cron.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range r.requests {
		if id == q.ID {
			return
		}
	}
	r.killedBy = q.By
	r.requests = append(r.requests, q.ID)
	r.stop()
}

// goClaim asks the ledger.
func (p *planner) goClaim(r *running, c cron.Claim) {
	p.wg.Go(func() {
		p.cfg.Seam(BeforeClaim)
		got, err := p.ledger.Claim(c)
		p.cfg.Seam(ClaimSent)
		p.claims <- claimAnswer{r, c, got, err} // the planner hears until all have answered
	})
}

// goRun runs what has been claimed.
func (p *planner) goRun(r *running) {
	p.stats.claims.Add(1)
	p.busy.Add(1)
	p.wg.Go(func() {
		defer func() { p.busy.Add(-1); p.over <- r }()
		p.cfg.Seam(Claimed)
		r.execute()
	})
}

// goSettle ends a run that was claimed and is not started.
func (p *planner) goSettle(r *running, state cron.State, cause string) {
	p.wg.Go(func() {
		defer func() { p.over <- r }()
		r.run.State, r.run.Cause, r.run.Ended = state, cause, p.now().UTC()
		r.settle()
	})
}

// execute runs the command, and writes down what came of it.
func (r *running) execute() {
	cmd, out, err := r.command()
	if err != nil {
		r.finish(guard.Outcome{}, err)
		return
	}
	g := guard.Guard{StopSignal: syscall.SIGTERM, KillAfter: r.cfg.KillAfter, LossGrace: guard.Grace(r.lease.Usable(), r.cfg.KillAfter),
		MaxRun: r.spec.MaxRun(), Signals: r.signals, Several: true,
		Started: func(t *proc.Tree) { r.started(t, out) }, Said: r.said}
	outcome, err := g.Run(r.lease, cmd)
	out.close(err != nil)
	r.run.Tail = out.kept()
	r.cfg.Seam(Exited)
	r.finish(outcome, err)
	outcome.Dismiss()
}

// started is called once the command runs.
func (r *running) started(t *proc.Tree, out *output) {
	r.run.Began = r.now().UTC()
	out.started()
	late := r.run.Began.Sub(r.due)
	r.stats.late(max(late, 0))
	r.say(Event{Event: "started", Level: Info, Job: r.run.Job, Run: r.run.RunID.String(), Tick: r.run.Tick, Trace: r.run.Trace, Late: max(late, 0).Seconds(), Count: t.Pid()})
	r.cfg.Seam(Started)
}

// said tells of what nobody would hear of otherwise: the run that does not end.
func (r *running) said(e guard.Event) {
	if e.Name != "unkillable" {
		return
	}
	why := "; the run is in progress until that has ended"
	if e.Gone {
		why = ", and may go on beside the next run"
	}
	r.say(Event{Event: e.Name, Level: Warning, Job: r.run.Job, Run: r.run.RunID.String(), Tick: r.run.Tick, Trace: r.run.Trace,
		Reason: fmt.Sprintf("%v cannot be killed%s", e.Survivors, why)})
}

// finish turns how it ended into the run's record, and settles that.
func (r *running) finish(o guard.Outcome, err error) {
	run := r.run
	run.Ended = r.now().UTC()
	run.Skipped = int(r.skipped.Load())
	run.User, run.System = seconds(o.Usage.Utime), seconds(o.Usage.Stime)
	r.judge(o, err)
	if err == nil && !o.Empty {
		r.unsure.Add(1)
		run.Cause = fmt.Sprintf("%v could not be killed", o.Survivors)
	}
	if run.State == cron.Lost && r.isLost() {
		// The others record it; whoever has no lease cannot say how it stands.
		r.say(r.event("ended", Error))
		return
	}
	r.retry()
	if r.spec.Outputs() == cron.OutputNone || r.spec.Outputs() == cron.OutputFailure && run.State.Well() {
		run.Tail = ""
	}
	r.settle()
}

func (r *running) isLost() bool {
	select {
	case <-r.lease.Lost():
		return true
	default:
		return false
	}
}

// judge says what state the run ended in.
func (r *running) judge(o guard.Outcome, err error) {
	run := r.run
	switch {
	case errors.Is(err, guard.ErrLost):
		run.State, run.Cause = cron.Lost, "the runner's lease was lost before the command was started"
		return
	case err != nil:
		run.State, run.Cause = cron.Failed, err.Error()
		run.Exit = exit(startStatus(err))
		return
	}
	if o.Status.Exited() {
		run.Exit = exit(o.Status.ExitStatus())
	} else if o.Status.Signaled() {
		run.Signal = unix.SignalName(o.Status.Signal())
	}
	switch {
	case o.Cause == guard.Lost:
		run.State, run.Cause = cron.Lost, "the runner's lease was lost; the command was killed"
		if !r.isLost() {
			run.Cause = "etcd did not answer for too long: the command was stopped before the runner's lease could end"
		}
	case o.Err != nil:
		run.State, run.Cause = cron.Lost, o.Err.Error()+"; so was the command"
	case o.Cause == guard.TimedOut:
		run.State, run.Cause = cron.TimedOut, "stopped after its run-ttl of "+r.spec.MaxRun().String()
	case o.Cause == guard.Stopped:
		r.stopped()
	case run.Exit != nil && *run.Exit == 0:
		run.State = cron.OK
	default:
		run.State = cron.Failed
	}
}

// stopped says why the run was asked to end.
func (r *running) stopped() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.killedBy != "" {
		r.run.State, r.run.Cause = cron.Killed, "by "+r.killedBy
		return
	}
	r.run.State, r.run.Cause = cron.Lost, "its runner was stopped before it had ended"
}

// startStatus is the status that a shell has for a command that was not started; 70
// where it is no fault of the command's.
func startStatus(err error) int {
	switch {
	case errors.Is(err, proc.ErrNotFound):
		return 127
	case errors.As(err, new(*proc.Scarcity)):
		return 70
	}
	return 126
}

func exit(code int) *int { return &code }

func seconds(t unix.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }

// retry turns a result into the wait for another attempt, if the job wants one.
func (r *running) retry() {
	switch r.run.State {
	case cron.Failed, cron.TimedOut, cron.Lost:
	default:
		return
	}
	r.mu.Lock()
	by := r.killedBy
	r.mu.Unlock()
	if by != "" { // whoever asked for its end wants no other attempt
		r.run.State, r.run.Cause = cron.Killed, "by "+by
		return
	}
	if r.run.Cause == "" && r.run.Attempt <= r.spec.Retries() {
		r.run.Cause = describe(r.run)
	}
	r.run.TryAgain(r.spec)
}

// describe says how an attempt ended.
func describe(run *cron.Run) string {
	switch {
	case run.Signal != "":
		return "died of " + run.Signal
	case run.Exit != nil:
		return fmt.Sprintf("exit status %d", *run.Exit)
	}
	return string(run.State)
}

// settle writes the result down: in the spool first, so that it outlives this
// process, then in etcd. The spool keeps what etcd does not get.
func (r *running) settle() {
	run := r.run
	r.mu.Lock()
	s := cron.Settlement{Run: run, Rev: run.Rev, Requests: r.requests, Wait: r.patience()}
	r.mu.Unlock()
	if run.State.Final() {
		r.remember(&s)
		s.LowWater = r.lowWater(r.last.Runs + 1)
	}
	kept := r.spool.put(s, r.home())
	r.cfg.Seam(Spooled)
	err := r.ledger.Settle(s)
	switch {
	case err == nil:
		kept.remove()
		r.cfg.Seam(Settled)
	case errors.Is(err, cron.ErrSuperseded):
		kept.remove()
		r.say(Event{Event: "superseded", Level: Warning, Job: run.Job, Run: run.RunID.String(), Tick: run.Tick, Reason: err.Error()})
	default:
		r.say(Event{Event: "unwritten", Level: Warning, Job: run.Job, Run: run.RunID.String(), Tick: run.Tick, Reason: err.Error() + "; it is in the spool"})
	}
	r.tell()
}

// tell tells everybody of the end of an attempt; a job that was removed meanwhile
// has nobody of its own to be told.
func (r *running) tell() {
	r.stats.result(r.run.State)
	r.say(r.event("ended", Info))
	if r.cfg.Report != nil {
		r.cfg.Report(r.run)
	}
	if r.spec != nil && r.run.State.Final() {
		r.notify()
	}
}

func (r *running) event(name string, level Level) Event {
	e := Event{Event: name, Level: level, Job: r.run.Job, Run: r.run.RunID.String(), Tick: r.run.Tick, Trace: r.run.Trace, State: string(r.run.State), Reason: r.run.Cause}
	if e.Reason == "" && r.run.State == cron.Failed {
		e.Reason = describe(r.run)
	}
	if !r.run.State.Well() {
		e.Level = Warning
	}
	return e
}

// patience is how long the result may wait for others to go with: not at all
// where little goes on, and never so long that the job's next tick would find
// the run still in progress.
func (r *running) patience() time.Duration {
	if r.busy.Load() <= 4 {
		return 0
	}
	wait := 500 * time.Millisecond
	if r.next != 0 {
		wait = min(wait, time.Unix(r.next, 0).Sub(r.now())/10)
	}
	return max(wait, 0)
}

// remember has a job remembered by the end of this run.
func (r *running) remember(s *cron.Settlement) {
	m := r.last
	if r.run.Ended.Before(m.Ended) { // by another's clock; then all of that counts
		m.Rev = -1
	}
	s.Memory, s.Over = &m, r.over()
}

// over is up to where the job's ticks are over with this run.
func (r *running) over() time.Time {
	var over time.Time
	if !isManual(r.run.RunID) { // else it is on no schedule, and by the clock of who asked for it
		over = r.run.Tick
	}
	if to := time.Unix(r.skipTo.Load(), 0).UTC(); to.After(over) && to.Unix() != 0 {
		over = to
	}
	return over
}

// lowWater is up to where the job's runs are to be pruned; zero: not this time.
// That is once for as many runs as the job keeps.
func (r *running) lowWater(runs int) time.Time {
	if runs%r.spec.Keeps() != 0 {
		return time.Time{}
	}
	// A run that was asked for does not push out what the schedule still has to.
	newest := epoch(r.last.Tick) - 1
	if !isManual(r.run.RunID) {
		newest = max(newest, r.run.Tick.Unix()-1)
	}
	ctx, cancel := context.WithTimeout(r.ctx, 5*time.Second)
	defer cancel()
	low, err := cron.LowWater(ctx, r.cfg.Etcd, r.cron, r.run.RunID, r.spec.Keeps())
	if err != nil {
		return time.Time{} // the next time will do
	}
	// Nor does a fast host's push out what a slow one may still start.
	if r.run.Place != "" && !isManual(r.run.RunID) {
		newest = min(newest, r.now().Add(-r.spec.Lateness()-r.splay).Unix()-1)
	}
	if newest < low.Unix() {
		low = time.Unix(max(newest, 0), 0).UTC()
	}
	return low
}
