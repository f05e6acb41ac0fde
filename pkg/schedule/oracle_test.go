package schedule_test

import (
	"archive/zip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"conch/pkg/schedule"
)

// An oracle says by the definition when a schedule is due: it looks at each
// minute there is, one after another, at what the clock on the wall shows then,
// and at what it has shown before. It shares nothing with the package, not even
// the reading of the fields. It knows of no change by less than a minute; there
// are none after 1972.
type oracle struct {
	sets            [6][60]bool
	bothDays, fixed bool
	once, wall      bool
	what            string
}

var bounds = [6][2]int{{0, 59}, {0, 59}, {0, 23}, {1, 31}, {1, 12}, {0, 6}}

// newOracle reads fields with *, N, A-B and /N only.
func newOracle(expr string, rule schedule.Rule) *oracle {
	words := strings.Fields(expr)
	if len(words) == 5 {
		words = append([]string{"0"}, words...)
	}
	o := &oracle{once: rule == schedule.Once, wall: rule == schedule.Wall, what: expr + ", " + string(rule)}
	for i, word := range words {
		for _, item := range strings.Split(word, ",") {
			body, by, _ := strings.Cut(item, "/")
			low, high, isRange := strings.Cut(body, "-")
			first, last, step := bounds[i][0], bounds[i][1], 1
			if body != "*" {
				first, _ = strconv.Atoi(low)
				last = first
			}
			if isRange {
				last, _ = strconv.Atoi(high)
			}
			if by != "" {
				step, _ = strconv.Atoi(by)
			}
			for v := first; v <= last; v += step {
				o.sets[i][v] = true
			}
		}
	}
	o.bothDays = words[3][0] == '*' || words[5][0] == '*'
	o.fixed = words[0][0] != '*' && words[1][0] != '*' && words[2][0] != '*'
	return o
}

// matches reports whether the minute that a clock shows is one of the schedule.
func (o *oracle) matches(wall time.Time) bool {
	date, weekday := o.sets[3][wall.Day()], o.sets[5][wall.Weekday()]
	day := date || weekday
	if o.bothDays {
		day = date && weekday
	}
	return day && o.sets[1][wall.Minute()] && o.sets[2][wall.Hour()] && o.sets[4][int(wall.Month())]
}

// A minute of a zone: when it is, what the clock shows, whether it has shown
// that before, and what it has skipped to get there.
type moment struct {
	at      int64
	wall    time.Time
	seen    bool
	skipped []time.Time
}

// moments lists the minutes from one instant to another. What was shown up to
// two days before counts as seen.
func moments(zone *time.Location, from, to int64) []moment {
	const lead = 2 * 24 * 60 * 60
	var all []moment
	seen := map[int64]bool{}
	before := int64(0)
	for at := from - lead; at < to; at += 60 {
		_, offset := time.Unix(at, 0).In(zone).Zone()
		shown := at + int64(offset)
		m := moment{at: at, wall: time.Unix(shown, 0).UTC(), seen: seen[shown]}
		for w := before + 60; before != 0 && w < shown; w += 60 {
			m.skipped = append(m.skipped, time.Unix(w, 0).UTC())
		}
		seen[shown] = true
		before = shown
		if at >= from {
			all = append(all, m)
		}
	}
	return all
}

// ticks returns when the schedule is due within moments.
func (o *oracle) ticks(all []moment) []int64 {
	var out []int64
	for _, m := range all {
		if o.fixed && o.once && slices.ContainsFunc(m.skipped, o.matches) {
			out = append(out, m.at)
		}
		if !o.matches(m.wall) || o.fixed && !o.wall && m.seen {
			continue
		}
		for second, due := range o.sets[0] {
			if tick := m.at + int64(second); due && (len(out) == 0 || out[len(out)-1] < tick) {
				out = append(out, tick)
			}
		}
	}
	return out
}

// compare has Next walk from one instant to another and says where it differs
// from the oracle.
func (o *oracle) compare(s *schedule.Schedule, all []moment) error {
	from, to := all[0].at, all[len(all)-1].at+60
	want := o.ticks(all)
	at := time.Unix(from-1, 0)
	for i := 0; ; i++ {
		at = s.Next(at)
		switch over := at.IsZero() || at.Unix() >= to; {
		case over && i == len(want):
			return nil
		case i == len(want):
			return fmt.Errorf("%s in %s: %v, where nothing is due", o.what, s.Zone(), at)
		case over || at.Unix() != want[i]:
			return fmt.Errorf("%s in %s: %v, want %v", o.what, s.Zone(), at, time.Unix(want[i], 0).In(s.Zone()))
		}
	}
}

// affected are the zones of 2025 to 2030 that robfig gets wrong, and some.
var affected = []string{"Africa/Cairo", "America/Havana", "America/Santiago", "Asia/Beirut", "Atlantic/Azores",
	"Australia/Lord_Howe", "America/New_York", "Europe/London", "Europe/Dublin", "Africa/Casablanca", "Antarctica/Troll",
	"Asia/Gaza", "America/Nuuk", "Pacific/Chatham", "Asia/Tokyo", "Asia/Kathmandu", "UTC"}

// TestMain has the tests use the zones of the Go distribution, if there is one,
// and not those of the host: these may be old. time reads the variable when it
// first loads a zone.
func TestMain(m *testing.M) {
	if root, err := exec.Command("go", "env", "GOROOT").Output(); err == nil {
		os.Setenv("ZONEINFO", filepath.Join(strings.TrimSpace(string(root)), "lib", "time", "zoneinfo.zip"))
	}
	os.Exit(m.Run())
}

// zoneNames returns the zones of the Go distribution, or those above where there
// is none.
func zoneNames(t testing.TB) []string {
	archive, err := zip.OpenReader(os.Getenv("ZONEINFO"))
	if err != nil {
		return affected
	}
	defer archive.Close()
	var names []string
	for _, f := range archive.File {
		if _, err := schedule.LoadZone(f.Name); err == nil {
			names = append(names, f.Name)
		}
	}
	if len(names) < 400 {
		t.Fatalf("only %d zones", len(names))
	}
	return names
}

// changes returns the instants from one year to another at which the offset
// changes, to the minute.
func changes(zone *time.Location, first, last int) []int64 {
	offset := func(at int64) int {
		_, o := time.Unix(at, 0).In(zone).Zone()
		return o
	}
	const day = 24 * 60 * 60
	var all []int64
	end := time.Date(last+1, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	for at := time.Date(first, 1, 1, 0, 0, 0, 0, time.UTC).Unix(); at < end; at += day {
		if offset(at) == offset(at+day) {
			continue
		}
		change := at
		for offset(change) == offset(at) {
			change += 60
		}
		all = append(all, change)
	}
	return all
}

func TestOracle(t *testing.T) {
	// How many hours on either side of a change are looked at.
	specs := map[string]int64{
		"* * * * *":            2,
		"*/30 * * * *":         6,
		"30 * * * *":           12,
		"*/15 2 * * *":         24,
		"30 */2 * * *":         24,
		"0 0 * * *":            24,
		"15,45 0-3 * * *":      24,
		"30 23 * * 6":          24,
		"59 1,2,23 * * *":      24,
		"0 5 * * 6":            24,
		"0 12 * * 0,5":         24,
		"0 0 */2 * 1":          24,
		"10 0-23 29-31 * 0":    24,
		"20,50 1 * 3,4,9-11 *": 24,
		"0-59/20 0-23/3 * * *": 24,
		"*/20 30 1,23 * * *":   24,
		"10,50 0,30 0-2 * * *": 24,
	}
	names := zoneNames(t)
	if testing.Short() {
		names = affected
	}
	type pair struct {
		o *oracle
		s *schedule.Schedule
	}
	const hour = 60 * 60
	windows := 0
	done := map[string]bool{}
	for _, name := range names {
		zone, err := schedule.LoadZone(name)
		if err != nil {
			t.Fatal(err)
		}
		// Links to one zone need not be gone through one by one. The last day of a
		// leap year is where Go's bounds of a zone are odd.
		around := append(changes(zone, 2025, 2030), time.Date(2028, 12, 31, 0, 0, 0, 0, time.UTC).Unix())
		key := history(zone, around)
		if done[key] {
			continue
		}
		done[key] = true
		pairs := map[string][]pair{}
		for expr := range specs {
			for _, rule := range []schedule.Rule{schedule.Once, schedule.Skip, schedule.Wall} {
				pairs[expr] = append(pairs[expr], pair{newOracle(expr, rule), parse(t, expr, schedule.Options{Zone: name, DST: rule})})
			}
		}
		for _, change := range around {
			all := moments(zone, change-24*hour, change+24*hour)
			for expr, hours := range specs {
				part := all[(24-hours)*60 : (24+hours)*60]
				for _, p := range pairs[expr] {
					if err := p.o.compare(p.s, part); err != nil {
						t.Error(err)
					}
				}
			}
			windows++
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("%d zones that differ, %d changes", len(done), windows)
	if len(names) > len(affected) && (len(done) < 50 || windows < 300) {
		t.Errorf("only %d changes of %d zones were looked at", windows, len(done))
	}
}

// history is the same for zones that have the same offsets around instants.
func history(zone *time.Location, around []int64) string {
	var b strings.Builder
	for _, at := range around {
		_, before := time.Unix(at-1, 0).In(zone).Zone()
		_, offset := time.Unix(at, 0).In(zone).Zone()
		fmt.Fprintln(&b, at, before, offset)
	}
	return b.String()
}

// The oracle must be able to tell a rule from another, or it tells nothing.
func TestOracleTellsRulesApart(t *testing.T) {
	zone, err := schedule.LoadZone("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	rules := []schedule.Rule{schedule.Once, schedule.Skip, schedule.Wall}
	const hour = 60 * 60
	both := append(moments(zone, 1772953200-24*hour, 1772953200+24*hour), // 2026-03-08T07:00:00Z
		moments(zone, 1793512800-24*hour, 1793512800+24*hour)...) // 2026-11-01T06:00:00Z
	got := map[string]bool{}
	for _, rule := range rules {
		got[fmt.Sprint(newOracle("30 1,2 * * *", rule).ticks(both))] = true
	}
	if len(got) != len(rules) {
		t.Errorf("%d different answers to %d rules", len(got), len(rules))
	}
}

// FuzzNext makes fields of bytes, and compares three days of them with the
// oracle, anywhere in 2025 to 2030 or close to a change.
func FuzzNext(f *testing.F) {
	names := zoneNames(f)
	f.Add([]byte{1, 30, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0}, uint16(0), uint8(0), int64(1_772_000_000))
	f.Add([]byte{2, 15, 0, 1, 2, 0, 1, 13, 0, 0, 0, 0, 1, 5, 0}, uint16(120), uint8(1), int64(1_790_000_000))
	f.Add([]byte{3, 0, 59, 3, 0, 23, 2, 2, 0, 0, 0, 0, 1, 1, 0}, uint16(333), uint8(5), int64(1_900_000_000))
	f.Add([]byte("a fuzzer puts anything here"), uint16(77), uint8(6), int64(1_800_000_007))
	f.Fuzz(func(t *testing.T, bytes []byte, zoneIndex uint16, options uint8, from int64) {
		expr := fieldsOf(bytes, options&4 != 0)
		rule := []schedule.Rule{schedule.Once, schedule.Skip, schedule.Wall}[options%3]
		name := names[int(zoneIndex)%len(names)]
		s, err := schedule.Parse(expr, schedule.Options{Zone: name, DST: rule})
		if err != nil {
			if strings.Contains(err.Error(), "never due") {
				return
			}
			t.Fatal(err)
		}
		begin := 1_735_689_600 + max(0, from%(6*365*24*60*60)) // from 2025 on
		if near := changes(s.Zone(), 2025, 2030); options&8 != 0 && len(near) > 0 {
			begin = near[int(begin)%len(near)] - 36*60*60
		}
		begin -= begin % 60
		if err := newOracle(expr, rule).compare(s, moments(s.Zone(), begin, begin+3*24*60*60)); err != nil {
			t.Error(err)
		}
	})
}

// fieldsOf makes an expression that is valid, but may never be due. Three bytes
// make a field.
func fieldsOf(bytes []byte, seconds bool) string {
	var words []string
	first := 1
	if seconds {
		first = 0
	}
	for i := first; i < 6; i++ {
		low, high := bounds[i][0], bounds[i][1]
		count := high - low + 1
		var b [3]byte
		bytes = bytes[copy(b[:], bytes):]
		x, y := low+int(b[1])%count, low+int(b[2])%count
		word := "*"
		switch b[0] % 5 {
		case 1:
			word = strconv.Itoa(x)
		case 2:
			word = fmt.Sprintf("*/%d", 1+int(b[1])%count)
		case 3:
			word = fmt.Sprintf("%d-%d", min(x, y), max(x, y))
		case 4:
			word = fmt.Sprintf("%d,%d-%d", x, min(x, y), max(x, y))
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}
