package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"conch/pkg/clock"
	"conch/pkg/cron"
	"conch/pkg/etcd"
	"conch/pkg/guard"
	"conch/pkg/keys"
	"conch/pkg/lease"
	"conch/pkg/plan"
	"conch/pkg/proc"
	"conch/pkg/proc/hear"
)

// Stats are counts since the runner was started; they only grow, but for
// Running, Jobs and Ready.
type Stats struct {
	Jobs, Running, Claims, Skipped, Missed int64
	Notified, Unnotified                   int64 // commands that tell of how a run has ended: those that did, and those that failed
	Results                                map[cron.State]int64
	Lateness                               Histogram // from due to started
	Ready                                  bool
}

// Histogram counts lengths of time, in seconds, up to each of its Bounds.
type Histogram struct {
	Bounds []float64
	Counts []int64 // one more than Bounds: the last has no bound
	Sum    float64
}

var latenessBounds = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}

type stats struct {
	jobs, running, claims, skipped, missed atomic.Int64
	notified, unnotified                   atomic.Int64
	ready, draining                        atomic.Bool

	mu       sync.Mutex
	results  map[cron.State]int64
	lateness []int64
	sum      float64
}

func (s *stats) late(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := 0
	for i < len(latenessBounds) && d.Seconds() > latenessBounds[i] {
		i++
	}
	s.lateness[i]++
	s.sum += d.Seconds()
}

func (s *stats) result(state cron.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.results[state]++
}

// Runner is a daemon that can be asked how it is.
type Runner struct{ d *daemon }

// New returns a runner that has not begun. It refuses settings that cannot
// work.
func New(cfg Config) (*Runner, error) {
	switch {
	case cfg.Slots < 1:
		return nil, fmt.Errorf("slots = %d: a runner without a slot runs nothing", cfg.Slots)
	}
	if _, err := lease.New(cfg.Etcd, cfg.TTL); err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Replay == 0 {
		cfg.Replay = 30 * time.Second
	}
	if cfg.Seam == nil {
		cfg.Seam = func(string) {}
	}
	d := &daemon{cfg: cfg, poked: make(chan struct{}, 1), recheck: make(chan struct{}, 1), more: make(chan struct{}, 8)}
	d.stats.results, d.stats.lateness = map[cron.State]int64{}, make([]int64, len(latenessBounds)+1)
	var err error
	if d.spool, err = openSpool(cfg.Spool); err != nil {
		return nil, err
	}
	if d.logLock, err = lockLogs(cfg.LogDir); err != nil {
		d.spool.close()
		return nil, err
	}
	d.archive = newArchive(&d.cfg, d.unlogged) // not of a directory that another runner uses
	d.trust = plan.Trust{Rev: d.spool.state.Rev, Cluster: d.spool.state.Cluster}
	return &Runner{d}, nil
}

// Stats returns the counts.
func (r *Runner) Stats() Stats {
	s := &r.d.stats
	s.mu.Lock()
	defer s.mu.Unlock()
	all := Stats{Jobs: s.jobs.Load(), Running: s.running.Load(), Claims: s.claims.Load(), Skipped: s.skipped.Load(), Missed: s.missed.Load(),
		Notified: s.notified.Load(), Unnotified: s.unnotified.Load(),
		Results: map[cron.State]int64{}, Ready: r.Why() == "",
		Lateness: Histogram{Bounds: latenessBounds, Counts: append([]int64(nil), s.lateness...), Sum: s.sum}}
	for k, v := range s.results {
		all.Results[k] = v
	}
	return all
}

// Why says why nothing is taken on at present; empty: the runner is ready.
func (r *Runner) Why() string {
	why := r.d.standby()
	switch {
	case r.d.stats.draining.Load():
		return "it was asked to end"
	case why != "":
		return "standing by: " + why
	case !r.d.stats.ready.Load():
		return "not all jobs have been read yet"
	}
	return ""
}

// stuckAfter is how long the loop may take to go round.
const stuckAfter = 30 * time.Second

// Alive reports whether the runner goes on deciding what is to be done; while
// etcd is away there is nothing to be decided.
func (r *Runner) Alive() bool {
	at := r.d.beat.Load()
	return at == 0 || clock.System{}.Now().Sub(clock.Instant(at)) < stuckAfter
}

// gcPercent is by how much the heap may grow between two collections. Very many
// jobs are nearly all that a runner has in memory: at Go's 100 it would take twice
// what it knows, for little to collect.
const gcPercent = 40

// Run runs jobs until ctx ends or a signal comes, and then for as long as Drain
// allows. A lease that is lost is followed by another, and etcd may be away for
// as long as it likes; the error is its refusal, or settings that cannot work
// with it.
func (r *Runner) Run(ctx context.Context) error {
	defer r.d.spool.close()
	defer r.d.logLock.Close()
	ctx, cancel := context.WithCancel(ctx)
	var heard sync.WaitGroup
	defer heard.Wait()
	defer cancel()
	over := make(chan struct{})
	defer close(over)
	heard.Go(func() { r.d.hear(cancel, over) })
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	for {
		err := r.d.serve(ctx)
		r.d.stats.ready.Store(false)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		var refused *etcd.Refused
		var config *etcd.ConfigError
		var short *lease.TooShort
		if errors.As(err, &refused) || errors.As(err, &config) || errors.As(err, &short) {
			return err
		}
		if unfit := r.d.replaced(err); unfit != nil {
			return unfit
		}
		if !errors.Is(err, errLost) {
			r.d.say(Event{Event: "away", Level: Error, Reason: err.Error()})
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil
		}
	}
}

// replaced acts on endpoints that are unfit. Those that a runner began with are a
// mistake, and the error is returned. Where all are of another cluster later, the one
// before was replaced, and nothing runs any more: the runner goes over to it, and
// stands by there; see plan.Trust.
func (d *daemon) replaced(err error) error {
	var other *etcd.OtherCluster
	switch {
	case !errors.As(err, new(*etcd.Unfit)):
		return nil
	case !d.begun || !errors.As(err, &other):
		return err
	}
	d.cfg.Etcd.Adopt(other.Cluster)
	return nil
}

// hear ends the context at the first signal, and passes further ones on: they
// are heard whatever the runner waits for.
func (d *daemon) hear(cancel func(), over <-chan struct{}) {
	var last time.Time
	for {
		var s hear.Signal
		select {
		case s = <-d.cfg.Signals:
		case <-over:
			return
		}
		first := last.IsZero()
		if !asks(s) || !first && s.At.Sub(last) < guard.Insist {
			continue
		}
		last = s.At
		cancel()
		if first {
			continue
		}
		select {
		case d.more <- struct{}{}:
		default: // it has not acted on the last one yet
		}
	}
}

// asks reports whether s asks a runner to end.
func asks(s hear.Signal) bool {
	return hear.Of(syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT).Has(s.Sig) && !proc.Ignored(s.Sig)
}

// daemon is what outlives a session.
type daemon struct {
	cfg     Config
	stats   stats
	spool   *spool
	logLock *os.File // the directory of the archive; nil: it is not locked
	begun   bool     // a session has begun, at some time
	archive *archive
	told    map[string]int64 // of ticks that were missed: see plan.Planner.Told
	unsure  atomic.Int32     // trees that could not be proven dead

	beat   atomic.Int64 // when the loop last went round; 0: there is none
	saying sync.Mutex

	mu      sync.Mutex
	trust   plan.Trust // in etcd
	skew    string     // why the clock is not to be trusted
	lack    lack
	poked   chan struct{} // standby may have changed
	more    chan struct{} // a further signal
	recheck chan struct{} // the clock is to be compared at once
}

// now is the wall clock: without what Go adds to it, for it is compared with
// instants of others, and is set.
func (d *daemon) now() time.Time { return d.cfg.Now().Round(0) }

// say reports a step, one after the other.
func (d *daemon) say(e Event) {
	if d.cfg.Said == nil {
		return
	}
	if e.Event != Output { // whose reader may be slow, and holds up nothing else
		d.saying.Lock()
		defer d.saying.Unlock()
	}
	e.Time = d.now().UTC()
	d.cfg.Said(e)
}

// unlogged says that a run's output, and for the same cause perhaps that of others, is
// not kept whole.
func (d *daemon) unlogged(run keys.RunID, err error) {
	d.say(Event{Event: "unlogged", Level: Warning, Job: run.Job, Run: run.String(), Tick: run.Tick, Reason: "its output is not kept whole: " + err.Error()})
}

// Describe says in a line how the runner is.
func (r *Runner) Describe() string {
	if why := r.Why(); why != "" {
		return why
	}
	s := r.Stats()
	return fmt.Sprintf("%d jobs, %d of %d slots taken, %d runs so far", s.Jobs, s.Running, r.d.cfg.Slots, s.Claims)
}
