package schedule

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// star is set in a set of values whose field begins with * or ?. It is where
// robfig has it.
const star = 1 << 63

// A unit is one field of an expression.
type unit struct {
	index    int
	name     string
	min, max int
	hashMax  int // of H without a range: each month has this day
	names    []string
}

var table = [6]unit{
	{0, "second", 0, 59, 59, nil},
	{1, "minute", 0, 59, 59, nil},
	{2, "hour", 0, 23, 23, nil},
	{3, "day of the month", 1, 31, 28, nil},
	{4, "month", 1, 12, 12, []string{"January", "February", "March", "April", "May", "June", "July",
		"August", "September", "October", "November", "December"}},
	{5, "day of the week", 0, 6, 6, []string{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"}},
}

const (
	second = iota
	minute
	hour
	dom
	month
	dow
)

// all returns the set of all values.
func (u *unit) all() uint64 { return 1<<(u.max+1) - 1<<u.min }

// read returns the set of values that a field names, with star.
func (u *unit) read(field, job string) (uint64, *fault) {
	var set uint64
	items := strings.Split(field, ",")
	for i, item := range items {
		one, f := u.readItem(item, job)
		if f != nil {
			return 0, f.in(items, i)
		}
		set |= one
	}
	if field[0] == '*' || field[0] == '?' {
		set |= star
	}
	return set, nil
}

// readItem reads what stands between two commas.
func (u *unit) readItem(item, job string) (uint64, *fault) {
	base, stepText, stepped := strings.Cut(item, "/")
	if strings.Contains(item, "..") {
		return 0, &fault{what: "a range has a dash", instead: []string{strings.ReplaceAll(item, "..", "-")}}
	}
	if item == "" {
		return 0, &fault{what: "there is nothing between two commas", instead: []string{""}, advice: fmt.Sprintf("* is every %s", u.name)}
	}
	r, f := u.readRange(base, stepped, job)
	if f != nil {
		return 0, f.before(item[len(base):])
	}
	step := 1
	if stepped {
		if step, f = u.readStep(r, base, stepText); f != nil {
			return 0, f
		}
	}
	switch {
	case r.hashed && stepped:
		skip := spread(job, u.index, step)
		r.first, r.count = r.first+skip, r.count-skip
	case r.hashed:
		r.first, r.count = r.first+spread(job, u.index, r.count), 1
	}
	var set uint64
	for i := 0; i < r.count; i += step {
		set |= 1 << u.wrap(r.first+i)
	}
	return set, nil
}

// A run is count values in a row from first on, beyond the last of the unit if
// it wraps around.
type run struct {
	first, count int
	hashed       bool
}

func (u *unit) readStep(r run, base, text string) (int, *fault) {
	step, ok := number(text)
	switch {
	case !ok:
		return 0, &fault{what: fmt.Sprintf("the step %q is not a number", text), advice: fmt.Sprintf("a step is a number from 1 to %d here", r.count)}
	case step == 0:
		return 0, &fault{what: "a step of 0 goes nowhere", instead: []string{base}}
	case step > r.count:
		return 0, &fault{what: fmt.Sprintf("a step of %d goes beyond the %d values that there are", step, r.count), advice: u.longer(base, step, r.count)}
	}
	return step, nil
}

// longer is the advice for a step that is larger than the most that there is.
func (u *unit) longer(base string, step, most int) string {
	advice := fmt.Sprintf("the largest step here is %d", most)
	if base != "*" || u.index > hour {
		return advice
	}
	seconds := [...]int64{second: 1, minute: 60, hour: 3600}[u.index] * int64(step)
	return fmt.Sprintf("%s; every %d %ss is \"@every %s\"", advice, step, u.name, duration(seconds))
}

// wrap returns the value of the unit that v, up to twice its range, stands for.
func (u *unit) wrap(v int) int {
	period := u.max - u.min + 1
	return u.min + (v-u.min)%period
}

func (u *unit) readRange(base string, stepped bool, job string) (run, *fault) {
	whole := run{first: u.min, count: u.max - u.min + 1}
	switch {
	case base == "*" || base == "?":
		return whole, nil
	case base == "":
		return run{}, &fault{what: "a step needs a range before it", instead: []string{"*"}}
	case base[0] == '*' || base[0] == '?':
		return run{}, &fault{what: fmt.Sprintf("nothing but a step may follow %c", base[0]),
			instead: []string{strconv.Itoa(u.min) + base[1:], "*"}}
	case base[0] == 'H':
		return u.readHash(base[1:], job)
	}
	from, to, ranged := strings.Cut(base, "-")
	if ranged && (from == "" || to == "") {
		return run{}, &fault{what: fmt.Sprintf("%q is not a range: there is a value on either side of the dash", base)}
	}
	a, f := u.value(from)
	if f != nil {
		return run{}, f.before(base[len(from):])
	}
	switch {
	case !ranged && stepped:
		return run{first: a, count: u.max - a + 1}, nil
	case !ranged:
		return run{first: a, count: 1}, nil
	}
	b, f := u.value(to)
	if n, _ := number(to); f != nil && n == u.max+1 && u.index <= hour {
		f.instead = []string{strconv.Itoa(u.max)}
	}
	if f != nil {
		return run{}, f.behind(from + "-")
	}
	if b < a {
		b += whole.count
	}
	return run{first: a, count: min(b-a+1, whole.count)}, nil
}

// readHash reads what follows an H.
func (u *unit) readHash(text, job string) (run, *fault) {
	if job == "" {
		return run{}, &fault{what: "H stands for a hash of the job's name, and there is no name", advice: "say which job is meant"}
	}
	if text == "" {
		return run{first: u.min, count: u.hashMax - u.min + 1, hashed: true}, nil
	}
	inner, open := strings.CutPrefix(text, "(")
	inner, closed := strings.CutSuffix(inner, ")")
	if !open || !closed || !strings.Contains(inner, "-") || strings.ContainsAny(inner[:1], "H*?") {
		return run{}, &fault{what: "H is written H, H/15, H(0-29) or H(0-29)/15"}
	}
	r, f := u.readRange(inner, false, job)
	if f != nil {
		return run{}, f.behind("H(").before(")")
	}
	r.hashed = true
	return r, nil
}

// hashed is a range with a ~, of which some crons take any value, as an H.
func (u *unit) hashed(text string) string {
	from, to, _ := strings.Cut(text, "~")
	if from == "" && to == "" {
		return "H"
	}
	if from == "" {
		from = strconv.Itoa(u.min)
	}
	if to == "" {
		to = strconv.Itoa(u.max)
	}
	return "H(" + from + "-" + to + ")"
}

// value reads a number or a name. It leaves 7 for Sunday as it is, so that 5-7
// is a range.
func (u *unit) value(text string) (int, *fault) {
	for i, name := range u.names {
		if strings.EqualFold(text, name) || strings.EqualFold(text, name[:3]) {
			return u.min + i, nil
		}
	}
	v, ok := number(text)
	if !ok {
		return 0, u.notValue(text)
	}
	most := u.max
	if u.index == dow {
		most = 7
	}
	if v < u.min || v > most {
		f := &fault{what: fmt.Sprintf("%s is not between %d and %d", text, u.min, most)}
		switch {
		case v == u.max+1 && u.index <= hour:
			f.instead = []string{"0"}
		case v == 0:
			f.instead = []string{strconv.Itoa(u.min)}
		}
		return 0, f
	}
	return v, nil
}

// notValue says what is wrong with a text that is neither a number nor a name.
func (u *unit) notValue(text string) *fault {
	if digits := strings.TrimLeft(text, "+"); digits != text {
		return &fault{what: "a number has no sign", instead: []string{digits}}
	}
	switch core := strings.ToUpper(strings.Trim(text, "0123456789")); {
	case core == "L", core == "W", core == "LW", strings.Contains(core, "#"):
		return &fault{what: "L, W and # are not supported", advice: "name each day that may be meant, and have the command look at the date"}
	case u.names == nil:
		return &fault{what: fmt.Sprintf("%q is not a number", text), advice: fmt.Sprintf("the %s is a number from %d to %d", u.name, u.min, u.max)}
	}
	f := &fault{what: fmt.Sprintf("%q is neither a number nor a name", text),
		advice: fmt.Sprintf("the %s is a number from %d to %d, or a name such as %s", u.name, u.min, u.max, strings.ToLower(u.names[0][:3]))}
	for _, name := range u.names {
		if len(text) > 3 && strings.EqualFold(text[:3], name[:3]) {
			f.instead = []string{strings.ToLower(name[:3])}
		}
	}
	return f
}

// number reads a number of digits only; what it returns is small.
func number(text string) (int, bool) {
	if text == "" || len(text) > 6 || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}

// text returns the canonical field for a set, in robfig's grammar: read and
// robfig make the same set of it.
func (u *unit) text(set uint64) string {
	if set&star != 0 {
		step := u.starStep(set)
		covered := u.steps(u.min, step, u.max)
		head := "*"
		if step > 1 {
			head += "/" + strconv.Itoa(step)
		}
		if rest := set &^ star &^ covered; rest != 0 {
			return head + "," + u.text(rest)
		}
		return head
	}
	if v := values(set); len(v) > 3 && v[1]-v[0] > 1 && set == u.steps(v[0], v[1]-v[0], v[len(v)-1]) {
		return fmt.Sprintf("%d-%d/%d", v[0], v[len(v)-1], v[1]-v[0])
	}
	return strings.Join(runs(set, strconv.Itoa, "-"), ",")
}

// starStep returns the least n for which */n is part of the set.
func (u *unit) starStep(set uint64) int {
	for n := 1; n <= u.max-u.min; n++ {
		if covered := u.steps(u.min, n, u.max); covered&^set == 0 {
			return n
		}
	}
	return u.max - u.min + 1
}

func (u *unit) steps(from, step, to int) uint64 {
	var set uint64
	for v := from; v <= to; v += step {
		set |= 1 << v
	}
	return set
}

// values returns the members of a set, ascending.
func values(set uint64) []int {
	var all []int
	for set &^= star; set != 0; set &= set - 1 {
		all = append(all, bits.TrailingZeros64(set))
	}
	return all
}

// runs names the members of a set, three or more in a row as a range.
func runs(set uint64, name func(int) string, dash string) []string {
	var out []string
	for v := values(set); len(v) > 0; {
		n := 1
		for n < len(v) && v[n] == v[0]+n {
			n++
		}
		if n < 3 {
			n = 1
			out = append(out, name(v[0]))
		} else {
			out = append(out, name(v[0])+dash+name(v[n-1]))
		}
		v = v[n:]
	}
	return slices.Clip(out)
}
