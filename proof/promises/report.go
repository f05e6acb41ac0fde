package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// report is what came of one run or of several.
type report struct {
	rows         map[string]*row
	acquisitions int
	disorder     []string // tokens that did not rise
	details      []string // overlaps and survivors
	stuck        []string
	unsure       []string      // late turns that the machine's stalls may explain
	feeble       []string      // faults that had no effect
	noise        []string      // what is none of conch's messages
	vacancy      time.Duration // the longest
	vacancyAfter string        // the fault before it
	idle         time.Duration // the longest that a turn was nobody's after an end or a single kill
	idleAfter    string
	left         []string // in etcd when all had ended
	histories    int      // that are not linearizable
}

// row is what came of one fault.
type row struct {
	struck, kept        int
	overlaps, survivors int
	hasty               int // ends of commands that did not have their time
	left                int // keys and leases that were nobody's a while after it
	named               int // overlaps and survivors within a bound that is stated, ...
	namedFor            time.Duration
	next                []time.Duration // from the strike to the next start
}

func newReport() *report { return &report{rows: map[string]*row{}} }

func (r *report) row(name string) *row {
	if r.rows[name] == nil {
		r.rows[name] = &row{}
	}
	return r.rows[name]
}

func (r *report) add(o *report) {
	for name, theirs := range o.rows {
		ours := r.row(name)
		ours.struck += theirs.struck
		ours.kept += theirs.kept
		ours.overlaps += theirs.overlaps
		ours.survivors += theirs.survivors
		ours.hasty += theirs.hasty
		ours.left += theirs.left
		ours.named += theirs.named
		ours.namedFor = max(ours.namedFor, theirs.namedFor)
		ours.next = append(ours.next, theirs.next...)
	}
	r.acquisitions += o.acquisitions
	r.disorder = append(r.disorder, o.disorder...)
	r.details = append(r.details, o.details...)
	r.stuck = append(r.stuck, o.stuck...)
	r.unsure = append(r.unsure, o.unsure...)
	r.feeble = append(r.feeble, o.feeble...)
	r.noise = append(r.noise, o.noise...)
	r.left = append(r.left, o.left...)
	r.histories += o.histories
	if o.idle > r.idle {
		r.idle, r.idleAfter = o.idle, o.idleAfter
	}
	if o.vacancy > r.vacancy {
		r.vacancy, r.vacancyAfter = o.vacancy, o.vacancyAfter
	}
}

func (r *report) total(f func(*row) int) int {
	n := 0
	for _, row := range r.rows {
		n += f(row)
	}
	return n
}

// leave counts what a fault has left.
func (r *report) leave(l leftover) {
	r.row(l.fault.name).left += len(l.what)
	for _, what := range l.what {
		r.details = append(r.details, fmt.Sprintf("%s%s: left: %s", l.fault.name, l.when, what))
	}
}

func (r *report) overlaps() int  { return r.total(func(w *row) int { return w.overlaps }) }
func (r *report) survivors() int { return r.total(func(w *row) int { return w.survivors }) }

// kept reports whether every promise was.
func (r *report) kept() bool {
	return r.acquisitions > 0 && r.overlaps() == 0 && r.survivors() == 0 &&
		r.total(func(w *row) int { return w.hasty + w.left }) == 0 && len(r.left) == 0 && len(r.disorder) == 0 && len(r.stuck) == 0 && len(r.unsure) <= 1+r.struck()/10 &&
		len(r.feeble) == 0 && len(r.noise) == 0 && r.histories == 0
}

func (r *report) struck() int { return r.total(func(w *row) int { return w.struck }) }

func (r *report) summary() string {
	return fmt.Sprintf("%d faults, %d acquisitions, %d overlaps, %d survivors, %d beyond a named limit's promise but within its bound, %d left at the end, longest idle turn %s",
		r.struck(), r.acquisitions, r.overlaps(), r.survivors(), r.total(func(w *row) int { return w.named }), len(r.left), round(r.idle))
}

func (r *report) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "fault\tstruck\thold kept\tnext start p50\tmax\toverlaps\tsurvivors\tno grace\tleft\tnamed\tlongest\t")
	var names []string
	for name := range r.rows {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		row := r.rows[name]
		p50, longest := "-", "-"
		if n := len(row.next); n > 0 {
			slices.Sort(row.next)
			p50, longest = round(row.next[n/2]), round(row.next[n-1])
		}
		named := "-"
		if row.named > 0 {
			named = round(row.namedFor)
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\t\n", name, row.struck, row.kept, p50, longest, row.overlaps, row.survivors, row.hasty, row.left, row.named, named)
	}
	w.Flush()
	fmt.Fprintf(out, "\nacquisitions %d, overlaps %d, survivors %d, tokens out of order %d, stuck %d, histories not linearizable %d\n",
		r.acquisitions, r.overlaps(), r.survivors(), len(r.disorder), len(r.stuck), r.histories)
	fmt.Fprintf(out, "left in etcd at the end: %s\n", kinds(r.left))
	fmt.Fprintf(out, "longest idle turn after an end or a single kill %s, after: %s\n", round(r.idle), r.idleAfter)
	fmt.Fprintf(out, "longest vacancy %s, after: %s\n", round(r.vacancy), r.vacancyAfter)
	r.printTrouble(out)
	if r.kept() {
		fmt.Fprintln(out, "every promise was kept")
	} else {
		fmt.Fprintln(out, "PROMISES WERE BROKEN")
	}
}

// printTrouble prints whatever should not have been, a line each.
func (r *report) printTrouble(out io.Writer) {
	for _, lines := range [][]string{r.details, r.disorder, r.stuck, r.unsure, r.feeble, r.noise} {
		for _, line := range lines {
			fmt.Fprintln(out, line)
		}
	}
	for _, what := range r.left {
		fmt.Fprintln(out, "left at the end:", what)
	}
}

func round(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}
