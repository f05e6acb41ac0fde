// Promises puts conch's promises to the test: contenders for a few turns over a
// cluster of three etcd members, and a seeded sequence of faults, each healed
// again. Every process that runs under a turn, daemons that ignore TERM
// included, writes down on one clock when it was alive. From that the judge
// tells whether two ever overlapped, whether anything survived its supervisor,
// whether tokens rise, how long a turn stood empty, and whether anybody is
// stuck.
//
// As root every host is a network namespace of its own, with a bridge between
// them, and the whole runs in a pid namespace, so that nothing is left behind
// however it ends. Without root the hosts are processes whose roads to etcd can
// be cut; members of the cluster can then be killed and stopped, but not
// partitioned.
//
// It does not prove anything: it would have to be lucky to meet the one
// interleaving that is wrong. proof/model goes through them all.
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"conch/pkg/cli"
)

// config is what a run is made of.
type config struct {
	bin        string        // where the tools are
	offices    int           // turns that are contended for, at the same time
	contenders int           // for each
	max        int           // slots: 1 is conch-elect
	ttl        time.Duration // of every hold
	seed       uint64
	length     time.Duration  // faults are struck for this long, ...
	strikes    int            // ... or this many times for each office, if not 0
	only       *regexp.Regexp // faults whose names match this; nil: all
	rootless   bool
	patience   time.Duration // with what must come, before it is said not to
	soonest    time.Duration // within which a turn passes on when etcd is well and hears of its end
	verbose    bool
	markdown   bool // print the table of docs/promises.md, too
	keep       bool // what was written, ...
	discard    bool // ... or not even when a promise was broken
}

const (
	killAfter = 500 * time.Millisecond
	lockDelay = time.Second // conch's default
)

// soonest is far more than a hand-over takes, and less than any timeout of conch's
// or etcd's.
const soonest = time.Second

func main() { cli.Main(tool, insideTool, beatTool) }

var tool = cli.Tool{
	Name:  "promises",
	Brief: "strike contenders and their etcd with faults, and count what should not be",
	Usage: []string{"[FLAGS]"},
	Setup: setup(false),
}

var beatTool = cli.Tool{
	Name:  beatName,
	Brief: "say when one is alive; what runs under the turns",
	Setup: func(f *cli.Flags) cli.Run {
		b := &beat{}
		f.Bool(&b.stubborn, cli.Row{Name: "stubborn", Env: cli.NoEnv, Help: "ignore TERM"})
		f.Bool(&b.daemon, cli.Row{Name: "daemon", Env: cli.NoEnv, Help: "be a daemon"})
		f.Bool(&b.orphan, cli.Row{Name: "orphan", Env: cli.NoEnv, Help: "leave a daemon and exit"})
		return b.run
	},
}

// setup declares the flags, of the program as it was started or inside.
func setup(isInside bool) func(*cli.Flags) cli.Run {
	return func(f *cli.Flags) cli.Run {
		c := &config{patience: time.Minute, soonest: soonest}
		var seeds int
		f.String(&c.bin, cli.Row{Name: "bin", Arg: "DIR", Default: "bin", Env: cli.NoEnv, Help: "where the tools are"})
		f.Int(&seeds, cli.Row{Name: "seeds", Default: "1", Env: cli.NoEnv, Help: "how many runs, each with the next seed"})
		f.Uint64(&c.seed, cli.Row{Name: "seed", Default: "1", Env: cli.NoEnv, Help: "of the first run"})
		f.Duration(&c.length, cli.Row{Name: "for", Default: "90s", Env: cli.NoEnv, Help: "length of each run"})
		f.Int(&c.offices, cli.Row{Name: "offices", Default: "3", Env: cli.NoEnv, Help: "turns that are contended for at the same time"})
		f.Int(&c.contenders, cli.Row{Name: "contenders", Default: "5", Env: cli.NoEnv, Help: "contenders for each turn"})
		f.Int(&c.max, cli.Row{Name: "max", Default: "1", Env: cli.NoEnv, Help: "slots of each turn; more than 1 puts conch-sema to the test"})
		f.Duration(&c.ttl, cli.Row{Name: "ttl", Default: "3s", Env: cli.NoEnv, Help: "TTL of each hold"})
		f.Func(func(text string) (err error) { c.only, err = regexp.Compile(text); return err },
			cli.Row{Name: "only", Arg: "REGEXP", Env: cli.NoEnv, Help: "only faults whose names match"})
		f.Bool(&c.rootless, cli.Row{Name: "rootless", Env: cli.NoEnv, Help: "without namespaces, as for an ordinary user"})
		f.Bool(&c.keep, cli.Row{Name: "keep", Env: cli.NoEnv, Help: "keep what was said and written, also when all is well"})
		f.Bool(&c.markdown, cli.Row{Name: "markdown", Env: cli.NoEnv, Help: "print the table once more as docs/promises.md has it"})
		f.Bool(&c.verbose, cli.Row{Name: "verbose", Short: "v", Env: cli.NoEnv, Help: "a line for each fault"})
		return func(ctx context.Context, stdio *cli.Stdio, _ cli.Args) error {
			c.rootless = c.rootless || os.Getuid() != 0
			if !c.rootless && !isInside {
				return goInside()
			}
			return c.promises(ctx, stdio, seeds)
		}
	}
}

// promises makes the runs and prints what came of them all.
func (c config) promises(ctx context.Context, stdio *cli.Stdio, seeds int) error {
	if c.rootless {
		fmt.Fprintln(stdio.Out, "NOT IN NAMESPACES: no member of etcd is partitioned (run as root for that)")
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	all, runs := newReport(), 0
	var err error
	for ; runs < seeds; runs++ {
		var r *report
		if r, err = run(ctx, c); err != nil {
			err = fmt.Errorf("seed %d: %w", c.seed, err)
			break
		}
		fmt.Fprintf(stdio.Out, "seed %d: %s\n", c.seed, r.summary())
		r.printTrouble(stdio.Out)
		all.add(r)
		c.seed++
	}
	fmt.Fprintln(stdio.Out)
	all.print(stdio.Out)
	if c.markdown {
		fmt.Fprintln(stdio.Out)
		all.markdown(stdio.Out, runs, c.ttl)
	}
	if err == nil && !all.kept() {
		err = errors.New("promises were broken")
	}
	return err
}

// run is one run with one seed.
func run(ctx context.Context, c config) (r *report, err error) {
	dir, err := os.MkdirTemp("", "conch-promises-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if c.keep || r != nil && !r.kept() && !c.discard {
			fmt.Println("what the contenders said and wrote down is in", dir)
			return
		}
		os.RemoveAll(dir)
	}()
	bin, err := filepath.Abs(c.bin)
	if err != nil {
		return nil, err
	}
	c.bin = bin
	w, err := newWorld(c)
	if err != nil {
		return nil, err
	}
	defer w.close()
	e, err := newExperiment(c, w, dir)
	if err != nil {
		return nil, err
	}
	defer e.close()
	return e.run(ctx)
}

// random returns a source of its own for each part of a run, so that what one
// part draws does not depend on how fast another is.
func random(seed uint64, part string) *rand.Rand {
	var h uint64 = 14695981039346656037 // FNV-1a
	for _, b := range []byte(part) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return rand.New(rand.NewPCG(seed, h))
}

// between draws a duration.
func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)+1))
}

func (c config) selects(f *fault) bool { return c.only == nil || c.only.MatchString(f.name) }
