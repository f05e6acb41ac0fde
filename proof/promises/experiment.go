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
	deck    []*fault // those that strike contenders

	// A fault of etcd has the cluster to itself; the others share it.
	cluster sync.RWMutex

	mu     sync.Mutex
	aside  []*office // see aside.go
	blows  []blow
	stuck  []string
	left   []leftover // by what was killed aside
	broken error      // of the experiment itself

	stalls []stall // known when all is over
}

// office is one turn that is contended for.
type office struct {
	name         string
	kind         string // of key: elect, sema
	ttl          time.Duration
	lockDelayTTL bool
	spread       bool // each contender has a label of its own
	ledger       string
	contenders   []*contender
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
	for i := range contenderFaults {
		if f := &contenderFaults[i]; e.selects(f) {
			e.deck = append(e.deck, f)
		}
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
// it waits for the whole TTL of a holder that was lost. Every other semaphore is
// spread, so that there is a line before its line.
func (e *experiment) newOffice(i int) *office {
	o := &office{name: "office" + strconv.Itoa(i), kind: "elect", ttl: e.ttl, lockDelayTTL: i%3 == 2, ledger: filepath.Join(e.dir, "ledger")}
	if e.max > 1 {
		o.kind, o.spread = "sema", i%2 == 1
	}
	draw := random(e.seed, o.name+" contenders")
	for j := range e.contenders {
		c := &contender{name: fmt.Sprintf("c%d.%d", i, j), host: e.world.host(i*e.contenders + j)}
		e.equip(c, o, draw)
		o.contenders = append(o.contenders, c)
	}
	return o
}

// equip gives a contender for an office its command line, partly drawn.
func (e *experiment) equip(c *contender, o *office, draw *rand.Rand) {
	c.log = filepath.Join(e.dir, "log-"+c.name)
	c.done = make(chan struct{})
	// As root a third of the commands run in a pid namespace.
	c.contained = draw.IntN(3) == 0 && os.Getuid() == 0 && !c.holds
	tool := []string{filepath.Join(e.bin, "conch-elect")}
	if e.max > 1 {
		tool = []string{filepath.Join(e.bin, "conch-sema"), "--max", strconv.Itoa(e.max)}
	}
	tool = append(tool, "--ttl", o.ttl.String(), "--kill-after", killAfter.String(), "--status-file", c.log+".json")
	if o.lockDelayTTL {
		tool = append(tool, "--lock-delay", "ttl")
	}
	if c.contained {
		tool = append(tool, "--contain")
	}
	if o.spread {
		tool = append(tool, "--spread-by", c.name)
	}
	tool = append(tool, o.name)
	if c.holds {
		tool = append(tool, "--hold")
	} else {
		tool = append(tool, "--", filepath.Join(e.dir, beatName))
		if draw.IntN(2) == 0 {
			tool = append(tool, "--stubborn")
		}
		tool = append(tool, o.ledger)
	}
	c.argv = tool
	c.env = []string{"PATH=" + os.Getenv("PATH"), "CONCH_PREFIX=" + prefix,
		"CONCH_ENDPOINTS=" + strings.Join(c.host.endpoints(), ","), "GORACE=atexit_sleep_ms=10"}
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
	for i := range e.offices {
		offices.Go(func() { e.strikeOffice(ctx, striking, i) })
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
	return e.judge(ctx)
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
	var all []*contender
	for _, o := range e.offices {
		all = append(all, o.contenders...)
	}
	stop(all)
}

// stop stops contenders, by force those that take too long.
func stop(all []*contender) {
	for _, c := range all {
		c.stop(syscall.SIGTERM)
	}
	end := time.After(10 * time.Second)
	for _, c := range all {
		select {
		case <-c.done:
		case <-end:
			c.stop(syscall.SIGKILL)
			<-c.done
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
