package cron

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"conch/pkg/cli"
	"conch/pkg/cron"
	"conch/pkg/keys"
)

var submitTool = cli.Tool{
	Name:  "submit",
	Brief: "run something once, on some runner, and print its ID",
	Usage: []string{"[FLAGS] -- CMD [ARG]...", "[FLAGS] -c 'SCRIPT'"},
	Examples: []cli.Example{
		{Text: "And have its exit status", Command: "conch-cron submit --wait -- ./migrate"},
		{Text: "On a host with a GPU, with a payload", Command: "conch-cron submit --on gpu=yes --stdin scene.json --output always -- ./render"},
		{Text: "Up to four times, until it ends well", Command: "id=$(conch-cron submit --retry 3 --run-ttl 2h -- ./import) && conch-cron wait \"$id\""},
	},
	Statuses: waitStatuses(),
	Setup: func(f *cli.Flags) cli.Run {
		o := &submitOptions{}
		f.Group("The run")
		f.String(&o.job.Name, cli.Row{Name: "name", Arg: "NAME", Env: cli.NoEnv, Help: "its ID; one that sorts by time without"})
		f.Bool(&o.wait, cli.Row{Name: "wait", Env: cli.NoEnv, Help: "wait for its end, and exit with its status. A terminal shows what it waits for; elsewhere it is said why it has not been started for 5 seconds"})
		f.Func(span((*time.Duration)(&o.job.KeepFor)), cli.Row{Name: "keep-for", Arg: "DURATION", Default: "24h", Env: cli.NoEnv, Help: "forget it that long after its end"})
		o.what(f, o.where)
		o.connection(f)
		return o.run
	},
}

type submitOptions struct {
	session
	spec
	wait bool
}

func (o *submitOptions) run(ctx context.Context, stdio *cli.Stdio, args cli.Args) error {
	if len(args.Words) > 0 {
		return misplaced(args.Words)
	}
	if o.job.Name == "" {
		o.job.Name = cron.NewName(time.Now())
	}
	o.job.Schedule = "@manual"
	j, err := o.finish(stdio, args.Command)
	if err != nil {
		return err
	}
	return o.runAs(o.open(ctx, func(ctx context.Context, s cron.Store) error {
		id, err := o.submit(ctx, s, j)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(stdio.Out, id.Job); err != nil || !o.wait {
			return err
		}
		return waitFor(ctx, stdio, s, id)
	}))
}

func (o *submitOptions) submit(ctx context.Context, s cron.Store, j *cron.Job) (keys.RunID, error) {
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	return s.Submit(ctx, j, s.By)
}

var runsTool = cli.Tool{
	Name:  "runs",
	Brief: "list what runs or waits now, and how what was submitted ended",
	Usage: []string{"[--state STATE] [--job GLOB] [--json]"},
	Examples: []cli.Example{
		{Text: "What runs now?", Command: "conch-cron runs --state running"},
		{Text: "What waits for a runner?", Command: "conch-cron runs --state waiting --job 'submit-*'"},
	},
	Statuses: statuses(),
	Setup: func(f *cli.Flags) cli.Run {
		o := &runsOptions{}
		f.Group("The list")
		f.Strings(&o.states, cli.Row{Name: "state", Arg: "STATE", Values: runStates, Env: cli.NoEnv, Help: "only those that are waiting, running, retrying, ? (claimed, and the runner is gone), ok, failed, timeout, killed, lost or unknown; commas between several"})
		f.Repeat((*[]string)(&o.jobs), cli.Row{Name: "job", Arg: "GLOB", Complete: o.anyJob, Env: cli.NoEnv, Help: "only those of such jobs; may be repeated"})
		o.jsonFlag(f, "an array of objects")
		o.connection(f)
		return o.run
	},
}

type runsOptions struct {
	session
	states []string
	jobs   globs
}

// runStates are all that a run can be, as runs shows it.
var runStates = []string{
	waiting, string(cron.Running), string(cron.Retrying), string(cron.Adrift), string(cron.OK), string(cron.Failed),
	string(cron.TimedOut), string(cron.Killed), string(cron.Lost), string(cron.Unknown),
}

// entryJSON is a line of runs.
type entryJSON struct {
	*liveJSON
	Job       string     `json:"job"`
	Submitted bool       `json:"submitted"`
	Ended     *time.Time `json:"ended"`
	Exit      *int       `json:"exit"`
}

func (o *runsOptions) run(ctx context.Context, stdio *cli.Stdio, args cli.Args) error {
	if len(args.Words)+len(args.Command) > 0 {
		return cli.Usagef("%q: a pattern comes after --job", strings.Join(append(args.Words, args.Command...), " "))
	}
	for _, state := range o.states {
		if !slices.Contains(runStates, state) {
			return cli.Usagef("--state: %+q is not %s%s", state, strings.Join(runStates, ", "), cron.DidYouMean(state, runStates))
		}
	}
	if err := o.jobs.check(); err != nil {
		return err
	}
	return o.ask(ctx, func(ctx context.Context, s cron.Store) error {
		v, err := look(ctx, s)
		if err != nil {
			return err
		}
		all := slices.DeleteFunc(v.entries(), func(e *entryJSON) bool {
			return !o.jobs.match(e.Job) || len(o.states) > 0 && !slices.Contains(o.states, e.State)
		})
		if o.json {
			return stdio.JSON(some(all))
		}
		return printEntries(stdio, all)
	})
}

// entries are what runs or waits, and the results of what was submitted, by job.
func (v *view) entries() []*entryJSON {
	submitted := map[string]bool{}
	for _, j := range v.Jobs {
		submitted[j.Name] = j.KeepFor > 0
	}
	var all []*entryJSON
	for _, job := range slices.Sorted(maps.Keys(v.live)) {
		for _, l := range v.live[job] {
			all = append(all, &entryJSON{liveJSON: l, Job: job, Submitted: submitted[job]})
		}
	}
	for _, job := range slices.Sorted(maps.Keys(submitted)) {
		if l := v.last(job); submitted[job] && l != nil && len(v.live[job]) == 0 {
			all = append(all, &entryJSON{liveJSON: &liveJSON{ID: l.ID, State: string(l.State), Host: l.Host, Since: l.Began}, Job: job, Submitted: true, Ended: l.Ended, Exit: l.Exit})
		}
	}
	slices.SortStableFunc(all, func(a, b *entryJSON) int { return strings.Compare(a.Job, b.Job) })
	return all
}

func printEntries(stdio *cli.Stdio, all []*entryJSON) error {
	if len(all) == 0 {
		return nothing(stdio, "there is no such run")
	}
	t := newTable("RUN", "STATE", "SINCE", "ENDED", "EXIT", "HOST", "BY")
	for _, e := range all {
		since, ended := "", ""
		if e.Since != nil {
			since = clock(*e.Since)
		}
		if e.Ended != nil {
			ended = clock(*e.Ended)
		}
		t.add(e.ID, e.State, since, ended, number(e.Exit), e.Host, e.By)
	}
	return t.print(stdio)
}

var nodesTool = cli.Tool{
	Name:  "nodes",
	Brief: "list the runners",
	Usage: []string{"[--json]"},
	Examples: []cli.Example{
		{Text: "Which take nothing on, and why?", Command: `conch-cron nodes --json | jq -r '.[] | select(.state != "ready") | "\(.id) \(.state) \(.standby)"'`},
	},
	Statuses: statuses(),
	Setup: func(f *cli.Flags) cli.Run {
		o := &nodesOptions{}
		f.Group("The list")
		o.jsonFlag(f, "an array of objects")
		o.connection(f)
		return o.run
	},
}

type nodesOptions struct{ session }

func (o *nodesOptions) run(ctx context.Context, stdio *cli.Stdio, args cli.Args) error {
	if len(args.Words)+len(args.Command) > 0 {
		return cli.Usagef("all runners are listed: there is nothing to name")
	}
	return o.ask(ctx, func(ctx context.Context, s cron.Store) error {
		nodes, err := s.Nodes(ctx)
		if err != nil {
			return err
		}
		acts, err := s.Acts(ctx)
		if err != nil {
			return err
		}
		list := []*nodeJSON{}
		for _, n := range nodes {
			list = append(list, node(n, acts))
		}
		if o.json {
			return stdio.JSON(list)
		}
		return printNodes(stdio, list)
	})
}

func printNodes(stdio *cli.Stdio, list []*nodeJSON) error {
	if len(list) == 0 {
		return nothing(stdio, "there is no runner: nothing is started")
	}
	t := newTable("NODE", "STATE", "RUNNING", "SLOTS", "SINCE", "VERSION", "TZDATA", "LABELS")
	for _, n := range list {
		var labels []string
		for _, k := range slices.Sorted(maps.Keys(n.Labels)) {
			labels = append(labels, k+"="+n.Labels[k])
		}
		since := ""
		if n.Started != nil {
			since = clock(*n.Started)
		}
		state := n.State
		if n.Standby != "" {
			state += ": " + n.Standby
		}
		t.add(n.ID, state, fmt.Sprint(n.Running), fmt.Sprint(n.Slots), since, n.Version, n.TZData, strings.Join(labels, " "))
	}
	return t.print(stdio)
}
