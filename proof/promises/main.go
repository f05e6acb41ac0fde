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
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// config is what a run is made of.
type config struct {
	bin        string        // where the tools are
	offices    int           // turns that are contended for, at the same time
	contenders int           // for each
	max        int           // slots: 1 is conch-elect
	ttl        time.Duration // of every hold
	seed       uint64
	length     time.Duration // faults are struck for this long, ...
	strikes    int           // ... or this many times for each office, if not 0
	only       string        // faults whose names contain this
	rootless   bool
	patience   time.Duration // with what must come, before it is said not to
	verbose    bool
	keep       bool // what was written, when a promise was broken
}

const (
	killAfter = 500 * time.Millisecond
	lockDelay = time.Second // conch's default
)

func main() {
	switch filepath.Base(os.Args[0]) {
	case "beat":
		beat(os.Args[1:])
		return
	case inside:
		prepareInside()
	}
	os.Exit(promises())
}

func promises() int {
	c := config{patience: time.Minute, keep: true}
	seeds := flag.Int("seeds", 1, "how many runs, each with the next seed")
	flag.StringVar(&c.bin, "bin", "bin", "directory of the tools")
	flag.IntVar(&c.offices, "offices", 3, "turns that are contended for at the same time")
	flag.IntVar(&c.contenders, "contenders", 5, "contenders for each turn")
	flag.IntVar(&c.max, "max", 1, "slots of each turn; more than 1 puts conch-sema to the test")
	flag.DurationVar(&c.ttl, "ttl", 3*time.Second, "TTL of each hold")
	flag.Uint64Var(&c.seed, "seed", 1, "of the first run")
	flag.DurationVar(&c.length, "for", 90*time.Second, "length of each run")
	flag.StringVar(&c.only, "only", "", "only faults whose names contain this")
	flag.BoolVar(&c.rootless, "rootless", os.Getuid() != 0, "without namespaces")
	flag.BoolVar(&c.verbose, "v", false, "a line for each fault")
	flag.Parse()
	if !c.rootless && filepath.Base(os.Args[0]) != inside {
		return goInside()
	}
	if c.rootless {
		fmt.Println("NOT IN NAMESPACES: no member of etcd is partitioned (run as root for that)")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	all := newReport()
	for range *seeds {
		r, err := run(ctx, c)
		if err != nil {
			fmt.Fprintln(os.Stderr, "promises:", err)
			return 2
		}
		fmt.Printf("seed %d: %s\n", c.seed, r.summary())
		all.add(r)
		c.seed++
	}
	fmt.Println()
	all.print(os.Stdout)
	if !all.kept() {
		return 1
	}
	return 0
}

// run is one run with one seed.
func run(ctx context.Context, c config) (r *report, err error) {
	dir, err := os.MkdirTemp("", "conch-promises-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if c.keep && r != nil && !r.kept() {
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

func selected(only, name string) bool { return only == "" || strings.Contains(name, only) }
