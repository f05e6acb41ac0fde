package runner

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"conch/pkg/guard"
	"conch/pkg/proc"
)

// hookTimeout is how long a notification may take.
const hookTimeout = 30 * time.Second

// Hooks are the commands that tell of runs and ticks, for jobs that have none of
// their own.
type Hooks struct {
	OnFailure, OnRecovery, OnMissed string
}

// notify runs the commands that the job wants to be told by, under the same
// guard as the run itself. They read the run's record on standard input. recovered
// says that the run before had not ended well.
func (r *running) notify(recovered bool) {
	hooks := r.hooks(recovered)
	if len(hooks) > 0 && r.claim == "" { // no slot of this runner's bounds how many of those there are
		select {
		case r.aloud <- struct{}{}:
			defer func() { <-r.aloud }()
		case <-r.ctx.Done():
			r.untold = true
			return
		}
	}
	for _, hook := range hooks {
		err := r.hook(hook)
		if err != nil {
			r.stats.unnotified.Add(1)
			r.warn("unnotified", err)
			continue
		}
		r.stats.notified.Add(1)
	}
}

func (r *running) warn(event string, err error) {
	r.say(Event{Event: event, Level: Warning, Job: r.run.Job, Run: r.run.RunID.String(), Tick: r.run.Tick, Reason: err.Error()})
}

// hooks are the commands for how this run has ended: the job's, or the runner's.
func (r *running) hooks(recovered bool) []string {
	var all []string
	add := func(own, otherwise string) {
		if hook := cmp.Or(own, otherwise); hook != "" {
			all = append(all, hook)
		}
	}
	switch defaults := r.cfg.Hooks; {
	case r.run.Ticks():
		add(r.spec.OnMissed, defaults.OnMissed)
	case !r.run.State.Well():
		add(r.spec.OnFailure, defaults.OnFailure)
	default:
		if recovered {
			add(r.spec.OnRecovery, defaults.OnRecovery)
		}
		add(r.spec.OnSuccess, "")
	}
	return all
}

// hook runs one of them: as the job's user and in its directory. Where that cannot be, as
// the job could not either, it runs in / and with the runner's PATH; and as the runner's
// user if the job's is unknown, but never as somebody else than one who is there.
func (r *running) hook(command string) error {
	p, err := r.place()
	if err == nil {
		err = r.hookIn(p, command)
	}
	var out *misplaced
	if !errors.As(err, &out) {
		return err
	}
	who, unknown := r.user()
	as := ""
	if unknown != nil {
		as = " and as the runner's user"
	}
	r.warn("notifying", fmt.Errorf("in /%s: %w", as, err))
	return r.hookIn(r.aside(who), command)
}

// place is where a hook runs, and as whom.
type place struct {
	who *user.User // nil: whom the runner runs as
	dir string
	env []string
}

// misplaced says why a hook cannot run where its job does.
type misplaced struct{ why error }

func (m *misplaced) Error() string { return m.why.Error() }

// place is that of the job.
func (r *running) place() (place, error) {
	who, err := r.user()
	if err != nil {
		return place{}, &misplaced{err}
	}
	p := place{who, r.dir(who), r.environ(who)}
	path := lookup(p.env, "PATH", defaultPath)
	if _, err := proc.Look("sh", path); err != nil { // nor will it find anything else
		return place{}, &misplaced{fmt.Errorf("PATH=%s: there is no sh in it", path)}
	}
	return p, nil
}

// aside is a place that is always there.
func (r *running) aside(who *user.User) place {
	env := r.environ(who)
	for i, e := range env {
		if strings.HasPrefix(e, "PATH=") {
			env[i] = "PATH=" + lookup(r.cfg.Env, "PATH", defaultPath)
		}
	}
	return place{who, "/", env}
}

// hookIn runs a hook in a place. It returns a *misplaced if it was not started there.
func (r *running) hookIn(p place, command string) error {
	record, err := json.Marshal(newRecord(r.run, r.spec))
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
	env := append(p.env, "CONCH_STATE="+string(r.run.State), "CONCH_STATUS="+strconv.Itoa(r.run.Status()),
		"CONCH_DESCRIPTION="+r.spec.Description, "CONCH_OWNERS="+strings.Join(r.spec.Owners, ","))
	if r.run.Ticks() {
		env = append(env, "CONCH_COUNT="+strconv.Itoa(r.run.Count), "CONCH_UNTIL="+r.run.Until.Format(time.RFC3339))
	}
	c := proc.Cmd{Args: []string{"/bin/sh", "-c", command}, Paths: []string{"/bin/sh"}, Env: env, Dir: p.dir, Session: true, Stdio: out.stdio()}
	r.become(&c, p.who)
	g := guard.Guard{StopSignal: syscall.SIGTERM, KillAfter: r.cfg.KillAfter, LossGrace: guard.Grace(r.lease.Usable(), r.cfg.KillAfter),
		MaxRun: hookTimeout, Signals: r.telling, Several: true, Started: func(*proc.Tree) { out.started() }}
	o, err := g.Run(r.lease, c)
	out.close(err != nil)
	said, _ := out.kept()
	var unstarted *proc.StartError
	switch {
	case errors.As(err, &unstarted) && unstarted.Path == p.dir:
		return &misplaced{err}
	case err != nil:
		return err
	case p.who != nil && unbecome(o.Status, said) != "":
		return &misplaced{errors.New(unbecome(o.Status, said))}
	case !o.Status.Exited() || o.Status.ExitStatus() != 0:
		return hookFailed{command, o.Status}
	}
	return nil
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
