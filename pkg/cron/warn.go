package cron

import (
	"fmt"
	"strings"
	"time"

	"conch/pkg/schedule"
)

// Warnings says what of a job that Check has passed is allowed, but may not be
// what was meant: `job NAME: FIELD: what`, one line each.
func (j *Job) Warnings() []string {
	s, err := j.Schedules()
	if err != nil {
		return nil
	}
	var all []string
	warn := func(field, format string, a ...any) {
		all = append(all, fmt.Sprintf("job %s: %s: %s", j.Name, field, fmt.Sprintf(format, a...)))
	}
	gap := leastGap(s, time.Now())
	if splay := time.Duration(j.Splay); gap > 0 && splay > gap {
		warn("splay", "%s is more than the %s between two ticks", splay, gap)
	}
	if gap > 0 && j.Lateness() > gap && j.Overlaps() == Allow {
		warn("deadline", "%s is more than the %s between two ticks, and overlap = allow: after an outage several runs start at once", j.Lateness(), gap)
	}
	if strings.HasPrefix(s.String(), "@at ") && j.Misfires() == MisfireSkip {
		warn("misfire", "skip means that this one never runs if no runner is up within %s of its time; once runs it later", j.Lateness())
	}
	if j.Anchor != nil && !strings.HasPrefix(s.String(), "@every ") {
		warn("anchor", "only @every has one")
	}
	return all
}

// leastGap is the shortest time between two of the next few ticks, or 0.
func leastGap(s *schedule.Schedule, now time.Time) time.Duration {
	const look = 32
	least := time.Duration(0)
	last := s.Next(now)
	for range look {
		tick := s.Next(last)
		if last.IsZero() || tick.IsZero() {
			break
		}
		if gap := tick.Sub(last); least == 0 || gap < least {
			least = gap
		}
		last = tick
	}
	return least
}
