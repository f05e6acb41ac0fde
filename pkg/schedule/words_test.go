package schedule_test

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"conch/pkg/schedule"
)

func TestWords(t *testing.T) {
	for expr, want := range map[string]string{
		"0 5 * * 0":              "at 05:00 on Sunday, Europe/Rome",
		"0 5 * * *":              "at 05:00 every day, Europe/Rome",
		"0 5,17 * * mon-fri":     "at 05:00 and 17:00 on Monday to Friday, Europe/Rome",
		"*/5 * * * *":            "every 5 minutes",
		"* * * * *":              "every minute",
		"*/7 * * * *":            "at minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour",
		"*/15,3 * * * *":         "at minutes 0, 3, 15, 30 and 45 of every hour",
		"30 * * * *":             "at minute 30 of every hour",
		"@hourly":                "every hour",
		"0 */2 * * *":            "every 2 hours, Europe/Rome",
		"5 */2 * * *":            "at minute 5 of every 2nd hour, Europe/Rome",
		"0 9-17 * * 1-5":         "at minute 0 of hours 9-17 on Monday to Friday, Europe/Rome",
		"*/15 2 * * *":           "every 15 minutes in hour 2, Europe/Rome",
		"*/5 * * * sat,sun":      "every 5 minutes on Sunday and Saturday, Europe/Rome",
		"30 2 1,15 * *":          "at 02:30 on days 1 and 15 of the month, Europe/Rome",
		"0 0 */2 * *":            "at 00:00 on every 2nd day of the month, Europe/Rome",
		"@yearly":                "at 00:00 on day 1 of January, Europe/Rome",
		"0 0 * 1-3,12 *":         "at 00:00 every day in January to March and December, Europe/Rome",
		"0 0 * 6 1":              "at 00:00 on Monday in June, Europe/Rome",
		"0 0 13 * 5":             "at 00:00 on day 13 of the month and also on Friday, Europe/Rome",
		"0 0 1-7 * */7":          "at 00:00 on Sunday if the day of the month is 1-7, Europe/Rome",
		"0 0 1-31 * 1":           "at 00:00 every day, Europe/Rome",
		"30 * * * * *":           "at second 30 of every minute",
		"*/10 * * * * *":         "every 10 seconds",
		"*/10 30 * * * *":        "every 10 seconds in minute 30",
		"15 30 5 * * *":          "at 05:30:15 every day, Europe/Rome",
		"@every 5m":              "every 5 minutes",
		"@every 1h":              "every hour",
		"@every 90m":             "every 90 minutes",
		"@every 1d":              "every day, in step with 1970-01-01T00:00:00Z",
		"@every 1d1s":            "every 1d1s, in step with 1970-01-01T00:00:00Z",
		"@every 7m":              "every 7 minutes, in step with 1970-01-01T00:00:00Z",
		"@at 2026-06-01T12:00Z":  "once, at 2026-06-01 14:00:00 +02:00, Europe/Rome",
		"@manual":                "only when asked to",
		"0 0 1 * mon-wed,7":      "at 00:00 on day 1 of the month and also on Sunday to Wednesday, Europe/Rome",
		"0 0,1,2,3,4,5,6 * * *":  "at minute 0 of hours 0-6 every day, Europe/Rome",
		"5 0 0-22/2 29-31 2,4 *": "at second 5 of minute 0 of hours 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20 and 22 on days 29-31 of February and April, Europe/Rome",
	} {
		if got := parse(t, expr, schedule.Options{Zone: "Europe/Rome"}).Words(); got != want {
			t.Errorf("%s: %q, want %q", expr, got, want)
		}
	}
}

func TestNotes(t *testing.T) {
	const either = "a day that matches the day of the month or the day of the week is enough, since neither begins with *"
	const both = "a day must match both the day of the month and the day of the week, since one of them begins with *"
	const uneven7 = "*/7 in the field for the minute is uneven: after minute 56 comes minute 0, 4 later and not 7"
	for _, test := range []struct {
		expr, zone string
		rule       schedule.Rule
		want       []string
	}{
		{"0 5 * * *", "", "", nil},
		{"0 5 * * *", "America/New_York", "", nil}, // changes do not touch it
		{"*/5 * * * *", "America/New_York", "", nil},
		{"30 * * * *", "America/New_York", "", nil},
		{"@every 7m", "America/New_York", "", nil},
		{"@manual", "America/New_York", "", nil},
		{"30 2 * * *", "Asia/Tokyo", "", nil},
		{"0 0 13 * 5", "", "", []string{either}},
		{"0 0 1-31 * 5", "", "", []string{either}},
		{"0 0 1-7 * */7", "", "", []string{both}},
		{"*/7 * * * *", "", "", []string{uneven7}},
		{"*/15 */5 * * *", "", "", []string{"*/5 in the field for the hour is uneven: after hour 20 comes hour 0, 4 later and not 5"}},
		{"0 0 1 */5 *", "", "", []string{"*/5 in the field for the month is uneven: after November comes January, 2 later and not 5"}},
		{"0 0 */2 * *", "", "", []string{"*/2 in the field for the day of the month starts over in each month"}},
		{"30 2 * * *", "America/New_York", "", []string{"on 2026-03-08 America/New_York skips 02:00 to 03:00: what is due then runs once, at 03:00"}},
		{"0 2 * * *", "America/New_York", "", []string{"on 2026-03-08 America/New_York skips 02:00 to 03:00: what is due then runs once, at 03:00"}},
		{"30 2 * * *", "America/New_York", schedule.Skip, []string{"on 2026-03-08 America/New_York skips 02:00 to 03:00: what is due then does not run"}},
		{"30 1 * * *", "America/New_York", "", []string{"on 2026-11-01 America/New_York repeats 01:00 to 02:00: what is due then runs the first time only"}},
		{"30 1 * * *", "America/New_York", schedule.Wall, []string{"on 2026-11-01 America/New_York repeats 01:00 to 02:00: what is due then runs both times"}},
		{"*/15 2 * * *", "America/New_York", "", []string{"on 2026-03-08 America/New_York skips 02:00 to 03:00: what is due then does not run"}},
		{"30 2 * * 1", "America/New_York", "", nil}, // it happens on a Sunday
		{"30 1,2 * * *", "Asia/Beirut", "", nil},
		{"30 23,0 * * *", "Asia/Beirut", "", []string{
			"on 2026-03-29 Asia/Beirut skips 00:00 to 01:00: what is due then runs once, at 01:00",
			"on 2026-10-24 Asia/Beirut repeats 23:00 to 00:00: what is due then runs the first time only"}},
	} {
		s := parse(t, test.expr, schedule.Options{Zone: test.zone, DST: test.rule})
		if got := s.Notes(newYear); !slices.Equal(got, test.want) {
			t.Errorf("%s in %s, %s:\n got %q\nwant %q", test.expr, test.zone, test.rule, got, test.want)
		}
	}
	apia := parse(t, "0 12 * * *", schedule.Options{Zone: "Pacific/Apia"}).Notes(instant(t, "2011-11-01T00:00:00Z"))
	const want = "on 2011-12-30 Pacific/Apia skips 00:00 to 2011-12-31 00:00: what is due then runs once, at 2011-12-31 00:00"
	if !slices.Contains(apia, want) {
		t.Errorf("%q lacks %q", apia, want)
	}
}

// A note about a change must be true.
func TestNotesAgreeWithNext(t *testing.T) {
	s := parse(t, "30 2 * * *", schedule.Options{Zone: "America/New_York"})
	notes := s.Notes(newYear)
	if got := ticks(s, instant(t, "2026-03-08T00:00:00-05:00"), 1)[0]; len(notes) != 1 ||
		!strings.HasSuffix(notes[0], "at "+got[11:16]) {
		t.Errorf("%s, but %q", got, notes)
	}
}

func TestLoadZone(t *testing.T) {
	rome, err := schedule.LoadZone("Europe/Rome")
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := schedule.LoadZone("Europe/Rome"); again != rome {
		t.Error("two of the same zone")
	}
	if s := parse(t, "CRON_TZ=Europe/Rome @daily", schedule.Options{}); s.Zone() != rome {
		t.Error("the zone of an expression is another copy")
	}
	for name, what := range map[string]string{
		"":                       "empty",
		"Local":                  "each host",
		"local":                  "each host",
		"localtime":              "each host",
		"posixrules":             "each host",
		"right/Europe/Rome":      "leave out right/",
		"posix/Europe/Rome":      "leave out posix/",
		"europe/rome":            "did you mean Europe/Rome?",
		"EUROPE/ISLE_OF_MAN":     "did you mean Europe/Isle_of_Man?",
		"Rome":                   "did you mean Europe/Rome?",
		"new york":               "did you mean America/New_York?",
		"utc":                    "did you mean UTC?",
		"PST":                    "did you mean America/Los_Angeles?", // and not EST
		"cest":                   "did you mean Europe/Berlin?",
		"GMT+7":                  "did you mean Etc/GMT-7 (sic), 7 h ahead of UTC, or that of a place",
		"UTC-3":                  "did you mean Etc/GMT+3 (sic), 3 h behind UTC, or",
		"+02:00":                 "did you mean Etc/GMT-2 (sic), 2 h ahead of UTC, or",
		"-0500":                  "did you mean Etc/GMT+5 (sic), 5 h behind UTC, or",
		"UTC+0":                  "did you mean UTC?",
		"+05:30":                 "is an offset and not a time zone: name a place's",
		"UTC+25":                 "is an offset and not a time zone: name a place's",
		"XYZ":                    "such as UTC",
		"../zoneinfo/UTC":        "such as UTC",
		"/etc/localtime":         "such as UTC",
		"Europe/Rome\n":          "not a time zone",
		strings.Repeat("x", 500): "no more than 64 bytes",
	} {
		if zone, err := schedule.LoadZone(name); err == nil {
			t.Errorf("%q is %v", name, zone)
		} else if !strings.Contains(err.Error(), what) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 200 {
			t.Errorf("%q: %v, want a mention of %q", name, err, what)
		}
	}
}

func TestTZData(t *testing.T) {
	write := func(dir, name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	t.Setenv("ZONEINFO", dir)
	if got := schedule.TZData(); got == "" || strings.ContainsAny(got, " \n") {
		t.Errorf("%q is no version of the system or of Go", got)
	}
	write(dir, "UTC", "")
	if got := schedule.TZData(); got != "unknown" {
		t.Errorf("%q of zones that do not say", got)
	}
	write(dir, "tzdata.zi", "# version 2031z\n# more\n")
	if got := schedule.TZData(); got != "2031z" {
		t.Errorf("%q of tzdata.zi", got)
	}
	write(dir, "+VERSION", "2032a\n")
	if got := schedule.TZData(); got != "2032a" {
		t.Errorf("%q of +VERSION", got)
	}
	t.Setenv("ZONEINFO", filepath.Join(dir, "UTC"))
	if got := schedule.TZData(); got != "unknown" {
		t.Errorf("%q of an archive", got)
	}
}

// Where the system lists its zones, a slip is seen.
func TestNearZone(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tzdata.zi"), []byte("# version x\nZ Europe/Rome 0\nL Europe/Rome Europe/Vatican\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ZONEINFO", dir)
	for name, near := range map[string]string{
		"Europe/Rmoe": "Europe/Rome", "Europe/Rom": "Europe/Rome", "Europe/Romes": "Europe/Rome",
		"Europa/Rome": "Europe/Rome", "europe/vaticam": "Europe/Vatican",
	} {
		if _, err := schedule.LoadZone(name); err == nil || !strings.HasSuffix(err.Error(), "did you mean "+near+"?") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// BenchmarkMemory says what 100,000 schedules in one zone weigh, each.
func BenchmarkMemory(b *testing.B) {
	const count = 100_000
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		before, start := heap(), time.Now()
		all := make([]*schedule.Schedule, count)
		for i := range all {
			s, err := schedule.Parse("CRON_TZ=America/New_York H H * * *", schedule.Options{Name: strings.Repeat("x", i%50+1)})
			if err != nil {
				b.Fatal(err)
			}
			all[i] = s
		}
		b.ReportMetric(time.Since(start).Seconds()*1e9/count, "ns/schedule")
		b.ReportMetric(float64(heap()-before)/count, "B/schedule")
		runtime.KeepAlive(all)
	}
}
