package schedule_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

	"conch/pkg/schedule"
)

var newYear = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func parse(t *testing.T, expr string, o schedule.Options) *schedule.Schedule {
	t.Helper()
	s, err := schedule.Parse(expr, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ticks returns the first n ticks after an instant, in the schedule's zone.
func ticks(s *schedule.Schedule, after time.Time, n int) []string {
	var all []string
	for range n {
		if after = s.Next(after); after.IsZero() {
			return append(all, "never")
		}
		all = append(all, after.Format(time.RFC3339))
	}
	return all
}

func TestCanonical(t *testing.T) {
	for expr, want := range map[string]string{
		"* * * * *":                "* * * * *",
		" \t0  5\t* * 0 ":          "0 5 * * 0",
		"? ? ? ? ?":                "* * * * *",
		"?/5 * * * *":              "*/5 * * * *",
		"*/1 * * * *":              "* * * * *",
		"00 05 * * *":              "0 5 * * *",
		"0 0 * * 7":                "0 0 * * 0",
		"0 0 * * 0-7":              "0 0 * * 0-6",
		"0 0 * * 5-7":              "0 0 * * 0,5,6",
		"0 0 * * 7-2":              "0 0 * * 0-2",
		"0 0 * * fri-mon":          "0 0 * * 0,1,5,6",
		"0 0 * * FRIDAY-mon":       "0 0 * * 0,1,5,6",
		"0 22-2 * * *":             "0 0-2,22,23 * * *",
		"0 22-2/2 * * *":           "0 0,2,22 * * *",
		"50-10/5 * * * *":          "0,5,10,50,55 * * * *",
		"0 0 1 nov-february *":     "0 0 1 1,2,11,12 *",
		"0 0 28-3 * *":             "0 0 1-3,28-31 * *",
		"0 0 * january,Mar *":      "0 0 * 1,3 *",
		"5/15 * * * *":             "5-50/15 * * * *",
		"0-59 0-23 * * *":          "0-59 0-23 * * *", // no star: fixed times
		"1,2,3,9,30,31 * * * *":    "1-3,9,30,31 * * * *",
		"*/15,3 * * * *":           "*/15,3 * * * *",
		"3,*/15 * * * *":           "0,3,15,30,45 * * * *",
		"*/60 */24 * * *":          "*/60 */24 * * *",
		"1-9/3 * * * *":            "1,4,7 * * * *",
		"30 0 5 * * *":             "30 0 5 * * *",
		"0 0 5 * * *":              "0 0 5 * * *",
		"@yearly":                  "0 0 1 1 *",
		"@Annually":                "0 0 1 1 *",
		"@MONTHLY":                 "0 0 1 * *",
		"@weekly":                  "0 0 * * 0",
		"@Daily":                   "0 0 * * *",
		"@midnight":                "0 0 * * *",
		"@hourly":                  "0 * * * *",
		"@Every 90m":               "@every 1h30m",
		"@every 36h":               "@every 1d12h",
		"@every 1d":                "@every 1d",
		"@manual":                  "@manual",
		"@at 2030-01-02T03:04:05Z": "@at 2030-01-02T03:04:05Z",
		"@at 2030-01-02 03:04":     "@at 2030-01-02T03:04:00Z",
		"TZ=UTC @daily":            "0 0 * * *",
		"CRON_TZ=Etc/UTC\t@daily":  "0 0 * * *",
	} {
		s, err := schedule.Parse(expr, schedule.Options{})
		if err != nil {
			t.Errorf("%v", err)
		} else if s.String() != want {
			t.Errorf("%q is %q, want %q", expr, s, want)
		}
	}
}

// What Vixie's cron does with the days hangs on the first character of the
// fields. January 2026 began on a Thursday.
func TestDays(t *testing.T) {
	for expr, want := range map[string][]int{
		"0 0 13 * 5":     {2, 9, 13, 16, 23, 30},
		"0 0 */2 * 1":    {5, 19},
		"0 0 ?/2 * 1":    {5, 19},
		"0 0 */2,2 * 1":  {5, 19},
		"0 0 2,*/2 * 1":  {1, 2, 3, 5, 7, 9, 11, 12, 13, 15, 17, 19, 21, 23, 25, 26, 27, 29, 31},
		"0 0 1-7 * */7":  {4}, // the first Sunday
		"0 0 29-31 * 1":  {5, 12, 19, 26, 29, 30, 31},
		"0 0 * * 1":      {5, 12, 19, 26},
		"0 0 31 * ?":     {31},
		"0 0 1-31/9 * *": {1, 10, 19, 28},
	} {
		var got []int
		s := parse(t, expr, schedule.Options{})
		for at := s.Next(newYear.Add(-1)); at.Month() == time.January && at.Year() == 2026; at = s.Next(at) {
			got = append(got, at.Day())
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", expr, got, want)
		}
	}
}

// Each of these robfig/cron 3.0.1 panics on, hangs on, or takes for something
// else.
func TestRefused(t *testing.T) {
	for _, test := range []struct{ expr, what, hint string }{
		// It panics: slice bounds out of range.
		{"TZ=", "a zone and nothing else", `a schedule comes after the zone, as in "TZ=UTC @daily"`},
		{"TZ=0", "a zone and nothing else", `a schedule comes after the zone, as in "TZ=UTC @daily"`},
		{"TZ=UTC", "a zone and nothing else", `a schedule comes after the zone, as in "TZ=UTC @daily"`},
		{"CRON_TZ=UTC", "a zone and nothing else", `a schedule comes after the zone, as in "TZ=UTC @daily"`},
		{"CRON_TZ=Europe/Rome", "a zone and nothing else", `a schedule comes after the zone, as in "TZ=Europe/Rome @daily"`},
		{"TZ=Local @daily", "each host", ""},
		{"TZ= * * * * *", "its zone is empty", `did you mean "* * * * *"?`},
		{"TZ=Nowhere * * * * *", "not a time zone", ""},

		// It looks for years, or drops the hole.
		{", * * * * *", "nothing between two commas", "* is every second"},
		{", * * * *", "nothing between two commas", "* is every minute"},
		{"1,,2 * * * *", "nothing between two commas", `did you mean "1,2 * * * *"?`},
		{"1, * * * *", "nothing between two commas", `did you mean "1 * * * *"?`},

		// It returns the zero time.
		{"0 0 31 2 *", "never due", "the months 1,3,5,7,8,10,12 have a 31st"},
		{"0 0 30 2 *", "never due", "all months but February have a 30th"},
		{"0 0 31 4,6,9,11 *", "never due", "the months 1,3,5,7,8,10,12 have a 31st"},

		// It takes these for *, and more that is none.
		{"*-5 * * * *", "nothing but a step", `did you mean "0-5 * * * *" or "* * * * *"?`},
		{"?-xyz * * * *", "nothing but a step", `did you mean "* * * * *"?`},
		{"*-1-2-3 * * * *", "nothing but a step", `did you mean "* * * * *"?`},
		{"*5 * * * *", "nothing but a step", `did you mean "05 * * * *" or "* * * * *"?`},
		{"+5 * * * *", "no sign", `did you mean "5 * * * *"?`},
		{"*/100 * * * *", "60 values", `the largest step here is 60; every 100 minutes is "@every 1h40m"`},
		{"0 1-5/6 * * *", "5 values", "the largest step here is 5"},
		{"0 0 * * 0-7/8", "7 values", "the largest step here is 7"},
		{"*/9223372036854775807 * * * *", "not a number", "a step is a number from 1 to 60 here"},
		{"*/0 * * * *", "step of 0", `did you mean "* * * * *"?`},
		{"*/ * * * *", "not a number", "a step is a number from 1 to 60 here"},
		{"*/-5 * * * *", "not a number", "a step is a number from 1 to 60 here"},
		{"*/5/5 * * * *", "not a number", "a step is a number from 1 to 60 here"},
		{"/5 * * * *", "range before it", `did you mean "*/5 * * * *"?`},
		{"*\u00a0* * * * *", `'\u00a0', byte 2`, `did you mean "* * * * * *"?`},
		{"* * * *\n*", "not printable", `did you mean "* * * * *"?`},
		{"* * * * *\x00", "not printable", `did you mean "* * * * *"?`},
		{"", "empty", `"*/5 * * * *" is one, and so is "@daily"`},
		{" \t", "empty", `"*/5 * * * *" is one, and so is "@daily"`},

		// It makes each of these one second, or cuts it.
		{"@every 0", "second or more", "@every 1s is the shortest"},
		{"@every 0s", "less than a second", "@every 1s is the shortest"},
		{"@every -1h", "negative", `did you mean "@every 1h"?`},
		{"@every 1ns", "less than a second", "@every 1s is the shortest"},
		{"@every 300ms", "less than a second", "@every 1s is the shortest"},
		{"@every 1.5s", "whole number", `did you mean "@every 1s" or "@every 2s"?`},
		{"@every 90.9s", "whole number", `did you mean "@every 1m30s" or "@every 1m31s"?`},
		{"@every 10", "no unit", `did you mean "@every 10s" or "@every 10m"?`},
		{"@every", "@every needs", ""},
		{"@every 5 minutes", "not a duration", `did you mean "*/5 * * * *" or "@every 5m"?`},

		{"60 * * * *", "between 0 and 59", `did you mean "0 * * * *"?`},
		{"0 24 * * *", "between 0 and 23", `did you mean "0 0 * * *"?`},
		{"0 0 0 * *", "between 1 and 31", `did you mean "0 0 1 * *"?`},
		{"0 0 * 13 *", "between 1 and 12", ""},
		{"0 0 * * 8", "between 0 and 7", ""},
		{"5- * * * *", "not a range", ""},
		{"-5 * * * *", "not a range", ""},
		{"1-2-3 * * * *", "not a number", "the minute is a number from 0 to 59"},
		{"0x5 * * * *", "not a number", "the minute is a number from 0 to 59"},
		{"0 0 L * *", "not supported", "name each day that may be meant, and have the command look at the date"},
		{"0 0 15W * *", "not supported", "name each day that may be meant, and have the command look at the date"},
		{"0 0 LW * *", "not supported", "name each day that may be meant, and have the command look at the date"},
		{"0 0 * * 5#2", "not supported", "name each day that may be meant, and have the command look at the date"},
		{"0 0 * * 5L", "not supported", "name each day that may be meant, and have the command look at the date"},
		{"0 0 * * monda", "neither", `did you mean "0 0 * * mon"?`},
		{"0 0 * mon *", "neither", "the month is a number from 1 to 12, or a name such as jan"},
		{"H * * * *", "job's name", "say which job is meant"},
		{"@dayly", "@daily", `did you mean "@daily"?`},
		{"@hour", "no @hour", `did you mean "@hourly"?`},
		{"@in 5m", "there is no @in", ""},
		{"@once", "there is no @once", ""},
		{"@hourly:15", "there are @yearly", ""},
		{"@daily 5", "nothing may follow @daily", `did you mean "@daily"?`},
		{"@reboot", "no boot", ""},
		{"@at", "@at needs", ""},
		{"@at tomorrow", "not a time", ""},
		{"@at 2030-02-30T00:00:00Z", "not a time", ""},
		{"@at 2030-01-02", "not a time", `did you mean "@at 2030-01-02T00:00"?`},
		{"@at 2030-01-02T03:04:05.5Z", "whole second", "leave out the fraction"},
		{"CRON_TZ=America/New_York @at 2026-03-08T02:30", "the clocks are put forward",
			`did you mean "CRON_TZ=America/New_York @at 2026-03-08T03:00:00-04:00"?`},

		{"* * * *", "4 fields", ""},
		{"* * * * * * *", "7 fields", `did you mean "* * * * * *"?`},

		// What was meant, where the first guess would be something else.
		{"0 0-24 * * *", "24 is not", `did you mean "0 0-23 * * *"?`},
		{"0 0-24/2 * * *", "24 is not", `did you mean "0 0-23/2 * * *"?`},
		{"0 10-24 * * *", "24 is not", `did you mean "0 10-23 * * *"?`},
		{"0 24-6 * * *", "24 is not", `did you mean "0 0-6 * * *"?`},
		{"0-60 * * * *", "60 is not", `did you mean "0-59 * * * *"?`},
		{"0-60/5 * * * *", "60 is not", `did you mean "0-59/5 * * * *"?`},
		{"0 0 0-31 * *", "0 is not", `did you mean "0 0 1-31 * *"?`},
		{"0 0 1 0-12 *", "0 is not", `did you mean "0 0 1 1-12 *"?`},
		{"30 0,24 * * *", "24 is not", `did you mean "30 0 * * *"?`},
		{"30 24,0 * * *", "24 is not", `did you mean "30 0 * * *"?`},
		{"0,30,60 * * * *", "60 is not", `did you mean "0,30 * * * *"?`},
		{"30 6,24 * * *", "24 is not", `did you mean "30 6,0 * * *"?`},

		// A random number of OpenBSD's and Fedora's cron.
		{"~ * * * *", "~ is not supported; H is such a number", `did you mean "H * * * *"?`},
		{"0~29 * * * *", "~ is not supported", `did you mean "H(0-29) * * * *"?`},
		{"~29 3~ * * *", "~ is not supported", `did you mean "H(0-29) H(3-23) * * *"?`},
		{"~/15 * * * *", "~ is not supported", `did you mean "H/15 * * * *"?`},

		// Quartz and AWS.
		{"0 0 12 * * ? *", "7 fields", `did you mean "0 12 * * ?"?`},
		{"0 0/5 14 * * ? *", "7 fields", `did you mean "0/5 14 * * ?"?`},
		{"*/10 * * ? * MON-FRI 2027", "7 fields", `did you mean "*/10 * * ? * MON-FRI"?`},
		{"0 15 10 ? * 2-6 *", "7 fields", `did you mean "15 10 ? * 1-5" or "15 10 ? * 2-6"?`},
		{"0 15 10 L * ? *", "7 fields", "a year is for --starts and --expires"},
		{"cron(0 12 * * ? *)", `did you mean "0 12 * * ?"?`, ""},
		{"cron(15 10 ? * 2-6 *)", `did you mean "15 10 ? * 1-5" or "15 10 ? * 2-6"?`, ""},
		{"rate(5 minutes)", `did you mean "*/5 * * * *" or "@every 5m"?`, ""},
		{"PT15M", `did you mean "@every 15m"?`, ""},
		{"P1DT12H", `did you mean "@every 1d12h"?`, ""},
		{"P2W", `did you mean "@every 14d"?`, ""},
		{"R/2030-01-01T00:00:00Z/PT1H", `did you mean "@every 1h"?`, ""},

		{"0 12 ? * MON-FRI *", "neither", `did you mean "0 12 ? * MON-FRI"?`},
		{"0 12 ? * MON-FRI 2031", "neither", `did you mean "0 12 ? * MON-FRI"?`},
		{"0 2 * * * Europe/Rome", "neither", `did you mean "TZ=Europe/Rome 0 2 * * *"?`},
		{"0 9..17 * * *", "a range has a dash", `did you mean "0 9-17 * * *"?`},

		// Names of other crons.
		{"@minutely", "no @minutely", `did you mean "* * * * *"?`},
		{"@every_minute", "no @every_minute", `did you mean "* * * * *"?`},
		{"@secondly", "no @secondly", `did you mean "* * * * * *"?`},
		{"@minute", "no @minute", `did you mean "* * * * *"?`},
		{"@quarterly", "no @quarterly", `did you mean "0 0 1 1,4,7,10 *"?`},
		{"@semiannually", "no @semiannually", `did you mean "0 0 1 1,7 *"?`},
		{"@fortnightly", "no @fortnightly", `did you mean "@every 14d"?`},
		{"@weekdays", "no @weekdays", `did you mean "0 0 * * 1-5"?`},
		{"@noon", "no @noon", `did you mean "0 12 * * *"?`},
		{"@never", "no @never", `did you mean "@manual"?`},
		{"@5m", "no @5m", `did you mean "@every 5m"?`},
		{"@startup", "no boot", ""},
		{"@nonsense", "there are @yearly", ""},

		// OnCalendar of systemd.
		{"*-*-* 02:00:00", `did you mean "0 2 * * *"?`, ""},
		{"*-*-* 02:00", `did you mean "0 2 * * *"?`, ""},
		{"02:30", `did you mean "30 2 * * *"?`, ""},
		{"Mon..Fri 09:00", `did you mean "0 9 * * mon-fri"?`, ""},
		{"Mon,Thu *-*-* 22:15:30", `did you mean "30 15 22 * * mon,thu"?`, ""},
		{"*:0/15", `did you mean "*/15 * * * *"?`, ""},
		{"*-*-* *:00/10:00", `did you mean "*/10 * * * *"?`, ""},
		{"*-*-01 04:00:00", `did you mean "0 4 1 * *"?`, ""},
		{"*-01,07-01", `did you mean "0 0 1 1,7 *"?`, ""},
		{"*-*-* 02:00:00 Europe/Rome", `did you mean "TZ=Europe/Rome 0 2 * * *"?`, ""},
		{"Mon *-*-1..7 05:00", "3 fields", ""},
		{"2030-*-* 05:00", "2 fields", ""},

		// What a file or a word processor has added.
		{`"0 2 * * *"`, `did you mean "0 2 * * *"?`, ""},
		{"0 9 * * Mon\u2013Fri", "not printable", `did you mean "0 9 * * Mon-Fri"?`},
		{"every 5 minutes", `did you mean "*/5 * * * *" or "@every 5m"?`, ""},
		{"Every 7 Minutes", `did you mean "@every 7m"?`, ""},
		{"5 hours", `did you mean "@every 5h"?`, ""},
		{"every 30 seconds", `did you mean "*/30 * * * * *" or "@every 30s"?`, ""},
		{"5m", `did you mean "@every 5m"?`, ""},
		{"hourly", `did you mean "@hourly"?`, ""},
		{"every day at 5 pm", `did you mean "0 17 * * *"?`, ""},
		{"every weekday at 09:30", `did you mean "30 9 * * 1-5"?`, ""},
		{"on mondays", `did you mean "0 0 * * 1"?`, ""},
		{"2030-01-02T03:04:05Z", `did you mean "@at 2030-01-02T03:04:05Z"?`, ""},
		{"monday 9am", `did you mean "0 9 * * 1"?`, ""},
		{"once", "1 field ", ""},
		{"at dawn", "2 fields", ""},
	} {
		s, err := schedule.Parse(test.expr, schedule.Options{})
		if err == nil {
			t.Errorf("%q was taken for %s", test.expr, s)
			continue
		}
		if !strings.Contains(err.Error(), test.what) {
			t.Errorf("%q: %v, want a mention of %q", test.expr, err, test.what)
		}
		var e *schedule.Error
		if errors.As(err, &e) && e.Hint() != test.hint {
			t.Errorf("%q: hint %q, want %q", test.expr, e.Hint(), test.hint)
		}
		if strings.ContainsAny(err.Error(), "\n\x00\u00a0") {
			t.Errorf("%q: the message itself has such characters: %q", test.expr, err)
		}
	}
}

func TestErrorSaysItOnce(t *testing.T) {
	_, err := schedule.Parse("every 5 minutes", schedule.Options{})
	const want = `"every 5 minutes" is not a schedule: did you mean "*/5 * * * *" or "@every 5m"?`
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestRefusedOptions(t *testing.T) {
	for what, test := range map[string]struct {
		expr string
		o    schedule.Options
	}{
		"2 fields":                     {"2026-03-08 02:30", schedule.Options{Zone: "America/New_York"}}, // there is none
		"was asked for as well":        {"TZ=UTC @daily", schedule.Options{Zone: "Europe/Rome"}},
		"not a rule":                   {"@daily", schedule.Options{DST: "sometimes"}},
		"each host":                    {"@daily", schedule.Options{Zone: "Local"}},
		"did you mean Europe/Rome?":    {"@daily", schedule.Options{Zone: "rome"}},
		"H is written":                 {"H(5) * * * *", schedule.Options{Name: "a"}},
		"H(0-29)/15":                   {"H(0-29 * * * *", schedule.Options{Name: "a"}},
		"60 is not":                    {"H(0-60) * * * *", schedule.Options{Name: "a"}},
		"10 values that":               {"H(0-9)/20 * * * *", schedule.Options{Name: "a"}},
		`"HH" is neither`:              {"0 0 * * 1-HH", schedule.Options{Name: "a"}},
		"H is written H, H/15, H(0-29": {"HH * * * *", schedule.Options{Name: "a"}},
	} {
		if s, err := schedule.Parse(test.expr, test.o); err == nil {
			t.Errorf("%q with %+v was taken for %s", test.expr, test.o, s)
		} else if !strings.Contains(err.Error(), what) {
			t.Errorf("%q with %+v: %v, want a mention of %q", test.expr, test.o, err, what)
		}
	}
	if _, err := schedule.Parse("TZ=Europe/Rome @daily", schedule.Options{Zone: "Europe/Rome"}); err != nil {
		t.Error("the same zone twice:", err)
	}
}

// A megabyte is refused unread, and the message does not repeat it. Its cost is
// counted, not timed.
func TestLongInput(t *testing.T) {
	for _, expr := range []string{
		strings.Repeat("1,", 500_000) + "1 * * * *",
		strings.Repeat(" ", 1_000_000) + "* * * * *",
		"TZ=" + strings.Repeat("x", 1_000_000),
		"@every " + strings.Repeat("1", 1_000_000),
		strings.Repeat("*", 257),
	} {
		var err error
		allocs := testing.AllocsPerRun(1, func() { _, err = schedule.Parse(expr, schedule.Options{}) })
		if err == nil || len(err.Error()) > 200 || !strings.Contains(err.Error(), "256 is the limit") {
			t.Errorf("%.20s: %.300v", expr, err)
		}
		if allocs > 10 {
			t.Errorf("%.20s: %v allocations", expr, allocs)
		}
	}
	longest := strings.Repeat(" ", 256-len("* * * * *")) + "* * * * *"
	if _, err := schedule.Parse(longest, schedule.Options{}); err != nil {
		t.Error("256 bytes:", err)
	}
}

func TestSize(t *testing.T) {
	if n := unsafe.Sizeof(schedule.Schedule{}); n > 112 {
		t.Errorf("a Schedule has %d bytes: 100,000 of them would have %d MB", n, n/10)
	}
}

// A hash that changed would move every job that has an H, and runners of two
// versions would not agree.
func TestHashIsStable(t *testing.T) {
	for expr, want := range map[string]string{
		"H H * * *":           "34 17 * * *",
		"H H H H H":           "34 17 28 2 6",
		"H H H H H H":         "14 34 17 28 2 6",
		"H/15 * * * *":        "8-53/15 * * * *",
		"H(0-29)/10 * * * *":  "5,15,25 * * * *",
		"0 H(22-2) * * *":     "0 1 * * *",
		"0 0 * * H(THU-THU)":  "0 0 * * 4",
		"0 0 * * H(mon-fri)":  "0 0 * * 5",
		"H(7-7) H(3-3) * * *": "7 3 * * *",
		"H,H(30-30) * * * *":  "30,34 * * * *",
	} {
		if got := parse(t, expr, schedule.Options{Name: "backup"}).String(); got != want {
			t.Errorf("%s: %s, want %s", expr, got, want)
		}
	}
}

// Names in a row, and anagrams, spread as if drawn: with 10,000 names over 60
// minutes a bucket has 167 on average with a deviation of 13, and none is off
// by five of those.
func TestHashSpreads(t *testing.T) {
	const names = 10_000
	minutes, months, pairs := map[string]int{}, map[string]int{}, map[string]int{}
	for i := range names {
		s := parse(t, "H H H * *", schedule.Options{Name: fmt.Sprintf("job-%d", i)})
		f := strings.Fields(s.String())
		minutes[f[0]]++
		months[f[2]]++
		pairs[f[0]+" "+f[1]]++
	}
	within := func(what string, got map[string]int, buckets, low, high int) {
		if len(got) != buckets {
			t.Errorf("%s: %d different, want %d", what, len(got), buckets)
		}
		for value, n := range got {
			if n < low || n > high {
				t.Errorf("%s %s: %d jobs, want %d to %d", what, value, n, low, high)
			}
		}
	}
	within("minute", minutes, 60, 103, 231)
	within("day", months, 28, 264, 450)
	// 1440 pairs with 7 on average: were the fields to go together, most pairs
	// would have none. A pair is empty with a chance of 1 in 1000.
	if len(pairs) < 1430 {
		t.Errorf("only %d pairs of a minute and an hour", len(pairs))
	}
	anagrams := map[string]int{}
	for _, name := range []string{"abcd", "abdc", "acbd", "acdb", "adbc", "adcb", "bacd", "badc", "bcad", "bcda", "bdac", "bdca"} {
		anagrams[parse(t, "H H * * *", schedule.Options{Name: name}).String()]++
	}
	if len(anagrams) != 12 {
		t.Errorf("anagrams meet: %v", anagrams)
	}
}

// H/15 begins below 15 and goes on to the end.
func TestHashSteps(t *testing.T) {
	starts := map[int]bool{}
	for i := range 500 {
		s := parse(t, "H/15 * * * *", schedule.Options{Name: fmt.Sprint(i)})
		first := s.Next(newYear.Add(-1))
		starts[first.Minute()] = true
		for at, n := first, 0; n < 4; at, n = s.Next(at), n+1 {
			if want := first.Add(time.Duration(n) * 15 * time.Minute); !at.Equal(want) {
				t.Fatalf("%s: %v, want %v", s, at, want)
			}
		}
	}
	if len(starts) != 15 {
		t.Errorf("%d starts", len(starts))
	}
}

func FuzzParse(f *testing.F) {
	for _, expr := range []string{"* * * * *", ", * * * * *", "TZ=UTC\t@daily", "TZ=", "*/5,3-9/2 22-2 28-3 jan-mar fri-mon",
		"H/15 H(1-5) H H H", "@every 1d12h", "@at 2030-01-02T03:04", "0 0 29 2 */7", "every 5 minutes", "CRON_TZ=Pacific/Apia 0 12 * * 0",
		"*-5 * * * *", "@daily x", "0 0 L * 5#2", "every monday at 5 am"} {
		f.Add(expr, "job", int64(1_324_857_600))
	}
	f.Fuzz(func(t *testing.T, expr, name string, from int64) {
		s, err := schedule.Parse(expr, schedule.Options{Name: name})
		if err != nil {
			if len(err.Error()) > 1200 {
				t.Errorf("a message of %d bytes", len(err.Error()))
			}
			return
		}
		o := schedule.Options{Zone: s.Zone().String()}
		again, err := schedule.Parse(s.String(), o)
		if err != nil {
			t.Fatalf("%q became %q: %v", expr, s, err)
		}
		if again.String() != s.String() || again.Words() != s.Words() {
			t.Errorf("%q became %q and then %q", expr, s, again)
		}
		for at, n := time.Unix(from, 0), 0; n < 5; n++ {
			next := s.Next(at)
			if next.IsZero() {
				break
			}
			if !next.After(at) || next.Nanosecond() != 0 || !next.Equal(again.Next(at)) {
				t.Fatalf("%q: %v comes after %v", expr, next, at)
			}
			at = next
		}
		s.Notes(time.Unix(from, 0))
	})
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := schedule.Parse("*/5 9-17 * * mon-fri", schedule.Options{Zone: "America/New_York"}); err != nil {
			b.Fatal(err)
		}
	}
}
