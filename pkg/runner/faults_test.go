package runner

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"conch/pkg/cron"
	"conch/pkg/etcdtest"
)

var (
	faultsFor  = flag.Duration("faults-for", 45*time.Second, "how long TestFaults strikes")
	faultsSeed = flag.Uint64("faults-seed", 0, "of TestFaults; 0: the time")
)

// The jobs of TestFaults. Those that must not overlap hold a lock of the
// kernel's while they run: it is free when all of their processes are dead.
var faultJobs = []cron.Job{
	{Name: "every", Schedule: "@every 1s", Overlap: cron.Allow, Script: note},
	{Name: "seconds", Schedule: "* * * * * *", Overlap: cron.Allow, Script: note},
	{Name: "slow", Schedule: "@every 2s", Script: note + alone("lock", "3")},
	{Name: "retried", Schedule: "@every 3s", Script: note + alone("lock2", "1"), Retry: &cron.Retry{N: 3, Backoff: cron.Duration(time.Second)}},
}

// alone is a script that sleeps under a lock, and writes down that it was taken.
func alone(lock, seconds string) string {
	return `flock -n -E 99 "$WORLD/` + lock + `" sleep ` + seconds + `; s=$?; [ $s != 99 ] || echo "$CONCH_RUN" >>"$WORLD/overlaps"; exit $s`
}

// cluster is three runners, each on a road of its own to each of three members.
type cluster struct {
	*world
	members []*etcdtest.Server
	roads   [][]*etcdtest.Proxy // of each runner
	runners []*process
	rand    *rand.Rand
}

func newCluster(t *testing.T) *cluster {
	members, err := etcdtest.StartCluster(3, etcdtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var endpoints []string
	for _, m := range members {
		t.Cleanup(m.Close)
		endpoints = append(endpoints, m.Endpoint())
	}
	seed := *faultsSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-faults-seed %d", seed)
	c := &cluster{world: worldOn(t, members[0], endpoints...), members: members, rand: rand.New(rand.NewPCG(seed, 0))}
	for i := range 3 {
		var roads []*etcdtest.Proxy
		for _, m := range members {
			roads = append(roads, etcdtest.Road(t, m))
		}
		c.roads = append(c.roads, roads)
		c.runners = append(c.runners, nil)
		c.run(i)
	}
	return c
}

// run starts runner i, for the first time or again.
func (c *cluster) run(i int) {
	c.runners[i] = c.start(func(s *settings) {
		s.Endpoints = nil
		for _, r := range c.roads[i] {
			s.Endpoints = append(s.Endpoints, r.Addr())
		}
		s.Host, s.Slots = "runner"+strconv.Itoa(i), 64
		s.Spool, s.Clock, s.CheckDate = c.path("spool"+strconv.Itoa(i)), c.clock(i), true
	})
}

func (c *cluster) clock(i int) string { return c.path("clock" + strconv.Itoa(i)) }

// faults are what TestFaults strikes with; each returns healed. One of runners
// strikes one, so that another is well all the time.
func (c *cluster) faults() map[string]func() {
	i := c.rand.IntN(3)
	p := c.runners[i]
	wait := func(least, most time.Duration) {
		time.Sleep(least + time.Duration(c.rand.Int64N(int64(most-least))))
	}
	return map[string]func(){
		"runner killed": func() { p.kill(); wait(0, 3*time.Second); c.run(i) },
		"runner stopped, short": func() {
			p.signal(syscall.SIGSTOP)
			wait(500*time.Millisecond, 2*time.Second)
			p.signal(syscall.SIGCONT)
		},
		"runner stopped, long": func() {
			p.signal(syscall.SIGSTOP)
			wait(5*time.Second, 7*time.Second)
			p.signal(syscall.SIGCONT)
			select {
			case <-p.done: // its own timer has killed it, for it had a run
				c.run(i)
			case <-time.After(time.Second):
			}
		},
		"runner cut off, short": func() { c.cut(i, true); wait(500*time.Millisecond, 2*time.Second); c.cut(i, false) },
		"runner cut off, long":  func() { c.cut(i, true); wait(5*time.Second, 8*time.Second); c.cut(i, false) },
		"runner terminated":     func() { p.signal(syscall.SIGTERM); <-p.done; c.run(i) },
		"clock ahead":           func() { c.set(i, 3*time.Second); wait(2*time.Second, 4*time.Second); c.set(i, 0) },
		"clock far ahead":       func() { c.set(i, time.Hour); wait(2*time.Second, 4*time.Second); c.set(i, 0) },
		"clock behind":          func() { c.set(i, -4*time.Second); wait(2*time.Second, 6*time.Second); c.set(i, 0) },
		"clock far behind":      func() { c.set(i, -time.Hour); wait(2*time.Second, 4*time.Second); c.set(i, 0) },
		"leader killed": func() {
			m := c.leader()
			m.Kill()
			wait(time.Second, 3*time.Second)
			if err := m.Restart(); err != nil {
				c.Error(err)
			}
		},
		"leader stopped": func() {
			m := c.leader()
			m.Pause()
			wait(time.Second, 4*time.Second)
			m.Resume()
		},
		"leader cut off from the runners": func() {
			n := c.leaderIndex()
			for _, roads := range c.roads {
				roads[n].Cut()
			}
			wait(2*time.Second, 5*time.Second)
			for _, roads := range c.roads {
				roads[n].Heal()
			}
		},
	}
}

func (c *cluster) cut(i int, cut bool) {
	for _, r := range c.roads[i] {
		if r.Hold(cut, cut); !cut {
			if err := r.Heal(); err != nil {
				c.Error(err)
			}
		}
	}
}

func (c *cluster) set(i int, d time.Duration) {
	if err := writeFile(c.clock(i), []byte(strconv.FormatInt(int64(d), 10))); err != nil {
		c.Error(err)
	}
}

func (c *cluster) leaderIndex() int {
	for {
		for i, m := range c.members {
			if is, err := m.Leads(c.Context()); err == nil && is {
				return i
			}
		}
		if c.Context().Err() != nil {
			c.Fatal("no leader")
		}
	}
}

func (c *cluster) leader() *etcdtest.Server { return c.members[c.leaderIndex()] }

// TestFaults: whatever is struck, each tick is claimed once and started at most
// once, and none is skipped, for there is always a runner that is well, or soon
// is. What must not overlap does not.
func TestFaults(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	for _, p := range c.runners {
		p.ready()
	}
	for _, j := range faultJobs {
		j.Keep = cron.MaxKeep
		c.add(j)
	}
	from := time.Now().Add(2 * time.Second)
	struck := map[string]int{}
	for end := from.Add(*faultsFor); time.Now().Before(end); {
		all := c.faults()
		for _, i := range c.rand.Perm(len(all)) {
			name := sortedKeys(all)[i]
			if strings.HasPrefix(name, "leader stopped") && !verifies(t, c.members[0]) {
				continue // an etcd whose reads do not verify is not to be paused
			}
			c.faults()[name]()
			struck[name]++
			time.Sleep(time.Second)
			if time.Now().After(end) {
				break
			}
		}
	}
	to := time.Now()
	t.Logf("struck: %v", struck)
	c.judgeTicks("every", from, to)
	c.judgeTicks("seconds", from, to)
	c.judgeStarts()
	if b, err := os.ReadFile(c.path("overlaps")); err == nil {
		t.Errorf("these ran beside another: %s", b)
	}
}

// judgeTicks waits until every tick between the two instants has a record that is
// final, and says which has none.
func (c *cluster) judgeTicks(job string, from, to time.Time) {
	c.Helper()
	states := map[cron.State]int{}
	var missing []string
	c.wait("every tick of "+job, func() bool {
		have := map[int64]cron.State{}
		for _, r := range c.runs(job) {
			have[r.Tick.Unix()] = r.State
		}
		clear(states)
		missing = nil
		for t := max(from.Unix(), to.Unix()-cron.MaxKeep+50); t < to.Unix(); t++ {
			s, ok := have[t]
			if !ok || !s.Final() {
				missing = append(missing, time.Unix(t, 0).UTC().Format("15:04:05")+string(s))
			}
			states[s]++
		}
		return len(missing) == 0 || time.Since(to) > 30*time.Second
	})
	c.Logf("%s: %v", job, states)
	if len(missing) > 0 {
		c.Errorf("%s: ticks without a run that is over: %v", job, missing)
	}
}

// judgeStarts: no attempt of any run was started twice, and a later attempt has
// a greater token.
func (c *cluster) judgeStarts() {
	seen := map[string]bool{}
	tokens := map[string]int64{}
	for _, n := range c.starts() {
		attempt := fmt.Sprintf("%s attempt %d", n.run, n.attempt)
		if seen[attempt] {
			c.Errorf("%s was started twice", attempt)
		}
		seen[attempt] = true
		if n.rev <= tokens[n.run] {
			c.Errorf("%s has token %d, after %d", attempt, n.rev, tokens[n.run])
		}
		tokens[n.run] = n.rev
	}
	c.Logf("%d starts", len(seen))
}
