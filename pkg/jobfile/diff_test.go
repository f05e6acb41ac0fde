package jobfile_test

import (
	"strings"
	"testing"
	"time"

	"conch/pkg/cron"
	"conch/pkg/jobfile"
)

func TestDiff(t *testing.T) {
	rome := time.FixedZone("", 3600)
	again := noon.In(rome)
	later := noon.Add(time.Hour)
	old := cron.Job{
		Name: "a", Schedule: "@daily", Cmd: []string{"x", "a b"}, TZ: "UTC", Starts: &noon, Expires: &noon,
		Deadline: cron.Duration(time.Minute), Env: map[string]string{}, Description: " x", Keep: 3, Updated: noon,
	}
	is := cron.Job{
		Name: "a", Schedule: "0 1 * * *", Script: "a\n<b>", Starts: &again, Expires: &later,
		Deadline: cron.Duration(2 * time.Minute), Description: "a -> b", Keep: 3, Retry: &cron.Retry{N: 2}, Paused: true,
	}
	const want = `~ description: " x" -> "a -> b"
~ schedule: @daily -> 0 1 * * *
- tz: UTC
~ expires: 2026-03-01T12:00:00Z -> 2026-03-01T13:00:00Z
+ paused: true
- cmd: ["x","a b"]
+ script: "a\n<b>"
~ deadline: 1m0s -> 2m0s
+ retry: {"n":2}`
	if got := strings.Join(jobfile.Diff(&old, &is), "\n"); got != want {
		t.Errorf("got\n%s\nnot\n%s", got, want)
	}
	small := &cron.Job{Name: "a", Cmd: []string{"x"}, Updated: noon, By: "ann@web-1"}
	for _, c := range []struct {
		old, new *cron.Job
		want     string
	}{
		{small, small, ""},
		{small, &cron.Job{Name: "a", Cmd: []string{"x"}, Updated: noon.Add(1), By: "bob@web-2"}, ""},
		{nil, small, "+ name: a\n+ cmd: [\"x\"]"},
		{small, nil, "- name: a\n- cmd: [\"x\"]"},
		{nil, nil, ""},
	} {
		if got := strings.Join(jobfile.Diff(c.old, c.new), "\n"); got != c.want {
			t.Errorf("got\n%s\nnot\n%s", got, c.want)
		}
	}
}
