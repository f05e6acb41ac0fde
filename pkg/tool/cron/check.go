package cron

import (
	"context"
	"fmt"
	"strings"
	"time"

	"conch/pkg/cli"
	"conch/pkg/cron"
	"conch/pkg/schedule"
)

var checkTool = cli.Tool{
	Name:  "check",
	Brief: "say what a schedule means, and when it is due; etcd is not asked",
	Usage: []string{"SCHEDULE [--tz ZONE] [--dst RULE] [--name NAME] [-n N] [--from TIME] [--json]"},
	Examples: []cli.Example{
		{Text: "In words, with the next five ticks", Command: "conch-cron check '*/15 9-17 * * mon-fri'"},
		{Text: "What happens when the clocks change?", Command: "conch-cron check '30 2 * * *' --tz Europe/Rome --from 2026-03-28T00:00:00Z"},
		{Text: "Which minute is H for this job?", Command: "conch-cron check 'H * * * *' --name rotate"},
	},
	Statuses: []cli.Status{{Code: "0", Meaning: "it is a schedule"}, {Code: "64", Meaning: "it is none, or it is never due"}},
	Setup: func(f *cli.Flags) cli.Run {
		o := &checkOptions{}
		f.Group("The schedule")
		f.String(&o.Zone, cli.Row{Name: "tz", Arg: "ZONE", Complete: zones, Env: cli.NoEnv, Help: "its zone, such as Europe/Rome; UTC without"})
		f.Func(word(&o.DST), cli.Row{Name: "dst", Arg: "once|skip|wall", Values: []string{"once", "skip", "wall"}, Env: cli.NoEnv, Help: "what a change of the clocks does to fixed times; once without"})
		f.Func(func(text string) (err error) { o.Anchor, err = instant(text); return }, cli.Row{Name: "anchor", Arg: "TIME", Env: cli.NoEnv, Help: "an instant at which @every is due"})
		f.String(&o.Name, cli.Row{Name: "name", Env: cli.NoEnv, Arg: "NAME", Help: "the job's name, which decides what H is"})
		f.Group("What is shown")
		f.Int(&o.n, cli.Row{Name: "number", Short: "n", Min: 0, Max: maxTicks, Default: "5", Env: cli.NoEnv, Help: "how many ticks"})
		f.Func(func(text string) (err error) { o.from, err = instant(text); return }, cli.Row{Name: "from", Arg: "TIME", Env: cli.NoEnv, Help: "those after then; now without"})
		f.JSON(&o.json, "an object")
		return o.run
	},
}

type checkOptions struct {
	schedule.Options
	n    int
	from time.Time
	json bool
}

// scheduleJSON is what a schedule means.
type scheduleJSON struct {
	Schedule string      `json:"schedule"` // the canonical expression
	Words    string      `json:"words"`
	TZ       string      `json:"tz"`
	Notes    []string    `json:"notes"`
	Next     []time.Time `json:"next"`
}

func (o *checkOptions) run(_ context.Context, stdio *cli.Stdio, args cli.Args) error {
	if len(args.Words) == 0 || len(args.Command) > 0 {
		return cli.Usagef("the SCHEDULE is missing")
	}
	if o.DST != "" && o.DST != schedule.Once && o.DST != schedule.Skip && o.DST != schedule.Wall {
		return cli.Usagef("--dst: %+q is not once, skip or wall", string(o.DST))
	}
	expr := strings.Join(args.Words, " ")
	s, err := schedule.Parse(expr, o.Options)
	if err != nil {
		named := o.Options
		named.Name = "any"
		if _, nerr := schedule.Parse(expr, named); nerr == nil { // a name is all that is missing
			err = cli.Hint(err, "conch-cron check --name JOB '%s'", expr)
		}
		return &cli.Exit{Status: cli.Usage, Err: err}
	}
	if o.from.IsZero() {
		o.from = time.Now()
	}
	next := ticks(&cron.Job{}, s, o.from, o.n)
	if o.json {
		return stdio.JSON(scheduleJSON{s.String(), s.Words(), s.Zone().String(), some(s.Notes(o.from)), some(next)})
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", s, s.Words())
	for _, n := range s.Notes(o.from) {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	for _, tick := range next {
		fmt.Fprintln(&b, both(tick, s.Zone()))
	}
	_, err = fmt.Fprint(stdio.Out, b.String())
	return err
}

// both is a tick in UTC and, where that is another, on the clock on the wall.
func both(tick time.Time, zone *time.Location) string {
	text := clock(tick)
	if local := tick.In(zone); local.Format(time.RFC3339) != text {
		text += local.Format("  Mon 2006-01-02 15:04:05 MST")
	}
	return text
}
