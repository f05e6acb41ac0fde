package runner

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"conch/pkg/cron"
	"conch/pkg/keys"
)

// aloneRunner is a planner that is the only runner, with a clock that the test sets,
// and without a slot: what it would claim stays among its duties.
type aloneRunner struct {
	*planner
	t   *testing.T
	clk time.Time

	mu   sync.Mutex
	said []Event
}

func newAlone(t *testing.T, now time.Time) *aloneRunner {
	a := &aloneRunner{t: t, clk: now}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	d := &daemon{spool: &spool{}, skewed: make(chan struct{}, 1), recheck: make(chan struct{}, 1),
		cfg: Config{Host: "h", Hedge: time.Second, SkipClock: true, Placement: Spread, Now: func() time.Time { return a.clk },
			Said: func(e Event) { a.mu.Lock(); a.said = append(a.said, e); a.mu.Unlock() }}}
	s := &session{daemon: d, ctx: ctx, cron: keys.Space("/test").Cron(), node: cron.Node{ID: "h-1", Host: "h", Slots: 1}, toTell: make(chan cron.Node, 1), lease: testLease(t), judged: make(chan struct{})}
	a.planner = newPlanner(s)
	a.nodes["h-1"] = &s.node
	a.synced = true
	return a
}

// put tells of a job.
func (a *aloneRunner) put(spec string) *job {
	a.take([]change{{entry: keys.Entry{Kind: "job", Name: "j"}, kv: &mvccpb.KeyValue{Value: []byte(spec), ModRevision: 5}}})
	return a.jobs["j"]
}

// look lets it act, which must not take for ever.
func (a *aloneRunner) look() {
	a.t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); a.wake() }()
	select {
	case <-done:
	case <-time.After(patience):
		a.t.Fatal("it does not come to an end")
	}
}

// wanted are the ticks that it would claim now.
func (a *aloneRunner) wanted() map[int64]bool {
	all := map[int64]bool{}
	for _, d := range a.duties {
		if d.kind == byTick {
			all[d.id.Tick.Unix()] = true
		}
	}
	return all
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// Whatever the clock says when it is looked at, each tick is wanted, once its time
// has come and not before, and it comes to an end.
func TestEachTickIsWanted(t *testing.T) {
	draw := rand.New(rand.NewPCG(3, 4))
	for _, schedule := range []string{"@every 1s", "* * * * *", "*/7 * * * * *", "@every 13s", "0 * * * * *"} {
		a := newAlone(t, noon)
		j := a.put(`{"name":"j","schedule":"` + schedule + `","overlap":"allow","cmd":["true"],"updated":"2026-01-01T12:00:00Z"}`)
		seen := map[int64]bool{}
		for a.clk.Before(noon.Add(20 * time.Minute)) {
			a.clk = a.clk.Add(time.Duration(draw.Int64N(int64(50 * time.Second))))
			a.look()
			for tick := range a.wanted() {
				if tick > a.clk.Unix() {
					t.Fatalf("%s: %d is wanted before its time", schedule, tick)
				}
				seen[tick] = true
			}
		}
		for tick := j.sched.Next(noon); tick.Before(a.clk); tick = j.sched.Next(tick) {
			if !seen[tick.Unix()] {
				t.Fatalf("%s: %v was not wanted", schedule, tick)
			}
		}
	}
}

// A runner that comes late begins where it may, at whatever fraction of a second.
func TestComesLate(t *testing.T) {
	for _, fraction := range []time.Duration{0, 1, 500 * time.Millisecond, time.Second - 1} {
		for _, schedule := range []string{"@every 1s", "* * * * *", "@every 7s"} {
			a := newAlone(t, noon.Add(10*time.Minute+fraction))
			a.put(`{"name":"j","schedule":"` + schedule + `","overlap":"allow","cmd":["true"],"updated":"2026-01-01T12:00:00Z"}`)
			a.look()
			oldest := a.clk.Add(-time.Minute)
			for tick := range a.wanted() {
				if time.Unix(tick, 0).Before(oldest) {
					t.Errorf("%s, %v: %d is too late to be run", schedule, fraction, tick)
				}
			}
			if len(a.wanted()) == 0 || a.jobs["j"].next <= a.clk.Unix() {
				t.Errorf("%s, %v: %d wanted, next %d", schedule, fraction, len(a.wanted()), a.jobs["j"].next)
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
		a.put(`{"name":"j",` + spec + `,"cmd":["true"],"updated":"2026-01-01T00:00:00Z"}`)
		a.look()
		if n := a.wanted(); len(n) != 0 {
			t.Errorf("%s: %v", spec, n)
		}
	}
}

// What a person's clock says does not move the schedule.
func TestAskedForByAnotherClock(t *testing.T) {
	a := newAlone(t, noon)
	j := a.put(`{"name":"j","schedule":"* * * * *","cmd":["true"],"updated":"2026-01-01T12:00:00Z"}`)
	r := &running{session: a.session, run: &cron.Run{RunID: keys.RunID{Job: "j", Tick: noon.AddDate(0, 0, 1), Place: keys.ManualPlace("x")}, State: cron.OK}}
	r.run.Ended = noon
	var end cron.Settlement
	r.remember(&end)
	a.putLast("j", cron.Memory{Last: end.Memory.With(r.run, end.Over, false)})
	a.plan(j)
	if next := time.Unix(j.next, 0); !next.Equal(noon.Add(time.Minute)) {
		t.Errorf("next at %v", next.UTC())
	}
	a.take([]change{{entry: keys.Entry{Kind: "job", Name: "j"}, kv: &mvccpb.KeyValue{ModRevision: 6,
		Value: []byte(`{"name":"j","schedule":"* * * * *","cmd":["true"],"updated":"2030-01-01T12:00:00Z"}`)}}})
	if next := time.Unix(a.jobs["j"].next, 0); !next.Equal(noon.Add(time.Minute)) {
		t.Errorf("next at %v", next.UTC())
	}
}

// A runner that reads of a run in progress does not take its tick for missed, or
// for one that is to be skipped.
func TestReadsOfARun(t *testing.T) {
	for _, after := range []time.Duration{20 * time.Second, 10 * time.Minute} {
		a := newAlone(t, noon.Add(after))
		a.synced = false
		id := keys.RunID{Job: "j", Tick: noon}
		a.setAct(&cron.Act{RunID: id, Node: "h-1"})
		a.put(`{"name":"j","schedule":"0 * * * *","cmd":["true"],"updated":"2025-01-01T12:00:00Z"}`)
		a.putLast("j", cron.Memory{Last: cron.Last{Tick: noon.Add(-time.Hour)}})
		a.running[id.String()] = &running{}
		a.sync(7)
		a.look()
		for _, e := range a.said {
			if e.Event == "missed" || e.Event == "skipped" {
				t.Errorf("after %v: %s %s", after, e.Event, e.Reason)
			}
		}
	}
}

// Keys of somebody else's making do no harm.
func TestForeignKeys(t *testing.T) {
	a := newAlone(t, noon)
	for _, value := range []string{"", "{}", "null", "[]", `"x"`, `{"id":7}`, "\xff", strings.Repeat("[", 1000)} {
		for _, e := range []keys.Entry{{Kind: "node", Name: "x"}, {Kind: "job", Name: "j"}, {Kind: "last", Name: "j"}, {Kind: "req", Name: "j", ID: "r"},
			{Kind: "act", Name: "j", Run: keys.RunID{Job: "j", Tick: noon}}, {Kind: "act", Name: "j", Run: keys.RunID{Job: "j", Tick: noon}, Waits: true}} {
			a.take([]change{{entry: e, kv: &mvccpb.KeyValue{Value: []byte(value), ModRevision: int64(len(value)) + 9}}})
			a.look()
		}
	}
	if a.nodes[""] != nil {
		t.Error("a runner without a name is one")
	}
	a.take([]change{{entry: keys.Entry{Kind: "act", Name: "k", Run: keys.RunID{Job: "k", Tick: noon}}, kv: &mvccpb.KeyValue{Value: []byte(`{"node":""}`)}}})
	if a.duties["mind k/"+(keys.RunID{Job: "k", Tick: noon}).ID()] == nil {
		t.Error("nobody looks after a run that was abandoned")
	}
}

// Of what was missed the rule says what is run, oldest first.
func TestMisfires(t *testing.T) {
	for misfire, want := range map[string]int{"skip": 0, "once": 1, "all": cron.MisfireCap} {
		a := newAlone(t, noon.Add(time.Hour+500*time.Millisecond))
		a.put(`{"name":"j","schedule":"* * * * *","misfire":"` + misfire + `","cmd":["true"],"updated":"2026-01-01T12:00:00Z"}`)
		a.wake() // the agenda is looked at with the same clock: what was missed comes a little later
		n, patient := 0, true
		for _, d := range a.duties {
			if d.kind == byTick && d.id.Tick.Before(a.clk.Add(-time.Minute)) {
				n++
				patient = patient && d.patient
			}
		}
		if n != want || !patient {
			t.Errorf("%s: %d are run, not %d", misfire, n, want)
		}
	}
}

// Of those that were missed and must not overlap the oldest goes first, however
// long it waits for a run in progress.
func TestMissedInOrder(t *testing.T) {
	a := newAlone(t, noon.Add(time.Hour+30*time.Second))                                                                   // the tick at one is not too late yet
	busy := &cron.Act{RunID: keys.RunID{Job: "j", Tick: noon}, Node: "h-2", Claimed: noon.Add(time.Hour + 20*time.Second)} // after them
	a.nodes["h-2"] = &cron.Node{ID: "h-2", Host: "h-2"}
	a.setAct(busy)
	a.put(`{"name":"j","schedule":"* * * * *","misfire":"all","cmd":["true"],"updated":"2026-01-01T12:00:00Z"}`)
	for range 20 {
		a.look()
		a.clk = a.clk.Add(lookAgain)
	}
	a.dropAct(busy.RunID)
	for i := cron.MisfireCap; i >= 0; i-- {
		a.queue = nil // it has no slot: whoever may be claimed waits for one
		a.look()
		want := noon.Add(time.Hour - time.Duration(i)*time.Minute)
		if len(a.queue) != 1 || !a.queue[0].id.Tick.Equal(want) {
			t.Fatalf("%d may be claimed, not that of %v alone", len(a.queue), want)
		}
		a.drop(a.queue[0].key)
		a.clk = a.clk.Add(lookAgain)
	}
}

// A reading that is older than what was told before, of etcd restored under a
// runner that lives on, lets it stand by before it plans anything.
func TestReadsOfOlderHistory(t *testing.T) {
	a := newAlone(t, noon)
	a.synced = false
	a.take([]change{{synced: 100}})
	if why := a.standby(); why != "" {
		t.Fatalf("it stands by at first: %s", why)
	}
	a.take([]change{{reset: true, rev: a.highest()}})
	a.noteRevision(120, 0) // by a later page
	a.take([]change{{synced: 110}})
	if why := a.standby(); why != "" {
		t.Errorf("what came while it read counts as read: %s", why)
	}
	a.take([]change{{reset: true, rev: a.highest()}, {synced: 115}})
	if a.standby() == "" {
		t.Error("it goes on with a history that is older than what it has heard of")
	}
	a.goOn(116)
	a.take([]change{{synced: 130}, {reset: true}, {synced: 125}})
	if a.standby() == "" || a.spool.last().Rev != 130 {
		t.Errorf("it was told of more: standby %q, and the next start is told of %d", a.standby(), a.spool.last().Rev)
	}
	a.goOn(126)
	if why := a.standby(); why != "" {
		t.Errorf("it stands by, though it may go on: %s", why)
	}
	a.take([]change{{reset: true, rev: a.highest()}, {synced: 50}})
	if a.standby() == "" {
		t.Error("it goes on with a history that is older than what it has heard of")
	}
	a.noteRevision(200, 0)
	if a.state().Rev >= 200 {
		t.Error("it keeps a revision that is not to be trusted")
	}
}

// The revisions of another cluster say nothing about those of this one.
func TestReadsOfOtherCluster(t *testing.T) {
	a := newAlone(t, noon)
	a.synced = false
	a.cluster.Store(1)
	a.take([]change{{synced: 100}})
	a.noteRevision(5000, 2) // it is heard of before it is read
	a.cluster.Store(2)
	a.take([]change{{reset: true, rev: a.highest()}, {synced: 5000}})
	if a.standby() == "" {
		t.Error("it goes on with another cluster")
	}
	if s := a.state(); s.Rev != 100 || s.Cluster != 1 {
		t.Errorf("it keeps %+v", s)
	}
}

// Whoever records the end of a run remembers when the job last ended well.
func TestRemembers(t *testing.T) {
	a := newAlone(t, noon)
	j := a.put(`{"name":"j","schedule":"@daily","cmd":["true"]}`)
	a.putLast("j", cron.Memory{Rev: 3, Last: cron.Last{Tick: noon, OK: noon, Ended: noon, Runs: 7, Failures: 2}})
	run := &cron.Run{RunID: keys.RunID{Job: "j", Tick: noon.Add(time.Hour)}, State: cron.Lost, Ended: noon.Add(time.Hour)}
	r := &running{session: a.session, last: j.memory(), run: run}
	var s cron.Settlement
	r.remember(&s)
	if l := s.Memory.With(run, s.Over, false); s.Memory.Rev != 3 || !l.OK.Equal(noon) || l.Runs != 8 || l.Failures != 3 || !l.Tick.Equal(noon.Add(time.Hour)) {
		t.Errorf("%+v", l)
	}
}

// A result that is in the spool is not recorded as unknown: its true end is still to
// be written, however long etcd refuses it.
func TestSpoolBeforeOrphan(t *testing.T) {
	a := newAlone(t, noon)
	id := keys.RunID{Job: "j", Tick: noon}
	act := &cron.Act{RunID: id, Node: "h-1", Claim: "c", Rev: 7}
	a.setAct(act)
	a.spool.left = map[string]spooled{}
	kept := a.spool.put(cron.Settlement{Run: &cron.Run{RunID: id, Claim: "c"}}, home{})
	d := &duty{kind: orphan, id: id, act: act}
	if a.recordLost(d) {
		t.Error("it is thought to be done")
	}
	kept.remove()
	if a.spool.has(id, "c") {
		t.Error("it is kept after it was written")
	}
}

// The first state that is kept names the cluster, lest a start that follows at once
// takes another for it.
func TestFirstStateNamesCluster(t *testing.T) {
	a := newAlone(t, noon)
	a.lease = testLease(t)
	a.cluster.Store(5)
	if s := a.session.state(); s.Cluster != 5 {
		t.Errorf("%+v", s)
	}
}

// A tick that has been skipped is over, and no later one is: not one that is still to
// come for its splay, nor one of a clock that has been ahead.
func TestSkippedIsOver(t *testing.T) {
	a := newAlone(t, noon)
	a.put(`{"name":"j","schedule":"* * * * *","splay":"50s","cmd":["true"],"updated":"2026-01-01T11:00:00Z"}`)
	r := &running{session: a.session, run: &cron.Run{RunID: keys.RunID{Job: "j", Tick: noon.Add(-time.Minute)}, State: cron.OK}}
	r.run.Ended = noon.Add(2 * time.Minute).Add(time.Second)
	a.running["j/"+keys.Tick(noon.Add(-time.Minute))] = r
	rival := &cron.Act{RunID: r.run.RunID, Node: "h-1"}
	a.skip(duty{id: keys.RunID{Job: "j", Tick: noon}}, []*cron.Act{rival}, 0)
	a.skip(duty{id: keys.RunID{Job: "j", Tick: noon.Add(time.Minute)}}, []*cron.Act{rival}, 0)
	r.run.Skipped = int(r.skipped.Load())
	if over := r.over(); r.run.Skipped != 2 || !over.Equal(noon.Add(time.Minute)) {
		t.Errorf("%d skipped, over up to %v", r.run.Skipped, over)
	}
}

// When a submitted job's time is over, another that has its name since is left alone;
// so is one that is no job of one run any more, and one of which something is asked.
func TestForgetsItsOwn(t *testing.T) {
	job := func(born int64, spec string) change {
		return change{entry: keys.Entry{Kind: "job", Name: "j"}, kv: &mvccpb.KeyValue{Value: []byte(spec), CreateRevision: born, ModRevision: born}}
	}
	const submitted = `{"name":"j","schedule":"@manual","cmd":["true"],"keep-for":"1h"}`
	for name, then := range map[string]change{
		"another":        job(9, submitted),
		"for good":       job(9, `{"name":"j","schedule":"@daily","cmd":["true"]}`),
		"edited":         {entry: keys.Entry{Kind: "job", Name: "j"}, kv: &mvccpb.KeyValue{Value: []byte(`{"name":"j","schedule":"@daily","cmd":["true"]}`), CreateRevision: 5, ModRevision: 9}},
		"something else": {entry: keys.Entry{Kind: "req", Name: "j", ID: "x"}, kv: &mvccpb.KeyValue{Value: []byte(`{"action":"run"}`), CreateRevision: 9}},
	} {
		a := newAlone(t, noon)
		a.take([]change{job(5, submitted)})
		a.putLast("j", cron.Memory{Last: cron.Last{Ended: noon}})
		d := a.duties["forget j"]
		if d == nil {
			t.Fatal("it is not to be removed")
		}
		if then.kv.CreateRevision == 9 && then.entry.Kind == "job" {
			a.take([]change{{entry: keys.Entry{Kind: "job", Name: "j"}}}) // removed by hand
		}
		a.take([]change{then})
		if done := a.removeJob(d); done == (name == "something else") { // else etcd is asked, of which there is none here
			t.Errorf("%s: done is %v", name, done)
		}
	}
}

// An attempt of a job that was removed is not followed by one of a job that has its
// name.
func TestNoAttemptOfAnother(t *testing.T) {
	a := newAlone(t, noon)
	a.take([]change{{entry: keys.Entry{Kind: "job", Name: "j"}, kv: &mvccpb.KeyValue{CreateRevision: 9, ModRevision: 9,
		Value: []byte(`{"name":"j","schedule":"@daily","cmd":["true"],"retry":{"n":3}}`)}}})
	id := keys.RunID{Job: "j", Tick: noon}
	for born, want := range map[int64]kind{5: killWait, 9: byRetry, 0: byRetry} {
		act := &cron.Act{RunID: id, Waits: true, RetryAt: noon, JobRev: born}
		a.setAct(act)
		a.duties = map[string]*duty{}
		a.mind(act)
		is := map[kind]bool{}
		for _, d := range a.duties {
			is[d.kind] = true
		}
		if !is[want] || is[byRetry] != (want == byRetry) {
			t.Errorf("made at %d: %v", born, is)
		}
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
		spec(`,"on":"2"`):                                       2, // places
		spec(`,"paused":true`):                                  0,
		spec(`,"expires":"2026-01-01T12:01:00Z"`):               0,
		spec(`,"expires":"2026-01-01T12:01:01Z"`):               1,
		`{"name":"j","schedule":"*/1 * * * *","cmd":["true"],"since":"2026-01-01T12:01:10Z","updated":"2026-01-01T12:01:10Z"}`: 0,
	} {
		a := newAlone(t, noon.Add(time.Minute+10*time.Second))
		a.node.Labels = map[string]string{"host": "h"}
		a.put(spec(""))
		a.look()
		if n := len(a.wanted()); n != 1 {
			t.Fatalf("%d are wanted", n)
		}
		a.take([]change{{entry: keys.Entry{Kind: "job", Name: "j"}, kv: &mvccpb.KeyValue{Value: []byte(edit), ModRevision: 6}}})
		a.look()
		for _, d := range a.duties { // its turn comes
			a.tryClaim(d, a.clk)
		}
		if n := len(a.duties); n != want {
			t.Errorf("%s: %d are wanted, not %d", edit, n, want)
		}
	}
}

// Who could not run what is due, and may after an edit, does.
func TestEditBringsWhatIsDue(t *testing.T) {
	a := newAlone(t, noon.Add(time.Minute+10*time.Second))
	a.node.Labels = map[string]string{"host": "h"}
	const spec = `{"name":"j","schedule":"* * * * *","cmd":["true"],"since":"2026-01-01T11:00:00Z","on":"host=`
	a.put(spec + `other"}`)
	a.look()
	missed := a.stats.missed.Load()
	if n := len(a.wanted()); n != 0 {
		t.Fatalf("%d are wanted", n)
	}
	a.take([]change{{entry: keys.Entry{Kind: "job", Name: "j"}, kv: &mvccpb.KeyValue{Value: []byte(spec + `h"}`), ModRevision: 6}}})
	a.look()
	if n := len(a.wanted()); n != 1 || a.stats.missed.Load() != missed {
		t.Errorf("%d are wanted, %d more missed", n, a.stats.missed.Load()-missed)
	}
}

// The clock of a runner that is behind does not make up for the ticks of a pause; that
// of who has written the job may have been wrong, if it was ahead of all.
func TestResumedByAClockAhead(t *testing.T) {
	a := newAlone(t, noon)
	j := a.put(`{"name":"j","schedule":"* * * * * *","cmd":["true"],"since":"2026-01-01T12:00:05Z"}`)
	if next := time.Unix(j.next, 0); !next.Equal(noon.Add(6 * time.Second)) {
		t.Errorf("next at %v", next.UTC())
	}
}

// A job that is paused makes no other attempt until it goes on.
func TestPausedMakesNoAttempt(t *testing.T) {
	a := newAlone(t, noon)
	a.put(`{"name":"j","schedule":"@daily","paused":true,"cmd":["true"],"retry":{"n":3}}`)
	act := &cron.Act{RunID: keys.RunID{Job: "j", Tick: noon}, Waits: true, RetryAt: noon}
	a.setAct(act)
	a.mind(act)
	a.look()
	if len(a.queue) != 0 || len(a.duties) != 2 { // that, and to give it up if nobody may make it
		t.Errorf("%d wait for a slot, %d duties", len(a.queue), len(a.duties))
	}
}

// A tick that came while a run was in progress was skipped for it: a runner that is
// started later does not make up for it when the run has ended, nor when it is lost.
func TestSkippedBeforeItCame(t *testing.T) {
	for _, misfire := range []string{"once", "all"} {
		a := newAlone(t, noon.Add(10*time.Minute))
		a.synced = false
		act := &cron.Act{RunID: keys.RunID{Job: "j", Tick: noon.Add(2 * time.Minute)}, Node: "h-2", Claimed: noon.Add(2 * time.Minute)}
		a.setAct(act)
		j := a.put(`{"name":"j","schedule":"* * * * *","misfire":"` + misfire + `","cmd":["true"],"since":"2026-01-01T12:00:00Z"}`)
		a.take([]change{{synced: 9}})
		a.look()
		for tick := range a.wanted() {
			if tick > noon.Add(2*time.Minute).Unix() {
				t.Errorf("%s: %v is wanted", misfire, time.Unix(tick, 0).UTC())
			}
		}
		spec, _ := j.spec()
		if to := time.Unix(a.skippedBy(act, spec), 0); !to.Equal(noon.Add(9 * time.Minute)) {
			t.Errorf("over up to %v", to.UTC())
		}
	}
}

// What waits for a slot when a standby begins is started after it.
func TestQueuedOverStandby(t *testing.T) {
	a := newAlone(t, noon)
	a.put(`{"name":"j","schedule":"@manual","cmd":["true"]}`)
	a.take([]change{{entry: keys.Entry{Kind: "req", Name: "j", ID: "x"}, kv: &mvccpb.KeyValue{Value: []byte(`{"action":"run","at":"2026-01-01T12:00:00Z"}`), CreateRevision: 9}}})
	a.look()
	if len(a.queue) != 1 {
		t.Fatalf("%d wait for a slot", len(a.queue))
	}
	a.setSkew("wrong")
	a.restand()
	asked := make(chan struct{})
	a.cfg.Slots, a.cfg.Seam = 1, func(string) { close(asked); select {} }
	a.setSkew("")
	a.restand()
	select {
	case <-asked:
	case <-time.After(patience):
		t.Error("it is not claimed")
	}
}

// A run of a host that does not come back is not waited for without end.
func TestRetryOfAHostThatIsGone(t *testing.T) {
	a := newAlone(t, noon)
	a.put(`{"name":"j","schedule":"@daily","on":"all","deadline":"1m","cmd":["true"],"retry":{"n":3}}`)
	act := &cron.Act{RunID: keys.RunID{Job: "j", Tick: noon, Place: "@other"}, Waits: true, RetryAt: noon}
	a.setAct(act)
	a.mind(act)
	var d *duty
	for _, is := range a.duties {
		d = is
	}
	if len(a.duties) != 1 || d.kind != nobody || d.at.Before(noon.Add(time.Minute)) {
		t.Fatalf("%d duties: %+v", len(a.duties), d)
	}
	if a.canRetry(act) {
		t.Error("it is waited for")
	}
	a.nodes["other-1"] = &cron.Node{ID: "other-1", Host: "other", Slots: 1}
	if !a.canRetry(act) {
		t.Error("it is not waited for")
	}
}

// A submitted job that was not started goes when its time is over, as one that was.
func TestForgetsWhatWasNotStarted(t *testing.T) {
	a := newAlone(t, noon)
	a.put(`{"name":"j","schedule":"@manual","cmd":["true"],"keep-for":"1h","since":"2026-01-01T12:00:00Z"}`)
	if d := a.duties["forget j"]; d == nil || !d.at.Equal(noon.Add(time.Hour)) {
		t.Errorf("%+v", d)
	}
}

// What was asked for of a job runs where the job may run by then, and nowhere else.
func TestRequestFollowsTheJob(t *testing.T) {
	for on, want := range map[string]bool{"host=h": true, "host=other": false} {
		a := newAlone(t, noon)
		a.node.Labels = map[string]string{"host": "h"}
		before := map[string]string{"host=h": "host=other", "host=other": "host=h"}[on]
		a.put(`{"name":"j","schedule":"@manual","cmd":["true"],"on":"` + before + `"}`)
		a.take([]change{{entry: keys.Entry{Kind: "req", Name: "j", ID: "x"}, kv: &mvccpb.KeyValue{Value: []byte(`{"action":"run","at":"2026-01-01T12:00:00Z"}`), CreateRevision: 9}}})
		a.look()
		a.take([]change{{entry: keys.Entry{Kind: "job", Name: "j"}, kv: &mvccpb.KeyValue{Value: []byte(`{"name":"j","schedule":"@manual","cmd":["true"],"on":"` + on + `"}`), ModRevision: 10}}})
		a.look()
		for _, d := range a.duties {
			a.tryClaim(d, a.clk)
		}
		if is := len(a.duties) == 1; is != want {
			t.Errorf("%s, after %s: %v", on, before, is)
		}
	}
}

// What has waited for a slot in vain leaves nothing of itself behind one that still
// waits.
func TestQueueDoesNotGrow(t *testing.T) {
	a := newAlone(t, noon)
	a.put(`{"name":"j","schedule":"* * * * * *","overlap":"allow","deadline":"2s","cmd":["true"],"since":"2026-01-01T12:00:00Z"}`)
	a.take([]change{
		{entry: keys.Entry{Kind: "job", Name: "k"}, kv: &mvccpb.KeyValue{ModRevision: 6, Value: []byte(`{"name":"k","schedule":"@manual","cmd":["true"]}`)}},
		{entry: keys.Entry{Kind: "req", Name: "k", ID: "x"}, kv: &mvccpb.KeyValue{Value: []byte(`{"action":"run","at":"2026-01-01T12:00:00Z"}`), CreateRevision: 9}},
	})
	for range 600 {
		a.clk = a.clk.Add(time.Second)
		a.look()
	}
	if len(a.queue) > 20 || len(a.duties) > 10 {
		t.Errorf("%d in the queue, %d duties", len(a.queue), len(a.duties))
	}
}

// A run that has ended while a clock was ahead keeps no tick from its time.
func TestLastIsToCome(t *testing.T) {
	for _, spec := range []string{`"schedule":"* * * * *"`, `"schedule":"* * * * *","on":"all"`, `"schedule":"* * * * *","splay":"40s"`} {
		a := newAlone(t, noon.Add(10*time.Second))
		j := a.put(`{"name":"j",` + spec + `,"cmd":["true"],"since":"2026-01-01T11:59:30Z"}`)
		a.putLast("j", cron.Memory{Last: cron.Last{Tick: noon.Add(time.Hour), Ended: noon.Add(time.Hour)}})
		a.plan(j)
		if next := time.Unix(j.next, 0); !next.Equal(noon) {
			t.Errorf("%s: next at %v", spec, next.UTC())
		}
	}
}

// A clock that is set takes with it what is to be done some time after something was
// seen, and an attempt is not later than it may be after the one before.
func TestStepMovesWhatIsToBeDone(t *testing.T) {
	for _, by := range []time.Duration{-time.Hour, time.Hour} {
		a := newAlone(t, noon)
		a.put(`{"name":"j","schedule":"@daily","overlap":"allow","cmd":["true"],"retry":{"n":3,"backoff":"1m"},"since":"2026-01-01T11:00:00Z"}`)
		a.take([]change{{entry: keys.Entry{Kind: "req", Name: "j", ID: "k"}, kv: &mvccpb.KeyValue{Value: []byte(`{"action":"kill","run":"` + keys.Tick(noon) + `"}`), CreateRevision: 9}}})
		gone := &cron.Act{RunID: keys.RunID{Job: "j", Tick: noon}, Node: "h-9", Claimed: noon}
		waits := &cron.Act{RunID: keys.RunID{Job: "j", Tick: noon.Add(time.Second)}, Waits: true, Attempt: 1, RetryAt: noon.Add(30 * time.Second)}
		a.look() // it looks at its clock
		for _, act := range []*cron.Act{gone, waits} {
			a.setAct(act)
			a.mind(act)
		}
		a.clk = a.clk.Add(by)
		a.look()
		for key, d := range a.duties {
			if late := d.at.Sub(a.clk); late > 3*time.Minute {
				t.Errorf("%v: %s is to be done in %v", by, key, late)
			}
		}
		if d := a.duties["mind "+gone.RunID.String()]; d == nil || d.kind != lost || d.at.Before(a.clk.Add(lostAfter)) {
			t.Errorf("%v: what is gone: %+v", by, d)
		}
	}
}

// A job that was written while this runner's clock was behind has its ticks since it
// was written, once the clock is right.
func TestWrittenWhileBehind(t *testing.T) {
	a := newAlone(t, noon.Add(-time.Hour))
	a.look()
	j := a.put(`{"name":"j","schedule":"@every 1s","cmd":["true"],"since":"2026-01-01T12:00:00Z"}`)
	a.look()
	a.clk = noon.Add(2 * time.Second)
	a.look()
	for tick := range a.wanted() {
		if tick <= noon.Unix() {
			t.Fatalf("%v is wanted, from before it was written", time.Unix(tick, 0).UTC())
		}
	}
	if len(a.wanted()) == 0 || j.next <= a.clk.Unix() {
		t.Errorf("%d wanted, next %d", len(a.wanted()), j.next)
	}
}

// A submitted job whose run has ended by a clock that was ahead is not kept until then.
func TestRetiresByItsOwnClock(t *testing.T) {
	a := newAlone(t, noon)
	a.put(`{"name":"j","schedule":"@manual","keep-for":"1m","cmd":["true"],"since":"2026-01-01T11:59:00Z"}`)
	a.putLast("j", cron.Memory{Last: cron.Last{Ended: noon.Add(time.Hour)}})
	if d := a.duties["forget j"]; d == nil || !d.at.Equal(noon.Add(time.Minute)) {
		t.Errorf("it is to be removed: %+v", d)
	}
}
