// Package schedule says when a job is due.
//
// It does not say that the job runs then, nor how often: it knows neither etcd
// nor the present time. Two machines compute the same ticks from the same
// expression and options as long as their time zone data agree (see TZData);
// the zone of the host never has a part in it.
//
// An expression is one of
//
//	MINUTE HOUR DAY-OF-MONTH MONTH DAY-OF-WEEK
//	SECOND MINUTE HOUR DAY-OF-MONTH MONTH DAY-OF-WEEK
//	@yearly @annually @monthly @weekly @daily @midnight @hourly
//	@every DURATION   whole seconds, in step with Options.Anchor
//	@at TIME          once: RFC 3339, or without an offset in the zone
//	@manual           never by itself
//
// with CRON_TZ=ZONE or TZ=ZONE in front if need be. A field is a list, with
// commas, of *, N, A-B and H, each with /STEP behind it if need be. Names stand
// for months and weekdays (jan or january), 7 is Sunday, a range may wrap around
// (fri-mon, 22-2), and ? is *. H is a number that depends on the job's name
// only, so that jobs spread: H of 1 to 28 in the day of the month and of the
// whole field elsewhere, H(A-B) of that range, and H/STEP each STEP from a start
// below STEP.
//
// # Which days
//
// As in Vixie's cron: if the day of the month or the day of the week begins
// with *, a day must match both fields, otherwise either is enough. So
// "0 0 13 * 5" is each 13th and each Friday, "0 0 */2 * 1" the Mondays that have
// an odd date.
//
// # When the clocks change
//
// As in ISC's cron, a schedule whose second, minute or hour field begins with *
// is a wildcard schedule: it follows the clock on the wall, whatever that does.
// "*/15 2 * * *" does not run on a day without the hour from 02:00 to 03:00, and
// runs eight times where there are two of them. "30 * * * *" and @hourly run in
// each hour that there is.
//
// Any other schedule has fixed times, "30 2 * * *" or "0 0-23 * * *", and Rule
// says what becomes of these. With Once, the default, all that falls into the
// local time which is skipped runs once, at the instant of the change, and not a
// second time if that instant is due as well; and what falls into local time
// which is repeated runs the first time only.
package schedule

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Rule says what a jump of the local clock (DST) does to a schedule with fixed
// times. It changes nothing for the others.
type Rule string

// The rules. They differ in local time that is skipped or repeated, and nowhere
// else.
const (
	Once Rule = "once" // skipped: once, at the change; repeated: the first time
	Skip Rule = "skip" // skipped: not at all; repeated: the first time
	Wall Rule = "wall" // skipped: not at all; repeated: both times
)

// Options is what the expression leaves open. The zero value works, but for H.
type Options struct {
	Name   string    // the job's, which H hashes
	Zone   string    // IANA name; "": UTC, never the host's
	DST    Rule      // "": Once
	Anchor time.Time // of @every, to the second; zero: the epoch
}

// A Schedule is a series of ticks. It is not changed after Parse, so any number
// of goroutines may use it. It has 112 bytes: a runner keeps one for each job.
type Schedule struct {
	spec cron.SpecSchedule // over wall time as if it were UTC; star bits are ours
	zone *time.Location
	form form
	six  bool // seconds were given
	dst  Rule
	base int64 // Unix seconds: the anchor of every, the tick of at
	step int64 // seconds: of every
}

type form uint8

const (
	fields form = iota
	every
	at
	manual
)

// never is later than any tick, and far enough from the ends of int64 that an
// offset can be added. Ticks end with the year 9999, the last that RFC 3339 can
// write.
const (
	never    int64 = 1 << 62
	earliest       = -62135596800 // 0001-01-01T00:00:00Z
	latest         = 253402214400 // 9999-12-31T00:00:00Z
)

// horizon is how long there may be no tick, in seconds: 29 February falls on a
// given weekday again after 40 years at most.
const horizon = 40 * 366 * 24 * 60 * 60

// Parse reads an expression. What it refuses is an *Error, and so is what never
// comes due in forty years; a zone that does not exist is as LoadZone has it.
// An @at in the past is no error: Next then returns the zero time.
func Parse(expr string, o Options) (*Schedule, error) {
	if err := checkText(expr, o); err != nil {
		return nil, err
	}
	s, fault := parse(strings.Trim(expr, blanks), o)
	if fault == nil {
		return s, nil
	}
	if fault.cause != nil {
		return nil, fault.cause
	}
	e := &Error{Expr: short(expr), What: fault.what, Suggest: fault.hint(o)}
	if fault.english && e.Suggest != "" {
		e.What = ""
	}
	return nil, e
}

func parse(expr string, o Options) (*Schedule, *fault) {
	prefix, expr, f := cutZone(expr, &o.Zone)
	if f != nil {
		return nil, f
	}
	s := &Schedule{dst: o.DST}
	if s.zone, f = loadZone(o.Zone); f != nil {
		return nil, f
	}
	switch s.dst {
	case "":
		s.dst = Once
	case Once, Skip, Wall:
	default:
		return nil, &fault{cause: fmt.Errorf("%q is not a rule for clock changes: once, skip or wall", s.dst)}
	}
	if strings.HasPrefix(expr, "@") {
		f = s.readMacro(expr, o)
	} else {
		f = s.readFields(expr, o.Name)
	}
	if f != nil {
		return nil, f.behind(prefix)
	}
	return s, nil
}

// cutZone takes CRON_TZ=ZONE off the expression and puts it into zone.
func cutZone(expr string, zone *string) (prefix, rest string, f *fault) {
	named, ok := strings.CutPrefix(strings.TrimPrefix(expr, "CRON_"), "TZ=")
	if !ok {
		return "", expr, nil
	}
	end := strings.IndexAny(named, blanks)
	if end < 0 {
		like := "UTC"
		if zoneExists(named) {
			like = named
		}
		return "", "", &fault{what: "it names a zone and nothing else",
			advice: fmt.Sprintf("a schedule comes after the zone, as in \"TZ=%s @daily\"", like)}
	}
	name, rest := named[:end], strings.TrimLeft(named[end:], blanks)
	if name == "" {
		return "", "", &fault{what: "its zone is empty", instead: []string{rest}}
	}
	if *zone != "" && *zone != name {
		return "", "", &fault{what: fmt.Sprintf("it names the zone %q, but %s was asked for as well", name, *zone)}
	}
	*zone = name
	return expr[:len(expr)-len(rest)], rest, nil
}

// readFields reads five or six fields.
func (s *Schedule) readFields(expr, job string) *fault {
	words := strings.FieldsFunc(expr, isBlank)
	if len(words) != 5 && len(words) != 6 {
		f := &fault{what: fmt.Sprintf("it has %s and should have %s", counted(len(words), "field"), shape)}
		if len(words) == 7 {
			f.instead, f.advice = quartz(words), "a year is for --starts and --expires"
		}
		return phrased(expr, f)
	}
	if strings.Contains(expr, "~") {
		return &fault{what: "~ is not supported; H is such a number, by the job's name", instead: []string{FromCron(expr)}}
	}
	s.six = len(words) == 6
	units := table[len(table)-len(words):]
	sets := [6]uint64{1}
	for i, u := range units {
		set, f := u.read(words[i], job)
		if f != nil {
			f = f.within(words, i, u)
			if meant := lastOfSix(words); meant != nil {
				f.instead = meant
			}
			return phrased(expr, f)
		}
		sets[u.index] = set
	}
	spec, err := compile(sets)
	if err != nil {
		return &fault{what: err.Error()}
	}
	s.spec = spec
	if s.nextWall(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Unix()) == never {
		return &fault{what: "it is never due: none of its months has such a day", advice: monthsWith(sets[dom])}
	}
	return nil
}

// monthsWith says which months have the first of some days, a 30th or 31st.
func monthsWith(days uint64) string {
	if values(days)[0] == 31 {
		return "the months 1,3,5,7,8,10,12 have a 31st"
	}
	return "all months but February have a 30th"
}

// compile has robfig's parser read the sets, and makes sure that it understood.
// What it is given is canonical, which keeps it away from the inputs that it
// panics on, takes for something else, or takes seconds over.
func compile(sets [6]uint64) (spec cron.SpecSchedule, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the parser failed: %v", r)
		}
	}()
	words := make([]string, len(sets))
	for i, u := range table {
		words[i] = u.text(sets[i])
	}
	parser := cron.NewParser(cron.Second | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)
	parsed, err := parser.Parse(strings.Join(words, " "))
	if err != nil {
		return spec, err
	}
	spec = *parsed.(*cron.SpecSchedule)
	for i, bits := range specFields(&spec) {
		if *bits&^star != sets[i]&^star {
			return spec, fmt.Errorf("the parser took %q for something else", words[i])
		}
		// It sets the star bit for a bare star only.
		*bits = sets[i]
	}
	spec.Location = time.UTC
	return spec, nil
}

// specFields returns the sets of spec in the order of table.
func specFields(spec *cron.SpecSchedule) [6]*uint64 {
	return [6]*uint64{&spec.Second, &spec.Minute, &spec.Hour, &spec.Dom, &spec.Month, &spec.Dow}
}

// Zone returns the zone whose local time the expression is in.
func (s *Schedule) Zone() *time.Location { return s.zone }

// String returns the canonical expression, without the zone: aliases and names
// replaced, and each H by what it came to. Parse makes the same schedule of it
// with the same zone, rule and anchor.
func (s *Schedule) String() string {
	switch s.form {
	case every:
		return "@every " + duration(s.step)
	case at:
		return "@at " + time.Unix(s.base, 0).In(s.zone).Format(time.RFC3339)
	case manual:
		return "@manual"
	}
	var words []string
	for i, bits := range specFields(&s.spec) {
		if i > 0 || s.six {
			words = append(words, table[i].text(*bits))
		}
	}
	return strings.Join(words, " ")
}
