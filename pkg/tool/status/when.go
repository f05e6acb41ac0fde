package status

import (
	"fmt"
	"time"
)

// clock is how times are shown: relative to now, or in full.
type clock struct {
	now  time.Time
	full bool
}

// at is a time in the past or in the future. That of another machine may seem to
// lie on the wrong side of now; it is shown all the same.
func (c clock) at(t time.Time) string {
	switch d := t.Sub(c.now); {
	case t.IsZero():
		return "-"
	case c.full:
		return t.UTC().Format(time.RFC3339)
	case d > 0:
		return "in " + length(d)
	default:
		return length(-d) + " ago"
	}
}

// length is d as people say it: its two greatest units, and tenths of a second
// where it is short.
func length(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.3gs", max(0, d).Round(10*time.Millisecond).Seconds())
	}
	s := int64(d / time.Second)
	units := []struct {
		name string
		of   int64
	}{{"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}}
	for i, u := range units {
		if s < u.of {
			continue
		}
		text := fmt.Sprintf("%d%s", s/u.of, u.name)
		if i+1 < len(units) {
			if low := units[i+1]; s%u.of >= low.of {
				text += fmt.Sprintf("%d%s", s%u.of/low.of, low.name)
			}
		}
		return text
	}
	return "0s"
}
