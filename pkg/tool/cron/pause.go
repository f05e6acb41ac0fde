package cron

import (
	"context"

	"conch/pkg/cli"
	"conch/pkg/cron"
)

var pauseTool = cli.Tool{
	Name:  "pause",
	Brief: "start nothing of some jobs, or of all, until they are resumed",
	Usage: []string{"NAME|GLOB...", "--all"},
	Examples: []cli.Example{
		{Text: "What runs goes on to its end", Command: "conch-cron pause backup vacuum"},
		{Text: "All of a team, but for what was submitted", Command: "conch-cron pause 'web-*'"},
		{Text: "Nothing at all is started, in the whole cluster", Command: "conch-cron pause --all"},
	},
	Statuses: statuses(cli.Busy),
	Setup:    pauseSetup(true, "start nothing of any job, new ones and those asked for by hand included"),
}

var resumeTool = cli.Tool{
	Name:  "resume",
	Brief: "undo pause; what was missed meanwhile is not made up for",
	Usage: []string{"NAME|GLOB...", "--all", "--restored"},
	Examples: []cli.Example{
		{Text: "From now on", Command: "conch-cron resume backup vacuum"},
		{Text: "What pause --all has stopped; jobs that are paused by themselves stay so", Command: "conch-cron resume --all"},
		{Text: "After etcd was restored from a backup, and somebody has looked at what could run twice", Command: "conch-cron resume --restored"},
	},
	Statuses: statuses(cli.Busy),
	Setup:    pauseSetup(false, "undo pause --all"),
}

func pauseSetup(pause bool, help string) func(*cli.Flags) cli.Run {
	return func(f *cli.Flags) cli.Run {
		o := &pauseOptions{pause: pause}
		f.Group("Which")
		f.Bool(&o.all, cli.Row{Name: "all", Env: cli.NoEnv, Help: help})
		if !pause {
			f.Bool(&o.restored, cli.Row{Name: "restored", Env: cli.NoEnv, Help: "let runners go on that stand by because etcd's revision went back, as after a restore from a backup: what has run since the backup may run again"})
		}
		o.connection(f)
		f.Complete(o.jobNames)
		return o.run
	}
}

type pauseOptions struct {
	session
	pause bool
	all   bool

	restored bool
}

func (o *pauseOptions) run(ctx context.Context, stdio *cli.Stdio, args cli.Args) error {
	switch {
	case (o.all || o.restored) && len(args.Words) > 0:
		return cli.Usagef("--all and --restored are for all jobs: leave out %s", args.Words[0])
	case o.restored:
		return o.ask(ctx, func(ctx context.Context, s cron.Store) error {
			err := s.Restored(ctx, s.By)
			if err == nil && o.all {
				err = o.everything(ctx, s)
			}
			return err
		})
	case o.all:
		return o.ask(ctx, o.everything)
	}
	words, err := someNames(args, 1)
	if err != nil {
		return err
	}
	return o.ask(ctx, func(ctx context.Context, s cron.Store) error {
		names, many, err := meant(ctx, s, words)
		if err != nil {
			return err
		}
		changed, err := s.Pause(ctx, o.pause, names...)
		if many && err == nil {
			o.count(stdio, len(changed), len(names))
		}
		return err
	})
}

// count says how many jobs there were to a pattern, and how many of them have changed.
func (o *pauseOptions) count(stdio *cli.Stdio, changed, all int) {
	did, are := "resumed", "not paused"
	if o.pause {
		did, are = "paused", "paused before"
	}
	if changed == all {
		note(stdio, "%s %s", did, jobs(all))
	} else {
		note(stdio, "%s %d of %s, the others were %s", did, changed, jobs(all), are)
	}
}

func (o *pauseOptions) everything(ctx context.Context, s cron.Store) error {
	if o.pause {
		_, err := s.PauseAll(ctx, s.By)
		return err
	}
	_, err := s.ResumeAll(ctx)
	return err
}
