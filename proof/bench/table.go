package main

import (
	"fmt"
	"slices"
)

// sample is what was measured of one thing, in one unit.
type sample []float64

func (s sample) median() float64 {
	sorted := slices.Sorted(slices.Values(s))
	return sorted[len(sorted)/2]
}

func (s sample) max() float64 { return slices.Max(s) }

// in is the median and the range, with a unit.
func (s sample) in(unit string) string {
	return fmt.Sprintf("%s%s (%s..%s)", number(s.median()), unit, number(slices.Min(s)), number(s.max()))
}

// number is short, and without decimals where it is a count.
func number(x float64) string {
	if x == float64(int(x)) {
		return fmt.Sprint(int(x))
	}
	if x >= 100 {
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.2f", x)
}
