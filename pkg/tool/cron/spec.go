package cron

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"conch/pkg/cli"
	"conch/pkg/cron"
	"conch/pkg/schedule"
)

// spec are the flags that say what a job is. None is taken from the environment:
// a job must not depend on the shell that it was written in.
type spec struct {
	job     cron.Job
	stdin   string
	env     []string
	retries int
	backoff time.Duration
	given   func(string) bool
	source  func(string) string
}

// when declares the flags about when a job is due.
func (s *spec) when(f *cli.Flags) {
	f.Group("When")
	f.String(&s.job.Schedule, cli.Row{Name: "schedule", Arg: "EXPR", Env: cli.NoEnv, Help: "five fields, or six with seconds first, @hourly and friends, @every 90m, @at TIME, or @manual"})
	f.String(&s.job.TZ, cli.Row{Name: "tz", Arg: "ZONE", Complete: zones, Env: cli.NoEnv, Help: "the zone of the schedule, such as Europe/Rome; UTC without, never that of a host"})
	f.Func(word(&s.job.DST), cli.Row{Name: "dst", Arg: "once|skip|wall", Values: []string{"once", "skip", "wall"}, Env: cli.NoEnv,
		Help: "what a change of the clocks does to fixed times. What is skipped runs once, or not (skip); what is repeated runs the first time, or both (wall)"})
	f.Func(moment(&s.job.Anchor), cli.Row{Name: "anchor", Arg: "TIME", Env: cli.NoEnv, Help: "an instant at which @every is due; 1970-01-01T00:00:00Z without"})
	f.Duration((*time.Duration)(&s.job.Splay), cli.Row{Name: "splay", Env: cli.NoEnv, Help: "start up to that much later, always by the same part of it, so that jobs do not all start at once"})
	f.Func(moment(&s.job.Starts), cli.Row{Name: "starts", Arg: "TIME", Env: cli.NoEnv, Help: "not due before"})
	f.Func(moment(&s.job.Expires), cli.Row{Name: "expires", Arg: "TIME", Env: cli.NoEnv, Help: "not due from then on"})
	f.Bool(&s.job.Paused, cli.Row{Name: "paused", Env: cli.NoEnv, Help: "not due until it is resumed. One that is paused and written over stays so; --paused=no has it go on"})
	f.Func(word(&s.job.Misfire), cli.Row{Name: "misfire", Arg: "skip|once|all", Values: []string{"skip", "once", "all"}, Env: cli.NoEnv,
		Help: "what becomes of ticks that nobody could start within --deadline: none is run, the latest, or the latest 10"})
	f.String(&s.job.OnMissed, cli.Row{Name: "on-missed", Arg: "SCRIPT", Env: cli.NoEnv, Help: "for sh -c, when ticks were missed or unplaced: once for a stretch of them"})
}

// what declares the flags about what is run, where and how. where proposes values of --on.
func (s *spec) what(f *cli.Flags, where func(context.Context, string) []string) {
	f.Group("What")
	f.String(&s.job.Script, cli.Row{Name: "script", Short: "c", Arg: "SCRIPT", Env: cli.NoEnv, Help: "for sh -c, instead of a CMD"})
	f.String(&s.stdin, cli.Row{Name: "stdin", Arg: "FILE", Env: cli.NoEnv, Help: "what the command reads; - is standard input. It is kept with the job"})
	f.Repeat(&s.env, cli.Row{Name: "env", Mask: maskValue, Arg: "K=V", Env: cli.NoEnv, Help: "a variable for it; may be repeated. Everyone who can read the job can read it"})
	f.String(&s.job.Cwd, cli.Row{Name: "cwd", Arg: "DIR", Env: cli.NoEnv, Help: "where it runs; without, the home of --run-as, or /"})
	f.String(&s.job.User, cli.Row{Name: "run-as", Arg: "USER", Env: cli.NoEnv, Help: "the user that it runs as, by name or number, in that user's home, or, of a number that is in no list of users, in /; the runner's own without"})
	f.String(&s.job.Via, cli.Row{Name: "via", Arg: "ssh://[USER@]HOST", Env: cli.NoEnv, Help: "run it on that host, which needs no runner"})
	f.String(&s.job.Description, cli.Row{Name: "description", Arg: "TEXT", Env: cli.NoEnv, Help: "what it is for"})
	f.Repeat(&s.job.Owners, cli.Row{Name: "owner", Arg: "WHO", Env: cli.NoEnv, Help: "whom to tell; may be repeated"})
	f.Group("Where and how")
	f.String(&s.job.On, cli.Row{Name: "on", Arg: "WHERE", Complete: where, Env: cli.NoEnv, Help: "any runner, all or a number of them, and labels that they must have: 'any', 'all role=db', '2 zone=a'"})
	f.Func(word(&s.job.Overlap), cli.Row{Name: "overlap", Arg: "forbid|allow|replace", Values: []string{"forbid", "allow", "replace"}, Env: cli.NoEnv,
		Help: "what happens to a tick while an earlier run goes on: it is skipped, both run, or the earlier one is killed; what is asked for by hand waits, or runs too"})
	f.Func(span((*time.Duration)(&s.job.Deadline)), cli.Row{Name: "deadline", Arg: "DURATION", Env: cli.NoEnv, Help: "not to be started later than that after its time; 1m without"})
	f.Func(s.limit, cli.Row{Name: "run-ttl", Arg: "DURATION", Env: cli.NoEnv, Help: "how long a run may last; 10m without, 0: for ever"})
	f.Int(&s.retries, cli.Row{Name: "retry", Min: 0, Max: cron.MaxRetries, Env: cli.NoEnv, Help: "start a run again that did not end well, so often: its command may have its effect more than once"})
	f.Func(span(&s.backoff), cli.Row{Name: "backoff", Arg: "DURATION", Env: cli.NoEnv, Help: "after how long, doubled each time; 10s without"})
	f.Int(&s.job.Keep, cli.Row{Name: "keep", Min: 1, Max: cron.MaxKeep, Env: cli.NoEnv, Help: "how many runs to remember; 20 without"})
	f.Func(word(&s.job.Output), cli.Row{Name: "output", Arg: "none|failure|always", Values: []string{"none", "failure", "always"}, Env: cli.NoEnv,
		Help: "keep the end of the output in etcd, 4 KiB, of runs that did not end well, or of all; failure without. All of it is kept where it was made, but with none: see logs --whole"})
	f.String(&s.job.OnFailure, cli.Row{Name: "on-failure", Arg: "SCRIPT", Env: cli.NoEnv, Help: "for sh -c, when a run did not end well, and is not tried again"})
	f.String(&s.job.OnRecovery, cli.Row{Name: "on-recovery", Arg: "SCRIPT", Env: cli.NoEnv, Help: "likewise, when one ended well, and the one before had not"})
	f.String(&s.job.OnSuccess, cli.Row{Name: "on-success", Arg: "SCRIPT", Env: cli.NoEnv, Help: "likewise, when one ended well"})
	f.Meant(flagMeant)
	s.given, s.source = f.Set, f.Source
}

// flagMeant is the flag for a field of a job that has another name elsewhere.
func flagMeant(typed string) string {
	switch field := cron.FieldMeant(typed); field {
	case "user":
		return "run-as"
	case "owners":
		return "owner"
	case "cmd":
		return "script"
	default:
		return field
	}
}

// runAs puts right who took --user, which is etcd's, for the job's.
func (s *spec) runAs(err error) error {
	if status := cli.StatusOf(err); s.source("user") == "--user" && (status == cli.Config || status == cli.Refused) {
		return cli.Hint(err, "--user is the user in etcd; whom the job runs as is --run-as")
	}
	return err
}

// word sets a choice. What it may be is for Check to say, as it is of a file.
func word[T ~string](p *T) func(string) error {
	return func(text string) error { *p = T(text); return nil }
}

// moment sets a point in time.
func moment(p **time.Time) func(string) error {
	return func(text string) error {
		t, err := instant(text)
		*p = &t
		return err
	}
}

// limit sets how long a run may last.
func (s *spec) limit(text string) error {
	s.job.RunTTL = new(cron.Duration)
	return s.job.RunTTL.UnmarshalText([]byte(text))
}

// span sets a length of time of which 0 would be taken for the default.
func span(p *time.Duration) func(string) error {
	return func(text string) error {
		d, err := cli.ParseDuration(text)
		if err == nil && d == 0 {
			err = fmt.Errorf("%s is too short; left out, it is the default", text)
		}
		*p = d
		return err
	}
}

// finish puts together what the flags have said, and checks it.
func (s *spec) finish(stdio *cli.Stdio, argv []string) (*cron.Job, error) {
	j := &s.job
	j.Cmd = argv
	if s.given("retry") || s.given("backoff") {
		j.Retry = &cron.Retry{N: s.retries, Backoff: cron.Duration(s.backoff)}
	}
	for _, pair := range s.env {
		k, v, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, cli.Usagef("--env %q: the form is K=V", pair)
		}
		if j.Env == nil {
			j.Env = map[string]string{}
		}
		j.Env[k] = v
	}
	if s.given("stdin") {
		text, err := read(stdio, s.stdin)
		if err != nil {
			return nil, err
		}
		j.Stdin = text
	}
	if errs := parts(j.Check(time.Now())); len(errs) > 0 {
		return nil, sayAll(stdio, cli.Usage, errs...)
	}
	for _, warning := range j.Warnings() {
		note(stdio, "%s", warning)
	}
	return j, nil
}

// read reads the input that is kept with a job.
func read(stdio *cli.Stdio, file string) (string, error) {
	in := stdio.In
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return "", cli.Errorf(cli.Config, "--stdin: %w", err)
		}
		defer opened.Close()
		in = opened
	}
	b, err := io.ReadAll(io.LimitReader(in, cron.MaxSpec+1))
	if err != nil {
		return "", cli.Errorf(cli.Config, "--stdin: %w", err)
	}
	return string(b), nil
}

// ticks returns the first n.
func ticks(j *cron.Job, s *schedule.Schedule, after time.Time, n int) (all []time.Time) {
	for range n {
		if after = j.Next(s, after); after.IsZero() {
			break
		}
		all = append(all, after)
	}
	return all
}

// misplaced refuses words that are most often a command without the dashes in
// front of it.
func misplaced(words []string) error {
	return cli.Usagef("%q: the command comes after --", strings.Join(words, " "))
}

// maskValue masks the value of K=V.
func maskValue(text string) string {
	name, _, _ := strings.Cut(text, "=")
	return name + "=***"
}
