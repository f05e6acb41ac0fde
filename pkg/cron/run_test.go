package cron

import (
	"testing"
	"time"

	"conch/pkg/keys"
)

// Of a job that runs in several places, those in different ones are no rivals.
func TestRivals(t *testing.T) {
	at := func(place string) keys.RunID { return keys.RunID{Job: "j", Tick: time.Unix(1, 0), Place: place} }
	for _, c := range []struct {
		x, y string
		want bool
	}{
		{"", "", true}, {"@a", "@a", true}, {"@a", "@b", false}, {"#1", "#2", false},
		{"@a", "+id", true}, {"+id", "@a", true}, {"+id", "+other", true}, {"@a", "", true},
	} {
		if got := Rivals(at(c.x), at(c.y)); got != c.want {
			t.Errorf("%q and %q: %v", c.x, c.y, got)
		}
	}
}

func TestStatus(t *testing.T) {
	code := func(n int) *int { return &n }
	for _, c := range []struct {
		run  Run
		want int
	}{
		{Run{State: OK, Exit: code(0)}, 0},
		{Run{State: Failed, Exit: code(3)}, 3},
		{Run{State: Failed, Signal: "SIGSEGV"}, 139},
		{Run{State: Failed, Signal: "SIGKILL"}, 137},
		{Run{State: Failed}, 1},
		{Run{State: TimedOut, Signal: "SIGTERM"}, 124},
		{Run{State: Lost, Exit: code(0)}, 70},
		{Run{State: Killed, Signal: "SIGTERM"}, 70},
		{Run{State: Unknown}, 75},
	} {
		if got := c.run.Status(); got != c.want {
			t.Errorf("%s %s: %d, not %d", c.run.State, c.run.Signal, got, c.want)
		}
	}
}

func TestBackoff(t *testing.T) {
	j := Job{Retry: &Retry{N: 9, Backoff: Duration(10 * time.Minute)}}
	for attempt, want := range map[int]time.Duration{1: 10 * time.Minute, 2: 20 * time.Minute, 3: 40 * time.Minute, 4: time.Hour, 60: time.Hour} {
		if got := j.Backoff(attempt); got != want {
			t.Errorf("after attempt %d: %v, not %v", attempt, got, want)
		}
	}
	if got := (&Job{}).Backoff(1); got != time.Duration(DefaultBackoff) {
		t.Errorf("without a backoff: %v", got)
	}
}

// A tick at starts is one, and one before it by a fraction of a second is none; one at
// expires is none.
func TestNext(t *testing.T) {
	at := func(s string) *time.Time {
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return &v
	}
	for _, c := range []struct{ starts, expires, want string }{
		{"2026-01-01T12:00:00Z", "2027-01-01T00:00:00Z", "2026-01-01T12:00:00Z"},
		{"2026-01-01T12:00:00.5Z", "2027-01-01T00:00:00Z", "2026-01-01T12:01:00Z"},
		{"2026-01-01T11:59:59.999999999Z", "2027-01-01T00:00:00Z", "2026-01-01T12:00:00Z"},
		{"2026-01-01T12:00:00Z", "2026-01-01T12:00:00Z", "0001-01-01T00:00:00Z"},
		{"2026-01-01T12:00:00Z", "2026-01-01T12:00:00.1Z", "2026-01-01T12:00:00Z"},
	} {
		j := Job{Name: "j", Schedule: "* * * * *", Starts: at(c.starts), Expires: at(c.expires)}
		s, err := j.Schedules()
		if err != nil {
			t.Fatal(err)
		}
		if is := j.Next(s, *at("2026-01-01T00:00:00Z")); !is.Equal(*at(c.want)) {
			t.Errorf("starts %s, expires %s: %v", c.starts, c.expires, is)
		}
	}
}

// Runs that have ended are counted, each once, and what was counted is never less later.
func TestTally(t *testing.T) {
	began := time.Unix(1000, 0).UTC()
	ended := func(s State, after time.Duration, attempt, skipped int) *Run {
		return &Run{State: s, Began: began, Ended: began.Add(after), Attempt: attempt, Skipped: skipped}
	}
	lost := &Run{State: Lost, Ended: began.Add(time.Hour), Attempt: 1}
	l := Last{}
	for _, r := range []*Run{ended(OK, time.Second, 1, 0), ended(OK, 1500*time.Millisecond, 3, 2), ended(Failed, 7*time.Hour, 1, 1), ended(Unknown, 0, 1, 0), lost} {
		l = l.With(r, time.Time{}, false)
	}
	want := Tally{OK: 2, Failed: 1, Unknown: 1, Lost: 1, Retries: 2, Skipped: 3, Seconds: 2.5 + 7*3600}
	want.Took[0], want.Took[1], want.Took[2], want.Took[9] = 1, 1, 1, 1
	if l.Tally != want {
		t.Errorf("%+v, not %+v", l.Tally, want)
	}
	l = l.With(ended(OK, time.Minute, 1, 5), time.Time{}, true) // it was not lost after all
	want.OK, want.Took[4], want.Seconds = 3, 1, want.Seconds+60
	if l.Tally != want || l.Runs != 5 {
		t.Errorf("%+v, not %+v; %d runs", l.Tally, want, l.Runs)
	}
	sum := uint32(0)
	l.Tally.States(func(s State, n uint32) {
		if !s.Final() {
			t.Errorf("%s is no end", s)
		}
		sum += n
	})
	if sum != 6 {
		t.Errorf("%d ends", sum)
	}
}
