// Package report is the table that a benchmark prints: each figure beside its
// peers', and whether it keeps its bound.
package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Row is one line of the table. Without a Bound it is there to be seen.
type Row struct {
	Figure, Conch, Peers, Ratio, Bound string
	OK                                 bool // the bound is kept
}

// Table is what is printed.
type Table []Row

// Print writes t.
func (t Table) Print(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(out, "FIGURE\tCONCH\tPEERS\tRATIO\tBOUND\t")
	for _, r := range t {
		fmt.Fprintln(out, strings.Join([]string{r.Figure, r.Conch, r.Peers, r.Ratio, r.Bound, r.verdict()}, "\t"))
	}
	return out.Flush()
}

// Check returns an error that says how many of the bounds are broken, if any is.
func (t Table) Check() error {
	broken := 0
	for _, r := range t {
		if r.verdict() == not {
			broken++
		}
	}
	if broken > 0 {
		return fmt.Errorf("%d of the bounds are broken", broken)
	}
	return nil
}

const not = "NOT"

func (r Row) verdict() string {
	switch {
	case r.Bound == "":
		return ""
	case r.OK:
		return "ok"
	}
	return not
}
