package runner

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"conch/pkg/cron"
	"conch/pkg/guard"
	"conch/pkg/plan"
	"conch/pkg/proc"
	"conch/pkg/proc/hear"
)

// running is a run of ours, from the claim on. The loop makes it; while it is started
// and runs it belongs to the goroutine of execute, but for what the mutex guards.
type running struct {
	*session
	claim string
	run   *cron.Run
	spec  *cron.Job
	due   time.Time

	signals chan hear.Signal // for the command
	telling chan hear.Signal // for those that tell of its end
	outcome guard.Outcome    // whose sentinel stays until all is written
	untold  bool             // the session was over before the job's commands could be run
	apart   bool             // it is not the end of its attempt that is to be told of: see Config.Report

	mu       sync.Mutex
	killedBy string // who asked for its end
}

func newSignals() chan hear.Signal { return make(chan hear.Signal, 4) }

func ask(signals chan<- hear.Signal) {
	select {
	case signals <- hear.Signal{Sig: syscall.SIGTERM}:
	default: // it has been asked often enough
	}
}

// stop asks the run to end, because somebody has asked for that; empty: because the
// runner is to end. Asked twice, it is killed.
func (r *running) stop(by string) {
	if by != "" {
		r.mu.Lock()
		r.killedBy = by
		r.mu.Unlock()
	}
	ask(r.signals)
}

// execute runs the command, and keeps what came of it.
func (r *running) execute() {
	cmd, out, err := r.command()
	if err != nil {
		r.finish(err)
		return
	}
	g := guard.Guard{StopSignal: syscall.SIGTERM, KillAfter: r.cfg.KillAfter, LossGrace: guard.Grace(r.lease.Usable(), r.cfg.KillAfter),
		MaxRun: r.spec.MaxRun(), Signals: r.signals, Several: true,
		Started: func(t *proc.Tree) { r.started(t, out) }, Said: r.said}
	r.outcome, err = g.Run(r.lease, cmd)
	out.close(err != nil)
	r.run.Tail, r.run.Bytes = out.kept()
	out.log.close()
	r.cfg.Seam(Exited)
	r.finish(err)
}

// started is called once the command runs.
func (r *running) started(t *proc.Tree, out *output) {
	r.run.Began = r.now().UTC()
	out.started()
	r.suffices()
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

// finish turns how it ended into the run's record, keeps that, and hands it on; err
// says that nothing was started.
func (r *running) finish(err error) {
	run, o := r.run, r.outcome
	run.Ended = r.now().UTC()
	run.User, run.System = seconds(o.Usage.Utime), seconds(o.Usage.Stime)
	r.judge(o, err)
	if err == nil && !o.Empty {
		r.unsure.Add(1)
		run.Cause = fmt.Sprintf("%v could not be killed", o.Survivors)
	}
	if run.State == cron.Lost && r.isLost() {
		// The others record it; whoever has no lease cannot say how it stands.
		r.say(r.event("ended", Error))
		o.Dismiss()
		r.tell(plan.Settled{ID: run.RunID, Claim: r.claim, Err: errLost})
		return
	}
	if r.spec.Outputs() == cron.OutputNone || r.spec.Outputs() == cron.OutputFailure && run.State.Well() {
		run.Tail = ""
	}
	unstarted := lacking(err)
	if unstarted {
		r.apart = true
		r.lacks(err)
	}
	r.keep(unstarted)
	kept := *run
	r.tell(plan.Ended{Run: &kept, Unstarted: unstarted})
}

// keep puts the record where it outlives this process.
func (r *running) keep(unstarted bool) {
	r.spool.put(r.run, unstarted, r.home())
	r.cfg.Seam(Spooled)
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
		if r.spec.User != "" {
			run.Cause = unbecome(o.Status, run.Tail)
		}
	}
	if o.Cause == guard.Finished && o.Err == nil {
		r.leaves(o.Killed)
	}
}

// leaves says how much that the command has left was killed at its end.
func (r *running) leaves(n int) {
	if n == 0 {
		return
	}
	text := "1 process that it had left was killed"
	if n > 1 {
		text = fmt.Sprintf("%d processes that it had left were killed", n)
	}
	if r.run.State == cron.Failed {
		text = cmp.Or(r.run.Cause, r.run.How()) + "; " + text
	}
	r.run.Cause = text
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

// startStatus is the status that a shell has for a command that was not started.
func startStatus(err error) int {
	if errors.Is(err, proc.ErrNotFound) {
		return 127
	}
	return 126
}

func exit(code int) *int { return &code }

func seconds(t unix.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }

// written tells everybody of the end of an attempt, and those whom the job names.
func (r *running) written(s plan.Settle) {
	r.stats.result(r.run.State)
	r.say(r.event("ended", Info))
	r.report()
	if s.Spec != nil && r.run.State.Final() {
		r.notify(s.Memory != nil && s.Memory.Failures > 0)
	}
}

// report reports what there is a record of.
func (r *running) report() {
	if r.cfg.Report != nil {
		r.cfg.Report(r.run, r.spec, r.apart)
	}
}

func (r *running) event(name string, level Level) Event {
	e := Event{Event: name, Level: level, Job: r.run.Job, Run: r.run.RunID.String(), Tick: r.run.Tick, Trace: r.run.Trace, State: string(r.run.State), Reason: r.run.Cause}
	if e.Reason == "" && r.run.State == cron.Failed {
		e.Reason = r.run.How()
	}
	if !r.run.State.Well() {
		e.Level = Warning
	}
	return e
}
