package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"conch/pkg/etcd"
)

const prefix = "/promises"

// experiment is one run.
type experiment struct {
	config
	world   world
	noPause bool // nothing is promised where members are stopped
	dir     string
	admin   *clientv3.Client
	offices []*office

	// A fault of etcd has the cluster to itself; the others share it.
	cluster sync.RWMutex

	mu     sync.Mutex
	blows  []blow
	stuck  []string
	broken error // of the experiment itself

	stalls []stall // known when all is over
}

// office is one turn that is contended for.
type office struct {
	name         string
	kind         string // of key: elect, sema
	ttl          time.Duration
	lockDelayTTL bool
	ledger       string
	contenders   []*contender

	// Until then somebody who was killed in line may stand there: nanoseconds of
	// CLOCK_BOOTTIME. Of the goroutine that strikes the office.
	deadWaiter int64
}

func (o *office) dir() string { return prefix + "/" + o.kind + "/" + o.name + "/" }

func newExperiment(c config, w world, dir string) (*experiment, error) {
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := os.Symlink(self, filepath.Join(dir, beatName)); err != nil {
		return nil, err
	}
	e := &experiment{config: c, world: w, dir: dir}
	e.admin, err = clientv3.New(clientv3.Config{Endpoints: endpointsOf(w.members()), DialTimeout: 10 * time.Second,
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: time.Second, Logger: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	if err := e.suit(w.members()[0].Endpoint()); err != nil {
		return nil, err
	}
	for i := range c.offices {
		e.offices = append(e.offices, e.newOffice(i))
	}
	return e, nil
}

// suit makes allowance for an etcd that cannot verify renewals: it wants longer
// leases, and nothing is promised where its processes are paused.
func (e *experiment) suit(endpoint string) error {
	ctx, cancel := context.WithTimeout(context.Background(), e.patience)
	defer cancel()
	st, err := e.admin.Status(ctx, endpoint)
	if err != nil || etcd.ReleaseOf(st.Version).Verifies {
		return err
	}
	e.ttl, e.noPause = max(e.ttl, 6*time.Second), true
	fmt.Printf("etcd %s cannot verify renewals: the TTL is %v, and no member is stopped\n", st.Version, e.ttl)
	return nil
}

// newOffice makes an office and its contenders. Every third office is careful:
// it waits for the whole TTL of a holder that was lost.
func (e *experiment) newOffice(i int) *office {
	o := &office{name: "office" + strconv.Itoa(i), kind: "elect", ttl: e.ttl, lockDelayTTL: i%3 == 2, ledger: filepath.Join(e.dir, "ledger")}
	if e.max > 1 {
		o.kind = "sema"
	}
	draw := random(e.seed, o.name+" contenders")
	for j := range e.contenders {
		o.contenders = append(o.contenders, e.newContender(o, i, j, draw))
	}
	return o
}

func (e *experiment) newContender(o *office, i, j int, draw *rand.Rand) *contender {
	c := &contender{
		name: fmt.Sprintf("c%d.%d", i, j),
		host: e.world.host(i*e.contenders + j),
		log:  filepath.Join(e.dir, fmt.Sprintf("log%d.%d", i, j)),
		done: make(chan struct{}),
		// As root a third of the commands run in a pid namespace.
		contained: draw.IntN(3) == 0 && os.Getuid() == 0,
	}
	tool := []string{filepath.Join(e.bin, "conch-elect")}
	if e.max > 1 {
		tool = []string{filepath.Join(e.bin, "conch-sema"), "--max", strconv.Itoa(e.max)}
	}
	tool = append(tool, "--ttl", e.ttl.String(), "--kill-after", killAfter.String(), "--status-file", c.log+".json")
	if o.lockDelayTTL {
		tool = append(tool, "--lock-delay", "ttl")
	}
	if c.contained {
		tool = append(tool, "--contain")
	}
	tool = append(tool, o.name, "--", filepath.Join(e.dir, beatName))
	if draw.IntN(2) == 0 {
		tool = append(tool, "--stubborn")
	}
	c.argv = append(tool, o.ledger)
	c.env = []string{"PATH=" + os.Getenv("PATH"), "CONCH_PREFIX=" + prefix,
		"CONCH_ENDPOINTS=" + strings.Join(c.host.endpoints(), ","), "GORACE=atexit_sleep_ms=10"}
	return c
}

func (o *office) turns() ([]turn, error) { return readTurns(filepath.Join(o.ledger, o.name)) }

// run lets the contenders contend and strikes them.
func (e *experiment) run(ctx context.Context) (*report, error) {
	for _, o := range e.offices {
		for _, c := range o.contenders {
			go c.contend()
		}
	}
	watching, over := context.WithCancel(ctx)
	defer over()
	var watch sync.WaitGroup
	watch.Go(func() { e.stalls = noteStalls(watching) })
	striking, cancel := context.WithTimeout(ctx, e.length)
	defer cancel()
	var offices, cluster sync.WaitGroup
	for _, o := range e.offices {
		offices.Go(func() { e.strikeOffice(ctx, striking, o) })
	}
	cluster.Go(func() { e.strikeCluster(ctx, striking) })
	offices.Wait()
	cancel()
	cluster.Wait()
	for _, o := range e.offices {
		offices.Go(func() { e.serveAll(ctx, o) })
	}
	offices.Wait()
	e.stopAll()
	over()
	watch.Wait()
	if err := errors.Join(e.broken, ctx.Err()); err != nil {
		return nil, err
	}
	return e.judge()
}

// strikeOffice strikes one office until it is time.
func (e *experiment) strikeOffice(ctx, striking context.Context, o *office) {
	draw := random(e.seed, o.name+" faults")
	for n := 0; striking.Err() == nil && (e.strikes == 0 || n < e.strikes); {
		for _, i := range draw.Perm(len(contenderFaults)) {
			if striking.Err() != nil || (e.strikes > 0 && n >= e.strikes) {
				return
			}
			if f := &contenderFaults[i]; e.selects(f) {
				e.strike(ctx, draw, o, f)
				n++
			}
		}
	}
}

// strikeCluster strikes etcd until it is time, with a while in between for the
// offices' own faults.
func (e *experiment) strikeCluster(ctx, striking context.Context) {
	draw := random(e.seed, "cluster faults")
	for struck := true; struck && striking.Err() == nil; {
		struck = false
		for _, i := range draw.Perm(len(clusterFaults)) {
			f := &clusterFaults[i]
			if !e.selects(f) || f.pauses && e.noPause {
				continue
			}
			struck = true
			select {
			case <-time.After(between(draw, 2*time.Second, 6*time.Second)):
			case <-striking.Done():
				return
			}
			e.strikeAll(ctx, draw, f)
		}
	}
}

// strike waits until an office is in good order, strikes its holder, and notes
// what came of it. No fault of etcd comes in between.
func (e *experiment) strike(ctx context.Context, draw *rand.Rand, o *office, f *fault) {
	if f.soon { // nobody can take a turn while somebody dead is the next in line
		select {
		case <-time.After(time.Duration(o.deadWaiter - boottime())):
		case <-ctx.Done():
		}
	}
	e.cluster.RLock()
	defer e.cluster.RUnlock()
	who, t, sup, err := e.settled(ctx, o)
	if err != nil {
		e.note(ctx, o, "before "+f.name, err)
		return
	}
	b := blow{fault: f, office: o, token: t.token, contained: who.contained, lockDelayTTL: o.lockDelayTTL, struck: boottime()}
	err = f.strike(&scene{ctx: ctx, e: e, rand: draw, office: o, who: who, turn: t, pid: sup.pid, blow: &b})
	b.healed = boottime()
	if errors.Is(err, errNoSentinel) { // the turn ended by itself just then
		return
	}
	e.finish(ctx, b, err)
}

// strikeAll does the same to etcd.
func (e *experiment) strikeAll(ctx context.Context, draw *rand.Rand, f *fault) {
	e.cluster.Lock()
	defer e.cluster.Unlock()
	before := map[*office]int64{}
	for _, o := range e.offices {
		if _, t, _, err := e.settled(ctx, o); err == nil {
			before[o] = t.token
		}
	}
	b := blow{fault: f, struck: boottime()}
	err := f.strike(&scene{ctx: ctx, e: e, rand: draw, blow: &b})
	if errors.Is(err, errNoPartition) {
		return
	}
	b.healed = boottime()
	for _, o := range e.offices { // one blow for each office, for the table
		b.office, b.token = o, before[o]
		e.finish(ctx, b, err)
	}
}

// finish notes a blow and whether the turn that was struck is still there.
func (e *experiment) finish(ctx context.Context, b blow, err error) {
	var now turn
	serr := until(ctx, e.patience, func() (err error) {
		_, now, _, err = e.settled(ctx, b.office)
		if err == nil && b.fault.ends && now.token == b.token && boottime() < b.healed+int64(10*time.Second) {
			err = errors.New("the turn is slow to end")
		}
		return err
	})
	if serr != nil {
		e.note(ctx, b.office, "after "+b.fault.name, serr)
	}
	b.kept = serr == nil && now.token == b.token
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil && ctx.Err() == nil {
		e.broken = errors.Join(e.broken, fmt.Errorf("%s: %w", b.fault.name, err))
	}
	e.blows = append(e.blows, b)
	if e.verbose {
		fmt.Printf("%s: %-30s %v, kept: %v\n", b.office.name, b.fault.name, time.Duration(b.healed-b.struck).Round(time.Millisecond), b.kept)
	}
}

// note notes that an office did not come to order.
func (e *experiment) note(ctx context.Context, o *office, when string, err error) {
	if ctx.Err() != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stuck = append(e.stuck, fmt.Sprintf("%s %s: %v", o.name, when, err))
}

// settled waits until every slot of an office is held, commands and daemons are at
// work, and somebody waits, all this for longer than it takes to end somebody
// and to notice that he is not at work any more. It returns the newest holder.
func (e *experiment) settled(ctx context.Context, o *office) (*contender, turn, supervisor, error) {
	var who *contender
	var t turn
	var sup supervisor
	var since time.Time
	err := until(ctx, e.patience, func() error {
		before := t.token
		var err error
		if who, t, sup, err = o.holder(e.max); err != nil {
			return err
		}
		if t.token != before {
			since = time.Now()
		}
		if time.Since(since) < killAfter+2*lately {
			return errors.New("the holder is new")
		}
		ask, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		line, err := e.admin.Get(ask, o.dir(), clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err == nil && line.Count < int64(min(e.max+1, e.contenders)) {
			err = errors.New("nobody waits in line")
		}
		return err
	})
	return who, t, sup, err
}

// holder returns the newest turn that is at work, and whose it is, if at least so
// many are.
func (o *office) holder(slots int) (who *contender, newest turn, sup supervisor, _ error) {
	turns, err := o.turns()
	if err != nil {
		return nil, turn{}, supervisor{}, err
	}
	n := 0
	for _, t := range slices.Backward(turns) {
		if !t.alive(roleCommand) || !t.alive(roleDaemon) {
			continue
		}
		for _, c := range o.contenders {
			if s, ok := c.running(t.run); ok {
				if n++; n == 1 {
					who, newest, sup = c, t, s
				}
			}
		}
	}
	if n < slots {
		err = fmt.Errorf("%d of %d are at work", n, slots)
	}
	return who, newest, sup, err
}

// serveAll shows that nobody is stuck: each contender has one more turn.
func (e *experiment) serveAll(ctx context.Context, o *office) {
	served := map[*contender]bool{}
	for len(served) < len(o.contenders) && ctx.Err() == nil {
		var who *contender
		err := until(ctx, e.patience, func() (err error) {
			if who, _, _, err = o.holder(1); err == nil && served[who] {
				err = fmt.Errorf("%s is still at work", who.name)
			}
			return err
		})
		if err != nil {
			e.note(ctx, o, fmt.Sprintf("%d of %d contenders had another turn", len(served), len(o.contenders)), err)
			return
		}
		served[who] = true
		who.stop(syscall.SIGTERM)
	}
}

// stopAll stops what is left.
func (e *experiment) stopAll() {
	for _, o := range e.offices {
		for _, c := range o.contenders {
			c.stop(syscall.SIGTERM)
		}
	}
	end := time.After(10 * time.Second)
	for _, o := range e.offices {
		for _, c := range o.contenders {
			select {
			case <-c.done:
			case <-end:
				c.stop(syscall.SIGKILL)
				<-c.done
			}
		}
	}
}

func (e *experiment) close() {
	e.stopAll()
	e.admin.Close()
}

// until tries until that succeeds.
func until(ctx context.Context, d time.Duration, try func() error) error {
	deadline := time.Now().Add(d)
	for {
		err := try()
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}
