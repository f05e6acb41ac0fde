package status

import "time"

// bounds are the upper bounds of the buckets of a histogram of durations.
var bounds = [...]time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 5 * time.Second,
}

// durations is a histogram.
type durations struct {
	buckets [len(bounds)]uint64 // each counts its own
	count   uint64
	sum     time.Duration
}

func (d *durations) add(t time.Duration) {
	d.count++
	d.sum += t
	for i, b := range bounds {
		if t <= b {
			d.buckets[i]++
			return
		}
	}
}
