package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// shown is a line of the table in docs/promises.md: faults of which the same came.
type shown struct {
	what   string
	faults []string

	// What became of the hold, where it is not that of anybody who was struck; and
	// what may come of it beyond what is promised, with the longest time.
	hold, limit string
}

// table has every fault once.
var table = []shown{
	{what: "supervisor killed", faults: []string{"supervisor killed"}},
	{what: "supervisor stopped past the deadline", faults: []string{"supervisor stopped, long"}},
	{what: "sentinel killed", faults: []string{"sentinel killed"}},
	{what: "sentinel stopped", faults: []string{"sentinel stopped, long"}},
	{what: "both killed at one instant", faults: []string{"both killed"}, limit: "daemons survive, unless contained"},
	{what: "both stopped past the deadline", faults: []string{"both stopped, long"}},
	{what: "`--hold` killed", faults: []string{"--hold killed"}},
	{what: "killed within 30 ms of its start, alone", faults: []string{"killed as it starts, alone"}, hold: "nobody's"},
	{what: "killed within 30 ms of its start, in line", faults: []string{"killed as it starts, in line"}, hold: "passed on"},
	{what: "first in line killed", faults: []string{"waiter killed, first"}, hold: "passed on"},
	{what: "second in line killed", faults: []string{"waiter killed, second"}, hold: "passed on"},
	{what: "third in line killed", faults: []string{"waiter killed, third"}, hold: "passed on"},
	{what: "end of the command", faults: []string{"command ends"}},
	{what: "TERM (half of the commands ignore it)", faults: []string{"TERM"}},
	{what: "TERM twice within 50 ms", faults: []string{"TERM, twice"}},
	{what: "host cut off both ways, outward, inward", faults: []string{"host cut off", "host cut off outward", "host cut off inward"}},
	{what: "a renewal answered late, then cut off", faults: []string{"answers late, then cut off"}},
	{what: "stops and cuts shorter than the TTL", faults: []string{"supervisor stopped, short", "both stopped, short", "host cut off, short"}},
	{what: "lease revoked, key deleted", faults: []string{"lease revoked", "key deleted"}},
	{what: "lease revoked while cut off or stopped", faults: []string{"lease revoked, host cut off", "lease revoked, supervisor stopped"},
		limit: "overlaps of %s at most; none with `--lock-delay ttl`"},
	{what: "leader of etcd killed, stopped, cut off, cut off as it resumed", faults: []string{"leader killed", "leader stopped, short", "leader cut off", "leader resumed, then cut off"}},
	{what: "leader stopped for longer than the TTL", faults: []string{"leader stopped, long"}},
	{what: "members restarted in turn", faults: []string{"members restarted in turn"}},
}

// markdown prints what came of so many runs as docs/promises.md has it.
func (r *report) markdown(out io.Writer, runs int, ttl time.Duration) {
	fmt.Fprintf(out, "What came of %s, with a TTL of %s: %s faults,\n%s acquisitions, %s, %s, %s,\n%s, %s, and %s\n"+
		"in etcd at the end that was nobody's. The longest that a turn was nobody's after\nan end or a single kill, while somebody stood in line, was %s.\n\n",
		many(runs, "such run"), many(int(ttl/time.Second), "second"), thousands(r.struck()), thousands(r.acquisitions),
		none(r.overlaps(), "overlap"), none(r.survivors(), "survivor"), none(len(r.disorder), "token out of order"),
		none(len(r.stuck), "turn stuck"), none(r.histories, "history that is not linearizable"), none(len(r.left), "key or lease"), brief(r.idle))
	fmt.Fprint(out, "| struck | times | the hold | next start, median and longest |\n|---|---|---|---|\n")
	for _, line := range table {
		if row := r.sum(line.faults); row.struck > 0 {
			fmt.Fprintf(out, "| %s | %s | %s |%s |\n", line.what, thousands(row.struck), line.came(row), row.starts())
		}
	}
}

// sum adds up what came of some faults.
func (r *report) sum(faults []string) *row {
	all := newReport()
	for _, name := range faults {
		all.add(&report{rows: map[string]*row{"": r.row(name)}})
	}
	return all.row("")
}

// came says what became of the hold.
func (s shown) came(w *row) string {
	came := s.hold
	switch {
	case came != "":
	case w.kept == 0:
		came = "ended"
	case w.kept == w.struck:
		came = "kept"
	case 10*w.kept > 9*w.struck:
		came = fmt.Sprintf("kept, but for %d", w.struck-w.kept)
	default:
		came = fmt.Sprintf("kept %d times, lost %d times", w.kept, w.struck-w.kept)
	}
	if w.named > 0 && s.limit != "" {
		came += "; " + strings.Replace(s.limit, "%s", brief(w.namedFor), 1)
	}
	return came
}

// starts says how soon the next command began, behind a space.
func (w *row) starts() string {
	if len(w.next) == 0 {
		return ""
	}
	slices.Sort(w.next)
	return " " + brief(w.next[len(w.next)/2]) + ", " + brief(w.next[len(w.next)-1])
}

// brief is a time that need not be exact.
func brief(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// thousands is n with commas.
func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// many is n things.
func many(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return thousands(n) + " " + thing
}

// none is n of what there should be none of.
func none(n int, thing string) string {
	if n == 0 {
		return "no " + thing
	}
	return fmt.Sprintf("%d TIMES: %s", n, thing)
}
