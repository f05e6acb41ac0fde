package runner

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
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
	strikes []strike
	rand    *rand.Rand
}

// strike is when a fault lasted, and whom it struck; "": etcd, and so everybody.
type strike struct {
	host     string
	from, to time.Time
}

func newCluster(t *testing.T) *cluster {
	members, err := etcdtest.StartCluster(3, etcdtest.Options{PeerRoads: true})
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
		s.Host, s.Slots = host(i), 64
		s.Spool, s.Clock, s.CheckDate = c.path("spool"+strconv.Itoa(i)), c.path(clockOf(i)), true
	})
}

func host(i int) string { return "runner" + strconv.Itoa(i) }

// set sets the clock of runner i.
func (c *cluster) set(i int, ahead time.Duration) { c.setClock(clockOf(i), ahead) }

func clockOf(i int) string { return "clock" + strconv.Itoa(i) }

// strike strikes with a fault that is called so, and returns healed.
func (c *cluster) strike(name string) {
	i := c.rand.IntN(3)
	s := strike{host: host(i), from: time.Now()}
	if strings.HasPrefix(name, "leader") {
		s.host = ""
	}
	c.faults(i)[name]()
	s.to = time.Now()
	c.strikes = append(c.strikes, s)
}

// faults are what TestFaults strikes with; each returns healed. One of runners
// strikes the i'th, so that another is well all the time.
func (c *cluster) faults(i int) map[string]func() {
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
		"leader cut off from its peers": func() { // and not from the runners, which it goes on to answer
			m := c.leader()
			if err := m.Isolate(c.Context()); err != nil {
				c.Error(err)
			}
			wait(2*time.Second, 5*time.Second)
			if err := m.Rejoin(); err != nil {
				c.Error(err)
			}
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

func (c *cluster) leaderIndex() int {
	i, err := etcdtest.Leader(c.Context(), c.members)
	if err != nil {
		c.Fatal(err)
	}
	return i
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
		all := sortedKeys(c.faults(0))
		for _, i := range c.rand.Perm(len(all)) {
			name := all[i]
			if strings.HasPrefix(name, "leader stopped") && !verifies(t, c.members[0]) {
				continue // an etcd whose reads do not verify is not to be paused
			}
			c.strike(name)
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
// final, and says which has none, and which has one that no fault explains.
func (c *cluster) judgeTicks(job string, from, to time.Time) {
	c.Helper()
	states := map[cron.State]int{}
	var missing []string
	have := map[int64]*cron.Run{}
	c.wait("every tick of "+job, func() bool {
		for _, r := range c.runs(job) {
			have[r.Tick.Unix()] = r
		}
		clear(states)
		missing = nil
		for t := max(from.Unix(), to.Unix()-cron.MaxKeep+50); t < to.Unix(); t++ {
			s := cron.State("missing")
			if r := have[t]; r != nil {
				s = r.State
			}
			if s == "missing" || !s.Final() {
				missing = append(missing, time.Unix(t, 0).UTC().Format("15:04:05 ")+string(s))
			}
			states[s]++
		}
		return len(missing) == 0 || time.Since(to) > 30*time.Second
	})
	c.Logf("%s: %v", job, states)
	if len(missing) > 0 {
		c.Errorf("%s: ticks without a run that is over: %v", job, missing)
	}
	for _, r := range have {
		if !r.State.Well() && !c.explained(r) {
			c.Errorf("%s on %s is %s, without a fault there: %s", r.RunID, r.Host, r.State, r.Cause)
		}
	}
	// Of what takes milliseconds one strike can hardly catch two.
	if n := states[cron.Lost] + states[cron.Unknown]; n > len(c.strikes) {
		c.Errorf("%s: %d runs came to nothing in %d strikes", job, n, len(c.strikes))
	}
}

// explained reports whether a fault can have ended a run in that way: it struck
// the run's runner, or etcd, not long before the tick or just after it.
func (c *cluster) explained(r *cron.Run) bool {
	if r.State != cron.Lost && r.State != cron.Unknown {
		return !r.State.Final() // which is said elsewhere
	}
	return slices.ContainsFunc(c.strikes, func(s strike) bool {
		return (s.host == "" || s.host == r.Host) && s.from.Before(r.Tick.Add(5*time.Second)) && s.to.After(r.Tick.Add(-10*time.Second))
	})
}

// judgeStarts: no attempt of any run was started twice, and a later attempt has
// a greater token. A run that ended well was started, in its last attempt.
func (c *cluster) judgeStarts() {
	var ok []*cron.Run // first: what has ended has noted its start
	for _, j := range faultJobs {
		ok = append(ok, slices.DeleteFunc(c.runs(j.Name), func(r *cron.Run) bool { return r.State != cron.OK })...)
	}
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
	for _, r := range ok {
		if attempt := fmt.Sprintf("%s attempt %d", r.RunID, r.Attempt); !seen[attempt] {
			c.Errorf("%s is recorded as ok, and was not started", attempt)
		}
	}
	c.Logf("%d starts, %d runs that ended well", len(seen), len(ok))
}
