package status

import (
	"slices"
	"time"
)

// bounds are the upper bounds of the buckets of a histogram of durations.
var bounds = [...]time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 5 * time.Second,
}

// durations is a histogram.
type durations struct {
	buckets [len(bounds) + 1]int64 // each counts its own, the last what is above all bounds
	sum     time.Duration
}

func (d *durations) add(t time.Duration) {
	i, _ := slices.BinarySearch(bounds[:], t)
	d.buckets[i]++
	d.sum += t
}

// write writes d's samples.
func (d *durations) write(m *Metrics) {
	var upper [len(bounds)]float64
	for i, b := range bounds {
		upper[i] = b.Seconds()
	}
	m.Histogram(upper[:], d.buckets[:], d.sum.Seconds())
}
