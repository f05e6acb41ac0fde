package cron

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"slices"
	"time"

	"conch/pkg/cli"
	"conch/pkg/cron"
	"conch/pkg/schedule"
)

var lsTool = cli.Tool{
	Name:  "ls",
	Brief: "list jobs, when they are due and what they do now",
	Usage: []string{"[NAME-GLOB]... [--all] [--last] [-o wide] [--json]"},
	Examples: []cli.Example{
		{Text: "All, with how they last ended", Command: "conch-cron ls --last"},
		{Text: "Those that did not end well", Command: `conch-cron ls --json | jq -r '.[] | select(.last.failures > 0) | .name'`},
		{Text: "Some of them, with what they run and where", Command: "conch-cron ls 'db-*' -o wide"},
	},
	Statuses: statuses(),
	Setup: func(f *cli.Flags) cli.Run {
		o := &lsOptions{}
		f.Group("The list")
		f.Bool(&o.all, cli.Row{Name: "all", Short: "a", Env: cli.NoEnv, Help: "also what was submitted; without, only jobs with a schedule, and what is named without a pattern"})
		f.Bool(&o.last, cli.Row{Name: "last", Env: cli.NoEnv, Help: "add how the latest run ended, or that it goes on; ? is one that was claimed, has no result, and whose runner is gone"})
		f.Forms(&o.json, "an array of objects", &o.form, "wide adds the zone, where it runs, and what", "wide")
		o.connection(f)
		f.Complete(o.jobNames)
		return o.run
	},
}

type lsOptions struct {
	session
	all  bool
	last bool
	form string
}

func (o *lsOptions) run(ctx context.Context, stdio *cli.Stdio, args cli.Args) error {
	if len(args.Command) > 0 {
		return misplaced(args.Command)
	}
	names := globs(args.Words)
	if err := names.check(); err != nil {
		return err
	}
	return o.ask(ctx, func(ctx context.Context, s cron.Store) error {
		v, err := look(ctx, s)
		if err != nil {
			return err
		}
		v.Jobs = slices.DeleteFunc(v.Jobs, func(j cron.Stored) bool {
			return !names.match(j.Name) || j.KeepFor > 0 && !o.all && !slices.Contains(names, j.Name)
		})
		if o.json {
			return o.printJSON(stdio, v)
		}
		if p := v.Paused; p != nil {
			note(stdio, "all jobs are paused, by %s since %s", or(p.By, "somebody"), clock(p.At))
		}
		if len(v.Jobs) == 0 {
			return nothing(stdio, "there is no such job")
		}
		return o.print(stdio, v)
	})
}

func (o *lsOptions) printJSON(stdio *cli.Stdio, v *view) error {
	jobs := []*jobJSON{}
	for i := range v.Jobs {
		jobs = append(jobs, v.job(&v.Jobs[i]))
	}
	return stdio.JSON(jobs)
}

func (o *lsOptions) print(stdio *cli.Stdio, v *view) error {
	heads := []string{"NAME", "SCHEDULE", "NEXT", "STATE"}
	if o.last {
		heads = append(heads, "LAST", "WHEN", "EXIT")
	}
	if o.form != "" {
		heads = append(heads, "TZ", "ON", "COMMAND")
	}
	t := newTable(heads...)
	for i := range v.Jobs {
		j := &v.Jobs[i]
		state, next := v.state(j)
		row := []string{j.Name, j.Schedule, clock(next), state}
		if o.last {
			row = append(row, v.result(j.Name)...)
		}
		if o.form != "" {
			row = append(row, or(j.TZ, "UTC"), or(j.On, "any"), command(&j.Job))
		}
		t.add(row...)
	}
	return t.print(stdio)
}

// result is how the latest run of a job ended, when, and with what status; of one
// that goes on, since when.
func (v *view) result(job string) []string {
	for _, l := range v.live[job] {
		if l.State != waiting {
			return []string{l.State, clock(*l.Since), ""}
		}
	}
	l := v.Lasts[job]
	if l.ID == "" {
		return []string{"", "", ""}
	}
	return []string{string(l.State), clock(l.Ended), number(l.Exit)}
}

var nextTool = cli.Tool{
	Name:  "next",
	Brief: "say what is due next, of all jobs, in order",
	Usage: []string{"[NAME]... [-n N] [--from TIME] [--json]"},
	Examples: []cli.Example{
		{Text: "The next twenty ticks", Command: "conch-cron next -n 20"},
		{Text: "When does the backup run when the clocks change?", Command: "conch-cron next backup --from 2026-03-28T00:00:00Z"},
	},
	Statuses: statuses(),
	Setup: func(f *cli.Flags) cli.Run {
		o := &nextOptions{}
		f.Group("What is due")
		f.Int(&o.n, cli.Row{Name: "number", Short: "n", Min: 1, Max: maxTicks, Default: "10", Env: cli.NoEnv, Help: "how many ticks"})
		f.Func(o.setFrom, cli.Row{Name: "from", Arg: "TIME", Env: cli.NoEnv, Help: "those after then, as 2026-03-29T02:30:00Z; now without"})
		o.jsonFlag(f, "an array of objects")
		o.connection(f)
		f.Complete(o.jobNames)
		return o.run
	},
}

// maxTicks is how many ticks are shown at most.
const maxTicks = 10000

type nextOptions struct {
	session
	n    int
	from time.Time
}

// tickJSON is one tick of one job.
type tickJSON struct {
	Tick time.Time `json:"tick"`
	Job  string    `json:"job"`
}

func (o *nextOptions) setFrom(text string) (err error) {
	o.from, err = instant(text)
	return err
}

func (o *nextOptions) run(ctx context.Context, stdio *cli.Stdio, args cli.Args) error {
	names, err := someNames(args, 0)
	if err != nil {
		return err
	}
	if o.from.IsZero() {
		o.from = time.Now()
	}
	return o.ask(ctx, func(ctx context.Context, s cron.Store) error {
		jobs, err := chosen(ctx, s, names)
		if err != nil {
			return err
		}
		p, err := s.Paused(ctx)
		if err != nil {
			return err
		}
		if p != nil { // as for jobs that are paused one by one
			jobs = nil
			note(stdio, "all jobs are paused, by %s since %s", or(p.By, "somebody"), clock(p.At))
		}
		all := o.upcoming(jobs)
		if o.json {
			return stdio.JSON(some(all))
		}
		for _, t := range all {
			if _, err := fmt.Fprintln(stdio.Out, clock(t.Tick), cli.OneLine(t.Job)); err != nil {
				return err
			}
		}
		return nil
	})
}

// chosen are the named jobs, or all.
func chosen(ctx context.Context, s cron.Store, names []string) ([]cron.Stored, error) {
	if len(names) == 0 {
		jobs, _, err := s.Jobs(ctx)
		return jobs, err
	}
	var jobs []cron.Stored
	for _, job := range names {
		j, err := s.Job(ctx, job)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
}

// upcoming are the first ticks of all jobs that are not paused.
func (o *nextOptions) upcoming(jobs []cron.Stored) []tickJSON {
	var q agenda
	for i := range jobs {
		j := &jobs[i].Job
		s, err := j.Schedules()
		if err != nil || j.Paused {
			continue
		}
		if tick := j.Next(s, o.from); !tick.IsZero() {
			q = append(q, entry{tickJSON{tick, j.Name}, j, s})
		}
	}
	heap.Init(&q)
	var all []tickJSON
	for len(q) > 0 && len(all) < o.n {
		first := &q[0]
		all = append(all, first.tickJSON)
		if first.Tick = first.job.Next(first.schedule, first.Tick); first.Tick.IsZero() {
			heap.Pop(&q)
			continue
		}
		heap.Fix(&q, 0)
	}
	return all
}

// agenda is a heap of jobs with the next tick of each.
type agenda []entry

type entry struct {
	tickJSON
	job      *cron.Job
	schedule *schedule.Schedule
}

func (q agenda) Len() int { return len(q) }
func (q agenda) Less(a, b int) bool {
	return cmp.Or(q[a].Tick.Compare(q[b].Tick), cmp.Compare(q[a].Job, q[b].Job)) < 0
}
func (q agenda) Swap(a, b int) { q[a], q[b] = q[b], q[a] }
func (q *agenda) Push(e any)   { *q = append(*q, e.(entry)) }
func (q *agenda) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	*q = (*q)[:last]
	return e
}
