package main

import (
	"fmt"
	"slices"

	"conch/proof/report"
)

// atMost is a row with an upper bound.
func atMost(figure string, x float64, form, unit string, bound float64) report.Row {
	return report.Row{Figure: figure, Conch: fmt.Sprintf(form, x) + unit, Bound: fmt.Sprintf("at most %g", bound) + unit, OK: x <= bound}
}

// sample is what was measured of one thing.
type sample []float64

// at is the value that so much of the sample, from 0 to 1, does not exceed.
func (s sample) at(part float64) float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(int(part*float64(len(sorted))), len(sorted)-1)]
}
