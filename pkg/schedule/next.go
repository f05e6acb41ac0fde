package schedule

import (
	"sort"
	"time"
)

// Next returns the first tick strictly after an instant, in the schedule's zone
// and to the whole second; the zero time if there is none. Ticks end with the
// year 9999.
func (s *Schedule) Next(after time.Time) time.Time {
	tick := s.next(min(max(after.Unix(), earliest), latest))
	if tick > latest {
		return time.Time{}
	}
	return time.Unix(tick, 0).In(s.zone)
}

func (s *Schedule) next(after int64) int64 {
	switch s.form {
	case every:
		gone := (after - s.base) % s.step
		if gone < 0 {
			gone += s.step
		}
		return after - gone + s.step
	case at:
		if after < s.base {
			return s.base
		}
		return never
	case manual:
		return never
	}
	return s.nextLocal(after)
}

// nextLocal walks the periods in which the zone's offset is constant: within
// one, local time goes on as UTC does. robfig's Next never sees a zone. It gets
// the day wrong, or misses it, where midnight does not exist or the clock moves
// by other than an hour, and hangs where a whole day is missing (robfig/cron
// #157, #541).
func (s *Schedule) nextLocal(after int64) int64 {
	w := walls{s: s}
	for t := after; t < after+horizon; {
		p := periodAt(s.zone, t+1)
		if tick := s.tickIn(p, t, &w); tick != never {
			return tick
		}
		t = p.end - 1
	}
	return never
}

// tickIn returns the first tick in p after an instant that is in p, or one
// second before it.
func (s *Schedule) tickIn(p period, after int64, w *walls) int64 {
	skipped, repeated := p.jump()
	if after < p.start && skipped > 0 && s.fixed() && s.dst == Once {
		if w.next(p.start+p.before-1) < p.start+p.offset {
			return p.start
		}
	}
	from := max(after, p.start-1) + p.offset
	if repeated > 0 && s.fixed() && s.dst != Wall {
		from = max(from, p.start+p.offset+repeated-1)
	}
	wall := w.next(from)
	if wall == never || wall-p.offset >= p.end {
		return never
	}
	return wall - p.offset
}

// fixed reports whether the schedule has fixed times, as ISC's cron decides it.
func (s *Schedule) fixed() bool {
	return (s.spec.Second|s.spec.Minute|s.spec.Hour)&star == 0
}

// walls finds wall times that match. It remembers the last one, which may serve
// for many periods.
type walls struct {
	s           *Schedule
	from, found int64 // nothing matches between them
}

// next returns the first match after a wall time, or never.
func (w *walls) next(after int64) int64 {
	if after < w.from || after >= w.found {
		w.from, w.found = after, w.s.nextWall(after)
	}
	return w.found
}

// nextWall returns the first wall time after another that matches the fields,
// or never. Wall times are counted in seconds as if they were UTC's.
func (s *Schedule) nextWall(after int64) int64 {
	t := time.Unix(after, 0).UTC()
	for t.Unix() < after+horizon {
		if match := s.spec.Next(t); !match.IsZero() {
			return match.Unix()
		}
		// robfig gives up after five years, and so too early for "0 0 29 2 *" in
		// 2096.
		t = time.Date(t.Year()+5, 1, 1, 0, 0, -1, 0, time.UTC)
	}
	return never
}

// A period is a time during which the zone's offset from UTC is constant.
type period struct {
	start, end     int64 // Unix seconds; end is the next period's
	offset, before int64 // seconds east of UTC, and what that was before start
}

// periodAt returns the period that an instant is in. Its neighbours may have the
// same offset: for a zone that goes by a rule each turn of the year is a bound,
// and elsewhere a change of name may be.
func periodAt(zone *time.Location, unix int64) period {
	t := time.Unix(unix, 0).In(zone)
	offset := offsetOf(t)
	p := period{start: -never, end: never, offset: offset, before: offset}
	start, end := t.ZoneBounds()
	if !end.IsZero() {
		p.end = end.Unix()
	}
	if p.end <= unix {
		// On the last day of a leap year, for a zone that goes by a rule, the year
		// is held to have ended already.
		p.end = time.Date(t.UTC().Year()+1, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	}
	if !start.IsZero() {
		start = settle(start, unix, offset)
		p.start, p.before = start.Unix(), offsetOf(start.Add(-time.Second))
	}
	return p
}

// settle returns the first instant from start on that has the offset which unix
// has. It is start, but where a zone began to go by a rule: the bounds are the
// rule's then, even before it was in force.
func settle(start time.Time, unix, offset int64) time.Time {
	if offsetOf(start) == offset {
		return start
	}
	late := sort.Search(int(unix-start.Unix()), func(n int) bool {
		return offsetOf(start.Add(time.Duration(n)*time.Second)) == offset
	})
	return start.Add(time.Duration(late) * time.Second)
}

// jump returns how many seconds of local time the change at the start of the
// period skipped or repeated.
func (p period) jump() (skipped, repeated int64) {
	return max(0, p.offset-p.before), max(0, p.before-p.offset)
}

func offsetOf(t time.Time) int64 {
	_, offset := t.Zone()
	return int64(offset)
}
