package main

import (
	"fmt"
	"strconv"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
	"conch/pkg/plan"
)

// told is a tick of which a runner has said that nobody has run it.
type told struct {
	tick time.Time
	at   time.Duration
	born int64
	era  int
}

// stretch is the record of ticks that nobody has run, and when it was written.
type stretch struct {
	*cron.Run
	at time.Duration
}

// reckon asks whether what has been counted was not run, and was not counted before.
func (b *books) reckon(j *jobBook, was, is *cron.Reckoning) {
	switch {
	case is == nil && was == nil:
		return
	case is == nil:
		b.w.fail("counts went back", "%s: %+v has been forgotten", j.name, *was)
		return
	case was == nil:
		was = &cron.Reckoning{}
	}
	n := is.Missed.Total + is.Unplaced.Total - was.Missed.Total - was.Unplaced.Total
	if is.Missed.Total < was.Missed.Total || is.Unplaced.Total < was.Unplaced.Total || is.Through.Before(was.Through) {
		b.w.fail("counts went back", "%s: from %+v to %+v", j.name, *was, *is)
	}
	b.w.counts.Ticks["counted"] += n
	if least, most := b.unrun(j, was.Through, is.Through); n > most {
		b.w.fail("counted wrongly", "%s: %d ticks after %v and up to %v are counted, and %d were not run", j.name, n, was.Through, is.Through, most)
	} else if n < least {
		b.w.fail("uncounted", "%s: %d ticks after %v and up to %v are counted, and %d were not run", j.name, n, was.Through, is.Through, least)
	}
	for _, state := range []cron.State{cron.Missed, cron.Unplaced} {
		t, before := is.Missed, was.Missed
		if state == cron.Unplaced {
			t, before = is.Unplaced, was.Unplaced
		}
		id := keys.RunID{Job: j.name, Tick: t.From, Place: keys.TicksPlace(string(state))}
		if r := j.stretches[id.ID()]; t.Total != before.Total && (r == nil || r.Count != t.Count || !r.Until.Equal(t.To)) {
			b.w.fail("counted wrongly", "%s: %+v, and the record of that is %+v", id, t, r)
		}
	}
}

// unrun is how many ticks there were after one instant and up to another that nobody has
// run, or not before it was too late: at least, those that nothing was in the way of,
// and at most.
func (b *books) unrun(j *jobBook, after, to time.Time) (least, most int) {
	seen := map[time.Time]bool{}
	for _, v := range j.versions {
		if v.sched == nil || v.spec.Paused || v.born != j.versions[len(j.versions)-1].born {
			continue
		}
		t := later(after, v.spec.From()) // an edit may bring back what had expired
		for t = v.spec.Next(v.sched, t); !t.IsZero() && !t.After(to) && since(t)+v.splay-slack <= v.to; t = v.spec.Next(v.sched, t) {
			if !seen[t] && !b.ranInTime(j, v, t, -slack) {
				seen[t] = true
				most++
				if b.clear(j, v, since(t)+v.splay) && !b.ranInTime(j, v, t, slack) {
					least++
				}
			}
		}
	}
	return least, most
}

// clear reports whether nothing was in the way of a tick: neither an edit, nor a pause,
// nor another run.
func (b *books) clear(j *jobBook, v *version, due time.Duration) bool {
	from, to := due-2*slack, due+v.spec.Lateness()+2*slack
	if v.from > from || v.to < to || b.era > 0 {
		return false
	}
	if (v.place.All || v.place.N > 1) && b.changed(from, to+2*time.Minute) {
		return false // those that may run it know of it alone, and may have gone before they had written it down
	}
	for _, p := range b.allPaused {
		if p.meets(from, to) {
			return false
		}
	}
	for _, m := range j.markers {
		if m.meets(from, to) {
			return false
		}
	}
	return true
}

// ranInTime reports whether a tick was claimed somewhere before it was too late, give or
// take what clocks may differ by.
func (b *books) ranInTime(j *jobBook, v *version, t time.Time, by time.Duration) bool {
	places := []string{""}
	for _, h := range b.w.hosts {
		places = append(places, "@"+h.spec.name)
	}
	for i := range v.place.N {
		places = append(places, "#"+strconv.Itoa(i))
	}
	for _, place := range places {
		r := b.run[keys.RunID{Job: j.name, Tick: t, Place: place}.String()]
		if r == nil {
			continue
		}
		for _, c := range r.claims {
			if c.era == b.era && (v.spec.Misfires() == cron.MisfireSkip || c.at < since(t)+v.splay+v.spec.Lateness()+by) {
				return true
			}
		}
	}
	return false
}

// tell notes that a runner has said of a tick that nobody has run it.
func (b *books) tell(j *jobBook, v *version, r *runBook) {
	for _, a := range r.accounts {
		if a.what == plan.Missed || a.what == plan.Unplaced {
			j.told = append(j.told, told{r.id.Tick, a.at, v.born, b.era})
			return
		}
	}
}

// counted asks whether what was said has been counted, too.
func (b *books) counted(j *jobBook) {
	v := j.now()
	if v == nil {
		return
	}
	var through time.Time
	total, said, well := 0, 0, true
	if r := j.last.Reckoned; r != nil {
		through, total = r.Through, r.Missed.Total+r.Unplaced.Total
	}
	for _, t := range j.told {
		if t.born != v.born || t.era != b.era || t.at > b.w.now-5*time.Minute {
			continue
		}
		said++
		if !b.wellThrough(t.at-slack, t.at+2*time.Minute) || b.changed(t.at-slack, t.at+2*time.Minute) {
			well = false
			continue
		}
		if t.tick.After(through) {
			b.w.fail("uncounted", "%s: what became of the tick at %v was said at %s, and ticks have been counted up to %v", j.name, t.tick, spell(t.at), through)
		}
	}
	if well && total < said {
		b.w.fail("uncounted", "%s: it was said of %d ticks that nobody has run them, and %d are counted", j.name, said, total)
	}
	b.w.trace.note(b.w, "%s: %s", j.name, fmt.Sprintf("%d ticks counted, %d said", total, said))
}
