package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
	"conch/pkg/schedule"
)

// slots lets a planner have so many runs at a time.
func slots(n int) func(*Config) { return func(c *Config) { c.Node.Slots = n } }

// look takes a step, which must not take for ever.
func (a *alone) look(facts ...Fact) {
	a.t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); a.step(facts...) }()
	select {
	case <-done:
	case <-time.After(40 * time.Second):
		a.t.Fatal("it does not come to an end")
	}
}

// jump lets time pass in which the planner is not asked.
func (a *alone) jump(d time.Duration) { a.now, a.up = a.now.Add(d), a.up.Add(d) }

// read tells of the table anew: of what is put, and of the runner itself.
func (a *alone) read(puts ...Put) {
	a.t.Helper()
	facts := []Fact{Reread{}, a.fact(keys.Entry{Kind: "node", Name: a.cfg.Node.ID}, a.cfg.Node)}
	for _, p := range puts {
		facts = append(facts, p)
	}
	a.look(append(facts, Whole{a.rev})...)
}

func jobEntry(name string) keys.Entry { return keys.Entry{Kind: "job", Name: name} }

func (a *alone) last(l cron.Last) Put { return a.fact(keys.Entry{Kind: "last", Name: "j"}, l) }

func (a *alone) comes(n string) { a.node(cron.Node{ID: n, Host: n, Slots: 1}) }

// busyWith has the runner's slot taken by a run of the job k, which it returns.
func (a *alone) busyWith() *cron.Run {
	a.t.Helper()
	a.put(jobEntry("k"), `{"name":"k","schedule":"@manual","cmd":["true"]}`)
	a.put(keys.Entry{Kind: "req", Name: "k", ID: "x"}, `{"action":"run","at":"2026-01-01T11:00:00Z"}`)
	run := a.answer(true, nil)
	a.gone(keys.Entry{Kind: "req", Name: "k", ID: "x"})
	return run
}

// Whatever the clock says when it is looked at, each tick is wanted, once its time has
// come and not before, and it comes to an end.
func TestEachTickIsWanted(t *testing.T) {
	draw := rand.New(rand.NewPCG(3, 4))
	for _, text := range []string{"@every 1s", "* * * * *", "*/7 * * * * *", "@every 13s", "0 * * * * *"} {
		a := newAlone(t, noon, slots(100000))
		a.job(`{"name":"j","schedule":"` + text + `","overlap":"allow","cmd":["true"],"updated":"2026-01-01T12:00:00Z"}`)
		seen := map[int64]int{}
		for a.now.Before(noon.Add(20 * time.Minute)) {
			a.jump(time.Duration(draw.Int64N(int64(50 * time.Second))))
			a.look()
			for tick := range a.wanted() {
				if tick > a.now.Unix() {
					t.Fatalf("%s: %d is wanted before its time", text, tick)
				}
				seen[tick]++
			}
			a.claims = nil
		}
		s, err := schedule.Parse(text, schedule.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for tick := s.Next(noon); !tick.After(a.now); tick = s.Next(tick) {
			if n := seen[tick.Unix()]; n != 1 {
				t.Fatalf("%s: %v was wanted %d times", text, tick, n)
			}
		}
	}
}

// A runner that comes late begins where it may, at whatever fraction of a second.
func TestComesLate(t *testing.T) {
	for _, fraction := range []time.Duration{0, 1, 500 * time.Millisecond, time.Second - 1} {
		for _, text := range []string{"@every 1s", "* * * * *", "@every 7s"} {
			a := newAlone(t, noon.Add(10*time.Minute+fraction), slots(1000))
			a.job(`{"name":"j","schedule":"` + text + `","overlap":"allow","cmd":["true"],"updated":"2026-01-01T12:00:00Z"}`)
			oldest := a.now.Add(-time.Minute)
			for tick := range a.wanted() {
				if time.Unix(tick, 0).Before(oldest) {
					t.Errorf("%s, %v: %d is too late to be run", text, fraction, tick)
				}
			}
			s, err := schedule.Parse(text, schedule.Options{})
			if err != nil {
				t.Fatal(err)
			}
			for tick := s.Next(oldest.Add(-1)); !tick.After(a.now); tick = s.Next(tick) {
				if !a.wanted()[tick.Unix()] {
					t.Errorf("%s, %v: %v is not wanted", text, fraction, tick)
				}
			}
		}
	}
}

// What lies beyond the clock's range is never due, and disturbs nothing.
func TestFarAway(t *testing.T) {
	for _, spec := range []string{
		`"schedule":"@at 2300-01-01T00:00:00Z"`,
		`"schedule":"* * * * *","starts":"2300-01-01T00:00:00Z"`,
		`"schedule":"@at 9999-01-01T00:00:00Z","splay":"1h"`,
	} {
		a := newAlone(t, noon)
		a.job(`{"name":"j",` + spec + `,"cmd":["true"],"updated":"2026-01-01T00:00:00Z"}`)
		a.look()
		if n := a.wanted(); len(n) != 0 {
			t.Errorf("%s: %v", spec, n)
		}
	}
}

// What a person's clock says does not move the schedule.
func TestAskedForByAnotherClock(t *testing.T) {
	a := newAlone(t, noon)
	a.job(`{"name":"j","schedule":"* * * * *","cmd":["true"],"updated":"2026-01-01T12:00:00Z"}`)
	a.put(keys.Entry{Kind: "req", Name: "j", ID: "x"}, `{"action":"run","at":"2026-01-02T12:00:00Z"}`)
	run := a.answer(true, nil)
	a.gone(keys.Entry{Kind: "req", Name: "j", ID: "x"})
	if s := a.end(run, cron.OK); !s.Over.IsZero() {
		t.Errorf("over up to %v", s.Over)
	}
	a.pass(time.Minute)
	if next := noon.Add(time.Minute).Unix(); !a.wanted()[next] {
		t.Errorf("%v, not %d", a.wanted(), next)
	}
	a = newAlone(t, noon)
	a.job(`{"name":"j","schedule":"* * * * *","cmd":["true"],"updated":"2030-01-01T12:00:00Z"}`)
	a.pass(time.Minute)
	if next := noon.Add(time.Minute).Unix(); !a.wanted()[next] {
		t.Errorf("%v, not %d", a.wanted(), next)
	}
}

// A runner that reads of a run in progress does not take its tick for missed, or for
// one that is to be skipped.
func TestReadsOfARun(t *testing.T) {
	for _, after := range []time.Duration{20 * time.Second, 10 * time.Minute} {
		a := newAlone(t, noon.Add(after))
		id := keys.RunID{Job: "j", Tick: noon}
		a.read(a.fact(actEntry(id, false), cron.Act{Node: "h-2", Claimed: noon}),
			a.fact(jobEntry("j"), `{"name":"j","schedule":"0 * * * *","cmd":["true"],"updated":"2025-01-01T12:00:00Z"}`),
			a.last(cron.Last{Tick: noon.Add(-time.Hour)}),
			a.fact(keys.Entry{Kind: "node", Name: "h-2"}, cron.Node{ID: "h-2", Host: "h2", Slots: 1}))
		a.pass(10 * time.Minute)
		for _, e := range a.said {
			if e.Event == Missed || e.Event == Skipped {
				t.Errorf("after %v: %s %s", after, e.Event, e.Reason)
			}
		}
		if len(a.claims) != 0 {
			t.Errorf("after %v: %v", after, a.wanted())
		}
	}
}

// Keys of somebody else's making do no harm.
func TestForeignKeys(t *testing.T) {
	a := newAlone(t, noon)
	for _, value := range []string{"", "{}", "null", "[]", `"x"`, `{"id":7}`, "\xff", strings.Repeat("[", 1000)} {
		for _, e := range []keys.Entry{{Kind: "node", Name: "x"}, {Kind: "job", Name: "j"}, {Kind: "last", Name: "j"}, {Kind: "req", Name: "j", ID: "r"},
			{Kind: "act", Name: "j", Run: keys.RunID{Job: "j", Tick: noon}}, {Kind: "act", Name: "j", Run: keys.RunID{Job: "j", Tick: noon}, Waits: true},
			{Kind: "lost", Name: "j", Run: keys.RunID{Job: "j", Tick: noon}}, {Kind: "paused"}, {Kind: "resumed"}, {Kind: "restored"}, {Kind: "to come", Name: "x"}} {
			a.look(a.fact(e, value))
			a.pass(time.Second)
		}
	}
	if a.nodes[""] != nil {
		t.Error("a runner without a name is one")
	}
	a.settles = nil
	id := keys.RunID{Job: "k", Tick: noon}
	a.put(actEntry(id, false), `{"node":""}`)
	a.pass(10 * time.Second)
	if !slices.ContainsFunc(a.settles, func(s Settle) bool { return s.Run.RunID == id && s.Run.State == cron.Lost }) {
		t.Errorf("nobody looks after a run that was abandoned: %v", a.settles)
	}
}

// runAll answers all claims, and ends the runs, until nothing is claimed any more; it
// returns their ticks.
func (a *alone) runAll() (ticks []time.Time) {
	a.t.Helper()
	for len(a.claims) > 0 {
		run := a.answer(true, nil)
		ticks = append(ticks, run.Tick)
		a.pass(100 * time.Millisecond)
		a.end(run, cron.OK)
	}
	return ticks
}

// One that is not too late is run for all that were missed before it.
func TestMisfireOnceAndOneThatIsDue(t *testing.T) {
	a := newAlone(t, noon.Add(time.Hour+500*time.Millisecond), slots(100))
	a.job(`{"name":"j","schedule":"* * * * *","misfire":"once","cmd":["true"],"updated":"2026-01-01T12:00:00Z"}`)
	a.pass(time.Second)
	if ticks := a.runAll(); len(ticks) != 1 || !ticks[0].Equal(noon.Add(time.Hour)) {
		t.Errorf("%v are run", ticks)
	}
}

// Of what was missed the rule says what is run, oldest first.
func TestMisfires(t *testing.T) {
	for misfire, want := range map[string]int{"skip": 0, "once": 1, "all": cron.MisfireCap} {
		a := newAlone(t, noon.Add(time.Hour+30*time.Second+500*time.Millisecond), slots(100))
		a.job(`{"name":"j","schedule":"* * * * *","deadline":"20s","misfire":"` + misfire + `","cmd":["true"],"updated":"2026-01-01T12:00:00Z"}`)
		a.pass(time.Second)
		ticks := a.runAll()
		first := noon.Add(time.Hour - time.Duration(want-1)*time.Minute)
		if len(ticks) != want {
			t.Errorf("%s: %d are run, not %d", misfire, len(ticks), want)
		}
		for i, tick := range ticks {
			if at := first.Add(time.Duration(i) * time.Minute); !tick.Equal(at) {
				t.Errorf("%s: %v is run, not %v", misfire, tick, at)
			}
		}
		if n := a.saidOf(Missed); n < want || n == 0 {
			t.Errorf("%s: %d are said to have been missed", misfire, n)
		}
	}
}

// Of those that were missed and must not overlap the oldest goes first, however long it
// waits for a run in progress.
func TestMissedInOrder(t *testing.T) {
	a := newAlone(t, noon.Add(time.Hour+30*time.Second), slots(100)) // the tick at one is not too late yet
	a.comes("h-2")
	busy := keys.RunID{Job: "j", Tick: noon}
	a.put(actEntry(busy, false), cron.Act{Node: "h-2", Claimed: noon.Add(time.Hour + 20*time.Second)}) // after them
	a.job(`{"name":"j","schedule":"* * * * *","misfire":"all","cmd":["true"],"updated":"2026-01-01T12:00:00Z"}`)
	a.pass(5 * time.Second)
	if len(a.claims) != 0 {
		t.Fatalf("%v, beside a run in progress", a.wanted())
	}
	a.gone(actEntry(busy, false))
	a.gone(keys.Entry{Kind: "node", Name: "h-2"}) // which would have its turns
	for i := cron.MisfireCap; i >= 0; i-- {
		want := noon.Add(time.Hour - time.Duration(i)*time.Minute)
		a.pass(2 * time.Second)
		if len(a.claims) != 1 || !a.wanted()[want.Unix()] {
			t.Fatalf("%v are claimed, not that of %v alone", a.wanted(), want)
		}
		a.end(a.answer(true, nil), cron.OK)
	}
}

// Those that were missed are run though one that came while the first of them ran is
// over with that.
func TestMissedAndSkipped(t *testing.T) {
	a := newAlone(t, noon.Add(time.Hour+30*time.Second), slots(100))
	a.job(`{"name":"j","schedule":"* * * * *","misfire":"all","cmd":["true"],"updated":"2026-01-01T12:00:00Z"}`)
	for i := cron.MisfireCap; i > 0; i-- {
		want := noon.Add(time.Hour - time.Duration(i)*time.Minute)
		if len(a.claims) != 1 || !a.wanted()[want.Unix()] {
			t.Fatalf("%v are claimed, not that of %v alone", a.wanted(), want)
		}
		run := a.answer(true, nil)
		if i == cron.MisfireCap {
			a.pass(40 * time.Second)
		}
		a.end(run, cron.OK)
	}
}

// A tick that would have come after a job's last, or before its first, has not come while
// a run was in progress.
func TestSkippedWithinBounds(t *testing.T) {
	for bounds, want := range map[string]time.Time{
		``:                                  noon.Add(3 * time.Minute),
		`,"expires":"2026-01-01T12:03:00Z"`: noon.Add(2 * time.Minute),
		`,"expires":"2026-01-01T12:03:01Z"`: noon.Add(3 * time.Minute),
		`,"starts":"2026-01-01T12:03:00Z"`:  noon.Add(3 * time.Minute),
		`,"starts":"2026-01-01T12:03:01Z"`:  noon.Add(time.Minute),
	} {
		a := newAlone(t, noon.Add(3*time.Minute+10*time.Second))
		a.job(`{"name":"j","schedule":"* * * * *","cmd":["true"],"since":"2026-01-01T12:00:00Z"` + bounds + `}`)
		a.put(actEntry(keys.RunID{Job: "j", Tick: noon.Add(time.Minute)}, false), cron.Act{Node: "h-2", Claim: "c", Attempt: 1, Claimed: noon.Add(time.Minute + 1)})
		a.pass(10 * time.Second)
		if len(a.settles) == 0 || !a.settles[0].Over.Equal(want) {
			t.Errorf("%s: %+v", bounds, a.settles)
		}
	}
}

// A tick that has been skipped is over, and no later one is: not one that is still to
// come for its splay, nor one of a clock that has been ahead.
func TestSkippedIsOver(t *testing.T) {
	a := newAlone(t, noon.Add(-90*time.Second))
	a.job(`{"name":"j","schedule":"* * * * *","splay":"50s","cmd":["true"],"updated":"2026-01-01T11:58:00Z"}`)
	delay := time.Duration(splay("j", 50*time.Second))
	if delay < 2*time.Second {
		t.Fatal("its ticks are not delayed")
	}
	a.pass(30*time.Second + delay)
	run := a.answer(true, nil)
	if !run.Tick.Equal(noon.Add(-time.Minute)) {
		t.Fatalf("%v is run", run.Tick)
	}
	a.pass(2 * time.Minute)
	a.settles = nil
	run.State, run.Ended = cron.OK, noon.Add(2*time.Minute+time.Second)
	a.step(Ended{Run: run})
	if s := a.settles[0]; s.Run.Skipped != 2 || !s.Over.Equal(noon.Add(time.Minute)) {
		t.Errorf("%d skipped, over up to %v", s.Run.Skipped, s.Over)
	}
}

// Who has a run counts the ticks that come while it is in progress, though the job is to
// run elsewhere by now, and the runner takes nothing on any more.
func TestSkippedElsewhere(t *testing.T) {
	a := newAlone(t, noon)
	const spec = `{"name":"j","schedule":"* * * * *","cmd":["true"],"since":"2026-01-01T12:00:00Z","on":"host=`
	a.job(spec + `h"}`)
	for i := range 20 { // one of them would say what becomes of a tick that nobody may run
		host := fmt.Sprint("g-", i)
		a.node(cron.Node{ID: host, Host: host, Slots: 1, Labels: map[string]string{"host": "g"}})
	}
	a.pass(time.Minute)
	run := a.answer(true, nil)
	a.job(spec + `g"}`)
	a.pass(2*time.Minute + time.Second)
	if n := a.saidOf(Skipped); n != 2 {
		t.Errorf("%d are said to have been skipped", n)
	}
	a.step(Drain{})
	a.pass(2 * time.Minute)
	if s := a.end(run, cron.OK); s.Run.Skipped != 4 || a.saidOf(Skipped) != 4 || a.saidOf(Missed) != 0 || !s.Over.Equal(noon.Add(5*time.Minute)) {
		t.Errorf("%d skipped, %d said, over up to %v", s.Run.Skipped, a.saidOf(Skipped), s.Over)
	}
}

// A tick that came while a run was in progress, and that was not looked at before that
// had ended, is over with it.
func TestSkippedUnseen(t *testing.T) {
	a := newAlone(t, noon)
	a.job(`{"name":"j","schedule":"* * * * *","cmd":["true"],"since":"2026-01-01T12:00:00Z"}`)
	a.pass(time.Minute)
	run := a.answer(true, nil)
	a.jump(70 * time.Second)
	if s := a.end(run, cron.OK); !s.Over.Equal(noon.Add(2 * time.Minute)) {
		t.Errorf("over up to %v", s.Over)
	}
	if len(a.claims) != 0 {
		t.Errorf("%v", a.wanted())
	}
}

// What is due and not claimed stays so when its job is edited, unless the edit moves
// its ticks, takes them away, or has them run elsewhere.
func TestEditKeepsWhatIsDue(t *testing.T) {
	spec := func(more string) string {
		return `{"name":"j","schedule":"* * * * *","cmd":["true"],"overlap":"allow","since":"2026-01-01T12:00:00Z","updated":"2026-01-01T12:00:00Z"` + more + `}`
	}
	for edit, want := range map[string]int{
		spec(`,"description":"x","owners":["me"],"keep":3`):     1,
		spec(`,"cmd":["false"],"env":{"A":"b"},"run-ttl":"1h"`): 1,
		spec(`,"retry":{"n":3},"output":"always"`):              1,
		spec(`,"on":"host=h"`):                                  1,
		spec(`,"on":"host=other"`):                              0,
		spec(`,"on":"2"`):                                       1, // of two places, for a runner has one of each tick's
		spec(`,"paused":true`):                                  0,
		spec(`,"expires":"2026-01-01T12:01:00Z"`):               0,
		spec(`,"expires":"2026-01-01T12:01:01Z"`):               1,
		`{"name":"j","schedule":"*/1 * * * *","cmd":["true"],"since":"2026-01-01T12:01:10Z","updated":"2026-01-01T12:01:10Z"}`: 0,
	} {
		a := newAlone(t, noon.Add(time.Minute+10*time.Second))
		other := a.busyWith()
		a.job(spec(""))
		a.pass(time.Second)
		a.job(edit)
		a.pass(time.Second)
		if n := len(a.claims); n != 0 {
			t.Fatalf("%d are claimed without a slot", n)
		}
		a.end(other, cron.OK)
		a.pass(time.Second)
		if n := len(a.claims); n != want || want == 1 && !a.wanted()[noon.Add(time.Minute).Unix()] {
			t.Errorf("%s: %d are wanted, not %d", edit, n, want)
		}
	}
}

// Who could not run what is due, and may after an edit, does.
func TestEditBringsWhatIsDue(t *testing.T) {
	a := newAlone(t, noon.Add(time.Minute+10*time.Second))
	const spec = `{"name":"j","schedule":"* * * * *","cmd":["true"],"since":"2026-01-01T11:00:00Z","on":"host=`
	a.job(spec + `other"}`)
	a.pass(time.Second)
	missed := a.saidOf(Missed)
	if n := a.wanted(); len(n) != 0 || missed == 0 {
		t.Fatalf("%v are wanted, %d missed", n, missed)
	}
	a.job(spec + `h"}`)
	a.pass(time.Second)
	if n := a.wanted(); len(n) != 1 || !n[noon.Add(time.Minute).Unix()] || a.saidOf(Missed) != missed {
		t.Errorf("%v are wanted, %d more missed", n, a.saidOf(Missed)-missed)
	}
}

// The clock of a runner that is behind does not make up for the ticks of a pause; that
// of who has written the job may have been wrong, if it was ahead of all.
func TestResumedByAClockAhead(t *testing.T) {
	a := newAlone(t, noon, slots(100))
	a.job(`{"name":"j","schedule":"* * * * * *","overlap":"allow","cmd":["true"],"since":"2026-01-01T12:00:05Z"}`)
	a.pass(8 * time.Second)
	if n := a.wanted(); len(n) != 3 || !n[noon.Add(6*time.Second).Unix()] {
		t.Errorf("%v", n)
	}
}

// A tick that came while a run was in progress was skipped for it: a runner that is
// started later does not make up for it when the run has ended, nor when it is lost.
func TestSkippedBeforeItCame(t *testing.T) {
	for _, misfire := range []string{"once", "all"} {
		a := newAlone(t, noon.Add(9*time.Minute+50*time.Second))
		id := keys.RunID{Job: "j", Tick: noon.Add(2 * time.Minute)}
		a.read(a.fact(actEntry(id, false), cron.Act{Node: "h-2", Claim: "c", Attempt: 1, Claimed: noon.Add(2 * time.Minute)}),
			a.fact(jobEntry("j"), `{"name":"j","schedule":"* * * * *","misfire":"`+misfire+`","cmd":["true"],"since":"2026-01-01T12:00:00Z"}`))
		a.pass(4 * time.Second)
		if len(a.settles) != 1 || a.settles[0].Run.State != cron.Lost || !a.settles[0].Over.Equal(noon.Add(9*time.Minute)) {
			t.Fatalf("%s: %+v", misfire, a.settles)
		}
		if n := a.saidOf(Missed); n != 0 {
			t.Errorf("%s: %d are said to have been missed", misfire, n)
		}
		a.settled(a.settles[0])
		a.pass(time.Second)
		if n := a.wanted(); len(n) != 0 {
			t.Errorf("%s: %v is wanted", misfire, n)
		}
	}
}

// What has waited for a slot in vain leaves nothing of itself behind one that still
// waits.
func TestQueueDoesNotGrow(t *testing.T) {
	a := newAlone(t, noon)
	other := a.busyWith()
	a.job(`{"name":"j","schedule":"* * * * * *","overlap":"allow","deadline":"2s","cmd":["true"],"since":"2026-01-01T12:00:00Z"}`)
	a.put(jobEntry("l"), `{"name":"l","schedule":"@manual","cmd":["true"]}`)
	a.put(keys.Entry{Kind: "req", Name: "l", ID: "x"}, `{"action":"run","at":"2026-01-01T12:00:00Z"}`)
	a.pass(10 * time.Minute)
	if open := len(a.jobs["j"].live.open); len(a.queue) > 20 || open > 10 {
		t.Errorf("%d in the queue, %d ticks open", len(a.queue), open)
	}
	if n := a.saidOf(Missed); n < 590 || n > 600 {
		t.Errorf("%d missed", n)
	}
	a.end(other, cron.OK)
	if len(a.claims) != 1 {
		t.Errorf("%d are claimed when the slot is free", len(a.claims))
	}
}

// A run that has ended while a clock was ahead keeps no tick from its time.
func TestLastIsToCome(t *testing.T) {
	for _, spec := range []string{`"schedule":"* * * * *"`, `"schedule":"* * * * *","on":"all"`, `"schedule":"* * * * *","splay":"40s"`} {
		a := newAlone(t, noon.Add(10*time.Second))
		a.read(a.fact(jobEntry("j"), `{"name":"j",`+spec+`,"cmd":["true"],"since":"2026-01-01T11:59:30Z"}`),
			a.last(cron.Last{Tick: noon.Add(time.Hour), Ended: noon.Add(time.Hour)}))
		a.pass(40 * time.Second)
		if n := a.wanted(); len(n) != 1 || !n[noon.Unix()] {
			t.Errorf("%s: %v", spec, n)
		}
	}
}

func TestMissed(t *testing.T) {
	s, err := schedule.Parse("@every 10s", schedule.Options{})
	if err != nil {
		t.Fatal(err)
	}
	j := &job{sched: s}
	for _, c := range []struct{ after, before, n, last int64 }{
		{100, 100, 0, 0},
		{100, 111, 1, 110},
		{100, 110, 0, 0}, // before is not among them
		{100, 135, 3, 130},
		{0, 1e9 + 5, cron.MisfireCap, 1e9},
	} {
		got := j.missed(c.after, c.before)
		if int64(len(got)) != c.n || c.n > 0 && got[len(got)-1].Unix() != c.last {
			t.Errorf("after %d before %d: %v", c.after, c.before, got)
		}
	}
}

func TestSplay(t *testing.T) {
	if splay("a", 0) != 0 {
		t.Error("without a splay there is a delay")
	}
	const d = 10 * time.Minute
	buckets := [10]int{}
	for i := range 10000 {
		s := splay("job"+string(rune('a'+i%26))+strings.Repeat("x", i/26), d)
		buckets[int(s*10/int64(d))]++
	}
	for _, n := range buckets {
		if n < 800 || n > 1200 {
			t.Errorf("uneven: %v", buckets)
			break
		}
	}
}

// A job that was written while this runner's clock was behind has its ticks since it
// was written, once the clock is right.
func TestWrittenWhileBehind(t *testing.T) {
	a := newAlone(t, noon.Add(-time.Hour), slots(100))
	a.job(`{"name":"j","schedule":"@every 1s","overlap":"allow","cmd":["true"],"since":"2026-01-01T12:00:00Z"}`)
	a.now = noon.Add(2 * time.Second)
	a.step()
	for tick := range a.wanted() {
		if tick <= noon.Unix() {
			t.Fatalf("%v is claimed, from before it was written", time.Unix(tick, 0).UTC())
		}
	}
	if len(a.wanted()) != 2 {
		t.Errorf("%v", a.wanted())
	}
}

// A submitted job whose run has ended by a clock that was ahead is not kept until then.
func TestRetiresByItsOwnClock(t *testing.T) {
	a := newAlone(t, noon)
	a.step(a.fact(jobEntry("j"), `{"name":"j","schedule":"@manual","keep-for":"1m","cmd":["true"],"since":"2026-01-01T11:59:00Z"}`), a.last(cron.Last{Ended: noon.Add(time.Hour)}))
	a.pass(59 * time.Second)
	if len(a.other) != 0 {
		t.Errorf("%+v", a.other)
	}
	a.pass(2 * time.Second)
	if len(a.other) != 1 || a.other[0].(Withdraw).Job != "j" {
		t.Errorf("%+v", a.other)
	}
}

// What an edit that is found by reading the table anew has withdrawn is said, too.
func TestWithdrawnInRereading(t *testing.T) {
	a := newAlone(t, noon.Add(-time.Second))
	a.job(`{"name":"j","schedule":"* * * * *","cmd":["true"],"on":"role=db","deadline":"10m","since":"2026-01-01T11:59:00Z"}`)
	a.pass(3*time.Minute + 2*time.Second)
	a.said = nil
	a.read(a.fact(keys.Entry{Kind: "job", Name: "j"}, `{"name":"j","schedule":"30 * * * *","cmd":["true"],"on":"role=db","since":"2026-01-01T12:03:00Z"}`))
	if n := a.saidOf(Withdrawn); n != 4 {
		t.Errorf("%+v", a.said)
	}
}
