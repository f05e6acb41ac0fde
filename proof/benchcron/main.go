// Command benchcron measures what conch's cron costs: entries in Raft's log, the
// time that a crowd takes which is due at one instant, what a hundred thousand
// jobs weigh, and how late a tick is. It holds them to their bounds: make
// bench-cron.
//
// Times on a shared machine say little by themselves: where there is a peer, it
// was measured in the same run. Counts hold in each single run. etcd is a real
// one on this machine, as it is shipped: what it has answered is on the disk.
// The runners are processes of the real binary, but for what is said to be
// "through the ledger": there the claims and the results are written, and
// nothing is run in between, as with the peers. Thousands of processes on a few
// cores would measure fork. For the same reason a crowd is also given a command
// that is not there: the runners do all they do, but start nothing.
package main

import (
	"context"
	"slices"
	"time"

	"conch/pkg/cli"
	"conch/proof/report"
)

func main() { cli.Main(tool) }

var tool = cli.Tool{
	Name:  "benchcron",
	Brief: "measure conch's cron beside its peers",
	Usage: []string{"[FLAGS]"},
	Setup: setup,
}

// options of a run.
type options struct {
	bin      string
	only     []string
	crowd    int
	burst    int
	loaded   int
	rate     int
	watchFor time.Duration
	idleFor  time.Duration
	lead     time.Duration // from when jobs are put to when they are due
	counts   []int         // of runners
}

func setup(f *cli.Flags) cli.Run {
	o := &options{lead: 10 * time.Second, counts: []int{1, 3, 10}}
	f.String(&o.bin, cli.Row{Name: "bin", Arg: "DIR", Default: "bin", Env: cli.NoEnv, Help: "where conch-cronrunner is"})
	f.Strings(&o.only, cli.Row{Name: "only", Env: cli.NoEnv, Help: "of entries, burst, load, lateness"})
	f.Int(&o.crowd, cli.Row{Name: "crowd", Default: "1000", Env: cli.NoEnv, Help: "jobs due together, for entries and where something is run"})
	f.Int(&o.burst, cli.Row{Name: "burst", Default: "5000", Env: cli.NoEnv, Help: "jobs due together, for burst"})
	f.Int(&o.loaded, cli.Row{Name: "loaded", Default: "100000", Env: cli.NoEnv, Help: "jobs, for load"})
	f.Int(&o.rate, cli.Row{Name: "rate", Default: "100", Env: cli.NoEnv, Help: "jobs a second, for lateness"})
	f.Duration(&o.watchFor, cli.Row{Name: "watch", Default: "30s", Env: cli.NoEnv, Help: "how long ticks are watched"})
	f.Duration(&o.idleFor, cli.Row{Name: "idle", Default: "60s", Env: cli.NoEnv, Help: "how long an idle runner is watched"})
	return o.run
}

// run prints the table; a bound that is broken is an error.
func (o *options) run(ctx context.Context, stdio *cli.Stdio, _ cli.Args) error {
	all, err := o.measure(ctx)
	if err != nil {
		return cli.Errorf(cli.Failed, "%w", err)
	}
	if err := all.Print(stdio.Out); err != nil {
		return err
	}
	return all.Check()
}

// figure is one thing that is measured, which gives several rows, in an etcd of
// its own.
type figure struct {
	name    string
	members int // of etcd
	measure func(*world, context.Context) (report.Table, error)
}

var figures = []figure{
	{"entries", 1, (*world).entries},
	{"burst", 3, (*world).burstOf},
	{"load", 1, (*world).load},
	{"lateness", 1, (*world).lateness},
}

// measure measures all that is wanted.
func (o *options) measure(ctx context.Context) (report.Table, error) {
	takePrecedence()
	var all report.Table
	for _, f := range figures {
		if len(o.only) > 0 && !slices.Contains(o.only, f.name) {
			continue
		}
		rows, err := f.in(ctx, o)
		if err != nil {
			return nil, cli.Errorf(cli.Failed, "%s: %w", f.name, err)
		}
		all = append(all, rows...)
	}
	return all, nil
}

func (f figure) in(ctx context.Context, o *options) (report.Table, error) {
	w, err := newWorld(o, f.members)
	if err != nil {
		return nil, err
	}
	defer w.close()
	return f.measure(w, ctx)
}
