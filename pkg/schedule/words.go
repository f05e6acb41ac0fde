package schedule

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Words returns the schedule in English: "at 05:00 on Sunday, Europe/Rome" or
// "every 5 minutes". The zone is left out where it hardly makes a difference.
func (s *Schedule) Words() string {
	const layout = "2006-01-02 15:04:05 -07:00"
	switch s.form {
	case every:
		return "every " + longDuration(s.step) + s.phaseWords()
	case at:
		return "once, at " + time.Unix(s.base, 0).In(s.zone).Format(layout) + ", " + s.zone.String()
	case manual:
		return "only when asked to"
	}
	words, days := s.clockWords(), s.dayWords()
	switch {
	case days == "" && s.full(hour):
		return words
	case s.everyDay() && !strings.Contains(words, "every "):
		words += " every day"
	}
	return words + days + ", " + s.zone.String()
}

// everyDay reports whether the fields for days leave out none.
func (s *Schedule) everyDay() bool {
	if s.bothDays() {
		return s.full(dom) && s.full(dow)
	}
	return s.full(dom) || s.full(dow)
}

// phaseWords says with what @every is in step, where it is not with midnight in
// UTC.
func (s *Schedule) phaseWords() string {
	const day = 24 * 60 * 60
	if s.base == 0 && s.step < day && day%s.step == 0 {
		return ""
	}
	return ", in step with " + time.Unix(s.base, 0).UTC().Format(time.RFC3339)
}

func (s *Schedule) set(i int) uint64 { return *specFields(&s.spec)[i] }

// full reports whether a field has all values.
func (s *Schedule) full(i int) bool { return s.set(i)&^star == table[i].all() }

// clockWords is the time of day.
func (s *Schedule) clockWords() string {
	const most = 6
	times := bits.OnesCount64(s.set(second)) * bits.OnesCount64(s.set(minute)) * bits.OnesCount64(s.set(hour))
	if s.fixed() && times <= most {
		return "at " + join(s.clockTimes(), "and")
	}
	first := second
	for first < hour && s.set(first)&^star == 1 {
		first++
	}
	if first == hour && !s.full(hour) && s.evenStep(hour) == 0 {
		first = minute
	}
	words, preposition := s.finest(first)
	for i := first + 1; i <= hour; i++ {
		name, step := table[i].name, s.evenStep(i)
		switch {
		case s.full(i) && preposition == " of " && i == first+1:
			words += " of every " + name
		case s.full(i):
		case step > 0:
			words += preposition + "every " + ordinal(step) + " " + name
		default:
			words += preposition + plural(name, s.set(i)) + " " + join(runs(s.set(i), strconv.Itoa, "-"), "and")
		}
	}
	return words
}

// finest is what stands for the first field, and what connects the rest to it.
func (s *Schedule) finest(i int) (words, preposition string) {
	name := table[i].name
	if s.full(i) {
		return "every " + name, " in "
	}
	if step := s.evenStep(i); step > 0 {
		return fmt.Sprintf("every %d %ss", step, name), " in "
	}
	return "at " + plural(name, s.set(i)) + " " + join(runs(s.set(i), strconv.Itoa, "-"), "and"), " of "
}

// clockTimes lists the times of day.
func (s *Schedule) clockTimes() []string {
	var times []string
	for _, h := range values(s.set(hour)) {
		for _, m := range values(s.set(minute)) {
			for _, sec := range values(s.set(second)) {
				text := fmt.Sprintf("%02d:%02d", h, m)
				if s.set(second) != 1 {
					text += fmt.Sprintf(":%02d", sec)
				}
				times = append(times, text)
			}
		}
	}
	return times
}

// evenStep returns the n of a field that is */n and starts over without a
// break, or 0.
func (s *Schedule) evenStep(i int) int {
	if n := s.starStep(i); n > 0 && (table[i].max-table[i].min+1)%n == 0 {
		return n
	}
	return 0
}

// starStep returns the n of a field that is */n, n > 1, and nothing else, or 0.
func (s *Schedule) starStep(i int) int {
	u, set := &table[i], s.set(i)
	if set&star == 0 || s.full(i) {
		return 0
	}
	if n := u.starStep(set); set&^star == u.steps(u.min, n, u.max) {
		return n
	}
	return 0
}

// dayWords is the days and the months, with a space in front, or "" for all.
func (s *Schedule) dayWords() string {
	date, weekday := s.dateWords(), ""
	if !s.full(dow) {
		weekday = "on " + join(runs(s.set(dow), table[dow].nameOf, " to "), "and")
	}
	months := join(runs(s.set(month), table[month].nameOf, " to "), "and")
	ofMonths, inMonths := " of "+months, " in "+months
	if s.full(month) {
		ofMonths, inMonths = " of the month", ""
	}
	switch {
	case s.everyDay():
		return inMonths
	case s.full(dow):
		return " on " + date + ofMonths
	case s.full(dom):
		return " " + weekday + inMonths
	case s.bothDays():
		return " " + weekday + inMonths + " if the day of the month is " + join(runs(s.set(dom), strconv.Itoa, "-"), "or")
	default:
		return " on " + date + ofMonths + " and also " + weekday + inMonths
	}
}

func (s *Schedule) dateWords() string {
	if n := s.starStep(dom); n > 0 {
		return "every " + ordinal(n) + " day"
	}
	return plural("day", s.set(dom)) + " " + join(runs(s.set(dom), strconv.Itoa, "-"), "and")
}

// bothDays reports whether a day must match both fields for days.
func (s *Schedule) bothDays() bool { return (s.spec.Dom|s.spec.Dow)&star != 0 }

func (u *unit) nameOf(v int) string { return u.names[v-u.min] }

// join writes a list with a word before the last.
func join(items []string, word string) string {
	last := len(items) - 1
	if last < 1 {
		return strings.Join(items, "")
	}
	return strings.Join(items[:last], ", ") + " " + word + " " + items[last]
}

func plural(name string, set uint64) string {
	if bits.OnesCount64(set&^star) == 1 {
		return name
	}
	return name + "s"
}

func ordinal(n int) string {
	suffix := "th"
	if n/10 != 1 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return strconv.Itoa(n) + suffix
}

// longDuration writes "5 minutes", "day" or, of what is in no single unit,
// "1h30m".
func longDuration(seconds int64) string {
	for _, u := range durationUnits {
		switch n := seconds / u.seconds; {
		case n == 0 || seconds%u.seconds != 0:
			continue
		case n == 1:
			return u.name
		case n < 100:
			return fmt.Sprintf("%d %ss", n, u.name)
		}
	}
	return duration(seconds)
}
