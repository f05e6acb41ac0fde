package death

import (
	"slices"
	"strings"
	"testing"
)

// slow is set under the race detector, where everything takes many times as long;
// then the large worlds are left out.
var slow bool

const everything = OneCommand | Recorded | NothingLeft | NobodyIdle | NoStray | Quiet

// run is one exploration.
type run struct {
	name     string
	protocol Protocol
	world    World
	promises Promise
	large    bool    // left out when slow
	reach    []event // steps without which it would show nothing
}

func (r run) explore(t *testing.T) Report {
	t.Helper()
	if r.large && slow {
		t.Skip("too large for the race detector")
	}
	got := Explore(r.protocol, r.world, r.promises)
	t.Logf("%d states, %d of them quiet, %d steps, depth %d, %.1fs", got.States, got.Rests, got.Steps, got.Depth, got.Took.Seconds())
	return got
}

// keeps checks that nothing is broken, and that the run did not miss its point.
func (r run) keeps(t *testing.T) {
	t.Helper()
	t.Run(r.name, func(t *testing.T) {
		got := r.explore(t)
		if got.Broken != "" {
			t.Errorf("%s:\n%s", got.Broken, strings.Join(got.Trace, "\n"))
		}
		for _, e := range r.reach {
			if got.taken[e] == 0 {
				t.Errorf("it never came to pass that %s", said[e])
			}
		}
	})
}

// breaks checks that the run breaks the promise it is about, and shows how.
func (r run) breaks(t *testing.T, want breach) {
	t.Helper()
	t.Run(r.name, func(t *testing.T) {
		got := r.explore(t)
		if got.Broken != want.String() {
			t.Fatalf("got %q, want: %s", got.Broken, want)
		}
		t.Logf("%s after %d steps:\n%s", got.Broken, len(got.Trace), strings.Join(got.Trace, "\n"))
	})
}

var (
	// ordinary are the steps of lives that nobody ends.
	ordinary = []event{
		starts, grants, joins, acquires, hearsHeld, records, hearsTurn, hearsGone, looks, looksAgain, hearsCleared, delayOver,
		asks, marks, begins, runs, saysHeld, reclaims, ends, releases, revokes, goesOn, borrows, lends, takesBack, makesSure,
	}
	// cleared are those of deaths.
	cleared = []event{kill, empties, withdraws, revokesAtLast, withdrawsAgain, settles, endsLease, isLost}
)

// Whoever is killed, as holder, as waiter or while the join is under way, any number
// of them: nothing of them is left, and nobody waits for anything but the sentinels.
// There is an exception that the doc of the package names.
func TestKilled(t *testing.T) {
	leaving := World{Processes: 2, Kill: true, Leave: true}
	run{name: "as it sees to the next", world: leaving, promises: everything}.breaks(t, stray)
	leaving.SpareLenders = true
	for _, r := range []run{
		{name: "three", world: World{Processes: 3, Kill: true}, promises: everything &^ NoStray, large: true,
			reach: slices.Concat(ordinary, cleared)},
		{name: "two that also leave", world: leaving, promises: everything,
			reach: append(cleared, leaves, givesBack)},
	} {
		r.keeps(t)
	}
}

// So it is with whoever ends of its own accord.
func TestLeft(t *testing.T) {
	run{name: "three", world: World{Processes: 3, Leave: true}, promises: everything, large: true,
		reach: append(ordinary, leaves, givesBack)}.keeps(t)
}

// Who waits may end with its sentinel; then the lease has to lapse, but the record,
// which has none, does not stay either: the last in line sees to it, or lends it a
// lease while the dead one's key is still there. Here, too, there is an exception.
func TestLost(t *testing.T) {
	lost := World{Processes: 3, Lose: true}
	run{name: "lapses as a turn is released", world: lost, promises: NothingLeft}.breaks(t, left)
	lost.Promptly = true
	run{name: "lapses at another time", world: lost, promises: everything &^ NoStray,
		reach: []event{lose, lapses, loanLapses, sweeps}}.keeps(t)
}

// Each flaw breaks what the protocol without it keeps in the same world.
func TestFlaws(t *testing.T) {
	var (
		killed = World{Processes: 2, Kill: true, SpareLenders: true}
		lost   = World{Processes: 3, Lose: true, Promptly: true}
		calm   = World{Processes: 3}
	)
	for _, f := range []struct {
		name  string
		world World
		flaw  Protocol
		want  []breach
	}{
		{"a sentinel from the join on", killed, Protocol{ArmLate: true}, []breach{left, idle}},
		{"none during the release", killed, Protocol{DisarmEarly: true}, []breach{left, idle}},
		{"none between turn and command", killed, Protocol{DisarmAtTurn: true}, []breach{left, idle}},
		{"cleared before the command is dead", killed, Protocol{ClearAlive: true}, []breach{twoCommands, unrecorded}},
		{"key without its lease", killed, Protocol{KeepLease: true}, []breach{left, idle}},
		{"key without the record", killed, Protocol{KeepRecord: true}, []breach{left, idle}},
		{"not looked again", killed, Protocol{LeaveOnce: true}, []breach{left, idle}},
		{"not waited for what was sent", killed, Protocol{RevokeOnce: true}, []breach{left, idle}},
		{"waited for a lease for ever", killed, Protocol{AskForEver: true}, []breach{endless}},
		{"own record alone", lost, Protocol{ClearOnlyOwn: true}, []breach{left}},
		{"record of the next forgotten", lost, Protocol{NeverLend: true}, []breach{left}},
		{"loan forgotten", killed, Protocol{LeaveLoan: true}, []breach{stray}},
		{"record left on loan", calm, Protocol{KeepLoan: true}, []breach{unrecorded}},
		{"record left on loan, and lapsed for released", calm, Protocol{KeepLoan: true, ReadyBehindLoan: true}, []breach{twoCommands}},
	} {
		for _, want := range f.want {
			run{name: f.name + ": " + want.String(), protocol: f.flaw, world: f.world, promises: want.promise()}.breaks(t, want)
		}
	}
	run{name: "record left on loan: no overlap", protocol: Protocol{KeepLoan: true}, world: calm, promises: OneCommand}.keeps(t)
	for _, r := range []run{
		{name: "not so without: killed", world: killed, promises: everything},
		{name: "not so without: lost", world: lost, promises: everything &^ NoStray},
		{name: "not so without: calm", world: calm, promises: everything},
	} {
		r.keeps(t)
	}
}
