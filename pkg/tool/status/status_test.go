package status

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"conch/pkg/cron"
	"conch/pkg/hold"
	"conch/pkg/keys"
	"conch/pkg/status"
)

func TestLength(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second:                   "0s",
		0:                              "0s",
		1500 * time.Millisecond:        "1.5s",
		9994 * time.Millisecond:        "9.99s",
		12 * time.Second:               "12s",
		3*time.Minute + 12*time.Second: "3m12s",
		time.Hour:                      "1h",
		time.Hour + 59*time.Second:     "1h",
		2*time.Hour + 5*time.Minute:    "2h5m",
		3*24*time.Hour + 4*time.Hour:   "3d4h",
		400 * 24 * time.Hour:           "400d",
	} {
		if got := length(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestFew(t *testing.T) {
	for want, names := range map[string][]string{
		"":                      nil,
		"a":                     {"a"},
		"a x2, b":               {"a", "b", "a"},
		"a, b, c and 2 more":    {"e", "d", "c", "b", "a"},
		"a x2, b, c and 1 more": {"d", "a", "c", "b", "a"},
	} {
		if got := few(names); got != want {
			t.Errorf("%v: %q, want %q", names, got, want)
		}
	}
}

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// screen is a Snapshot as it is printed.
func screen(t *testing.T, s *status.Snapshot) string {
	t.Helper()
	var b strings.Builder
	if err := (&options{}).text(&b, s, now); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// With names of a usual length, lines fit a terminal.
func TestWidth(t *testing.T) {
	held := &hold.Candidate{Rev: 123456789, Holder: hold.Holder{Host: "db-primary-03", PID: 1234567, State: hold.Held, Since: now.Add(-76 * time.Hour)}}
	id := keys.RunID{Job: "backup-postgres", Tick: now}
	s := &status.Snapshot{
		Offices:    []*status.Office{{Name: "postgres-primary", Holder: held, Waiters: []*hold.Candidate{held}}, {Name: "vacant", Waiters: []*hold.Candidate{held}}},
		Semaphores: []*status.Semaphore{{Name: "encode-videos", Max: 12, Holders: []*hold.Candidate{held, held}, Waiters: []*hold.Candidate{held}}},
		Jobs: []*status.Job{{Name: id.Job, Spec: &status.Spec{Schedule: "*/15 2-4 * * *"},
			Last: &status.Last{Last: cron.Last{State: cron.TimedOut, Ended: now.Add(-50 * time.Hour), Failures: 12}}}},
		Running: []*cron.Act{{RunID: id, Host: "worker-12", Node: "worker-12-a1b2"}},
		Runners: []*status.Runner{{Node: &cron.Node{ID: "worker-12-a1b2", Slots: 16, Started: now.Add(-76 * time.Hour), Labels: map[string]string{"role": "db", "zone": "eu-1"}}, Running: 1}},
	}
	text := screen(t, s)
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(line) - 1; n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	for _, want := range []string{
		"postgres-primary  db-primary-03 (pid 1234567)  3d4h ago  123456789  1\n",
		"vacant            (vacant)                     -         -          1\n",
		"encode-videos  2/12  1     db-primary-03 x2\n",
		"backup-postgres  */15 2-4 * * *  in 10m55s  timeout x12 2d2h ago  worker-12\n",
		"worker-12-a1b2  1/16  3d4h ago  ready  role=db zone=eu-1\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log("\n" + text)
	}
}

// A hundred thousand jobs are printed as they come, in columns all the same.
func TestManyJobs(t *testing.T) {
	s := &status.Snapshot{Runners: []*status.Runner{{Node: &cron.Node{ID: "n"}}}}
	for i := range 100_000 {
		s.Jobs = append(s.Jobs, &status.Job{Name: fmt.Sprintf("job-%d", i), Spec: &status.Spec{Schedule: "@hourly"}})
	}
	began := time.Now()
	text := screen(t, s)
	if n := strings.Count(text, "\njob-"); n != len(s.Jobs) {
		t.Errorf("%d jobs", n)
	}
	if !strings.Contains(text, "\njob-7      @hourly   in 55m55s  -     -\n") || !strings.Contains(text, "\njob-99999  @hourly ") {
		t.Errorf("%.500s", text)
	}
	t.Logf("in %v", time.Since(began))
	if err := (&options{}).text(full{}, s, now); err != io.ErrShortWrite {
		t.Errorf("to a full disk: %v", err)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }
