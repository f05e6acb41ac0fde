// Cronsim puts runners' planners through thousands of hours of trouble, on one
// goroutine and without waiting: N of pkg/plan's over a model of etcd and of hosts, and
// a hand that edits. All that happens follows from a seed.
//
// It is no proof: what its hosts cannot do, it does not find. proof/promises strikes
// the real thing.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"conch/pkg/cli"
)

func main() { cli.Main(tool) }

var tool = cli.Tool{
	Name:  "cronsim",
	Brief: "put cron's planners through thousands of hours of trouble, and balance their books",
	Usage: []string{"[FLAGS]"},
	Setup: func(f *cli.Flags) cli.Run {
		c := &config{known: map[string]bool{}}
		f.Uint64(&c.seed, cli.Row{Name: "seed", Default: "1", Env: cli.NoEnv, Help: "of the first world; each has the next one"})
		f.Uint64(&c.worlds, cli.Row{Name: "worlds", Default: "0", Env: cli.NoEnv, Help: "how many; 0: as many as there is time for"})
		f.Duration(&c.length, cli.Row{Name: "for", Default: "10s", Env: cli.NoEnv, Help: "how long, in real time"})
		f.Int(&c.hours, cli.Row{Name: "hours", Default: "6", Env: cli.NoEnv, Help: "how long each world is, in its own time"})
		f.String(&c.script, cli.Row{Name: "script", Arg: "FILE", Env: cli.NoEnv, Help: "run this script, and no seeds"})
		f.Bool(&c.trace, cli.Row{Name: "trace", Env: cli.NoEnv, Help: "say what happens in the script, or in the one world of --seed"})
		f.Bool(&c.whole, cli.Row{Name: "whole", Env: cli.NoEnv, Help: "do not shrink what fails"})
		f.Bool(&c.all, cli.Row{Name: "all", Env: cli.NoEnv, Help: "go on after a failure, and count them by kind"})
		f.Func(func(text string) error {
			for kind := range strings.SplitSeq(text, ",") {
				c.known[kind] = true
			}
			return nil
		}, cli.Row{Name: "known", Arg: "KIND,...", Env: cli.NoEnv, Help: "go on when promises of these kinds are broken"})
		f.Bool(&c.broken, cli.Row{Name: "broken", Env: cli.NoEnv, Help: "put back what once was, one after the other, and say by what it is found"})
		return func(ctx context.Context, stdio *cli.Stdio, _ cli.Args) error { return c.run(ctx, stdio.Out) }
	},
}

// config is what is to be run.
type config struct {
	seed, worlds uint64
	length       time.Duration
	hours        int
	script       string
	trace        bool
	whole        bool
	all          bool
	broken       bool
	known        map[string]bool
}

func (c *config) world(s *script) *world {
	w := newWorld(s, nil)
	w.known = c.known
	return w
}

var errBroken = errors.New("a promise was broken")

func (c *config) run(ctx context.Context, out io.Writer) error {
	if c.broken {
		return printBroken(out)
	}
	if c.script != "" {
		f, err := os.Open(c.script)
		if err != nil {
			return err
		}
		defer f.Close()
		s, err := readScript(f)
		if err != nil {
			return fmt.Errorf("%s: %w", c.script, err)
		}
		return c.one(s, out)
	}
	if c.trace {
		return c.one(generate(c.seed, time.Duration(c.hours)*time.Hour), out)
	}
	return c.many(ctx, out)
}

// one runs one script.
func (c *config) one(s *script, out io.Writer) error {
	w := c.world(s)
	w.trace.on = c.trace
	f := w.run()
	if c.trace {
		fmt.Fprint(out, w.trace)
	}
	if f == nil {
		fmt.Fprintln(out, "all is well")
		return nil
	}
	fmt.Fprintln(out, f)
	return errBroken
}

// failed is a seed whose world broke a promise.
type failed struct {
	script *script
	*failure
}

// many runs one seed after the other on all processors, until the time is over or one
// fails.
func (c *config) many(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, c.length)
	defer cancel()
	var next atomic.Uint64
	var mu sync.Mutex
	var wg sync.WaitGroup
	total, worlds := newCounts(), 0
	var broken []failed
	began := time.Now()
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for ctx.Err() == nil {
				n := next.Add(1) - 1
				if c.worlds != 0 && n >= c.worlds {
					return
				}
				s := generate(c.seed+n, time.Duration(c.hours)*time.Hour)
				w := c.world(s)
				f := w.run()
				mu.Lock()
				total.add(w.counts)
				worlds++
				if f != nil {
					broken = append(broken, failed{s, f})
					if !c.all {
						cancel()
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	hours := float64(worlds) * (time.Duration(c.hours)*time.Hour + quiet).Hours()
	took := time.Since(began)
	fmt.Fprintf(out, "%d worlds, %.0f simulated hours in %v, %.0f a minute; %d events, %d steps of planners; %d attempts, %.2f entries of Raft's for each\n",
		worlds, hours, took.Round(time.Second), hours/took.Minutes(), total.Events, total.Steps, total.Runs, float64(total.Entries)/float64(max(total.Runs, 1)))
	for _, counted := range []struct {
		what string
		of   map[string]int
	}{{"faults", total.Faults}, {"edits", total.Edits}, {"ticks", total.Ticks}} {
		fmt.Fprintf(out, "%s:", counted.what)
		for _, k := range slices.Sorted(maps.Keys(counted.of)) {
			fmt.Fprintf(out, " %s %d", k, counted.of[k])
		}
		fmt.Fprintln(out)
	}
	if len(broken) == 0 {
		return nil
	}
	kinds := map[string][]failed{}
	for _, f := range broken {
		kinds[f.kind] = append(kinds[f.kind], f)
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		first := slices.MinFunc(kinds[kind], func(a, b failed) int { return len(a.script.actions) - len(b.script.actions) })
		var seeds []uint64
		for _, f := range kinds[kind] {
			seeds = append(seeds, f.script.seed)
		}
		slices.Sort(seeds)
		fmt.Fprintf(out, "\n%s: %d times (seeds %v), of which seed %d:\n", kind, len(seeds), seeds[:min(len(seeds), 20)], first.script.seed)
		s, f := first.script, first.failure
		if !c.whole {
			s, f = shrink(s, f, func(s *script) *failure { return c.world(s).run() }, 20*time.Second)
		}
		fmt.Fprintf(out, "# %v\n", f)
		s.write(out)
	}
	return errBroken
}
