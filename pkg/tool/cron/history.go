package cron

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"conch/pkg/cli"
	"conch/pkg/cron"
)

var historyTool = cli.Tool{
	Name:  "history",
	Brief: "list the runs of a job, and ticks that were not run, newest first",
	Usage: []string{"NAME [-n N] [--json]"},
	Examples: []cli.Example{
		{Text: "The latest five", Command: "conch-cron history backup -n 5"},
		{Text: "How long do they take?", Command: "conch-cron history backup --json | jq '.[].took'"},
	},
	Statuses: statuses(),
	Setup: func(f *cli.Flags) cli.Run {
		o := &historyOptions{}
		f.Group("The list")
		f.Int(&o.n, cli.Row{Name: "number", Short: "n", Min: 0, Max: cron.MaxKeep, Default: "0", Env: cli.NoEnv, Help: "how many rows; 0 is all that are remembered"})
		o.jsonFlag(f, "an array of objects")
		o.connection(f)
		f.Complete(o.firstJobName)
		return o.run
	},
}

type historyOptions struct {
	session
	n int
}

func (o *historyOptions) run(ctx context.Context, stdio *cli.Stdio, args cli.Args) error {
	job, err := oneName(args)
	if err != nil {
		return err
	}
	return o.ask(ctx, func(ctx context.Context, s cron.Store) error {
		runs, err := s.History(ctx, job, o.n)
		if err != nil {
			return err
		}
		if len(runs) == 0 {
			if _, err := s.Job(ctx, job); err != nil {
				return err
			}
		}
		if o.json {
			list := []*runJSON{}
			for _, r := range runs {
				list = append(list, run(r))
			}
			return stdio.JSON(list)
		}
		return printHistory(stdio, runs)
	})
}

func printHistory(stdio *cli.Stdio, runs []*cron.Run) error {
	if len(runs) == 0 {
		return nothing(stdio, "there is no run of it")
	}
	t := newTable("RUN", "STATE", "BEGAN", "TOOK", "EXIT", "ATTEMPT", "HOST", "CAUSE")
	for _, r := range runs {
		lasted, began := "", r.Began
		if d, ok := took(r); ok {
			lasted = d.Round(time.Millisecond).String()
		}
		if began.IsZero() {
			began = r.Claimed
		}
		exit := number(r.Exit)
		if r.Signal != "" {
			exit = r.Signal
		}
		if r.Ticks() {
			t.add(r.String(), string(r.State), clock(r.Tick), "", "", "", "", r.How()+": "+r.Cause)
			continue
		}
		t.add(r.String(), string(r.State), clock(began), lasted, exit, fmt.Sprint(r.Attempt), r.Host, r.Cause)
	}
	return t.print(stdio)
}

var logsTool = cli.Tool{
	Name:  "logs",
	Brief: "print what was kept of a run's output",
	Usage: []string{"NAME [RUN] [--whole]", "JOB/RUN [--whole]"},
	Examples: []cli.Example{
		{Text: "Of the newest run", Command: "conch-cron logs backup"},
		{Text: "Of another", Command: "conch-cron logs backup 0001767232800"},
		{Text: "Of the one that has an id of your own", Command: "conch-cron logs deploy \"$GIT_SHA\""},
		{Text: "All that it has written, on the host that it ran on", Command: "conch-cron logs backup --whole"},
	},
	Statuses: statuses(),
	Setup: func(f *cli.Flags) cli.Run {
		o := &logsOptions{}
		f.Group("What is printed")
		f.Bool(&o.whole, cli.Row{Name: "whole", Env: cli.NoEnv, Help: "all of it, which is kept on the run's host: there it is read, as the runner's user, and anywhere else it is said which host that is. Without: the end of it, 4 KiB, which --output keeps in etcd"})
		o.connection(f)
		f.Complete(o.jobOrRun(true))
		return o.run
	},
}

type logsOptions struct {
	session
	whole bool
}

func (o *logsOptions) run(ctx context.Context, stdio *cli.Stdio, args cli.Args) error {
	if len(args.Words) == 0 || len(args.Words) > 2 || len(args.Command) > 0 {
		return cli.Usagef("the NAME of a job is needed, and perhaps one of its runs")
	}
	what := strings.Join(args.Words, "/")
	if len(args.Words) == 2 && strings.HasPrefix(args.Words[1], args.Words[0]+"/") { // as history shows it
		what = args.Words[1]
	}
	job, text, err := splitRun(what)
	if err != nil {
		return err
	}
	return o.ask(ctx, func(ctx context.Context, s cron.Store) error {
		r, err := theRun(ctx, s, job, text)
		if err != nil {
			return err
		}
		if r.Ticks() {
			return cli.Errorf(cli.Failed, "%s: these ticks were not run: there is no output", r.RunID)
		}
		if o.whole {
			return printWhole(ctx, stdio, s, r)
		}
		return printTail(ctx, stdio, s, r)
	})
}

// theRun is the run that text means or, without one, the job's newest.
func theRun(ctx context.Context, s cron.Store, job, text string) (*cron.Run, error) {
	if text != "" {
		id, err := s.Find(ctx, job, text)
		if err != nil {
			return nil, err
		}
		return s.RunOf(ctx, id)
	}
	r, err := s.Latest(ctx, job)
	if err != nil || r != nil {
		return r, err
	}
	if _, err := s.Job(ctx, job); err != nil {
		return nil, err
	}
	return nil, cli.Errorf(cli.Failed, "%s: there is no run of it", job)
}

func printTail(ctx context.Context, stdio *cli.Stdio, s cron.Store, r *cron.Run) error {
	if r.Tail != "" {
		_, err := io.WriteString(stdio.Out, r.Tail)
		return err
	}
	if r.State == cron.Adrift {
		return cli.Errorf(cli.Failed, "%s has no result, and its runner is gone", r.RunID)
	}
	if !r.State.Final() {
		return cli.Errorf(cli.Failed, "%s is %s: its output is kept when it is over", r.RunID, r.State)
	}
	j, err := s.Job(ctx, r.Job)
	if err != nil && !errors.Is(err, cron.ErrNoJob) {
		return err
	}
	if j.Outputs() == cron.OutputAlways || j.Outputs() == cron.OutputFailure && !r.State.Well() {
		return nil // it has printed nothing
	}
	err = cli.Errorf(cli.Failed, "%s: nothing is kept in etcd of the output of a run that is %s: the job has output = %s", r.RunID, r.State, j.Outputs())
	if r.Log != "" && r.Bytes > 0 {
		return cli.Hint(err, "on %s: %s logs %s --whole; --output always, with add, keeps the end of it in etcd", r.Host, name, quote(r.String()))
	}
	return cli.Hint(err, "--output failure or --output always, with add")
}
