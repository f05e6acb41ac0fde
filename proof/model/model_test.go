package model

import (
	"slices"
	"strings"
	"testing"
)

// slow is set under the race detector, where everything takes many times as
// long; then the large worlds are left out.
var slow bool

const (
	everything = OneCommand | Recorded | TokensRise | NoRevival
	excusing   = OneIfHeard | Recorded | TokensRise | NoRevival

	// honest is what may happen while etcd keeps each lease as long as it said.
	honest = Elect | Pause | Part | CutOff | Stop
)

// conch is the protocol as it is, with this TTL and lock-delay.
func conch(ttl, lockDelay int) Protocol {
	return Protocol{TTL: ttl, LockDelay: lockDelay, Margin: 1}
}

// short is the default lock-delay: what a holder that etcd can reach needs to
// hear of its loss.
const short = 1

// run is one exploration of a protocol that is to keep its promises.
type run struct {
	name     string
	protocol Protocol
	world    World
	promises Promise
	large    bool    // left out when slow
	reach    []event // steps without which it would show nothing
}

// keeps checks that nothing is broken, and that the run did not miss its point.
func (r run) keeps(t *testing.T) (found Report) {
	t.Helper()
	t.Run(r.name, func(t *testing.T) {
		if r.large && slow {
			t.Skip("too large for the race detector")
		}
		found = Explore(r.protocol, r.world, r.promises)
		found.log(t)
		if found.Broken != "" {
			t.Errorf("%s:\n%s", found.Broken, strings.Join(found.Trace, "\n"))
		}
		for _, e := range r.reach {
			if found.taken[e] == 0 {
				t.Errorf("it never came to pass that %s", told[e])
			}
		}
	})
	return found
}

// breaks checks that the run breaks the promise it is about, and shows how.
func (r run) breaks(t *testing.T, want breach) {
	t.Helper()
	t.Run(r.name, func(t *testing.T) {
		if r.large && slow {
			t.Skip("too large for the race detector")
		}
		got := Explore(r.protocol, r.world, r.promises)
		got.log(t)
		if got.Broken != want.String() {
			t.Fatalf("got %q, want: %s", got.Broken, want)
		}
		t.Logf("%s after %d steps:\n%s", got.Broken, len(got.Trace), strings.Join(got.Trace, "\n"))
	})
}

func (r Report) log(t *testing.T) {
	t.Helper()
	t.Logf("%d states, %d steps, depth %d, %.1fs", r.States, r.Steps, r.Depth, r.Took.Seconds())
}

// ordinary are the steps of hand-overs by release and by lapse, one after the
// other, with two leaders at times.
var ordinary = []event{
	joinAndClaim, join, prepare, take, seeTurn, claim, claimDirty, start, give, clearUp, leave,
	renew, confirm, extend, accept, tickKills, lapse, hear, elect, extendByOld, notice,
}

// As long as etcd keeps its word no lock-delay is needed, whoever is paused,
// partitioned, deposed, stopped, late or cut off.
func TestLeaseKept(t *testing.T) {
	for _, r := range []run{
		{name: "all faults", protocol: conch(3, 0), world: World{Faults: honest}, promises: everything | NobodyStuck, large: true,
			reach: append(ordinary, pauseLeader, pauseOther, resume, resumeApart, partLeader, partOther, rejoin, cutOff, heal, stop, resumeHolder)},
		{name: "longer TTL", protocol: conch(4, 0), world: World{Faults: Elect | CutOff}, promises: everything, large: true,
			reach: ordinary},
		{name: "clocks slip", protocol: conch(3, 0), world: World{Faults: Elect | CutOff | Slip}, promises: everything, large: true,
			reach: append(ordinary, tickSlow, tickFast)},
	} {
		r.keeps(t)
	}
}

// Whatever etcd does to the lease, a lock-delay of the old holder's TTL is
// enough.
func TestLeaseRemovedDelayTTL(t *testing.T) {
	protocol := conch(3, LockDelayTTL(3, 1))
	removed := append(ordinary, revokeLease, deleteKey, readGone, tidy)
	for _, r := range []run{
		{name: "operator", protocol: protocol, world: World{Faults: Elect | CutOff | Operator}, promises: everything | NobodyStuck, large: true,
			reach: removed},
		{name: "operator and partition", protocol: protocol, world: World{Faults: Elect | Part | CutOff | Operator}, promises: everything, large: true,
			reach: slices.Concat(removed, []event{partLeader, partOther})},
		{name: "operator and stop", protocol: protocol, world: World{Faults: Pause | Stop | Operator}, promises: everything,
			reach: []event{revokeLease, deleteKey, stop, resumeHolder, pauseLeader, claimDirty, tickKills}},
		{name: "resumed leader", protocol: protocol, world: World{Faults: Elect | Pause | Stop | Wrongful}, promises: everything, large: true,
			reach: append(ordinary, pauseOther, revokeByOld)},
		{name: "clocks slip", protocol: protocol, world: World{Faults: CutOff | Operator | Slip}, promises: everything, large: true,
			reach: []event{revokeLease, deleteKey, tickSlow, tickFast, claimDirty, tickKills}},
	} {
		r.keeps(t)
	}
}

// With a short lock-delay there is the exception that the manual names, and no
// other: the holder could not hear that its key had gone.
func TestLeaseRemovedShortDelay(t *testing.T) {
	protocol := conch(3, short)
	run{name: "heard", protocol: protocol, world: World{Faults: Elect | Part | Operator}, promises: everything, large: true,
		reach: []event{revokeLease, deleteKey, claimDirty, hear, extendByOld}}.keeps(t)

	unheard := run{name: "cut off or stopped", protocol: protocol, world: World{Faults: CutOff | Stop | Operator}, promises: excusing}
	if got := unheard.keeps(t); got.Excused == 0 {
		t.Errorf("the exception never happens")
	}
	for _, r := range []run{
		{name: "overlap when cut off", protocol: protocol, world: World{Faults: CutOff | Operator}, promises: OneCommand},
		{name: "overlap when stopped", protocol: protocol, world: World{Faults: Stop | Operator}, promises: OneCommand},
		{name: "overlap by a resumed leader", protocol: protocol, world: World{Faults: Elect | Pause | CutOff | Wrongful}, promises: OneCommand, large: true},
	} {
		r.breaks(t, twoCommands)
	}
}

// An acknowledged keepalive proves something only while no member of etcd is
// paused: raft's times then see to it that a deposed leader has stepped down
// before the new one lets a lease lapse. After a pause they do not, and that is
// what the read before each keepalive is for.
func TestKeepaliveAlone(t *testing.T) {
	alone := conch(3, 0)
	alone.KeepaliveOnly = true
	paused := World{Faults: Elect | Pause | Part, ElectionTimeout: 1}
	reach := []event{elect, extendByOld, accept, lapse, tickKills}
	run{name: "no pauses", protocol: alone, world: World{Faults: Elect | Part, ElectionTimeout: 1}, promises: everything, large: true,
		reach: reach}.keeps(t)
	run{name: "pauses", protocol: alone, world: paused, promises: OneCommand, large: true}.breaks(t, twoCommands)
	run{name: "pauses and a read", protocol: conch(3, 0), world: paused, promises: everything, large: true,
		reach: append(reach, resumeApart)}.keeps(t)
}

// An answer that comes after the deadline would be as good as any: the lease
// lasts. It is refused for the sake of those on this side who waited for the
// deadline (see NoRevival), not of those in line.
func TestAcceptLateOverlapsNothing(t *testing.T) {
	late := conch(3, 0)
	late.AcceptLate = true
	run{name: "two leaders", protocol: late, world: World{Faults: Elect | CutOff}, promises: everything &^ NoRevival, large: true}.keeps(t)
	late.LockDelay = LockDelayTTL(3, 1)
	run{name: "removed", protocol: late, world: World{Faults: CutOff | Operator}, promises: everything &^ NoRevival, large: true}.keeps(t)
}

// Each flaw breaks what the protocol without it keeps in the same world.
func TestFlaws(t *testing.T) {
	var (
		calm     = World{}
		removing = World{Faults: CutOff | Operator}
		delayTTL = conch(3, LockDelayTTL(3, 1))
	)
	for _, f := range []struct {
		name  string
		sound Protocol
		world World
		flaw  func(*Protocol)
		want  breach
	}{
		// What makes a deadline one to trust; see also TestKeepaliveAlone.
		{"keepalive without a read, lock-delay ttl", delayTTL, World{Faults: Elect | CutOff}, func(p *Protocol) { p.KeepaliveOnly = true }, twoCommands},
		{"keepalive on another member", conch(3, 0), World{Faults: Elect | Part}, func(p *Protocol) { p.AnyMember = true }, twoCommands},
		{"counted from the receipt", conch(4, 0), calm, func(p *Protocol) { p.CountFromReceipt = true }, twoCommands},
		{"accepted after the deadline", conch(4, 0), calm, func(p *Protocol) { p.AcceptLate = true }, revived},
		{"no margin for the clocks", conch(3, 0), World{Faults: Slip}, func(p *Protocol) { p.Margin = 0 }, twoCommands},
		{"started after the deadline", conch(3, 0), calm, func(p *Protocol) { p.SkipDeadline = true }, twoCommands},
		{"not killed at the deadline", conch(3, 0), World{Faults: CutOff}, func(p *Protocol) { p.Outlive = true }, twoCommands},

		// What makes a hand-over safe when etcd removes a key early.
		{"no lock-delay", conch(3, short), World{Faults: Operator}, func(p *Protocol) { p.LockDelay = 0 }, twoCommands},
		{"own key not watched", conch(3, short), World{Faults: Operator}, func(p *Protocol) { p.Unwatched = true }, twoCommands},
		{"lock-delay shorter than the TTL", delayTTL, removing, func(p *Protocol) { p.LockDelay = 1 }, twoCommands},
		{"lock-delay without a margin", delayTTL, World{Faults: CutOff | Operator | Slip}, func(p *Protocol) { p.LockDelay = p.TTL }, twoCommands},
		{"no running record", delayTTL, removing, func(p *Protocol) { p.NoRecord = true }, twoCommands},
		{"recorded after the start", delayTTL, removing, func(p *Protocol) { p.RecordLate = true }, twoCommands},
		{"recorded after the start", delayTTL, removing, func(p *Protocol) { p.RecordLate = true }, unrecorded},
		{"taken without a record", delayTTL, removing, func(p *Protocol) { p.TakeUnrecorded = true }, twoCommands},
		{"taken without a record", delayTTL, removing, func(p *Protocol) { p.TakeUnrecorded = true }, unrecorded},
		{"taken without a release", delayTTL, removing, func(p *Protocol) { p.TakeUnreleased = true }, twoCommands},
		{"record of another cleared", delayTTL, removing, func(p *Protocol) { p.ClearAnyRecord = true }, twoCommands},
		{"claimed without one's own key", delayTTL, removing, func(p *Protocol) { p.SkipOwnKey = true }, twoCommands},
		{"claimed without one's own key", delayTTL, removing, func(p *Protocol) { p.SkipOwnKey = true }, tokenFell},

		// What else a hand-over needs.
		{"released before the command is dead", conch(3, 0), calm, func(p *Protocol) { p.ReleaseAlive = true }, twoCommands},
		{"no take-over without a release", conch(3, 0), calm, func(p *Protocol) { p.NeverTakeOver = true }, stuck},
	} {
		sound := run{name: f.name + ": " + f.want.String(), protocol: f.sound, world: f.world, promises: promiseOf(f.want)}
		flawed := sound
		f.flaw(&flawed.protocol)
		flawed.breaks(t, f.want)
		sound.name, sound.large = f.name+": not so without", true
		sound.keeps(t)
	}
}

// promiseOf returns the promise that b breaks.
func promiseOf(b breach) Promise {
	return map[breach]Promise{
		twoCommands: OneCommand, unrecorded: Recorded, tokenFell: TokensRise, revived: NoRevival, stuck: NobodyStuck,
	}[b]
}
