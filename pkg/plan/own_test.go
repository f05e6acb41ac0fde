package plan

import (
	"errors"
	"testing"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
)

func reqEntry(job, id string) keys.Entry { return keys.Entry{Kind: "req", Name: job, ID: id} }

// withdrawn are the jobs that are to be removed, or the requests.
func (a *alone) withdrawn(requests bool) (all []Withdraw) {
	for _, v := range a.other {
		if w, ok := v.(Withdraw); ok && requests == (w.Request != "") {
			all = append(all, w)
		}
	}
	return all
}

// Whoever records the end of a run remembers when the job last ended well.
func TestRemembers(t *testing.T) {
	a := newAlone(t, noon.Add(59*time.Minute))
	a.job(`{"name":"j","schedule":"@daily","cmd":["true"]}`)
	last := a.last(cron.Last{Tick: noon, OK: noon, Ended: noon, Runs: 7, Failures: 2})
	a.step(last)
	tick := noon.Add(time.Hour)
	a.put(actEntry(keys.RunID{Job: "j", Tick: tick}, false), cron.Act{Node: "h-9", Claim: "c", Attempt: 1, Claimed: tick})
	a.pass(5 * time.Second)
	if len(a.settles) != 1 {
		t.Fatalf("%d settlements", len(a.settles))
	}
	s := a.settles[0]
	if l := s.Memory.With(s.Run, s.Over, false); s.Memory.Rev != last.Rev || !l.OK.Equal(noon) || l.Runs != 8 || l.Failures != 3 || !l.Tick.Equal(tick) {
		t.Errorf("%+v", l)
	}
}

// A result that was kept for another etcd is written where its claim is known, as after
// a restore, and is nothing anywhere else: a marker that is waited for in vain would
// keep its job from running for ever.
func TestKeptForAnother(t *testing.T) {
	a := newAlone(t, noon.Add(-time.Second))
	a.job(`{"name":"j","schedule":"* * * * *","cmd":["true"],"since":"2026-01-01T11:59:00Z"}`)
	run := &cron.Run{RunID: keys.RunID{Job: "j", Tick: noon.Add(-time.Minute)}, Claim: "c", Attempt: 1, State: cron.OK, Ended: noon, Rev: 3}
	end := Ended{Run: run, Kept: true, Foreign: true}
	a.step(end)
	a.put(actEntry(run.RunID, false), cron.Act{Node: "h-0", Claim: "d", Attempt: 1, Claimed: run.Tick})
	a.step(end)
	if len(a.settles) != 0 {
		t.Fatalf("of a claim that nobody knows: %+v", a.settles)
	}
	a.put(actEntry(run.RunID, false), cron.Act{Node: "h-0", Claim: "c", Attempt: 1, Claimed: run.Tick})
	a.step(end)
	if len(a.settles) != 1 || a.settles[0].Run.State != cron.OK {
		t.Fatalf("of a claim that is known: %+v", a.settles)
	}
}

// A result that is kept is not recorded as unknown: its true end is still to be
// written, however long etcd refuses it. A claim that was said to have failed, and that
// etcd has, is.
func TestSpoolBeforeOrphan(t *testing.T) {
	a := newAlone(t, noon.Add(-time.Second))
	a.job(`{"name":"j","schedule":"* * * * *","cmd":["true"],"since":"2026-01-01T11:59:00Z"}`)
	a.pass(time.Second)
	run := a.answer(true, nil)
	run.State, run.Ended = cron.Failed, a.now.UTC()
	for _, end := range []Ended{{Run: run}, {Run: run, Kept: true}} {
		a.settles = nil
		a.step(end)
		if len(a.settles) != 1 || !a.settles[0].Ours || a.settles[0].Run.State != cron.Failed {
			t.Fatalf("%+v: %+v", end, a.settles)
		}
		a.step(Settled{ID: run.RunID, Claim: run.Claim, Err: cron.ErrNode})
		a.settles = nil
		a.pass(10 * time.Minute)
		if len(a.settles) != 0 {
			t.Fatalf("its end is %s", a.settles[0].Run.State)
		}
	}
	a.step(Settled{ID: run.RunID, Claim: run.Claim}) // and the table does not tell
	a.pass(5 * time.Minute)
	if len(a.settles) == 0 || a.settles[0].Ours || a.settles[0].Run.State != cron.Unknown {
		t.Errorf("nobody records what is left of it: %+v", a.settles)
	}

	a = newAlone(t, noon.Add(-time.Second))
	a.job(`{"name":"j","schedule":"* * * * *","cmd":["true"],"since":"2026-01-01T11:59:00Z"}`)
	a.pass(time.Second)
	id := a.claims[0].Claim.Run.RunID
	a.answer(false, errors.New("away"))
	a.put(actEntry(id, false), cron.Act{Node: "h-1", Claim: "c", Attempt: 1, Claimed: noon})
	a.pass(59 * time.Second)
	if len(a.settles) != 0 {
		t.Errorf("at once: %+v", a.settles)
	}
	a.pass(5 * time.Second)
	if len(a.settles) != 1 || a.settles[0].Run.State != cron.Unknown {
		t.Errorf("%+v", a.settles)
	}
}

// When a submitted job's time is over, another that has its name since is left alone;
// so is one that is no job of one run any more, and one of which something is asked.
func TestForgetsItsOwn(t *testing.T) {
	const spec = `{"name":"j","schedule":"@manual","cmd":["true"],"keep-for":"1h","since":"2026-01-01T`
	const forGood = `{"name":"j","schedule":"@daily","cmd":["true"],"since":"2026-01-01T12:30:00Z"}`
	for name, then := range map[string]func(a *alone){
		"":               func(*alone) {},
		"another":        func(a *alone) { a.gone(jobEntry("j")); a.job(spec + `12:30:00Z"}`) },
		"for good":       func(a *alone) { a.gone(jobEntry("j")); a.job(forGood) },
		"edited":         func(a *alone) { a.job(forGood) },
		"something else": func(a *alone) { a.put(reqEntry("j", "x"), `{"action":"run","at":"2026-01-01T12:30:00Z"}`) },
	} {
		a := newAlone(t, noon)
		a.job(spec + `11:30:00Z"}`)
		rev := a.rev
		a.step(a.last(cron.Last{Ended: noon}))
		a.pass(30 * time.Minute)
		then(a)
		a.pass(29 * time.Minute)
		if w := a.withdrawn(false); len(w) != 0 {
			t.Fatalf("%q: it is removed before its time: %v", name, w)
		}
		a.pass(2 * time.Minute)
		w := a.withdrawn(false)
		if (len(w) != 0) != (name == "") || name == "" && (w[0].Job != "j" || w[0].Rev != rev) {
			t.Errorf("%q: %v is removed", name, w)
		}
	}
}

// A submitted job that was not started goes when its time is over, as one that was.
func TestForgetsWhatWasNotStarted(t *testing.T) {
	a := newAlone(t, noon)
	a.job(`{"name":"j","schedule":"@manual","cmd":["true"],"keep-for":"1h","since":"2026-01-01T12:00:00Z"}`)
	a.pass(time.Hour - time.Second)
	if w := a.withdrawn(false); len(w) != 0 {
		t.Errorf("it is removed before its time: %v", w)
	}
	a.pass(2 * time.Second)
	if w := a.withdrawn(false); len(w) != 1 {
		t.Errorf("%v", w)
	}
}

// An attempt of a job that was removed is not followed by one of a job that has its
// name.
func TestNoAttemptOfAnother(t *testing.T) {
	for _, of := range []string{"it", "another", "any"} {
		a := newAlone(t, noon)
		a.job(`{"name":"j","schedule":"@daily","cmd":["true"],"retry":{"n":3}}`)
		born := map[string]int64{"it": a.rev, "another": 5}[of]
		id := keys.RunID{Job: "j", Tick: noon}
		a.put(actEntry(id, true), cron.Act{Claim: "c", Attempt: 1, RetryAt: noon, JobRev: born})
		rev := a.rev
		a.pass(4 * time.Second)
		switch {
		case of == "another" && (len(a.claims) != 0 || len(a.settles) != 1 || a.settles[0].Run.State != cron.Failed || a.settles[0].Rev != rev):
			t.Errorf("%v, %+v", a.claims, a.settles)
		case of != "another" && (len(a.claims) != 1 || len(a.settles) != 0 || a.claims[0].Claim.After != rev || a.claims[0].Claim.Run.Attempt != 2):
			t.Errorf("of %s: %+v, %v", of, a.claims, a.settles)
		}
	}
}

// A job that is paused makes no other attempt until it goes on.
func TestPausedMakesNoAttempt(t *testing.T) {
	a := newAlone(t, noon)
	a.job(`{"name":"j","schedule":"@daily","paused":true,"cmd":["true"],"retry":{"n":3}}`)
	id := keys.RunID{Job: "j", Tick: noon}
	a.put(actEntry(id, true), cron.Act{Claim: "c", Attempt: 1, RetryAt: noon})
	a.pass(10 * time.Minute)
	if len(a.claims) != 0 || len(a.settles) != 0 {
		t.Fatalf("%v, %v", a.claims, a.settles)
	}
	a.job(`{"name":"j","schedule":"@daily","cmd":["true"],"retry":{"n":3}}`)
	a.pass(time.Second)
	if len(a.claims) != 1 || a.claims[0].Claim.Run.RunID != id {
		t.Errorf("%v", a.claims)
	}
}

// What waits for a slot when a standby begins is started after it.
func TestQueuedOverStandby(t *testing.T) {
	a := newAlone(t, noon)
	other := a.busyWith()
	a.job(`{"name":"j","schedule":"@manual","cmd":["true"]}`)
	a.put(reqEntry("j", "x"), `{"action":"run","at":"2026-01-01T12:00:00Z"}`)
	a.pass(time.Second)
	a.step(Standby{"wrong"})
	a.end(other, cron.OK)
	a.pass(time.Minute)
	if len(a.claims) != 0 {
		t.Fatalf("%v is claimed during a standby", a.claims)
	}
	a.step(Standby{})
	if len(a.claims) != 1 {
		t.Error("it is not claimed")
	}
}

// A run of a host that does not come back, or has no time for it, is not waited for
// without end.
func TestRetryOfAHostThatIsGone(t *testing.T) {
	for _, back := range []bool{false, true} {
		a := newAlone(t, noon)
		a.job(`{"name":"j","schedule":"@daily","on":"all","deadline":"1m","cmd":["true"],"retry":{"n":3}}`)
		a.put(actEntry(keys.RunID{Job: "j", Tick: noon, Place: "@other"}, true), cron.Act{Claim: "c", Attempt: 1, RetryAt: noon})
		a.pass(59 * time.Second)
		if len(a.claims) != 0 || len(a.settles) != 0 {
			t.Fatalf("%v, %v", a.claims, a.settles)
		}
		if back {
			a.comes("other")
		}
		a.pass(5 * time.Second)
		if len(a.settles) == 0 || a.settles[0].Run.State != cron.Failed || len(a.claims) != 0 {
			t.Errorf("back %v: %v, %+v", back, a.claims, a.settles)
		}
	}
}

// What was asked for of a job runs where the job may run by then, and nowhere else.
func TestRequestFollowsTheJob(t *testing.T) {
	for on, want := range map[string]int{"host=h": 1, "host=other": 0} {
		a := newAlone(t, noon)
		other := a.busyWith()
		before := map[string]string{"host=h": "host=other", "host=other": "host=h"}[on]
		a.job(`{"name":"j","schedule":"@manual","cmd":["true"],"on":"` + before + `"}`)
		a.put(reqEntry("j", "x"), `{"action":"run","at":"2026-01-01T12:00:00Z"}`)
		a.pass(time.Second)
		a.job(`{"name":"j","schedule":"@manual","cmd":["true"],"on":"` + on + `"}`)
		a.pass(time.Second)
		a.end(other, cron.OK)
		a.pass(time.Second)
		if len(a.claims) != want {
			t.Errorf("%s, after %s: %v", on, before, a.claims)
		}
	}
}

// A clock that is set takes with it what is to be done some time after something was
// seen, and an attempt is not later than it may be after the one before.
func TestStepMovesWhatIsToBeDone(t *testing.T) {
	for _, by := range []time.Duration{-time.Hour, time.Hour} {
		a := newAlone(t, noon, slots(10))
		a.job(`{"name":"j","schedule":"@daily","overlap":"allow","cmd":["true"],"retry":{"n":3,"backoff":"1m"},"since":"2026-01-01T11:00:00Z"}`)
		a.put(reqEntry("j", "k"), `{"action":"kill","run":"`+keys.Tick(noon.Add(-time.Hour))+`"}`) // which is over
		gone, waits := keys.RunID{Job: "j", Tick: noon}, keys.RunID{Job: "j", Tick: noon.Add(time.Second)}
		a.step(a.fact(actEntry(gone, false), cron.Act{Node: "h-9", Claim: "c", Attempt: 1, Claimed: noon}),
			a.fact(actEntry(waits, true), cron.Act{Claim: "d", Attempt: 1, RetryAt: noon.Add(30 * time.Second)}))
		a.now = a.now.Add(by)
		a.step()
		if a.saidOf("clock-step") != 1 || len(a.settles) != 0 {
			t.Fatalf("%v: %v, %v", by, a.said, a.settles)
		}
		a.pass(lostAfter - 1)
		if len(a.settles) != 0 {
			t.Errorf("%v: what is gone is recorded at once", by)
		}
		a.pass(3 * time.Minute)
		if len(a.settles) == 0 || a.settles[0].Run.RunID != gone {
			t.Errorf("%v: what is gone: %+v", by, a.settles)
		}
		if len(a.claims) != 1 || a.claims[0].Claim.Run.RunID != waits {
			t.Errorf("%v: what is to be tried again: %+v", by, a.claims)
		}
		if w := a.withdrawn(true); len(w) == 0 || w[0].Request != "k" {
			t.Errorf("%v: what was to be killed: %v", by, w)
		}
	}
}

// A claim whose command could not be started for what the host lacks is given back, and
// its attempt is made again, by a job that makes no others too; what was kept since is
// no other matter, unless the run is over for etcd.
func TestGivesBack(t *testing.T) {
	for _, attempts := range []string{"", `,"retry":{"n":1}`} {
		a := newAlone(t, noon.Add(-time.Second))
		a.job(`{"name":"j","schedule":"0 * * * *","cmd":["true"],"since":"2026-01-01T11:59:00Z"` + attempts + `}`)
		a.pass(time.Second)
		run := a.answer(true, nil)
		run.State, run.Ended, run.Cause = cron.Failed, a.now.UTC(), "fork: resource temporarily unavailable"
		for _, end := range []Ended{{Run: run, Unstarted: true}, {Run: run, Unstarted: true, Kept: true}} {
			a.settles = nil
			a.step(Standby{"this host lacks"}, end)
			if len(a.settles) != 1 {
				t.Fatalf("%d settlements", len(a.settles))
			}
			s := a.settles[0]
			if s.Run.State != cron.Retrying || s.Run.Attempt != 0 || s.Run.RetryAt.After(a.now.Add(time.Minute)) || s.Memory != nil || s.Spec != nil || s.Run.Cause != run.Cause {
				t.Errorf("kept %v: %+v", end.Kept, s.Run)
			}
			if !end.Kept {
				a.step(Settled{ID: run.RunID, Claim: run.Claim, Err: cron.ErrNode})
			}
		}
		a.settled(a.settles[0])
		a.pass(time.Minute)
		if len(a.claims) != 0 {
			t.Fatal("it is tried again during a standby")
		}
		a.step(Standby{})
		if len(a.claims) != 1 || a.claims[0].Claim.Run.Attempt != 1 || a.claims[0].Claim.After == 0 {
			t.Fatalf("%+v", a.claims)
		}
		run = a.answer(true, nil)
		if s := a.end(run, cron.OK); s.Run.Attempt != 1 || s.Run.State != cron.OK {
			t.Errorf("%+v", s.Run)
		}
		a.settles = nil
		run.State = cron.Failed
		a.step(Ended{Run: run, Unstarted: true, Kept: true}) // etcd has another end by now
		if len(a.settles) != 1 || a.settles[0].Run.State != cron.Failed {
			t.Errorf("%+v", a.settles)
		}
	}
}
