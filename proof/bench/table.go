package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
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
