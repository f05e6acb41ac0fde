package plan

import (
	"testing"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
)

// notes returns what is to be counted, and forgets it.
func (a *alone) notes() (all []Note) {
	var rest []Verb
	for _, v := range a.other {
		if n, ok := v.(Note); ok {
			all = append(all, n)
			continue
		}
		rest = append(rest, v)
	}
	a.other = rest
	return all
}

// total is how many ticks the notes count.
func total(notes ...Note) (n int) {
	for _, v := range notes {
		for _, g := range v.Gaps {
			n += g.Count
		}
	}
	return n
}

// counted tells of what a note has come to.
func (a *alone) counted(n Note) {
	a.put(keys.Entry{Kind: "last", Name: n.Job}, cron.Last{Reckoned: &cron.Reckoning{Through: n.Gaps[len(n.Gaps)-1].To, By: n.By, At: n.At}})
}

// What came in a week while nobody was there is counted, all of it, in many steps.
func TestNoteAWeek(t *testing.T) {
	a := newAlone(t, noon)
	a.put(keys.Entry{Kind: "job", Name: "j"}, `{"name":"j","schedule":"@every 1s","cmd":["true"],"updated":"2025-12-25T12:00:00Z","expires":"2026-01-01T11:00:00Z"}`)
	steps := 0
	for ; steps < 10_000; steps++ {
		sleep := a.step()
		a.now, a.up = a.now.Add(max(sleep, time.Millisecond)), a.up.Add(max(sleep, time.Millisecond))
		if len(a.other) > 0 {
			break
		}
		if sleep <= 0 {
			t.Fatal("it does not rest")
		}
	}
	all := a.notes()
	if n := total(all...); n != 7*24*3600-3600-1 || len(all) != 1 {
		t.Fatalf("%d ticks: %+v", n, all)
	}
	if steps < 100 { // or each holds the others up
		t.Errorf("in %d steps", steps)
	}
	if g := all[0].Gaps[0]; !g.From.Equal(time.Date(2025, 12, 25, 12, 0, 1, 0, time.UTC)) || !g.To.Equal(time.Date(2026, 1, 1, 10, 59, 59, 0, time.UTC)) || g.State != cron.Missed {
		t.Errorf("%+v", g)
	}
	a.counted(all[0])
	if a.pass(10 * time.Minute); len(a.notes()) > 0 {
		t.Error("it is counted again")
	}
}

// What nobody can run is counted once a minute, however often it is due, and none of it
// twice.
func TestNoteOnceAMinute(t *testing.T) {
	a := newAlone(t, noon)
	a.job(`{"name":"j","schedule":"@every 1s","cmd":["true"],"on":"role=db","deadline":"1s","since":"2026-01-01T12:00:00Z"}`)
	var all []Note
	last := map[time.Time]bool{}
	for range 600 {
		a.pass(time.Second)
		for _, n := range a.notes() {
			all = append(all, n)
			a.counted(n)
			for _, g := range n.Gaps {
				for tick := g.From; !tick.After(g.To); tick = tick.Add(time.Second) {
					if last[tick] {
						t.Fatalf("%v is counted twice", tick)
					}
					last[tick] = true
				}
				if g.State != cron.Unplaced {
					t.Errorf("%+v", g)
				}
			}
		}
	}
	if n := total(all...); len(all) > 11 || n < 600-75 || n != len(last) {
		t.Errorf("%d times, %d ticks of %d", len(all), n, len(last))
	}
}

// A note that came to nothing is written again, and another's is not.
func TestNoteAgain(t *testing.T) {
	a := newAlone(t, noon)
	a.job(`{"name":"j","schedule":"*/10 * * * *","cmd":["true"],"updated":"2026-01-01T10:00:00Z"}`)
	a.pass(20 * time.Second)
	all := a.notes()
	if len(all) < 2 || total(all[0]) != 11 || total(all[1]) != 11 {
		t.Fatalf("%+v", all)
	}
	a.counted(all[0])
	if a.pass(20 * time.Second); len(a.notes()) > 0 {
		t.Error("it is counted again")
	}
	// Nor by one that has just been started.
	b := newAlone(t, a.now)
	b.counted(all[0])
	b.job(`{"name":"j","schedule":"*/10 * * * *","cmd":["true"],"updated":"2026-01-01T10:00:00Z"}`)
	if b.pass(5 * time.Minute); total(b.notes()...) > 0 {
		t.Error("it is counted again")
	}
}

// What came while all jobs were paused is not missed, nor what somebody has claimed in
// time.
func TestNoteNot(t *testing.T) {
	a := newAlone(t, noon)
	a.put(keys.Entry{Kind: "resumed"}, `[{"from":"2026-01-01T10:05:00Z","to":"2026-01-01T10:35:00Z"}]`)
	run := keys.RunID{Job: "j", Tick: noon.Add(-time.Hour)}
	a.put(actEntry(run, false), cron.Act{Node: "h-2", Host: "h2", Claim: "c", Attempt: 1, Claimed: run.Tick.Add(time.Second)})
	a.job(`{"name":"j","schedule":"*/10 * * * *","cmd":["true"],"overlap":"allow","updated":"2026-01-01T10:00:00Z"}`)
	var all []Note
	for range 90 {
		a.pass(time.Second)
		for _, n := range a.notes() {
			all = append(all, n)
			a.counted(n)
		}
	}
	// 12 until noon, of which 3 came in the pause, one was claimed, and one is claimed now.
	if total(all...) != 12-3-1-1 {
		t.Errorf("%+v", all)
	}
}

// A tick of which it was thought that nobody has run it, and which somebody has claimed
// in time, is not counted.
func TestNoteRanAfterAll(t *testing.T) {
	n := &noting{gaps: []gap{{from: 10, to: 30, at: 9}}}
	p := New(Config{})
	j := &job{name: "j", late: int64(time.Second)}
	p.notes["j"] = n
	p.ranAfterAll(j, &cron.Act{RunID: keys.RunID{Job: "j", Tick: time.Unix(20, 0)}, Claimed: time.Unix(20, 0)})
	p.ranAfterAll(j, &cron.Act{RunID: keys.RunID{Job: "j", Tick: time.Unix(25, 0)}, Claimed: time.Unix(40, 0)}) // made up for
	if len(n.gaps) != 2 || n.gaps[0].to != 19 || n.gaps[1].from != 21 || n.gaps[1].to != 30 || n.gaps[1].at != 20 {
		t.Errorf("%+v", n.gaps)
	}
}
