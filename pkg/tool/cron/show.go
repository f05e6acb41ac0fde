package cron

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"conch/pkg/cli"
	"conch/pkg/cron"
	"conch/pkg/jobfile"
	"conch/pkg/keys"
)

var showTool = cli.Tool{
	Name:  "show",
	Brief: "show all about a job, or about one run",
	Usage: []string{"NAME [--json]", "JOB/RUN [--json]"},
	Examples: []cli.Example{
		{Text: "What it is, where it stands, when it is due", Command: "conch-cron show backup"},
		{Text: "One run, by what history calls it", Command: "conch-cron show backup/0001767232800"},
	},
	Statuses: statuses(),
	Setup: func(f *cli.Flags) cli.Run {
		o := &showOptions{}
		f.Group("What is shown")
		o.jsonFlag(f, "an object")
		o.connection(f)
		f.Complete(o.jobOrRun(false))
		return o.run
	},
}

type showOptions struct{ session }

func (o *showOptions) run(ctx context.Context, stdio *cli.Stdio, args cli.Args) error {
	what, err := oneWord(args, "NAME")
	if err != nil {
		return err
	}
	job, text, err := splitRun(what)
	if err != nil {
		return err
	}
	return o.ask(ctx, func(ctx context.Context, s cron.Store) error {
		if text == "" {
			return o.showJob(ctx, stdio, s, job)
		}
		id, err := s.Find(ctx, job, text)
		if err != nil {
			return err
		}
		return o.showRun(ctx, stdio, s, id)
	})
}

func (o *showOptions) showRun(ctx context.Context, stdio *cli.Stdio, s cron.Store, id keys.RunID) error {
	r, err := s.RunOf(ctx, id)
	if err != nil {
		return err
	}
	if o.json {
		return stdio.JSON(run(r))
	}
	return printPairs(stdio, pairsOf(r))
}

func (o *showOptions) showJob(ctx context.Context, stdio *cli.Stdio, s cron.Store, job string) error {
	t, err := s.TableOf(ctx, job)
	if err != nil {
		return err
	}
	v := viewOf(t)
	if o.json {
		return stdio.JSON(v.job(&t.Jobs[0]))
	}
	return printPairs(stdio, v.pairs(&t.Jobs[0]))
}

type pair struct{ key, value string }

// printPairs prints what has a value. One of several lines comes as the lines that
// it has, as in a job file.
func printPairs(stdio *cli.Stdio, pairs []pair) error {
	var b strings.Builder
	for _, p := range pairs {
		switch text, err := strconv.Unquote(p.value); {
		case p.value == "":
		case err == nil && strings.Contains(text, "\n"):
			fmt.Fprintf(&b, "%s: |\n", p.key)
			for line := range strings.Lines(text) {
				fmt.Fprintf(&b, "  %s\n", cli.OneLine(strings.TrimSuffix(line, "\n")))
			}
		default:
			fmt.Fprintf(&b, "%s: %s\n", p.key, cli.OneLine(p.value))
		}
	}
	_, err := fmt.Fprint(stdio.Out, b.String())
	return err
}

// pairs are what a job says of itself, in the words of a job file, and then what
// is known of it.
func (v *view) pairs(j *cron.Stored) []pair {
	var list []pair
	add := func(key, value string) { list = append(list, pair{key, value}) }
	for _, line := range jobfile.Diff(nil, &j.Job) {
		key, value, _ := strings.Cut(strings.TrimPrefix(line, "+ "), ": ")
		add(key, value)
	}
	if j.Err != nil {
		add("unreadable", j.Err.Error())
	}
	s, err := j.Schedules()
	if err != nil {
		return list
	}
	add("due", s.Words())
	state, next := v.state(j)
	add("state", state)
	if p := v.Paused; p != nil {
		add("all-paused", fmt.Sprintf("by %s since %s", or(p.By, "somebody"), clock(p.At)))
	}
	if !next.IsZero() {
		for _, tick := range ticks(&j.Job, s, v.now, 3) {
			add("next", both(tick, s.Zone()))
		}
	}
	for _, l := range v.live[j.Name] {
		add("live", fmt.Sprintf("%s %s", l.ID, livePhrase(l)))
	}
	l := v.Lasts[j.Name]
	if l.ID != "" {
		add("last", lastPhrase(j.Name, l))
		add("last-ok", clock(l.OK))
		if l.Failures > 0 {
			add("failures", fmt.Sprintf("%d since then", l.Failures))
		}
		add("runs", fmt.Sprint(l.Runs))
	}
	if r := l.Reckoned; r != nil {
		add(string(cron.Missed), stretchPhrase(r.Missed))
		add(string(cron.Unplaced), stretchPhrase(r.Unplaced))
	}
	add("updated", clock(j.Updated))
	add("by", j.By)
	return list
}

// stretchPhrase is how many ticks were not run.
func stretchPhrase(s cron.Stretch) string {
	switch {
	case s.Total == 0:
		return ""
	case s.Count == 1:
		return fmt.Sprintf("%d, the latest at %s", s.Total, clock(s.To))
	}
	return fmt.Sprintf("%d, the latest %d from %s to %s", s.Total, s.Count, clock(s.From), clock(s.To))
}

// livePhrase is what a run does now.
func livePhrase(l *liveJSON) string {
	text := l.State
	if l.State == string(cron.Adrift) {
		text = "? (claimed, no result, and its runner is gone)"
	}
	if l.Host != "" {
		text += " on " + l.Host
	}
	if l.Since != nil {
		text += " since " + clock(*l.Since)
	}
	if l.RetryAt != nil {
		text += ", again at " + clock(*l.RetryAt)
	}
	if l.By != "" {
		text += ", asked for by " + l.By
	}
	return text
}

func lastPhrase(job string, l cron.Last) string {
	text := fmt.Sprintf("%s/%s %s", job, l.ID, l.State)
	if l.Exit != nil && *l.Exit != 0 {
		text += fmt.Sprintf(", status %d", *l.Exit)
	}
	return text + " at " + clock(l.Ended)
}

// pairsOf is a run in words.
func pairsOf(r *cron.Run) []pair {
	if r.Ticks() {
		return []pair{{"run", r.String()}, {"state", string(r.State)}, {"cause", r.Cause}, {"tick", clock(r.Tick)}, {"until", clock(r.Until)},
			{"count", fmt.Sprint(r.Count)}, {"written", clock(r.Ended)}, {"node", r.Node}}
	}
	list := []pair{
		{"run", r.String()}, {"state", string(r.State)}, {"cause", r.Cause}, {"exit", number(r.Exit)}, {"signal", r.Signal},
		{"tick", clock(r.Tick)}, {"attempt", fmt.Sprint(r.Attempt)}, {"host", r.Host}, {"node", r.Node}, {"by", r.By},
		{"claimed", clock(r.Claimed)}, {"began", clock(r.Began)}, {"ended", clock(r.Ended)}, {"retry-at", clock(r.RetryAt)},
	}
	if d, ok := took(r); ok {
		list = append(list, pair{"took", d.Round(time.Millisecond).String()})
	}
	if r.User+r.System > 0 {
		list = append(list, pair{"cpu", fmt.Sprintf("%.3gs user, %.3gs system", r.User, r.System)})
	}
	if r.Skipped > 0 {
		list = append(list, pair{"skipped", fmt.Sprint(r.Skipped)})
	}
	if r.Bytes > 0 {
		list = append(list, pair{"output", fmt.Sprintf("%d bytes", r.Bytes)}, pair{"log", r.LogFile()})
	}
	return append(list, pair{"trace", r.Trace})
}
