package cron

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"conch/pkg/cli"
	"conch/pkg/cron"
	"conch/pkg/keys"
)

var runTool = cli.Tool{
	Name:  "run",
	Brief: "run a job now, beside its schedule, and print what the run is called",
	Usage: []string{"NAME [--wait] [--id ID]"},
	Examples: []cli.Example{
		{Text: "And have its exit status", Command: "conch-cron run backup --wait"},
		{Text: "Once, however often this line is run", Command: `conch-cron run deploy --id "$GIT_SHA"`},
	},
	Statuses: waitStatuses(),
	Setup: func(f *cli.Flags) cli.Run {
		o := &runOptions{}
		f.Group("The run")
		f.Bool(&o.wait, cli.Row{Name: "wait", Env: cli.NoEnv, Help: "wait for its end, and exit with its status. A terminal shows what it waits for; elsewhere it is said why it has not been started for 5 seconds"})
		f.String(&o.id, cli.Row{Name: "id", Arg: "ID", Env: cli.NoEnv, Help: "of runs with the same ID only the first is one, as long as it is remembered, see --keep of add; JOB/ID is that run then"})
		f.Func(span(&o.within), cli.Row{Name: "within", Arg: "DURATION", Env: cli.NoEnv, Help: "not to be started later than that from now; the job's --deadline without"})
		o.connection(f)
		f.Complete(o.firstJobName)
		return o.run
	},
}

type runOptions struct {
	session
	wait   bool
	id     string
	within time.Duration
}

func (o *runOptions) run(ctx context.Context, stdio *cli.Stdio, args cli.Args) error {
	job, err := oneName(args)
	if err != nil {
		return err
	}
	if o.id != "" {
		if err := keys.CheckRequest(o.id); err != nil {
			return cli.Usagef("--id: %w", err)
		}
	}
	return o.open(ctx, func(ctx context.Context, s cron.Store) error {
		id, err := o.request(ctx, stdio, s, job)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(stdio.Out, id); err != nil || !o.wait {
			return err
		}
		return waitFor(ctx, stdio, s, id)
	})
}

func (o *runOptions) request(ctx context.Context, stdio *cli.Stdio, s cron.Store, job string) (keys.RunID, error) {
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	var expires time.Time
	if o.within > 0 {
		expires = time.Now().Add(o.within)
	}
	id, err := s.RunNow(ctx, job, o.id, s.By, expires)
	if err != nil {
		return id, err
	}
	p, err := s.Paused(ctx)
	if p != nil {
		note(stdio, "all jobs are paused, by %s since %s: this one waits", or(p.By, "somebody"), clock(p.At))
	}
	return id, err
}

// endPhrase says how a run ended.
func endPhrase(r *cron.Run) string {
	text := string(r.State)
	switch {
	case r.Signal != "":
		text += ", " + r.Signal
	case r.Exit != nil && *r.Exit != 0:
		text += fmt.Sprintf(", status %d", *r.Exit)
	}
	if r.Host != "" {
		text += " on " + r.Host
	}
	if r.Cause != "" {
		text += ": " + r.Cause
	}
	return text
}

var waitTool = cli.Tool{
	Name:  "wait",
	Brief: "wait for the end of a run, and exit with its status",
	Usage: []string{"ID"},
	Examples: []cli.Example{
		{Text: "Of what submit has printed", Command: "id=$(conch-cron submit -- ./migrate) && conch-cron wait \"$id\""},
		{Text: "Of one run of a job", Command: "conch-cron wait backup/0001767232800"},
		{Text: "Of the one that has an id of your own", Command: "conch-cron wait \"deploy/$GIT_SHA\""},
	},
	Statuses: waitStatuses(),
	Setup: func(f *cli.Flags) cli.Run {
		o := &idOptions{}
		o.connection(f)
		f.Complete(o.liveRun(true))
		return o.runWait
	},
}

var killTool = cli.Tool{
	Name:  "kill",
	Brief: "kill a run, and all that it has started",
	Usage: []string{"JOB/RUN [--wait]", "JOB [--wait]"},
	Examples: []cli.Example{
		{Text: "The one that runs", Command: "conch-cron kill backup"},
		{Text: "One of several, as runs shows them; and wait until it is dead", Command: "conch-cron kill vacuum/0001767232800@db2 --wait"},
	},
	Statuses: statuses(),
	Setup: func(f *cli.Flags) cli.Run {
		o := &idOptions{}
		f.Group("Killing")
		f.Bool(&o.wait, cli.Row{Name: "wait", Env: cli.NoEnv, Help: "wait until it is over"})
		o.connection(f)
		f.Complete(o.liveRun(false))
		return o.runKill
	},
}

var cancelTool = cli.Tool{
	Name:  "cancel",
	Brief: "take back what was submitted or asked for, or kill it if it runs",
	Usage: []string{"ID [--wait]"},
	Examples: []cli.Example{
		{Text: "What submit has printed", Command: "conch-cron cancel submit-06g81d8ko3bm2s1q"},
	},
	Statuses: statuses(),
	Setup: func(f *cli.Flags) cli.Run {
		o := &idOptions{}
		f.Group("Killing")
		f.Bool(&o.wait, cli.Row{Name: "wait", Env: cli.NoEnv, Help: "wait until it is over"})
		o.connection(f)
		f.Complete(o.liveRun(true))
		return o.runCancel
	},
}

// idOptions are those of a command about one run.
type idOptions struct {
	session
	wait bool
}

// with finds the run that is meant, and does something with it. Only the finding
// is bounded.
func (o *idOptions) with(ctx context.Context, args cli.Args, do func(context.Context, cron.Store, keys.RunID) error) error {
	what, err := oneWord(args, "ID")
	if err != nil {
		return err
	}
	job, text, err := splitRun(what)
	if err != nil {
		return err
	}
	return o.open(ctx, func(ctx context.Context, s cron.Store) error {
		first, cancel := context.WithTimeout(ctx, o.DialTimeout)
		defer cancel()
		var id keys.RunID
		if text == "" {
			id, err = current(first, s, job)
		} else {
			id, err = s.Find(first, job, text)
		}
		if err != nil {
			return err
		}
		return do(ctx, s, id)
	})
}

// splitRun reads JOB, or JOB/RUN. What RUN is the store finds out: see cron.Store.Find.
func splitRun(what string) (job, run string, _ error) {
	job, run, isRun := strings.Cut(what, "/")
	err := keys.CheckName(job)
	if err == nil && isRun && keys.CheckName(run) != nil {
		err = fmt.Errorf("%q is not a run: one is called JOB/ID, as history shows it", what)
	}
	if err != nil {
		return "", "", &cli.Exit{Status: cli.Usage, Err: err}
	}
	return job, run, nil
}

// current is the one run of a job that can be meant by its name alone: what is in
// progress, or else what was asked for, or else, of a job of one run, that.
func current(ctx context.Context, s cron.Store, job string) (keys.RunID, error) {
	t, err := s.TableOf(ctx, job)
	if err != nil {
		return keys.RunID{}, err
	}
	var ids []keys.RunID
	for _, a := range t.Acts {
		ids = append(ids, a.RunID)
	}
	for _, r := range t.Requests {
		if len(t.Acts) == 0 && r.Action == cron.RunNow {
			ids = append(ids, r.RunID())
		}
	}
	if len(ids) == 0 && t.Jobs[0].KeepFor > 0 {
		r, err := s.Latest(ctx, job)
		if err != nil {
			return keys.RunID{}, err
		}
		if r != nil {
			ids = append(ids, r.RunID)
		}
	}
	switch len(ids) {
	case 0:
		return keys.RunID{}, fmt.Errorf("%s: %w", job, cron.ErrNotRunning)
	case 1:
		return ids[0], nil
	}
	return keys.RunID{}, cli.Hint(cli.Errorf(cli.Failed, "%s: %d of its runs are in progress", job, len(ids)), "name one: %s", ids[0])
}

func (o *idOptions) runWait(ctx context.Context, stdio *cli.Stdio, args cli.Args) error {
	return o.with(ctx, args, func(ctx context.Context, s cron.Store, id keys.RunID) error {
		return waitFor(ctx, stdio, s, id)
	})
}

func (o *idOptions) runKill(ctx context.Context, _ *cli.Stdio, args cli.Args) error {
	return o.with(ctx, args, o.kill)
}

func (o *idOptions) kill(ctx context.Context, s cron.Store, id keys.RunID) error {
	err := o.bounded(ctx, func(ctx context.Context) error { return s.Kill(ctx, id, s.By) })
	if errors.Is(err, cron.ErrNoRun) {
		return cli.Hint(err, "%s cancel takes back what has not started yet", name)
	}
	if err != nil || !o.wait {
		return err
	}
	_, err = s.Wait(ctx, id)
	if errors.Is(err, cron.ErrRemoved) { // it was over, and then forgotten
		return nil
	}
	return err
}

func (o *idOptions) runCancel(ctx context.Context, _ *cli.Stdio, args cli.Args) error {
	return o.with(ctx, args, func(ctx context.Context, s cron.Store, id keys.RunID) error {
		var withdrawn bool
		err := o.bounded(ctx, func(ctx context.Context) (err error) {
			if withdrawn, err = s.Withdraw(ctx, id); err != nil || !withdrawn {
				return err
			}
			return removeSubmitted(ctx, s, id.Job)
		})
		if err != nil || withdrawn {
			return err
		}
		err = o.kill(ctx, s, id)
		if errors.Is(err, cron.ErrNotRunning) {
			return cli.Errorf(cli.Failed, "%s: it is over", id)
		}
		return err
	})
}

// removeSubmitted removes a job of one run that will not be.
func removeSubmitted(ctx context.Context, s cron.Store, job string) error {
	j, err := s.Job(ctx, job)
	if err == nil && j.KeepFor > 0 {
		_, err = s.Remove(ctx, job, j.Rev, "")
	}
	if errors.Is(err, cron.ErrNoJob) { // somebody else was faster
		return nil
	}
	return err
}
