// Command bench measures what conch costs, beside etcdctl lock, flock and a bare
// client, and holds it to its bounds: make bench.
//
// Times on a shared machine say little by themselves, so every figure is a
// ratio to something that was measured in the same run, in turns, and times are
// medians. A figure that is a count holds in each single run. etcd is a real one
// on this machine, as it is shipped: what it has answered is on the disk.
package main

import (
	"context"
	"time"

	"conch/pkg/cli"
	"conch/proof/report"
)

func main() { cli.Main(tool) }

var tool = cli.Tool{
	Name:  "bench",
	Brief: "measure conch beside its peers",
	Usage: []string{"[FLAGS]"},
	Setup: setup,
}

// options of a run.
type options struct {
	bin     string
	etcdctl string
	pairs   int
	kills   int
	idleFor time.Duration
	only    []string
}

func setup(f *cli.Flags) cli.Run {
	o := &options{pairs: 100}
	f.String(&o.bin, cli.Row{Name: "bin", Arg: "DIR", Env: cli.NoEnv, Help: "where conch-elect, bare and stamp are"})
	f.String(&o.etcdctl, cli.Row{Name: "etcdctl", Arg: "FILE", Env: cli.NoEnv, Help: "the etcdctl to compare with"})
	f.Int(&o.pairs, cli.Row{Name: "pairs", Env: cli.NoEnv, Help: "how often a whole process is measured"})
	f.Int(&o.kills, cli.Row{Name: "kills", Default: "200", Env: cli.NoEnv, Help: "how often somebody is killed in each way"})
	f.Duration(&o.idleFor, cli.Row{Name: "idle", Default: "60s", Env: cli.NoEnv, Help: "how long an idle hold is watched"})
	f.Strings(&o.only, cli.Row{Name: "only", Env: cli.NoEnv, Help: "of start, trips, handover, rate, takeover, deaths, idle"})
	return o.run
}

// run prints the table; a bound that is broken is an error.
func (o *options) run(ctx context.Context, stdio *cli.Stdio, _ cli.Args) error {
	w, err := newWorld(o)
	if err != nil {
		return err
	}
	defer w.close()
	var all report.Table
	for _, f := range w.figures() {
		if !o.wants(f.name) {
			continue
		}
		rows, err := f.measure(ctx)
		if err != nil {
			return cli.Errorf(cli.Failed, "%s: %w", f.name, err)
		}
		all = append(all, rows...)
	}
	if err := all.Print(stdio.Out); err != nil {
		return err
	}
	return all.Check()
}

// figure is one thing that is measured, which may give several rows.
type figure struct {
	name    string
	measure func(context.Context) (report.Table, error)
}

func (w *world) figures() []figure {
	return []figure{
		{"start", w.start}, {"trips", w.trips}, {"handover", w.handOver}, {"rate", w.rate}, {"takeover", w.takeOver}, {"deaths", w.deaths}, {"idle", w.idle},
	}
}
