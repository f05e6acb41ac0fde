package schedule

import (
	"fmt"
	"strings"
	"time"

	"conch/pkg/clock"
)

var aliases = map[string]string{
	"@yearly":   "0 0 1 1 *",
	"@annually": "0 0 1 1 *",
	"@monthly":  "0 0 1 * *",
	"@weekly":   "0 0 * * 0",
	"@daily":    "0 0 * * *",
	"@midnight": "0 0 * * *",
	"@hourly":   "0 * * * *",
}

// readMacro reads what begins with an @.
func (s *Schedule) readMacro(expr string, o Options) *fault {
	name, arg := expr, ""
	if i := strings.IndexAny(expr, blanks); i >= 0 {
		name, arg = expr[:i], strings.Trim(expr[i:], blanks)
	}
	switch name = strings.ToLower(name); {
	case name == "@every":
		return s.readEvery(arg, o.Anchor)
	case name == "@at":
		return s.readAt(arg)
	case name == "@reboot", name == "@startup", name == "@boot":
		return &fault{what: "a cluster has no boot to run it after; have each host's init system do so"}
	case arg != "" && (name == "@manual" || aliases[name] != ""):
		return &fault{what: fmt.Sprintf("nothing may follow %s", name), instead: []string{name}}
	case name == "@manual":
		s.form = manual
		return nil
	case aliases[name] != "":
		return s.readFields(aliases[name], "")
	}
	return &fault{
		what:    "there is no " + name + "; there are @yearly, @monthly, @weekly, @daily, @hourly, @every, @at and @manual",
		instead: append(nearAlias(name), guess(name[1:])...),
	}
}

func nearAlias(name string) []string {
	for alias := range aliases {
		if oneSlip(alias, name) {
			return []string{alias}
		}
	}
	return nil
}

const shortest = "@every 1s is the shortest"

func (s *Schedule) readEvery(text string, anchor time.Time) *fault {
	d, err := clock.ParseDuration(text)
	switch {
	case text == "":
		return &fault{what: "@every needs a duration, as in @every 5m"}
	case strings.Trim(text, "0") == "":
		return &fault{what: "it has to wait for a second or more", advice: shortest}
	case err != nil && strings.Trim(text, "0123456789") == "":
		return &fault{what: fmt.Sprintf("%q has no unit", text), instead: []string{"@every " + text + "s", "@every " + text + "m"}}
	case err != nil:
		return &fault{what: err.Error(), instead: append(guess(text), "@every "+strings.TrimPrefix(text, "-"))}
	case d < time.Second:
		return &fault{what: fmt.Sprintf("%s is less than a second", text), advice: shortest}
	case d%time.Second != 0:
		down := int64(d / time.Second)
		return &fault{what: fmt.Sprintf("%s is not a whole number of seconds", text),
			instead: []string{"@every " + duration(down), "@every " + duration(down+1)}}
	}
	s.form, s.step = every, int64(d/time.Second)
	if !anchor.IsZero() {
		s.base = anchor.Unix()
	}
	return nil
}

// zoned and local are how a time may be written, with and without an offset.
var (
	zoned = []string{time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04Z07:00", "2006-01-02 15:04Z07:00"}
	local = []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04"}
)

// readAt reads the one instant of @at. Local time that comes twice is the first
// of the two; what does not come at all is refused, since one who names a single
// instant wants that one.
func (s *Schedule) readAt(text string) *fault {
	t, isLocal, ok := readTime(text, s.zone)
	switch {
	case text == "":
		return &fault{what: "@at needs a time, as in @at 2030-01-02T03:04:05Z"}
	case !ok:
		return &fault{what: fmt.Sprintf("%q is not a time such as 2030-01-02T03:04:05Z or, in the zone, 2030-01-02T03:04", text), instead: []string{"@at " + text + "T00:00"}}
	case t.Nanosecond() != 0:
		return &fault{what: fmt.Sprintf("%s is not a whole second", text), advice: "leave out the fraction"}
	}
	s.form, s.base = at, t.Unix()
	if !isLocal {
		return nil
	}
	// t has what is meant as UTC.
	first, found := firstWithWall(s.zone, t.Unix())
	if !found {
		change := time.Unix(first, 0).In(s.zone)
		return &fault{what: fmt.Sprintf("there is no %s in %s: the clocks are put forward", text, s.zone),
			instead: []string{"@at " + change.Format(time.RFC3339)}}
	}
	s.base = first
	return nil
}

func readTime(text string, zone *time.Location) (t time.Time, isLocal, ok bool) {
	for _, layout := range zoned {
		if t, err := time.Parse(layout, text); err == nil {
			return t, false, true
		}
	}
	for _, layout := range local {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true, true
		}
	}
	return time.Time{}, false, false
}

// firstWithWall returns the first instant at which a zone's clocks show a wall
// time, counted as UTC's. If they never do it returns that of the change which
// skips it.
func firstWithWall(zone *time.Location, wall int64) (unix int64, found bool) {
	const day = 24 * 60 * 60
	// No offset is above 26 hours, counting a change of sides of the date line.
	p := periodAt(zone, wall-2*day)
	for wall-p.offset >= p.end {
		next := periodAt(zone, p.end)
		if wall-next.offset < p.end {
			return p.end, false
		}
		p = next
	}
	return wall - p.offset, true
}

// duration writes seconds as clock.ParseDuration reads them.
func duration(seconds int64) string {
	var b strings.Builder
	for _, u := range durationUnits {
		if n := seconds / u.seconds; n > 0 {
			fmt.Fprintf(&b, "%d%c", n, u.name[0])
			seconds %= u.seconds
		}
	}
	return b.String()
}

var durationUnits = []struct {
	name    string
	seconds int64
}{{"day", 86400}, {"hour", 3600}, {"minute", 60}, {"second", 1}}
