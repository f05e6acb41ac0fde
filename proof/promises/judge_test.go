package main

import (
	"math"
	"testing"
	"time"
)

const second = int64(time.Second)

// under makes a turn with one process of each role.
func under(token, from, commandTo, daemonTo int64) turn {
	return turn{token: token, run: "r", processes: []process{
		{role: roleCommand, from: from * second, to: commandTo * second},
		{role: roleDaemon, from: from * second, to: daemonTo * second},
	}}
}

// asked makes a turn of a command that ends by itself, or else is killed.
func asked(token, from, to int64, ended bool) turn {
	return turn{token: token, processes: []process{{role: roleCommand, from: from * second, to: to * second, ended: ended}}}
}

func TestJudge(t *testing.T) {
	honest := &fault{name: "honest"}
	named := &fault{name: "named", within: func(b blow, p process) bool { return p.to <= b.healed+int64(slack) }}
	request := &fault{name: "request", ends: true, grace: true}
	firm := &fault{name: "firm", ends: true}
	heard := &fault{name: "heard", ends: true, soon: true}
	for _, c := range []struct {
		name   string
		trial  trial
		kept   bool
		named  int
		unsure int
	}{
		{name: "one after the other", kept: true, trial: trial{max: 1, turns: []turn{under(1, 1, 2, 2), under(2, 3, 4, 4)}}},
		{name: "overlap", trial: trial{max: 1, turns: []turn{under(1, 1, 4, 4), under(2, 3, 5, 5)}}},
		{name: "overlap of a daemon", trial: trial{max: 1, turns: []turn{under(1, 1, 2, 4), under(2, 3, 5, 5)}}},
		{name: "overlap with the last but one", trial: trial{max: 1, turns: []turn{under(1, 1, 2, 9), under(2, 3, 4, 4), under(3, 5, 6, 6)}}},
		{name: "two of two", kept: true, trial: trial{max: 2, turns: []turn{under(1, 1, 4, 4), under(2, 3, 5, 5)}}},
		{name: "three of two", trial: trial{max: 2, turns: []turn{under(1, 1, 4, 4), under(2, 2, 5, 5), under(3, 3, 5, 5)}}},
		{name: "tokens fall", trial: trial{max: 1, turns: []turn{under(2, 1, 2, 2), under(1, 3, 4, 4)}}},
		{name: "survivor", trial: trial{max: 1, turns: []turn{under(1, 1, 2, 6)}, runs: map[string]supervisor{"r": {to: 3 * second}}}},
		{name: "overlap within a bound", kept: true, named: 2, trial: trial{max: 1,
			turns: []turn{under(1, 1, 4, 4), under(2, 3, 5, 5)}, blows: []blow{{fault: named, token: 1, struck: 2 * second, healed: 4 * second}}}},
		{name: "overlap beyond it", trial: trial{max: 1,
			turns: []turn{under(1, 1, 8, 8), under(2, 3, 9, 9)}, blows: []blow{{fault: named, token: 1, struck: 2 * second, healed: 4 * second}}}},
		{name: "overlap under another fault", trial: trial{max: 1,
			turns: []turn{under(1, 1, 4, 4), under(2, 3, 5, 5)}, blows: []blow{{fault: honest, token: 1, struck: 2 * second, healed: 4 * second}}}},
		{name: "overlap of another turn", trial: trial{max: 1,
			turns: []turn{under(1, 1, 4, 4), under(2, 3, 5, 5)}, blows: []blow{{fault: named, token: 2, struck: 2 * second, healed: 4 * second}}}},
		{name: "the next at once", kept: true, trial: trial{max: 1,
			turns: []turn{under(1, 1, 2, 2), under(2, 3, 4, 4)}, blows: []blow{{fault: heard, token: 1, struck: 2 * second, healed: 2 * second}}}},
		{name: "the next late", trial: trial{max: 1,
			turns: []turn{under(1, 1, 2, 2), under(2, 5, 6, 6)}, blows: []blow{{fault: heard, token: 1, struck: 2 * second, healed: 2 * second}}}},
		{name: "the next late, on a machine that stalled", kept: true, unsure: 1, trial: trial{max: 1, stalls: []stall{{0, 3 * second / 2}, {5 * second / 2, 9 * second / 2}},
			turns: []turn{under(1, 1, 2, 2), under(2, 5, 6, 6)}, blows: []blow{{fault: heard, token: 1, struck: 2 * second, healed: 2 * second}}}},
		{name: "the next late, and stalls before and after", trial: trial{max: 1, stalls: []stall{{0, 2 * second}, {5 * second, 9 * second}},
			turns: []turn{under(1, 1, 2, 2), under(2, 5, 6, 6)}, blows: []blow{{fault: heard, token: 1, struck: 2 * second, healed: 2 * second}}}},
		{name: "after one who was killed in line", kept: true, trial: trial{max: 1,
			turns: []turn{under(1, 1, 4, 4), under(2, 5, 8, 8), under(4, 9, 10, 10)},
			blows: []blow{{fault: heard, token: 1, struck: 2 * second, healed: 9 * second, passed: []pass{{1, 4 * second}, {2, 8 * second}}}}}},
		{name: "late after one who was killed in line", trial: trial{max: 1,
			turns: []turn{under(1, 1, 4, 4), under(2, 5, 8, 8), under(4, 11, 12, 12)},
			blows: []blow{{fault: heard, token: 1, struck: 2 * second, healed: 9 * second, passed: []pass{{1, 4 * second}, {2, 8 * second}}}}}},
		{name: "ended by itself", kept: true, trial: trial{max: 1, turns: []turn{asked(1, 1, 2, true)}, blows: []blow{{fault: request, token: 1, struck: 2 * second}}}},
		{name: "killed when its time was over", kept: true, trial: trial{max: 1, turns: []turn{asked(1, 1, 3, false)}, blows: []blow{{fault: request, token: 1, struck: 2 * second}}}},
		{name: "killed at once", trial: trial{max: 1, turns: []turn{asked(1, 1, 2, false)}, blows: []blow{{fault: request, token: 1, struck: 2 * second}}}},
		{name: "a fault that did nothing", trial: trial{max: 1,
			turns: []turn{under(1, 1, 4, 4)}, blows: []blow{{fault: firm, token: 1, struck: 2 * second, healed: 2 * second, kept: true}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReport()
			c.trial.soonest = soonest
			c.trial.judge(r)
			if r.kept() != c.kept {
				r.print(t.Output())
				t.Errorf("kept: %v", r.kept())
			}
			if len(r.unsure) != c.unsure {
				t.Errorf("unsure of %v", r.unsure)
			}
			if n := r.total(func(w *row) int { return w.named }); n != c.named {
				t.Errorf("%d are counted apart, not %d", n, c.named)
			}
		})
	}
}

func TestVacancies(t *testing.T) {
	for _, c := range []struct {
		max   int
		turns []turn
		empty int64
	}{
		{1, []turn{under(1, 1, 2, 2), under(2, 5, 6, 6), under(3, 7, 9, 9)}, 3},
		{2, []turn{under(1, 1, 2, 2), under(2, 1, 9, 9), under(3, 5, 6, 6), under(4, 7, 9, 9)}, 3},
		{2, []turn{under(1, 1, 4, 4), under(2, 1, 20, 20), under(3, 3, 8, 8), under(4, 9, 20, 20)}, 1}, // three of two for a while
	} {
		r := newReport()
		trial{turns: c.turns, max: c.max}.vacancies(r)
		if r.vacancy != time.Duration(c.empty)*time.Second {
			t.Errorf("%d slots: empty for %v, not %ds", c.max, r.vacancy, c.empty)
		}
	}
}

// A history is what the contenders saw; what happened between call and return
// is not known.
func TestLinearizable(t *testing.T) {
	for _, c := range []struct {
		name string
		max  int
		ops  [][4]int64 // acquired between, released between
		ok   bool
	}{
		{"in turn", 1, [][4]int64{{0, 1, 2, 3}, {0, 4, 5, 6}}, true},
		{"released between two looks", 1, [][4]int64{{0, 1, 2, 9}, {0, 4, 5, 6}}, true},
		{"still at work", 1, [][4]int64{{0, 1, 5, 9}, {0, 4, 6, 9}}, false},
		{"two slots", 2, [][4]int64{{0, 1, 5, 9}, {0, 4, 6, 9}}, true},
	} {
		tr := trial{runs: map[string]supervisor{}, max: c.max}
		for i, o := range c.ops {
			run := string(rune('a' + i))
			tr.turns = append(tr.turns, turn{token: int64(i + 1), run: run, processes: []process{{from: o[1], to: o[2]}}})
			tr.runs[run] = supervisor{from: o[0], to: o[3]}
		}
		if got := linearizable(tr.operations(), c.max); got != c.ok {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	late := trial{turns: []turn{{token: 1, processes: []process{{from: 1, to: math.MaxInt64 / 2}}}}}
	if ops := late.operations(); ops[1].Return < ops[1].Call {
		t.Error("a release returns before it is called")
	}
}
