package cron

import (
	"context"
	"strings"
	"time"

	"conch/pkg/cli"
	"conch/pkg/cron"
	"conch/pkg/jobfile"
	"conch/pkg/keys"
)

var addTool = cli.Tool{
	Name:  "add",
	Brief: "add a job, or write over the one of that name",
	Usage: []string{
		"NAME SCHEDULE [FLAGS] -- CMD [ARG]...",
		"NAME --schedule EXPR [FLAGS] -- CMD [ARG]...",
		"NAME SCHEDULE [FLAGS] -c 'SCRIPT'",
	},
	Examples: []cli.Example{
		{Text: "Each night at two, in Rome, on one host, for no more than six hours", Command: "conch-cron add backup '0 2 * * *' --tz Europe/Rome --run-ttl 6h -- restic backup /data"},
		{Text: "Every 90 minutes, on each database, with the end of the output also where it ends well", Command: "conch-cron add vacuum --schedule '@every 90m' --on 'all role=db' --output always -- vacuumdb -a"},
		{Text: "Once an hour, each job at a minute of its own", Command: "conch-cron add rotate 'H * * * *' -c 'cd /var/log && ./rotate'"},
		{Text: "Try again up to three times, and tell somebody", Command: `conch-cron add sync @daily --retry 3 --on-failure 'mail -s "$CONCH_JOB failed" ops' -- ./sync`},
	},
	Statuses: statuses(cli.Busy),
	Setup: func(f *cli.Flags) cli.Run {
		o := &addOptions{}
		f.Group("The job")
		f.Bool(&o.create, cli.Row{Name: "create", Env: cli.NoEnv, Help: "refuse to write over a job"})
		f.Bool(&o.verbose, cli.Row{Name: "verbose", Short: "v", Env: cli.NoEnv, Help: "say when it is due next, what the schedule may not be expected to do, what is different from the job that was there, and that no runner is there that may run it"})
		o.when(f)
		o.what(f, o.where)
		o.connection(f)
		f.Complete(o.firstJobName)
		return o.run
	},
}

type addOptions struct {
	session
	spec
	create  bool
	verbose bool
}

func (o *addOptions) run(ctx context.Context, stdio *cli.Stdio, args cli.Args) error {
	j, err := o.read(stdio, args)
	if err != nil {
		return err
	}
	return o.runAs(o.ask(ctx, func(ctx context.Context, s cron.Store) (err error) {
		var was *cron.Stored
		if o.create {
			_, err = s.Put(ctx, j, cron.Absent)
		} else {
			was, err = s.Replace(ctx, j, !o.given("paused"))
		}
		if err != nil {
			return err
		}
		if was != nil {
			o.sayReplaced(stdio, &was.Job, j)
		}
		if o.verbose {
			sayNext(stdio, j)
			sayUnplaced(ctx, stdio, s, j)
		}
		return nil
	}))
}

// sayReplaced says that a job was written over, and what is different.
func (o *addOptions) sayReplaced(stdio *cli.Stdio, was, is *cron.Job) {
	what, lines := "replaced", jobfile.Diff(was, is)
	if len(lines) == 0 {
		what += " by the same"
	}
	if is.Paused && !o.given("paused") {
		what += "; it stays paused"
	}
	note(stdio, "%s: %s", is.Name, what)
	for _, line := range lines {
		if o.verbose {
			note(stdio, "%s: %s", is.Name, line)
		}
	}
}

// read makes a job of the command line.
func (o *addOptions) read(stdio *cli.Stdio, args cli.Args) (*cron.Job, error) {
	if !args.HasName {
		return nil, cli.Usagef("the NAME of the job is missing")
	}
	if err := keys.CheckName(args.Name); err != nil {
		return nil, &cli.Exit{Status: cli.Usage, Err: err}
	}
	rest := args.Words[1:]
	switch {
	case o.given("schedule") && len(rest) > 0, len(rest) > 1 && len(args.Command) == 0 && o.job.Script == "" && !fields(rest):
		return nil, misplaced(rest)
	case o.given("schedule"):
	case len(rest) == 0:
		return nil, cli.Usagef("the SCHEDULE is missing")
	default: // its fields may be words of their own
		o.job.Schedule = strings.Join(rest, " ")
	}
	o.job.Name = args.Name
	return o.finish(stdio, args.Command)
}

// fields reports whether words may be the fields of a schedule.
func fields(words []string) bool { return len(words) == 5 || len(words) == 6 }

// sayNext says when a job is due.
func sayNext(stdio *cli.Stdio, j *cron.Job) {
	s, err := j.Schedules()
	if err != nil {
		return
	}
	now := time.Now()
	for _, n := range s.Notes(now) {
		note(stdio, "%s: %s", j.Name, n)
	}
	switch next := j.Next(s, now); {
	case j.Paused:
		note(stdio, "%s: %s; paused", j.Name, s.Words())
	case next.IsZero():
		note(stdio, "%s: %s", j.Name, s.Words())
	default:
		note(stdio, "%s: %s; next at %s", j.Name, s.Words(), next.Format(time.RFC3339))
	}
}

var rmTool = cli.Tool{
	Name:  "rm",
	Brief: "remove jobs, with their history",
	Usage: []string{"NAME|GLOB... [--kill]"},
	Examples: []cli.Example{
		{Text: "Runs in progress go on to their end", Command: "conch-cron rm backup"},
		{Text: "And these are killed", Command: "conch-cron rm backup vacuum --kill"},
		{Text: "All of a team, but for what was submitted", Command: "conch-cron rm 'web-*'"},
	},
	Statuses: statuses(cli.Busy),
	Setup: func(f *cli.Flags) cli.Run {
		o := &rmOptions{}
		f.Group("Removing")
		f.Bool(&o.kill, cli.Row{Name: "kill", Env: cli.NoEnv, Help: "kill what runs, too"})
		f.Bool(&o.verbose, cli.Row{Name: "verbose", Short: "v", Env: cli.NoEnv, Help: "say what still runs"})
		o.connection(f)
		f.Complete(o.jobNames)
		return o.run
	},
}

type rmOptions struct {
	session
	kill    bool
	verbose bool
}

func (o *rmOptions) run(ctx context.Context, stdio *cli.Stdio, args cli.Args) error {
	words, err := someNames(args, 1)
	if err != nil {
		return err
	}
	return o.open(ctx, func(ctx context.Context, s cron.Store) error {
		var names []string
		var many bool
		if err := o.bounded(ctx, func(ctx context.Context) (err error) {
			names, many, err = meant(ctx, s, words)
			return err
		}); err != nil {
			return err
		}
		removed := 0
		err := each(stdio, names, func(job string) error {
			return o.bounded(ctx, func(ctx context.Context) error {
				err := o.remove(ctx, stdio, s, job)
				if err == nil {
					removed++
				}
				return err
			})
		})
		if many {
			note(stdio, "removed %s", jobs(removed))
		}
		return err
	})
}

func (o *rmOptions) remove(ctx context.Context, stdio *cli.Stdio, s cron.Store, job string) error {
	killer := ""
	if o.kill {
		killer = s.By
	}
	j, err := s.Job(ctx, job)
	if err != nil {
		return err
	}
	live, err := s.Remove(ctx, job, j.Rev, killer)
	if o.verbose {
		for _, a := range live {
			note(stdio, "%s was in progress on %s", a.RunID, a.Host)
		}
	}
	return err
}

// each does the same to several jobs: one that fails does not keep the others
// from it, but what ends in none being reached does.
func each(stdio *cli.Stdio, names []string, do func(string) error) error {
	var failed []error
	for _, job := range names {
		err := explain(do(job))
		if err != nil && !answer(err) {
			return err
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return sayAll(stdio, cli.StatusOf(failed[len(failed)-1]), failed...)
}
