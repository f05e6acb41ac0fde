package runner

import (
	"context"
	"flag"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"conch/pkg/etcdtest"
)

var (
	faultsFor  = flag.Duration("faults-for", 45*time.Second, "how long TestFaults strikes")
	faultsSeed = flag.Uint64("faults-seed", 0, "of TestFaults; 0: the time")
)

// cluster is three runners, each on a road of its own to each of three members.
type cluster struct {
	*world
	members []*etcdtest.Server
	roads   [][]*etcdtest.Proxy // of each runner
	runners []*process
	all     []*process // those that were killed, too
	strikes []strike
	seed    uint64
	rand    *rand.Rand
}

// strike is when a fault lasted, and whom it struck; "": etcd, and so everybody.
type strike struct {
	name     string
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
	c := &cluster{world: worldOn(t, members[0], endpoints...), members: members, seed: seed, rand: rand.New(rand.NewPCG(seed, 0))}
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
	c.all = append(c.all, c.runners[i])
}

func host(i int) string { return "runner" + strconv.Itoa(i) }

// set sets the clock of runner i.
func (c *cluster) set(i int, ahead time.Duration) { c.setClock(clockOf(i), ahead) }

func clockOf(i int) string { return "clock" + strconv.Itoa(i) }

// strike strikes with a fault that is called so, and returns healed.
func (c *cluster) strike(name string) {
	i := c.rand.IntN(3)
	s := strike{name: name, host: host(i), from: time.Now()}
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
		"leader killed, and another": func() { // nobody can write anything meanwhile, and leases may end
			n := c.leaderIndex()
			two := []*etcdtest.Server{c.members[n], c.members[(n+1)%len(c.members)]}
			for _, m := range two {
				m.Kill()
			}
			wait(4*time.Second, 8*time.Second)
			for _, m := range two {
				if err := m.Restart(); err != nil {
					c.Error(err)
				}
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

// TestFaults: whatever is struck, and whatever a hand does to the jobs meanwhile, each
// tick is accounted for: etcd's own history says what became of it. See books.
func TestFaults(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	heard := c.record()
	for _, p := range c.runners {
		p.ready()
	}
	h := newHand(c, c.seed)
	h.begin()
	ctx, stop := context.WithCancel(t.Context())
	worked := make(chan struct{})
	go func() { h.work(ctx); close(worked) }()
	end := time.Now().Add(2*time.Second + *faultsFor)
	for time.Now().Before(end) {
		all := sortedKeys(c.faults(0))
		for _, i := range c.rand.Perm(len(all)) {
			if all[i] == "leader stopped" && !verifies(t, c.members[0]) {
				continue // an etcd whose reads do not verify is not to be paused
			}
			c.strike(all[i])
			time.Sleep(time.Second)
			if time.Now().After(end) {
				break
			}
		}
	}
	stop()
	<-worked
	h.end()
	c.settled()
	struck, done := map[string]int{}, map[string]int{}
	for _, s := range c.strikes {
		struck[s.name]++
	}
	for _, d := range h.deeds {
		done[d.what]++
	}
	t.Logf("struck: %d, %v", len(c.strikes), struck)
	t.Logf("by hand: %d, %v", len(h.deeds), done)
	b := read(c, c.history(heard))
	b.deeds = h.deeds
	b.hears(c.events())
	b.judge()
	if b, err := os.ReadFile(c.path("overlaps")); err == nil {
		t.Errorf("these ran beside another: %s", b)
	}
}

// settled waits until nothing is in progress, asked for or about to be removed.
func (c *cluster) settled() {
	c.Helper()
	t, err := c.store.Table(c.Context())
	if err != nil {
		c.Fatal(err)
	}
	last := time.Duration(0)
	for _, j := range t.Jobs {
		last = max(last, splayOf(&j.Job))
	}
	time.Sleep(last + well) // what is due, or in its splay, is claimed
	left := func() (all []string) {
		for _, a := range t.Acts {
			all = append(all, a.RunID.String())
		}
		for _, r := range t.Requests {
			all = append(all, r.Job+" "+r.Action+" "+r.ID)
		}
		for _, j := range t.Jobs {
			if j.KeepFor > 0 {
				all = append(all, j.Name)
			}
		}
		return all
	}
	for end := time.Now().Add(2 * patience); ; time.Sleep(100 * time.Millisecond) {
		if t, err = c.store.Table(c.Context()); err != nil {
			c.Fatal(err)
		}
		if len(left()) == 0 {
			return
		}
		if time.Now().After(end) {
			c.Errorf("these do not come to an end: %v", left())
			return
		}
	}
}

// events are all that the runners have said.
func (c *cluster) events() (all []said) {
	for _, p := range c.all {
		for _, e := range p.events("") {
			all = append(all, said{e, p.set.Host})
		}
	}
	return all
}
