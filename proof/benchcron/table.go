package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// row is one line of the table. Without a bound it is there to be seen.
type row struct {
	figure, conch, peers, ratio, bound string
	ok                                 bool
}

// table is what is printed.
type table []row

func (t table) print(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(out, "FIGURE\tCONCH\tPEERS\tRATIO\tBOUND\t")
	for _, r := range t {
		fmt.Fprintln(out, strings.Join([]string{r.figure, r.conch, r.peers, r.ratio, r.bound, r.verdict()}, "\t"))
	}
	return out.Flush()
}

func (r row) verdict() string {
	switch {
	case r.bound == "":
		return ""
	case r.ok:
		return "ok"
	}
	return "NOT"
}

func (t table) broken() int {
	n := 0
	for _, r := range t {
		if r.verdict() == "NOT" {
			n++
		}
	}
	return n
}

// atMost is a row with an upper bound.
func atMost(figure string, x float64, form, unit string, bound float64) row {
	return row{figure: figure, conch: fmt.Sprintf(form, x) + unit, bound: fmt.Sprintf("at most %g", bound) + unit, ok: x <= bound}
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
