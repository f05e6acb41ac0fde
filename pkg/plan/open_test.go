package plan

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
)

func many(c *Config) { c.Node.Slots = 10000 }

func ticksOf(all map[int64]bool) []int64 { return slices.Sorted(maps.Keys(all)) }

// Who comes when no runner may run a tick says so, and none that was there counts.
func TestUnplaced(t *testing.T) {
	for on, want := range map[string]string{"host=x": Unplaced, "all host=x": Unplaced, "2 host=x": Unplaced, "any": Missed} {
		a := newAlone(t, noon, func(c *Config) { c.Node.Slots = 0 })
		a.job(`{"name":"j","schedule":"0 * * * *","on":"` + on + `","cmd":["true"],"since":"2026-01-01T11:59:00Z"}`)
		a.pass(time.Minute + 10*time.Second)
		if a.saidOf(want) != 1 || a.saidOf(Unplaced)+a.saidOf(Missed) != 1 {
			t.Errorf("%s: %+v", on, a.said)
		}
		if len(a.busy) != 0 {
			t.Errorf("%s: something is left of it", on)
		}
	}
}

// Of what had no slot for the whole of its deadline the rule for misfires says what
// is run, as of what nobody was there for.
func TestMissedForWantOfASlot(t *testing.T) {
	for misfire, want := range map[string]int{"skip": 0, "once": 1, "all": 3} {
		a := newAlone(t, noon)
		a.put(keys.Entry{Kind: "job", Name: "k"}, `{"name":"k","schedule":"@manual","cmd":["true"]}`)
		a.put(keys.Entry{Kind: "req", Name: "k", ID: "x"}, `{"action":"run","at":"2026-01-01T12:00:00Z"}`)
		other := a.answer(true, nil)
		a.job(`{"name":"j","schedule":"*/10 * * * *","misfire":"` + misfire + `","cmd":["true"],"since":"2026-01-01T12:00:00Z"}`)
		a.pass(35 * time.Minute)
		if a.saidOf(Missed) != 3 {
			t.Errorf("%s: %d were missed", misfire, a.saidOf(Missed))
		}
		a.end(other, cron.OK)
		n := 0
		for ; len(a.claims) > 0; n++ {
			a.end(a.answer(true, nil), cron.OK)
		}
		if n != want {
			t.Errorf("%s: %d are run, not %d", misfire, n, want)
		}
	}
}

// What came during a pause of all jobs is not made up for: not by who was there, nor by
// a runner that is started later, whatever the rule for misfires.
func TestPauseOfAll(t *testing.T) {
	for _, misfire := range []string{"skip", "once", "all"} {
		spec := `{"name":"j","schedule":"* * * * *","misfire":"` + misfire + `","deadline":"10m","cmd":["true"],"since":"2026-01-01T12:00:30Z"}`
		a := newAlone(t, noon.Add(50*time.Second), many)
		a.job(spec)
		a.put(keys.Entry{Kind: "paused"}, cron.Pause{By: "me", At: a.now})
		a.pass(3 * time.Minute)
		resumed := a.fact(keys.Entry{Kind: "resumed"}, []cron.Pausing{{From: noon.Add(50 * time.Second), To: a.now}})
		a.step(Deleted{Entry: keys.Entry{Kind: "paused"}, Rev: a.rev}, resumed)
		a.pass(5 * time.Second)
		later := newAlone(t, a.now, many)
		later.step(Reread{}, later.fact(keys.Entry{Kind: "node", Name: "h-1"}, later.cfg.Node), later.fact(keys.Entry{Kind: "job", Name: "j"}, spec), resumed, Whole{Rev: 50})
		for name, p := range map[string]*alone{"who was there": a, "who came later": later} {
			if len(p.claims) != 0 {
				t.Errorf("%s, %s: %v", misfire, name, ticksOf(p.wanted()))
			}
			p.pass(20 * time.Second)
			if w := p.wanted(); len(w) != 1 || !w[noon.Add(4*time.Minute).Unix()] {
				t.Errorf("%s, %s: %v", misfire, name, ticksOf(w))
			}
		}
	}
}

// A claim that was refused is made again if the tick is still open, and only then.
func TestRefusedClaims(t *testing.T) {
	for _, err := range []error{cron.ErrOverlap, cron.ErrChanged, cron.ErrPaused, cron.ErrNode, errors.New("away")} {
		a := newAlone(t, noon)
		a.job(`{"name":"j","schedule":"* * * * *","cmd":["true"],"since":"2026-01-01T12:00:00Z"}`)
		a.pass(time.Minute)
		a.answer(false, err)
		if len(a.claims) != 0 {
			t.Errorf("%v: it is claimed again at once", err)
		}
		a.pass(2 * time.Second)
		if len(a.claims) != 1 {
			t.Errorf("%v: it is not claimed again", err)
			continue
		}
		a.answer(false, err)
		a.gone(keys.Entry{Kind: "job", Name: "j"})
		a.pass(10 * time.Second)
		if len(a.claims) != 0 {
			t.Errorf("%v: a tick of a job that is gone is claimed", err)
		}
	}
	a := newAlone(t, noon)
	a.job(`{"name":"j","schedule":"* * * * *","cmd":["true"],"since":"2026-01-01T12:00:00Z"}`)
	a.pass(time.Minute)
	a.answer(false, cron.ErrPruned)
	a.pass(30 * time.Second)
	if len(a.claims) != 0 || a.saidOf(Missed) != 0 { // perhaps it has been run
		t.Errorf("what was pruned: %v, %d missed", a.wanted(), a.saidOf(Missed))
	}
	// The table is read anew while a claim is under way.
	a = newAlone(t, noon)
	spec := a.fact(keys.Entry{Kind: "job", Name: "j"}, `{"name":"j","schedule":"* * * * *","cmd":["true"],"since":"2026-01-01T12:00:00Z"}`)
	a.step(spec)
	a.pass(time.Minute)
	a.step(Reread{}, a.fact(keys.Entry{Kind: "node", Name: "h-1"}, a.cfg.Node), spec, Whole{Rev: a.rev})
	a.answer(false, errors.New("away"))
	a.pass(5 * time.Second)
	if len(a.claims) != 1 {
		t.Errorf("it is forgotten")
	}
}

// A runner that was there all along, and one that has just been started, would claim
// the same: whatever has happened before.
func TestRestartAgrees(t *testing.T) {
	for seed := range uint64(300) {
		draw := rand.New(rand.NewPCG(seed, 7))
		pick := func(all ...string) string { return all[draw.IntN(len(all))] }
		a := newAlone(t, noon, many)
		specs := map[string]Put{}
		lasts := map[string]Put{}
		acts := map[keys.Entry]Put{}
		since := noon
		for range 40 {
			switch draw.IntN(6) {
			case 0:
				name := pick("j", "k")
				if draw.IntN(2) == 0 {
					since = a.now.Truncate(time.Second)
				}
				specs[name] = a.fact(keys.Entry{Kind: "job", Name: name}, fmt.Sprintf(`{"name":%q,"schedule":%q,"overlap":%q,"misfire":%q,"splay":%q,"deadline":%q,"on":%q,"cmd":["true"],"since":%q,"updated":%q}`,
					name, pick("* * * * *", "*/20 * * * * *", "*/2 * * * *"), pick("forbid", "forbid", "replace"), pick("skip", "once", "all"), pick("0s", "30s"), pick("1m", "3m", "10s"),
					pick("any", "any", "host=h", "host=x"), since.Format(time.RFC3339), a.now.UTC().Format(time.RFC3339)))
				a.step(specs[name])
			case 1:
				a.pass(time.Duration(draw.IntN(90)) * time.Second)
			case 2:
				a.pass(time.Duration(draw.IntN(1500)) * time.Millisecond)
			case 3, 4: // all that is claimed is run
				for range min(len(a.claims), 5) {
					c := a.claims[0]
					a.claims = a.claims[1:]
					run := *c.Claim.Run
					run.Claim = "c"
					f := a.fact(actEntry(run.RunID, false), cron.Act{Node: run.Node, Claim: "c", Attempt: 1, Claimed: run.Claimed})
					run.Rev = f.Rev
					acts[f.Entry] = f
					a.other = nil
					a.step(Answer{ID: run.RunID, Run: &run, Ours: true}, f)
					var s Settle
					if i := slices.IndexFunc(a.other, func(v Verb) bool { _, late := v.(GiveUp); return late }); i >= 0 {
						s = a.other[i].(GiveUp).Settle
						a.settled(s)
					} else {
						if draw.IntN(3) > 0 {
							a.pass(time.Duration(draw.IntN(50)) * time.Second)
						}
						s = a.end(&run, cron.OK)
					}
					delete(acts, f.Entry)
					lasts[run.Job] = a.fact(keys.Entry{Kind: "last", Name: run.Job}, s.Memory.With(s.Run, s.Over, false))
				}
			case 5:
				for name := range specs {
					a.step(specs[name]) // told twice
				}
			}
		}
		a.pass(10 * time.Second)
		for len(a.claims) > 0 { // none is under way
			a.answer(false, cron.ErrChanged)
		}
		a.pass(refusedMost)
		b := newAlone(t, a.now, many)
		facts := []Fact{Reread{}, b.fact(keys.Entry{Kind: "node", Name: "h-1"}, b.cfg.Node)}
		for _, m := range []map[string]Put{specs, lasts} {
			for _, name := range sortedKeys(m) {
				facts = append(facts, m[name])
			}
		}
		b.step(append(facts, Whole{Rev: 1000})...)
		atItsEnd := slices.ContainsFunc(b.sorted(), func(j *job) bool { // one of which the time has just run out
			now := b.wall()
			return j.sched != nil && j.sched.Next(time.Unix(j.oldest(now-int64(3*time.Second))-1, 0)).Unix() < j.oldest(now)
		})
		// Those that were missed, and that a later one has overtaken, are known to who has
		// told of them alone, and go first.
		overtaken := slices.ContainsFunc(a.claims, func(c Claim) bool { return c.Claim.Run.Tick.Unix() <= a.jobs[c.Claim.Run.Job].last })
		backsOff := slices.ContainsFunc(a.sorted(), func(j *job) bool {
			return j.live != nil && slices.ContainsFunc(j.live.open, func(t *tick) bool { return t.refused > 0 && (a.mine[t.name] == nil || len(j.live.open) > 1) })
		})
		if got, want := ticksOf(b.wanted()), ticksOf(a.wanted()); !slices.Equal(got, want) && !atItsEnd && !overtaken && !backsOff {
			t.Errorf("seed %d: at %v the new one claims %v, the old one %v", seed, a.now.UTC(), got, want)
		}
	}
}

// Of several ticks of a job whose runs replace each other the latest is run: the others
// would be killed for it at once.
func TestReplacedBeforeItRuns(t *testing.T) {
	a := newAlone(t, noon.Add(10*time.Minute+time.Second), many)
	a.job(`{"name":"j","schedule":"* * * * *","overlap":"replace","deadline":"5m","cmd":["true"],"since":"2026-01-01T12:00:00Z"}`)
	if w := ticksOf(a.wanted()); len(w) != 1 || w[0] != noon.Add(10*time.Minute).Unix() || a.saidOf(Skipped) != 0 {
		t.Errorf("%v are claimed, %d skipped", w, a.saidOf(Skipped))
	}
	a.end(a.answer(true, nil), cron.OK)
	a.pass(time.Second)
	if len(a.claims) != 0 || a.saidOf(Skipped) != 4 {
		t.Errorf("%v are claimed, %d skipped", a.wanted(), a.saidOf(Skipped))
	}
}

// What is put off for hundreds of years is not done at once, and harms nobody.
func TestPutOffForLong(t *testing.T) {
	a := newAlone(t, noon)
	a.job(`{"name":"j","schedule":"* * * * *","deadline":"876000h","retry":{"n":3},"cmd":["true"],"since":"2026-01-01T12:00:00Z"}`)
	a.put(keys.Entry{Kind: "job", Name: "k"}, `{"name":"k","schedule":"@manual","keep-for":"2400000h","deadline":"2400000h","cmd":["true"],"since":"2026-01-01T12:00:00Z"}`)
	a.put(keys.Entry{Kind: "req", Name: "k", ID: "x"}, `{"action":"run","at":"2026-01-01T12:00:00Z","expires":"2300-01-01T00:00:00Z"}`)
	a.put(keys.Entry{Kind: "req", Name: "k", ID: "y"}, `{"action":"run","at":"2026-01-01T12:00:00Z","expires":"0001-01-02T00:00:00Z"}`)
	a.end(a.answer(true, nil), cron.OK)
	a.pass(time.Minute)
	run := a.answer(true, nil)
	if !run.Tick.Equal(noon.Add(time.Minute)) || a.saidOf(Missed) != 0 {
		t.Errorf("%v is claimed, %d missed", run.Tick, a.saidOf(Missed))
	}
	if s := a.end(run, cron.Failed); s.Run.State != cron.Retrying {
		t.Errorf("%+v", s.Run)
	}
	a.pass(5 * time.Second)
	for _, v := range a.other {
		if w, is := v.(Withdraw); is && w.Request == "" {
			t.Errorf("%s is removed", w.Job)
		}
	}
	if len(a.settles) != 0 {
		t.Errorf("%+v", a.settles)
	}
}
