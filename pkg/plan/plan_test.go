package plan

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"conch/pkg/clock"
	"conch/pkg/cron"
	"conch/pkg/keys"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// alone is a planner that is the only runner, with a clock that the test sets. It does
// what the planner wants, as far as the test does not do it.
type alone struct {
	*Planner
	t    *testing.T
	now  time.Time
	up   clock.Instant
	rev  int64
	made map[keys.Entry]int64

	claims  []Claim // not answered
	settles []Settle
	started []keys.RunID
	other   []Verb
	said    []Event
}

func newAlone(t *testing.T, now time.Time, tweak ...func(*Config)) *alone {
	cfg := Config{Node: cron.Node{ID: "h-1", Host: "h", Slots: 1, Labels: map[string]string{"host": "h"}}, Placement: Spread,
		Hedge: time.Second, Replay: 30 * time.Second, SkipClock: true}
	for _, f := range tweak {
		f(&cfg)
	}
	a := &alone{Planner: New(cfg), t: t, now: now, up: 1e9, rev: 10, made: map[keys.Entry]int64{}}
	a.node(cfg.Node)
	a.step(Whole{Rev: a.rev})
	return a
}

// step takes a step at the present time.
func (a *alone) step(facts ...Fact) time.Duration {
	a.t.Helper()
	verbs, sleep := a.Step(Reading{a.now, a.up}, facts...)
	for _, v := range verbs {
		switch v := v.(type) {
		case Claim:
			a.claims = append(a.claims, v)
		case Settle:
			a.settles = append(a.settles, v)
		case Start:
			a.started = append(a.started, v.ID)
		case Say:
			a.said = append(a.said, v.Event)
		default:
			a.other = append(a.other, v)
		}
	}
	return sleep
}

// pass lets time pass, with a step each time that the planner wants one.
func (a *alone) pass(d time.Duration) {
	a.t.Helper()
	for end, steps := a.now.Add(d), 0; ; steps++ {
		if steps > int(d/(100*time.Millisecond))+200 {
			a.t.Fatalf("it took %d steps up to %v, %v before the end", steps, a.now, end.Sub(a.now))
		}
		sleep := min(a.step(), end.Sub(a.now))
		if sleep <= 0 && !a.now.Before(end) {
			return
		}
		sleep = max(sleep, time.Millisecond)
		a.now, a.up = a.now.Add(sleep), a.up.Add(sleep)
	}
}

// put tells of a key.
func (a *alone) put(e keys.Entry, value any) {
	a.t.Helper()
	a.step(a.fact(e, value))
}

func (a *alone) fact(e keys.Entry, value any) Put {
	text, ok := value.(string)
	if !ok {
		b, err := json.Marshal(value)
		if err != nil {
			a.t.Fatal(err)
		}
		text = string(b)
	}
	a.rev++
	if a.made[e] == 0 {
		a.made[e] = a.rev
	}
	return Put{Entry: e, Value: []byte(text), Rev: a.rev, Made: a.made[e]}
}

func (a *alone) gone(e keys.Entry) {
	a.rev++
	delete(a.made, e)
	a.step(Deleted{Entry: e, Rev: a.rev})
}

func (a *alone) job(spec string) { a.put(keys.Entry{Kind: "job", Name: "j"}, spec) }

func (a *alone) node(n cron.Node) { a.put(keys.Entry{Kind: "node", Name: n.ID}, n) }

func actEntry(id keys.RunID, waits bool) keys.Entry {
	return keys.Entry{Kind: "act", Name: id.Job, Run: id, Waits: waits}
}

// answer answers the first claim.
func (a *alone) answer(ours bool, err error) *cron.Run {
	a.t.Helper()
	if len(a.claims) == 0 {
		a.t.Fatal("nothing is claimed")
	}
	c := a.claims[0]
	a.claims = a.claims[1:]
	run := *c.Claim.Run
	run.Claim = fmt.Sprintf("c%d", a.rev)
	if err != nil {
		a.step(Answer{ID: run.RunID, Err: err})
		return nil
	}
	f := a.fact(actEntry(run.RunID, false), cron.Act{Node: run.Node, Host: run.Host, Claim: run.Claim, Attempt: run.Attempt, Claimed: run.Claimed, JobRev: run.JobRev})
	run.Rev = f.Rev
	facts := []Fact{Answer{ID: run.RunID, Run: &run, Ours: ours}, f}
	if id, manual := run.RunID.Request(); manual && c.Claim.Request != 0 {
		facts = append(facts, Deleted{Entry: keys.Entry{Kind: "req", Name: run.Job, ID: id}, Rev: f.Rev})
	}
	if c.Claim.After != 0 {
		facts = append(facts, Deleted{Entry: actEntry(run.RunID, true), Rev: f.Rev})
	}
	a.step(facts...)
	return &run
}

// end ends a run, and writes what the planner makes of it.
func (a *alone) end(run *cron.Run, state cron.State) Settle {
	a.t.Helper()
	run.State, run.Began, run.Ended = state, run.Claimed, a.now.UTC()
	a.settles = nil
	a.step(Ended{Run: run})
	if len(a.settles) != 1 {
		a.t.Fatalf("%d settlements", len(a.settles))
	}
	s := a.settles[0]
	a.settles = nil
	a.settled(s)
	return s
}

// settled writes a settlement.
func (a *alone) settled(s Settle) {
	a.t.Helper()
	id := s.Run.RunID
	facts := []Fact{}
	if s.Run.State == cron.Retrying {
		facts = append(facts, a.fact(actEntry(id, true), cron.Act{Node: s.Run.Node, Claim: s.Run.Claim, Attempt: s.Run.Attempt, RetryAt: s.Run.RetryAt, JobRev: s.Run.JobRev}))
	}
	a.rev++
	delete(a.made, actEntry(id, false))
	facts = append(facts, Deleted{Entry: actEntry(id, false), Rev: a.rev})
	if s.Memory != nil {
		facts = append(facts, a.fact(keys.Entry{Kind: "last", Name: id.Job}, s.Memory.With(s.Run, s.Over, s.Counted)))
	}
	a.step(append(facts, Settled{ID: id, Claim: s.Run.Claim})...)
}

// wanted are the ticks that are claimed and not answered.
func (a *alone) wanted() map[int64]bool {
	all := map[int64]bool{}
	for _, c := range a.claims {
		all[c.Claim.Run.Tick.Unix()] = true
	}
	return all
}

func (a *alone) saidOf(name string) (n int) {
	for _, e := range a.said {
		if e.Event == name {
			n += max(e.Count, 1)
		}
	}
	return n
}

// A tick that is due is claimed, started, and settled; the next follows.
func TestOneTickAfterTheOther(t *testing.T) {
	a := newAlone(t, noon)
	a.job(`{"name":"j","schedule":"* * * * *","cmd":["true"],"since":"2026-01-01T12:00:00Z"}`)
	for i := 1; i <= 3; i++ {
		a.pass(noon.Add(time.Duration(i) * time.Minute).Sub(a.now))
		if len(a.claims) != 1 || !a.wanted()[noon.Add(time.Duration(i)*time.Minute).Unix()] {
			t.Fatalf("minute %d: %v", i, a.wanted())
		}
		run := a.answer(true, nil)
		if len(a.started) != i || a.started[i-1] != run.RunID {
			t.Fatalf("minute %d: started %v", i, a.started)
		}
		a.pass(10 * time.Second)
		s := a.end(run, cron.OK)
		if !s.Ours || s.Memory == nil || !s.Over.Equal(run.Tick) || s.Rev != run.Rev {
			t.Errorf("minute %d: %+v", i, s)
		}
	}
	if slices.ContainsFunc(a.said, func(e Event) bool { return e.Level <= Warning }) {
		t.Errorf("%+v", a.said)
	}
	if len(a.busy) != 0 || a.Mine() != 0 {
		t.Errorf("%d jobs are busy, %d runs are left", len(a.busy), a.Mine())
	}
}

// Ticks that come while a run is in progress are skipped for it, and counted with it.
func TestSkippedWhileItRuns(t *testing.T) {
	a := newAlone(t, noon)
	a.job(`{"name":"j","schedule":"* * * * *","cmd":["true"],"since":"2026-01-01T12:00:00Z"}`)
	a.pass(time.Minute)
	run := a.answer(true, nil)
	a.pass(150 * time.Second)
	s := a.end(run, cron.OK)
	if s.Run.Skipped != 2 || !s.Over.Equal(noon.Add(3*time.Minute)) || a.saidOf(Skipped) != 2 {
		t.Errorf("%d skipped, over up to %v", s.Run.Skipped, s.Over)
	}
	a.pass(20 * time.Second)
	if len(a.claims) != 0 {
		t.Errorf("%v", a.wanted())
	}
	a.pass(time.Minute)
	if !a.wanted()[noon.Add(4*time.Minute).Unix()] {
		t.Errorf("%v", a.wanted())
	}
}
