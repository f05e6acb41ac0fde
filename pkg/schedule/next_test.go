package schedule_test

import (
	"slices"
	"testing"
	"time"

	"conch/pkg/schedule"
)

func instant(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// The expected values follow from the change alone: what the clock shows just
// before, what it shows just after, and the rule.
func TestClockChanges(t *testing.T) {
	const once, skip, wall = schedule.Once, schedule.Skip, schedule.Wall
	all := []schedule.Rule{once, skip, wall}
	type want map[*[]schedule.Rule][]string
	either := &[]schedule.Rule{skip, wall}
	ran := &[]schedule.Rule{once, skip}
	just := func(r schedule.Rule) *[]schedule.Rule { return &[]schedule.Rule{r} }
	any := &all

	for _, test := range []struct {
		zone, expr, after, why string
		want                   want
	}{
		{"America/New_York", "30 2 * * *", "2026-03-08T00:00:00-05:00", "02:00 to 03:00 is skipped", want{
			just(once): {"2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"},
			either:     {"2026-03-09T02:30:00-04:00", "2026-03-10T02:30:00-04:00"}}},
		{"America/New_York", "0,20,40 2,3 * * *", "2026-03-08T00:00:00-05:00", "six in the hour that is skipped and at its end are one", want{
			any: {"2026-03-08T03:00:00-04:00", "2026-03-08T03:20:00-04:00", "2026-03-08T03:40:00-04:00", "2026-03-09T02:00:00-04:00"}}},
		{"America/New_York", "0 3 * * *", "2026-03-08T00:00:00-05:00", "the end of the gap is not in it", want{
			any: {"2026-03-08T03:00:00-04:00", "2026-03-09T03:00:00-04:00"}}},
		{"America/New_York", "*/15 2 * * *", "2026-03-08T00:00:00-05:00", "a wildcard has no hour 2 that day", want{
			any: {"2026-03-09T02:00:00-04:00", "2026-03-09T02:15:00-04:00"}}},
		{"America/New_York", "30 * * * *", "2026-03-08T01:00:00-05:00", "a wildcard is due in each hour there is", want{
			any: {"2026-03-08T01:30:00-05:00", "2026-03-08T03:30:00-04:00", "2026-03-08T04:30:00-04:00"}}},
		{"America/New_York", "0 30 2 * * *", "2026-03-08T00:00:00-05:00", "with seconds it is the same", want{
			just(once): {"2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"}}},
		{"America/New_York", "* 30 2 * * *", "2026-03-08T00:00:00-05:00", "a star for the second makes a wildcard", want{
			any: {"2026-03-09T02:30:00-04:00", "2026-03-09T02:30:01-04:00"}}},
		{"America/New_York", "30 2 * * 0", "2026-03-07T12:00:00-05:00", "the day that counts is that of the skipped time", want{
			just(once): {"2026-03-08T03:00:00-04:00", "2026-03-15T02:30:00-04:00"},
			either:     {"2026-03-15T02:30:00-04:00", "2026-03-22T02:30:00-04:00"}}},
		{"America/New_York", "30 1 * * *", "2026-11-01T00:00:00-04:00", "01:00 to 02:00 comes twice", want{
			ran:        {"2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"},
			just(wall): {"2026-11-01T01:30:00-04:00", "2026-11-01T01:30:00-05:00", "2026-11-02T01:30:00-05:00"}}},
		{"America/New_York", "0 1,2 * * *", "2026-11-01T00:00:00-04:00", "02:00 is after the repeated hour", want{
			ran:        {"2026-11-01T01:00:00-04:00", "2026-11-01T02:00:00-05:00", "2026-11-02T01:00:00-05:00"},
			just(wall): {"2026-11-01T01:00:00-04:00", "2026-11-01T01:00:00-05:00", "2026-11-01T02:00:00-05:00"}}},
		{"America/New_York", "*/30 1 * * *", "2026-11-01T00:00:00-04:00", "a wildcard is due in both hours 1", want{
			any: {"2026-11-01T01:00:00-04:00", "2026-11-01T01:30:00-04:00", "2026-11-01T01:00:00-05:00", "2026-11-01T01:30:00-05:00", "2026-11-02T01:00:00-05:00"}}},
		{"America/New_York", "30 1 * * *", "2026-11-01T01:30:00-04:00", "the first time has run", want{
			ran:        {"2026-11-02T01:30:00-05:00"},
			just(wall): {"2026-11-01T01:30:00-05:00"}}},
		{"America/New_York", "30 1 * * *", "2026-11-01T01:10:00-05:00", "asked in the middle of the repeated hour", want{
			ran:        {"2026-11-02T01:30:00-05:00"},
			just(wall): {"2026-11-01T01:30:00-05:00"}}},

		{"America/New_York", "59 59 1 * * *", "2026-11-01T00:00:00-04:00", "the last second of the repeated hour", want{
			ran:        {"2026-11-01T01:59:59-04:00", "2026-11-02T01:59:59-05:00"},
			just(wall): {"2026-11-01T01:59:59-04:00", "2026-11-01T01:59:59-05:00"}}},

		{"Europe/London", "30 1 * * *", "2026-03-28T12:00:00Z", "01:00 to 02:00 is skipped", want{
			just(once): {"2026-03-29T02:00:00+01:00", "2026-03-30T01:30:00+01:00"},
			either:     {"2026-03-30T01:30:00+01:00"}}},
		{"Europe/London", "30 1 * * *", "2026-10-24T12:00:00Z", "01:00 to 02:00 comes twice", want{
			ran:        {"2026-10-25T01:30:00+01:00", "2026-10-26T01:30:00Z"},
			just(wall): {"2026-10-25T01:30:00+01:00", "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"}}},

		// Where midnight is skipped robfig takes the day before for the day.
		{"Asia/Beirut", "0 5 * * 6", "2026-03-28T06:00:00+02:00", "robfig: on Sunday", want{
			any: {"2026-04-04T05:00:00+03:00"}}},
		{"Asia/Beirut", "0 12 * * 0", "2026-03-28T06:00:00+02:00", "robfig: a week later", want{
			any: {"2026-03-29T12:00:00+03:00"}}},
		{"Asia/Beirut", "0 0 * * *", "2026-03-28T06:00:00+02:00", "00:00 to 01:00 is skipped on the 29th", want{
			just(once): {"2026-03-29T01:00:00+03:00", "2026-03-30T00:00:00+03:00"},
			either:     {"2026-03-30T00:00:00+03:00"}}},
		{"Asia/Beirut", "30 23 * * 6", "2026-10-24T12:00:00+03:00", "23:00 to 24:00 comes twice on Saturday", want{
			ran:        {"2026-10-24T23:30:00+03:00", "2026-10-31T23:30:00+02:00"},
			just(wall): {"2026-10-24T23:30:00+03:00", "2026-10-24T23:30:00+02:00", "2026-10-31T23:30:00+02:00"}}},

		{"Africa/Cairo", "0 0 * * 5", "2026-04-23T12:00:00+02:00", "00:00 to 01:00 is skipped on Friday the 24th", want{
			just(once): {"2026-04-24T01:00:00+03:00", "2026-05-01T00:00:00+03:00"},
			either:     {"2026-05-01T00:00:00+03:00"}}},
		{"Africa/Cairo", "0 12 24 4 *", "2026-04-23T12:00:00+02:00", "noon of that day is there", want{
			any: {"2026-04-24T12:00:00+03:00", "2027-04-24T12:00:00+02:00"}}},
		{"Africa/Cairo", "59 23 * * *", "2026-10-29T12:00:00+03:00", "23:00 to 24:00 comes twice on Thursday the 29th", want{
			ran:        {"2026-10-29T23:59:00+03:00", "2026-10-30T23:59:00+02:00"},
			just(wall): {"2026-10-29T23:59:00+03:00", "2026-10-29T23:59:00+02:00", "2026-10-30T23:59:00+02:00"}}},

		{"America/Havana", "15 0 * * *", "2026-03-07T12:00:00-05:00", "00:00 to 01:00 is skipped on the 8th", want{
			just(once): {"2026-03-08T01:00:00-04:00", "2026-03-09T00:15:00-04:00"},
			either:     {"2026-03-09T00:15:00-04:00"}}},
		{"America/Havana", "0 0 1 * *", "2026-10-31T12:00:00-04:00", "00:00 to 01:00 comes twice on the 1st", want{
			ran:        {"2026-11-01T00:00:00-04:00", "2026-12-01T00:00:00-05:00"},
			just(wall): {"2026-11-01T00:00:00-04:00", "2026-11-01T00:00:00-05:00", "2026-12-01T00:00:00-05:00"}}},

		{"America/Santiago", "0 0 * * 0", "2026-09-05T12:00:00-04:00", "00:00 to 01:00 is skipped on Sunday the 6th", want{
			just(once): {"2026-09-06T01:00:00-03:00", "2026-09-13T00:00:00-03:00"},
			either:     {"2026-09-13T00:00:00-03:00"}}},
		{"America/Santiago", "30 23 * * 6", "2026-04-04T12:00:00-03:00", "23:00 to 24:00 comes twice on Saturday the 4th", want{
			ran:        {"2026-04-04T23:30:00-03:00", "2026-04-11T23:30:00-04:00"},
			just(wall): {"2026-04-04T23:30:00-03:00", "2026-04-04T23:30:00-04:00"}}},

		{"Atlantic/Azores", "30 0 * * *", "2026-03-28T12:00:00-01:00", "00:00 to 01:00 is skipped on the 29th", want{
			just(once): {"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"},
			either:     {"2026-03-30T00:30:00Z"}}},
		{"Atlantic/Azores", "30 0 * * *", "2026-10-24T12:00:00Z", "00:00 to 01:00 comes twice on the 25th", want{
			ran:        {"2026-10-25T00:30:00Z", "2026-10-26T00:30:00-01:00"},
			just(wall): {"2026-10-25T00:30:00Z", "2026-10-25T00:30:00-01:00"}}},

		// By half an hour.
		{"Australia/Lord_Howe", "0 5 * * *", "2025-04-05T12:00:00+11:00", "robfig loses the 6th", want{
			any: {"2025-04-06T05:00:00+10:30", "2025-04-07T05:00:00+10:30"}}},
		{"Australia/Lord_Howe", "29,45 1 * * *", "2025-04-06T00:00:00+11:00", "01:30 to 02:00 comes twice", want{
			ran:        {"2025-04-06T01:29:00+11:00", "2025-04-06T01:45:00+11:00", "2025-04-07T01:29:00+10:30"},
			just(wall): {"2025-04-06T01:29:00+11:00", "2025-04-06T01:45:00+11:00", "2025-04-06T01:45:00+10:30"}}},
		{"Australia/Lord_Howe", "15,45 2 * * *", "2025-10-05T00:00:00+10:30", "02:00 to 02:30 is skipped", want{
			just(once): {"2025-10-05T02:30:00+11:00", "2025-10-05T02:45:00+11:00", "2025-10-06T02:15:00+11:00"},
			either:     {"2025-10-05T02:45:00+11:00", "2025-10-06T02:15:00+11:00"}}},

		// Friday the 30th of December 2011 did not happen; robfig hangs there.
		{"Pacific/Apia", "0 12 * * 0", "2011-12-26T00:00:00-10:00", "the Sunday after", want{
			any: {"2012-01-01T12:00:00+14:00"}}},
		{"Pacific/Apia", "0 0 1 * *", "2011-12-26T00:00:00-10:00", "nothing is due in the gap", want{
			any: {"2012-01-01T00:00:00+14:00"}}},
		{"Pacific/Apia", "0 12 * * 5", "2011-12-26T00:00:00-10:00", "the Friday that was not", want{
			just(once): {"2011-12-31T00:00:00+14:00", "2012-01-06T12:00:00+14:00"},
			either:     {"2012-01-06T12:00:00+14:00"}}},
		{"Pacific/Apia", "0 0,12 * * *", "2011-12-29T12:00:00-10:00", "two in the gap and one at its end are one", want{
			any: {"2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"}}},

		{"America/Asuncion", "0 12 * 10 *", "2023-09-30T13:00:00-04:00", "robfig skips all of October", want{
			any: {"2023-10-01T12:00:00-03:00", "2023-10-02T12:00:00-03:00"}}},
		{"America/Asuncion", "0 0 * * *", "2023-09-30T13:00:00-04:00", "00:00 to 01:00 is skipped on 1 October", want{
			just(once): {"2023-10-01T01:00:00-03:00", "2023-10-02T00:00:00-03:00"},
			either:     {"2023-10-02T00:00:00-03:00"}}},
		{"America/Asuncion", "30 23 * * *", "2023-03-25T12:00:00-03:00", "23:00 to 24:00 comes twice on the 25th", want{
			ran:        {"2023-03-25T23:30:00-03:00", "2023-03-26T23:30:00-04:00"},
			just(wall): {"2023-03-25T23:30:00-03:00", "2023-03-25T23:30:00-04:00"}}},

		// Where the zone began to go by its present rule in the middle of a year, by
		// a change that the rule does not have.
		{"America/Metlakatla", "30 1 * * *", "2019-01-20T00:00:00-08:00", "01:00 to 02:00 comes twice", want{
			ran:        {"2019-01-20T01:30:00-08:00", "2019-01-21T01:30:00-09:00"},
			just(wall): {"2019-01-20T01:30:00-08:00", "2019-01-20T01:30:00-09:00"}}},
		{"America/Ciudad_Juarez", "30 23 * * *", "2022-11-29T12:00:00-06:00", "23:00 to 24:00 comes twice", want{
			ran:        {"2022-11-29T23:30:00-06:00", "2022-11-30T23:30:00-07:00"},
			just(wall): {"2022-11-29T23:30:00-06:00", "2022-11-29T23:30:00-07:00"}}},

		// A change need not be by whole minutes.
		{"Africa/Monrovia", "30 0 * * *", "1972-01-06T12:00:00Z", "00:00:00 to 00:44:30 is skipped", want{
			just(once): {"1972-01-07T00:44:30Z", "1972-01-08T00:30:00Z"},
			either:     {"1972-01-08T00:30:00Z"}}},
	} {
		for rules, want := range test.want {
			for _, rule := range *rules {
				s := parse(t, test.expr, schedule.Options{Zone: test.zone, DST: rule})
				if got := ticks(s, instant(t, test.after), len(want)); !slices.Equal(got, want) {
					t.Errorf("%s %s, %s after %s: %s\n got %v\nwant %v", test.zone, test.expr, rule, test.after, test.why, got, want)
				}
			}
		}
	}
}

func TestDefaultRuleIsOnce(t *testing.T) {
	s := parse(t, "30 2 * * *", schedule.Options{Zone: "America/New_York"})
	if got := ticks(s, instant(t, "2026-03-08T00:00:00-05:00"), 1); got[0] != "2026-03-08T03:00:00-04:00" {
		t.Error(got)
	}
}

// The host's zone has no part in a schedule.
func TestZoneIsNotTheHosts(t *testing.T) {
	s := parse(t, "0 5 * * *", schedule.Options{})
	after := instant(t, "2026-06-01T00:00:00Z").In(time.FixedZone("host", 9*60*60))
	if got := s.Next(after).String(); got != "2026-06-01 05:00:00 +0000 UTC" || s.Zone() != time.UTC {
		t.Errorf("%v in %v", got, s.Zone())
	}
}

// All runners agree on the ticks of @every, whenever they ask.
func TestEveryIsAnchored(t *testing.T) {
	anchor := instant(t, "2026-01-01T00:00:07Z")
	for _, test := range []struct {
		expr        string
		anchor      time.Time
		after, want string
	}{
		{"@every 5m", time.Time{}, "2026-01-01T00:00:01Z", "2026-01-01T00:05:00Z"},
		{"@every 5m", time.Time{}, "2026-01-01T00:04:59.999Z", "2026-01-01T00:05:00Z"},
		{"@every 5m", time.Time{}, "2026-01-01T00:05:00Z", "2026-01-01T00:10:00Z"},
		{"@every 5m", anchor, "2026-01-01T00:00:07Z", "2026-01-01T00:05:07Z"},
		{"@every 5m", anchor, "2026-01-01T00:00:06Z", "2026-01-01T00:00:07Z"},
		{"@every 5m", anchor, "2025-01-01T00:00:00Z", "2025-01-01T00:00:07Z"},
		{"@every 7s", time.Time{}, "1970-01-01T00:00:00Z", "1970-01-01T00:00:07Z"},
		{"@every 7s", time.Time{}, "1969-12-31T23:59:52Z", "1969-12-31T23:59:53Z"},
		{"@every 7s", time.Time{}, "1969-12-31T23:59:53Z", "1970-01-01T00:00:00Z"},
		{"@every 2d", time.Time{}, "1970-01-03T00:00:00Z", "1970-01-05T00:00:00Z"},
		{"@every 1s", anchor.Add(300 * time.Millisecond), "2026-01-01T00:00:00.5Z", "2026-01-01T00:00:01Z"},
	} {
		s := parse(t, test.expr, schedule.Options{Anchor: test.anchor})
		if got := ticks(s, instant(t, test.after), 1)[0]; got != test.want {
			t.Errorf("%s of %v after %s: %s, want %s", test.expr, test.anchor, test.after, got, test.want)
		}
	}
}

func TestAt(t *testing.T) {
	for _, test := range []struct{ expr, zone, want string }{
		{"@at 2026-06-01T12:00:00Z", "", "2026-06-01T12:00:00Z"},
		{"@at 2026-06-01T12:00:00+05:30", "Europe/Rome", "2026-06-01T08:30:00+02:00"},
		{"@at 2026-06-01T12:00:00", "Europe/Rome", "2026-06-01T12:00:00+02:00"},
		{"@at 2026-06-01 12:00", "Europe/Rome", "2026-06-01T12:00:00+02:00"},
		{"@AT 2026-06-01 12:00:30Z", "", "2026-06-01T12:00:30Z"},
		{"@at 2026-11-01T01:30", "America/New_York", "2026-11-01T01:30:00-04:00"}, // of two the first
		{"@at 2026-11-01T02:00", "America/New_York", "2026-11-01T02:00:00-05:00"},
		{"@at 2026-03-08T03:00", "America/New_York", "2026-03-08T03:00:00-04:00"},
		{"@at 2026-03-08T01:59:59", "America/New_York", "2026-03-08T01:59:59-05:00"},
		{"@at 2028-12-31T12:00", "Europe/Rome", "2028-12-31T12:00:00+01:00"},
		{"@at 1980-01-01T00:00:00Z", "", "never"},
	} {
		s := parse(t, test.expr, schedule.Options{Zone: test.zone})
		got := ticks(s, newYear, 2)
		if got[0] != test.want || got[len(got)-1] != "never" {
			t.Errorf("%s in %s: %v, want %s and never again", test.expr, test.zone, got, test.want)
		}
	}
	s := parse(t, "@at 2026-06-01T12:00:00Z", schedule.Options{})
	if got := s.Next(instant(t, "2026-06-01T12:00:00Z")); !got.IsZero() {
		t.Errorf("not strictly after: %v", got)
	}
	if got := s.Next(instant(t, "2026-06-01T11:59:59.999Z")); got.IsZero() {
		t.Error("a fraction of a second before: never")
	}
	if _, err := schedule.Parse("@at 2011-12-30T12:00", schedule.Options{Zone: "Pacific/Apia"}); err == nil {
		t.Error("a time of the day that was not passed")
	}
}

func TestManual(t *testing.T) {
	if got := parse(t, "@manual", schedule.Options{}).Next(newYear); !got.IsZero() {
		t.Error(got)
	}
}

// What robfig says is never, is so only within five years.
func TestFarAway(t *testing.T) {
	for _, test := range []struct{ expr, zone, after, want string }{
		{"0 0 29 2 *", "", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"},
		{"0 0 29 2 *", "Europe/Rome", "2098-12-31T00:00:00Z", "2104-02-29T00:00:00+01:00"},
		{"0 0 29 2 */7", "", "2088-02-29T00:00:00Z", "2128-02-29T00:00:00Z"}, // 40 years: the longest of all waits
		{"0 0 29 2 */7", "America/New_York", "2088-02-29T00:00:00-05:00", "2128-02-29T00:00:00-05:00"},
		{"30 2 8 3 */7", "America/New_York", "2026-03-01T00:00:00-05:00", "2026-03-08T03:00:00-04:00"},
		{"* * * * *", "Europe/Rome", "2028-12-31T12:00:00+01:00", "2028-12-31T12:01:00+01:00"},
		{"0 0 1 1 *", "Europe/Rome", "2040-12-31T12:00:00+01:00", "2041-01-01T00:00:00+01:00"}, // Go ends leap years on the 30th
		{"* * * * *", "Europe/Rome", "0001-01-01T00:00:00Z", "0001-01-01T00:50:00+00:49"},
		{"* * * * *", "", "9999-12-31T00:00:00Z", "never"},
		{"@every 1s", "", "9999-12-31T00:00:00Z", "never"},
		{"@yearly", "Pacific/Kiritimati", "9998-12-31T00:00:00Z", "9999-01-01T00:00:00+14:00"},
	} {
		s := parse(t, test.expr, schedule.Options{Zone: test.zone})
		if got := s.Next(instant(t, test.after)); test.want == "never" && !got.IsZero() ||
			test.want != "never" && got.Format(time.RFC3339) != test.want {
			t.Errorf("%s in %s after %s: %v, want %s", test.expr, test.zone, test.after, got, test.want)
		}
	}
	for _, after := range []time.Time{{}, time.Unix(1<<62, 0), time.Unix(-1<<62, 0)} {
		for _, expr := range []string{"* * * * *", "@every 7s"} {
			if next := parse(t, expr, schedule.Options{Zone: "Europe/Rome"}).Next(after); !next.IsZero() && !next.After(after) {
				t.Errorf("%s: %v comes after %v", expr, next, after)
			}
		}
	}
}

func BenchmarkNext(b *testing.B) {
	for _, test := range []struct{ name, expr, zone string }{
		{"every", "@every 5m", ""},
		{"utc", "*/5 * * * *", ""},
		{"zone", "0 5 * * *", "America/New_York"},
		{"weekdays", "*/5 9-17 * * 1-5", "Europe/Rome"},
		{"leap", "0 0 29 2 *", "Europe/Rome"},
		{"worst", "0 0 29 2 */7", "Europe/Rome"},
	} {
		b.Run(test.name, func(b *testing.B) {
			s, err := schedule.Parse(test.expr, schedule.Options{Zone: test.zone})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			at := newYear
			for b.Loop() {
				if at = s.Next(at); at.Year() > 2090 {
					at = newYear
				}
			}
		})
	}
}
