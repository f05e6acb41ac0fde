package runner

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"conch/pkg/cron"
	"conch/pkg/schedule"
)

// setClock sets the clock of a runner that looks at that file for it.
func (w *world) setClock(file string, ahead time.Duration) {
	w.Helper()
	if err := writeFile(w.path(file), []byte(strconv.FormatInt(int64(ahead), 10))); err != nil {
		w.Fatal(err)
	}
}

// withClock lets a runner look at the file clock.
func (w *world) withClock(s *settings) { s.Clock, s.CheckDate = w.path("clock"), true }

// says reports whether the runner has said an event for a reason.
func (p *process) says(event, reason string) bool {
	for _, e := range p.events(event) {
		if strings.Contains(e.Reason, reason) {
			return true
		}
	}
	return false
}

// A clock that is wrong by less than what makes a runner stand by is warned of.
func TestClockAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.setClock("clock", 3*time.Second)
	p := w.start(w.withClock).ready()
	w.wait("it to warn", func() bool { return p.says("clock-skew", "the wall clock is ahead of etcd's by ") })
	w.add(tickAt("job", "exit 0"))
	w.want(w.one("job"), cron.OK, "host1", 1, 1)
	if e := p.events("standby"); len(e) != 0 {
		t.Errorf("it has stood by: %v", e)
	}
}

// A clock that is set under a runner is noticed, and compared before anything is
// done by it; set back, it has the same ticks to come, and none runs twice.
func TestClockSet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(w.withClock).ready()
	if e := p.events("clock-step"); len(e) != 0 {
		t.Errorf("it was not set: %v", e)
	}
	w.setClock("clock", 3*time.Second)
	w.wait("it to notice", func() bool {
		return p.says("clock-step", "the wall clock was set by 3") || p.says("clock-step", "the wall clock was set by 2.9")
	})
	w.wait("it to warn", func() bool { return p.says("clock-skew", "ahead") })
	w.add(tickAt("job", "exit 0"))
	w.want(w.one("job"), cron.OK, "host1", 1, 1)
	w.setClock("clock", 0)
	w.wait("it to notice", func() bool { return p.says("clock-step", "the wall clock was set by -") })
	w.goesOn()
	w.want(w.one("job"), cron.OK, "host1", 1, 1)
}

// A runner compares others with itself, once: what they know of time zones, and
// the clock of one that comes.
func TestPeers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	there := w.start().ready()
	peer := func(id, tzdata string, clock time.Time) {
		t.Helper()
		n := cron.Node{ID: id, Host: id + "-host", Policy: Spread, TZData: tzdata, Clock: clock.UTC()}
		if _, err := w.admin.Put(t.Context(), w.keys.Node(id), n.Encode()); err != nil {
			t.Fatal(err)
		}
	}
	peer("zones", "1999z", time.Now())
	for range 2 {
		peer("clock", schedule.TZData(), time.Now().Add(-time.Hour))
	}
	comes := w.start().ready() // it cannot know when what it reads was written
	for _, p := range []*process{there, comes} {
		w.wait("the time zones to be compared", func() bool {
			return p.says("tzdata", "zones-host has time zones of 1999z, this runner of "+schedule.TZData())
		})
	}
	w.wait("the clocks to be compared", func() bool { return there.says("clock-skew", "the wall clock is ahead of that of clock-host by 1h0m") })
	w.goesOn()
	for name, want := range map[string]int{"tzdata": 1, "clock-skew": 1} {
		if n := there.events(name); len(n) != want {
			t.Errorf("%s is said %d times: %v", name, len(n), n)
		}
	}
	if n := comes.events("clock-skew"); len(n) != 0 {
		t.Errorf("a clock of which nobody can say: %v", n)
	}
}
