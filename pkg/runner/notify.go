package runner

import (
	"encoding/json"
	"strconv"
	"syscall"
	"time"

	"conch/pkg/cron"
	"conch/pkg/guard"
	"conch/pkg/proc"
)

// hookTimeout is how long a notification may take.
const hookTimeout = 30 * time.Second

// notify runs the commands that the job wants to be told by, under the same
// guard as the run itself. They read the run's record on standard input. recovered
// says that the run before had not ended well.
func (r *running) notify(recovered bool) {
	for _, hook := range r.hooks(recovered) {
		if err := r.hook(hook); err != nil {
			r.say(Event{Event: "unnotified", Level: Warning, Job: r.run.Job, Run: r.run.RunID.String(), Tick: r.run.Tick, Reason: err.Error()})
		}
	}
}

// hooks are the commands for how this run has ended.
func (r *running) hooks(recovered bool) []string {
	var all []string
	add := func(hook string) {
		if hook != "" {
			all = append(all, hook)
		}
	}
	switch {
	case !r.run.State.Well():
		add(r.spec.OnFailure)
	default:
		if recovered {
			add(r.spec.OnRecovery)
		}
		add(r.spec.OnSuccess)
	}
	return all
}

func (r *running) hook(command string) error {
	record, err := json.Marshal(struct {
		Job string `json:"job"`
		ID  string `json:"id"`
		*cron.Run
	}{r.run.Job, r.run.RunID.String(), r.run})
	if err != nil {
		return err
	}
	who, err := r.user()
	if err != nil {
		return err
	}
	out, err := newOutput(string(record)+"\n", r.passOn, nil)
	if err != nil {
		return err
	}
	for len(r.telling) > 0 { // who had stopped the command is to be told of that
		<-r.telling
	}
	env := append(r.environ(who), "CONCH_STATE="+string(r.run.State), "CONCH_STATUS="+strconv.Itoa(r.run.Status()))
	c := proc.Cmd{Args: []string{"/bin/sh", "-c", command}, Paths: []string{"/bin/sh"}, Env: env, Dir: r.dir(who), Session: true, Stdio: out.stdio()}
	r.become(&c, who)
	g := guard.Guard{StopSignal: syscall.SIGTERM, KillAfter: r.cfg.KillAfter, LossGrace: guard.Grace(r.lease.Usable(), r.cfg.KillAfter),
		MaxRun: hookTimeout, Signals: r.telling, Several: true, Started: func(*proc.Tree) { out.started() }}
	o, err := g.Run(r.lease, c)
	out.close(err != nil)
	if err == nil && !(o.Status.Exited() && o.Status.ExitStatus() == 0) {
		err = hookFailed{command, o.Status}
	}
	return err
}

type hookFailed struct {
	command string
	status  syscall.WaitStatus
}

func (h hookFailed) Error() string {
	if h.status.Signaled() {
		return "the command to notify by died of " + h.status.Signal().String() + ": " + h.command
	}
	return "the command to notify by ended with status " + strconv.Itoa(h.status.ExitStatus()) + ": " + h.command
}
