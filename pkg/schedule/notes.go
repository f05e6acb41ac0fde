package schedule

import (
	"fmt"
	"time"
)

// Notes says what a reader of the expression may not expect of it, one sentence
// each: how the two fields for days go together, steps that are uneven, and what
// the clock changes of the year after from do to its ticks, if anything.
func (s *Schedule) Notes(from time.Time) []string {
	if s.form != fields {
		return nil
	}
	notes := s.dayNotes()
	for i := second; i <= dow; i++ {
		notes = append(notes, s.stepNotes(i)...)
	}
	return append(notes, s.changeNotes(from)...)
}

func (s *Schedule) dayNotes() []string {
	limits := func(i int) bool { return s.set(i)&^star != table[i].all() || s.set(i)&star == 0 }
	switch {
	case !limits(dom) || !limits(dow):
		return nil
	case s.bothDays():
		return []string{"a day must match both the day of the month and the day of the week, since one of them begins with *"}
	default:
		return []string{"a day that matches the day of the month or the day of the week is enough, since neither begins with *"}
	}
}

func (s *Schedule) stepNotes(i int) []string {
	n, u := s.starStep(i), &table[i]
	if n == 0 || s.evenStep(i) != 0 && i != dom {
		return nil
	}
	if i == dom {
		return []string{fmt.Sprintf("*/%d in the field for the %s starts over in each month", n, u.name)}
	}
	members := values(s.set(i))
	last := members[len(members)-1]
	name := func(v int) string { return fmt.Sprintf("%s %d", u.name, v) }
	if i >= month {
		name = u.nameOf
	}
	return []string{fmt.Sprintf("*/%d in the field for the %s is uneven: after %s comes %s, %d later and not %d",
		n, u.name, name(last), name(members[0]), u.max-last+1, n)}
}

// changeNotes says what becomes of the ticks at the changes of a year. Of a
// schedule for each hour nothing does that one would notice.
func (s *Schedule) changeNotes(from time.Time) []string {
	if s.full(hour) && !s.fixed() {
		return nil
	}
	var notes []string
	end := from.AddDate(1, 0, 0).Unix()
	for p := periodAt(s.zone, from.Unix()); p.end < end; {
		next := periodAt(s.zone, p.end)
		if note := s.changeNote(next); next.start == p.end && note != "" {
			notes = append(notes, note)
		}
		p = next
	}
	return notes
}

// changeNote says what becomes of the ticks at the start of p, or nothing.
func (s *Schedule) changeNote(p period) string {
	skipped, repeated := p.jump()
	low := p.start + min(p.before, p.offset) // of the wall time that is odd
	high := p.start + max(p.before, p.offset)
	if s.nextWall(low-1) >= high {
		return ""
	}
	verb, what := "skips", "does not run"
	switch {
	case skipped > 0 && s.fixed() && s.dst == Once:
		what = "runs once, at " + wallTime(high, low)
	case repeated > 0 && s.fixed() && s.dst != Wall:
		verb, what = "repeats", "runs the first time only"
	case repeated > 0:
		verb, what = "repeats", "runs both times"
	}
	return fmt.Sprintf("on %s %s %s %s to %s: what is due then %s",
		time.Unix(low, 0).UTC().Format(time.DateOnly), s.zone, verb, wallTime(low, low), wallTime(high, low), what)
}

// wallTime writes a time of day, with the date if it is a day or more after
// from. Both are wall times counted as UTC's.
func wallTime(wall, from int64) string {
	layout := "15:04"
	if wall%60 != 0 {
		layout = time.TimeOnly
	}
	if wall-from >= 24*60*60 {
		layout = "2006-01-02 " + layout
	}
	return time.Unix(wall, 0).UTC().Format(layout)
}
