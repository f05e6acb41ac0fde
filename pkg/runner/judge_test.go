package runner

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
)

const (
	// recovery is how long a fault may have an effect after it was healed.
	recovery = 3 * time.Second
	// well is for how long a runner must be well to have claimed what is due: each has
	// its turn in that time.
	well = 3 * time.Second
	// blur is how well it is known when a revision was made, and when a runner heard
	// of it.
	blur = 250 * time.Millisecond
)

// Rules that the runner does not keep yet, in all cases: what breaks them is counted.
const (
	madeUp   = "what was due while all was paused is not made up for"
	gainsaid = "of a tick that is run nobody says that it is not"
	forsaken = "what was missed is run, where all of that is to be"
)

var owed = map[string]bool{madeUp: true, gainsaid: true, forsaken: true}

// tick is one that was due, or an instance of one, and what became of it.
type tick struct {
	keys.RunID
	life  *life
	first int // the version that it was due by
	due   time.Time
	until time.Time // no runner may start it later
	out   time.Time // when it was withdrawn; zero: it was not
	by    string    // what it was withdrawn by
}

// unaccounted is what became of a tick if nothing says it.
const unaccounted = "unaccounted for"

// judge accounts for every tick, and says what breaks a rule.
func (b *books) judge() {
	b.left()
	fates, wrong := map[string]map[string]int{}, 0
	for _, name := range sortedKeys(b.lives) {
		fates[name] = map[string]int{}
		for _, j := range b.lives[name] {
			for _, t := range b.due(j) {
				fate := b.fate(t)
				fates[name][fate]++
				if fate != unaccounted {
					continue
				}
				if wrong++; wrong <= 5 {
					b.Errorf("%s, due at %s, is a tick unaccounted for:\n%s", t.RunID, t.due.UTC().Format(clockTime), b.story(t))
				}
			}
		}
	}
	b.states()
	b.hands()
	b.began()
	b.requests()
	for _, rule := range sortedKeys(b.wrongs) {
		say := b.Errorf
		if owed[rule] {
			say = b.Logf
		}
		say("%s; %d times not:\n%s", rule, len(b.wrongs[rule]), strings.Join(b.wrongs[rule][:min(len(b.wrongs[rule]), 5)], "\n"))
	}
	sum := map[string]int{}
	for _, name := range sortedKeys(fates) {
		for fate, n := range fates[name] {
			sum[fate] += n
		}
		if len(fates[name]) > 0 && !strings.HasPrefix(name, "submit-") {
			b.Logf("%s: %v", name, fates[name])
		}
	}
	b.Logf("ticks: %v", sum)
}

// due returns the ticks of a job that it had at their time, one for each place.
func (b *books) due(j *life) (all []*tick) {
	seen := map[string]bool{}
	for i, v := range j.versions {
		end := cmp.Or(v.to, b.until)
		if v.Paused {
			continue
		}
		from := v.From()
		if !j.moved(i) && v.from.Add(-v.splay).After(from) { // what was due before was another version's
			from = v.from.Add(-v.splay)
		}
		for at := v.Next(v.ticks, from); !at.IsZero() && at.Add(v.splay).Before(end); at = v.Next(v.ticks, at) {
			for _, place := range v.places() {
				t := &tick{RunID: keys.RunID{Job: j.name, Tick: at, Place: place}, life: j, first: i, due: at.Add(v.splay)}
				if !seen[t.ID()] {
					seen[t.ID()] = true
					b.bounds(t)
					all = append(all, t)
				}
			}
		}
	}
	return all
}

// places are where a tick of the job is to run.
func (v *version) places() (all []string) {
	switch {
	case v.place.All:
		for i := range 3 {
			if v.place.Matches(map[string]string{"host": host(i)}) {
				all = append(all, "@"+host(i))
			}
		}
	case v.place.N > 1:
		for i := range v.place.N {
			all = append(all, "#"+strconv.Itoa(i))
		}
	default:
		all = []string{""}
	}
	return all
}

// bounds finds out until when the tick could be started, and by what it was withdrawn.
func (b *books) bounds(t *tick) {
	for i, v := range t.life.versions {
		switch {
		case i < t.first:
		case i > t.first && v.holds(t.RunID) != "":
			t.out, t.by = v.from, "an edit"
			if v.Paused {
				t.by = "a pause"
			}
		case i == t.first || !v.from.After(t.until):
			t.until = later(t.until, t.due.Add(v.Lateness()))
		}
		if !t.out.IsZero() {
			break
		}
	}
	if t.out.IsZero() {
		t.out, t.by = t.life.to, "a removal"
	}
	for _, p := range b.pauses {
		if p.during(t.due, sooner(cmp.Or(t.out, t.until), t.until.Add(skew))) {
			t.out, t.by = later(p.from, t.due), "a pause of all"
			break
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func sooner(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// while are the versions that there were while the tick was open.
func (t *tick) while() (all []*version) {
	for _, v := range t.life.versions[t.first:] {
		if v.during(t.due.Add(-1), sooner(cmp.Or(t.out, t.until), t.until)) || len(all) == 0 {
			all = append(all, v)
		}
	}
	return all
}

func (t *tick) ever(is func(*version) bool) bool { return slices.ContainsFunc(t.while(), is) }

// fate says what became of a tick.
func (b *books) fate(t *tick) string {
	if t.life.runs[t.ID()] != nil {
		return "run"
	}
	end := sooner(t.until, b.until)
	short := t.until.Sub(t.due) < 2*well
	all := t.ever(func(v *version) bool { return v.Misfires() == cron.MisfireAll })
	switch {
	case t.ever(func(v *version) bool { return v.Overlaps() == cron.Forbid }) && b.rivalled(t, all):
		return "skipped"
	case t.ever(func(v *version) bool { return v.Overlaps() == cron.Replace }) && b.overtaken(t):
		return "skipped"
	case !t.out.IsZero() && (all || !t.out.After(t.until)) && !b.able(t, t.due, t.out, well):
		return "withdrawn by " + t.by
	case b.nobody(t, end):
		return "unplaced"
	case !b.able(t, t.due, sooner(end, cmp.Or(t.out, end)), min(well, end.Sub(t.due)-blur)), short && b.said("missed", t, true):
		if all {
			b.wrong(forsaken, "%s, due at %s", t.RunID, t.due.UTC().Format(clockTime))
		}
		return "missed"
	}
	return unaccounted
}

// rivalled reports whether another run was in progress when the tick was due, or when
// somebody came to it. patient: a tick that was missed waits for what has begun later.
func (b *books) rivalled(t *tick, patient bool) bool {
	from, to, early := t.due.Add(-blur), t.due.Add(blur), t.due.Add(-blur)
	if b.said("skipped", t, false) {
		from, to = t.due.Add(-8*blur), t.until.Add(blur)
	}
	for _, s := range b.strikes {
		if !s.from.Before(to.Add(well)) || !s.to.Add(recovery).After(from) {
			continue
		}
		if to = later(to, t.due.Add(well)); s.host == "" { // somebody else came to it, or everybody later
			to = later(to, s.to.Add(recovery))
		}
		early = t.due.Add(-skew)
	}
	for _, m := range b.markers[t.Job] {
		if m.RunID == t.RunID || !rivals(m.RunID, t.RunID) || patient && m.claimed.After(t.due.Add(8*blur)) {
			continue
		}
		// A clock that was ahead may have been the one to come to it, and the next start of
		// a runner has been told that the tick is over.
		a := t.life.runs[m.ID()]
		if m.during(from, to) || a != nil && a.Skipped > 0 && m.during(early, to) {
			return true
		}
	}
	return false
}

// overtaken reports whether a later tick has replaced it before anybody could begin it:
// nobody was able to, or an earlier run had yet to go.
func (b *books) overtaken(t *tick) bool {
	for _, a := range t.life.runs {
		first := a.attempts[0]
		if a.Place == t.Place && a.Tick.After(t.Tick) && first.at.Before(t.until) &&
			(b.rivalled(t, false) || !b.able(t, t.due, a.Tick.Add(first.job.splay), well)) {
			return true
		}
	}
	return false
}

// said reports whether a runner has said such a thing of the tick. many: or of many at
// once, of which it is one.
func (b *books) said(what string, t *tick, many bool) bool {
	is := func(e said) bool { return e.Event.Event == what }
	return slices.ContainsFunc(b.spoken[t.RunID.String()], is) || many && slices.ContainsFunc(b.spoken[t.Job], func(e said) bool {
		if !is(e) || e.Tick.Before(t.Tick) {
			return false
		}
		v, n := t.life.versions[t.first], 0
		for at := t.Tick; !at.After(e.Tick) && n <= e.Count; at = v.ticks.Next(at) {
			n++
		}
		return n <= e.Count
	})
}

// able reports whether, in between, as many runners were well for long enough as it
// takes to run the tick.
func (b *books) able(t *tick, from, to time.Time, least time.Duration) bool {
	n := 0
	for i := range b.runners {
		if b.may(t, host(i)) && b.wellFor(host(i), from, to, least) {
			n++
		}
	}
	return n >= t.needs()
}

// needs is how many runners it takes.
func (t *tick) needs() int {
	if strings.HasPrefix(t.Place, "#") {
		return t.life.versions[t.first].place.N
	}
	return 1
}

// may reports whether the job may run there, all the while that it was open.
func (b *books) may(t *tick, host string) bool {
	if strings.HasPrefix(t.Place, "@") && t.Place != "@"+host {
		return false
	}
	return !t.ever(func(v *version) bool { return !v.place.Matches(map[string]string{"host": host}) })
}

// nobody reports whether there were too few runners that the job may run on, all the
// time.
func (b *books) nobody(t *tick, to time.Time) bool {
	n := 0
	for i := range b.runners {
		if b.may(t, host(i)) && slices.ContainsFunc(b.there, func(p *presence) bool { return p.host == host(i) && p.during(t.due, to) }) {
			n++
		}
	}
	return n < t.needs()
}

// wellFor reports whether a runner was there, and struck by nothing, for so long.
func (b *books) wellFor(host string, from, to time.Time, least time.Duration) bool {
	for _, p := range b.present {
		if p.host != host || !p.during(from, to) {
			continue
		}
		at, end := later(from, p.from.Add(recovery)), sooner(to, cmp.Or(p.to, b.until))
		if p.from.Before(from.Add(-recovery)) {
			at = from
		}
		for _, s := range b.strikes { // in the order of their times
			if s.host != "" && s.host != host || !s.to.Add(recovery).After(at) {
				continue
			}
			if sooner(s.from, end).Sub(at) >= least {
				return true
			}
			at = later(at, s.to.Add(recovery))
		}
		if end.Sub(at) >= least {
			return true
		}
	}
	return false
}
