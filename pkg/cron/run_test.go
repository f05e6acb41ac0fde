package cron

import (
	"testing"
	"time"
)

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
