package status

import (
	"math"
	"time"

	"conch/pkg/cron"
)

// span is from when on until when the next tick is known: seconds of UTC.
type span struct{ from, next int64 }

const never = math.MaxInt64

// Next returns the first tick of a job after now, and the zero time if there is
// none, as of one that is paused. It is computed when it is asked for, and then
// remembered until it has come.
func (j *Job) Next(now time.Time) time.Time {
	if j.Paused || j.Bad != "" {
		return time.Time{}
	}
	t := now.Unix()
	s := j.next.Load()
	if s == nil || t < s.from || t >= s.next {
		s = &span{t, j.after(now)}
		j.next.Store(s)
	}
	if s.next == never {
		return time.Time{}
	}
	return time.Unix(s.next, 0).UTC()
}

func (j *Job) after(now time.Time) int64 {
	spec := cron.Job{Name: j.Name, Schedule: j.Schedule, TZ: j.TZ, DST: j.dst, Anchor: j.anchor, Starts: j.starts, Expires: j.expires}
	s, err := spec.Schedules()
	if err != nil {
		return never // a runner says so
	}
	if next := spec.Next(s, now); !next.IsZero() {
		return next.Unix()
	}
	return never
}
