// Package cron is conch-cron: the crontab of a cluster, and what came of it.
package cron

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"conch/pkg/cli"
	"conch/pkg/connect"
	"conch/pkg/cron"
	"conch/pkg/etcd"
	"conch/pkg/hold"
	"conch/pkg/keys"
)

const name = "conch-cron"

// Tool is conch-cron.
var Tool = cli.Tool{
	Name:  name,
	Brief: "the crontab of a cluster, and what came of it",
	Usage: []string{
		"COMMAND [ARG]...",
		"add NAME SCHEDULE [FLAGS] -- CMD [ARG]...",
		"apply -f FILE|DIR|-",
	},
	Examples: examples,
	Sections: sections,
	Statuses: append(allStatuses(),
		cli.Status{Code: "0 to 255", Meaning: "with --wait, and of `wait`: as the run has ended; 70 if it was lost or killed, 75 if it was not started in time, 124 if it took too long"}),
	SeeAlso: []string{"conch-cronrunner(1)", "conch(7)"},
	Commands: []cli.Tool{
		addTool, rmTool, lsTool, showTool, checkTool, nextTool, pauseTool, resumeTool,
		runTool, historyTool, logsTool, killTool,
		applyTool, exportTool,
		submitTool, runsTool, waitTool, cancelTool, nodesTool,
	},
	Setup: func(f *cli.Flags) cli.Run { connect.Flags(f); return nil },
}

// session is what the commands that ask etcd have in common.
type session struct {
	*connect.Settings
	json bool
}

// connection declares the flags that say which etcd; the last thing that a Setup
// does.
func (s *session) connection(f *cli.Flags) { s.Settings = connect.Flags(f) }

func (s *session) jsonFlag(f *cli.Flags, help string) {
	f.JSON(&s.json, help)
}

// ask puts a question to the store, to be answered within --dial-timeout.
func (s *session) ask(ctx context.Context, question func(context.Context, cron.Store) error) error {
	return s.open(ctx, func(ctx context.Context, store cron.Store) error {
		return s.bounded(ctx, func(ctx context.Context) error { return question(ctx, store) })
	})
}

// bounded does one thing within --dial-timeout.
func (s *session) bounded(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.DialTimeout)
	defer cancel()
	return do(ctx)
}

// open does the same for a question that may take longer.
func (s *session) open(ctx context.Context, question func(context.Context, cron.Store) error) error {
	return explain(s.Ask(ctx, func(ctx context.Context, c *etcd.Client) error {
		return explain(question(ctx, cron.Store{C: c, Keys: s.Space.Cron(), By: by(c)}))
	}))
}

// explain gives the answers of a store their exit statuses, and hints.
func explain(err error) error {
	var is interface{ ExitStatus() int }
	var conflict *cron.Conflict
	var several *cron.Ambiguous
	switch {
	case err == nil, errors.As(err, &is):
		return err
	case errors.As(err, new(*cron.WrongClock)):
		return cli.Hint(cli.Errorf(cli.Config, "%w", err), "set this machine's clock: ticks that it takes for past could not be claimed")
	case errors.As(err, &conflict):
		return cli.Hint(cli.Errorf(cli.Busy, "%w", err), "run it again")
	case errors.As(err, &several):
		return cli.Hint(cli.Errorf(cli.Failed, "%w", err), "name one: %s", several.Runs[0])
	case errors.Is(err, cron.ErrNotStarted):
		return cli.Hint(cli.Errorf(cli.Busy, "%w", err), "%s nodes shows the runners, and %s runs what goes on", name, name)
	}
	return err
}

// answer reports whether err is a store's answer about one job, and not trouble
// with etcd.
func answer(err error) bool {
	for _, is := range []error{cron.ErrNoJob, cron.ErrExists, cron.ErrNoRun, cron.ErrNotRunning, cron.ErrNotStarted, cron.ErrRemoved} {
		if errors.Is(err, is) {
			return true
		}
	}
	return errors.As(err, new(*cron.Conflict))
}

// by is who asks, for the record, and who that is in etcd, if etcd knows users.
func by(c *etcd.Client) string {
	who := hold.Self(nil).Who()
	if user := c.User(); user != "" {
		who += ", etcd user " + user
	}
	return who
}

// sayAll says several mistakes, each with its hint, and returns the last one with
// the exit status of all.
func sayAll(stdio *cli.Stdio, status int, errs ...error) error {
	for i, err := range errs {
		if i == len(errs)-1 {
			return cli.Errorf(status, "%w", err)
		}
		fmt.Fprintf(stdio.Err, "%s: %s\n", name, cli.OneLine(err.Error()))
		var hint interface{ Hint() string }
		if errors.As(err, &hint) && hint.Hint() != "" {
			fmt.Fprintf(stdio.Err, "hint: %s\n", cli.OneLine(hint.Hint()))
		}
	}
	return nil
}

// parts are the errors that errors.Join has joined.
func parts(err error) []error {
	switch joined := err.(type) {
	case nil:
		return nil
	case interface{ Unwrap() []error }:
		return joined.Unwrap()
	}
	return []error{err}
}

// note says something beside the data.
func note(stdio *cli.Stdio, format string, args ...any) {
	fmt.Fprintf(stdio.Err, "%s: %s\n", name, cli.OneLine(fmt.Sprintf(format, args...)))
}

// someNames checks the names on a command line.
func someNames(args cli.Args, least int) ([]string, error) {
	if len(args.Command) > 0 {
		return nil, cli.Usagef("there is nothing to be run: leave out the --")
	}
	if len(args.Words) < least {
		return nil, cli.Usagef("the NAME of a job is missing")
	}
	for _, word := range args.Words {
		if err := keys.CheckName(word); err != nil {
			return nil, &cli.Exit{Status: cli.Usage, Err: err}
		}
	}
	return args.Words, nil
}

// oneName is someNames for exactly one.
func oneName(args cli.Args) (string, error) {
	names, err := someNames(args, 1)
	if err == nil && len(names) > 1 {
		err = cli.Usagef("one NAME is enough")
	}
	if err != nil {
		return "", err
	}
	return names[0], nil
}

// meant are the jobs that words name, each once, and whether there is a pattern among
// the words: one that is no job's whole name. What was submitted is in none.
func meant(ctx context.Context, s cron.Store, words []string) (names []string, many bool, _ error) {
	if err := globs(words).check(); err != nil {
		return nil, false, err
	}
	var jobs []cron.Stored
	if slices.ContainsFunc(words, isGlob) {
		var err error
		if jobs, _, err = s.Jobs(ctx); err != nil {
			return nil, false, err
		}
	}
	for _, word := range words {
		if !isGlob(word) || slices.ContainsFunc(jobs, func(j cron.Stored) bool { return j.Name == word }) {
			names = append(names, word)
			continue
		}
		many = true
		before := len(names)
		for _, j := range jobs {
			if j.KeepFor == 0 && (globs{word}).match(j.Name) {
				names = append(names, j.Name)
			}
		}
		if len(names) == before {
			return nil, true, cli.Errorf(cli.Failed, "%s: there is no such job", word)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), many, nil
}

// jobs says how many these are.
func jobs(n int) string {
	if n == 1 {
		return "1 job"
	}
	return fmt.Sprintf("%d jobs", n)
}

// oneWord is the only word on a command line.
func oneWord(args cli.Args, what string) (string, error) {
	switch {
	case len(args.Command) > 0:
		return "", cli.Usagef("there is nothing to be run: leave out the --")
	case len(args.Words) == 0:
		return "", cli.Usagef("the %s is missing", what)
	case len(args.Words) > 1:
		return "", cli.Usagef("one %s is enough", what)
	}
	return args.Words[0], nil
}

// instant reads a point in time. One without an offset is of no zone anybody
// could know.
func instant(text string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t.UTC(), nil
	}
	for _, form := range []string{"2006-01-02", "2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02 15:04:05"} {
		if t, err := time.Parse(form, text); err == nil {
			return time.Time{}, fmt.Errorf("%q has no offset: did you mean %s?", text, t.Format(time.RFC3339))
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time such as 2026-03-29T02:30:00Z or 2026-03-29T02:30:00+02:00", text)
}
