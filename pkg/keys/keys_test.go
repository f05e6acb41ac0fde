package keys

import (
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, ok := range []string{"a", "db-primary", "größe", "日本", "x.y:z@1", strings.Repeat("a", 200), "-n"} {
		if err := CheckName(ok); err != nil {
			t.Errorf("CheckName(%q) = %v", ok, err)
		}
	}
	for bad, why := range map[string]string{
		"":                       "empty",
		strings.Repeat("a", 201): "201 bytes",
		"a/b":                    "slash",
		"a b":                    "space",
		"a\tb":                   `\t`,
		"a\nb":                   `\n`,
		"a\x00":                  `\x00`,
		"a\x1b[2J":               `\x1b`,
		"a\u00a0b":               "printable",
		"a\u200bb":               "printable",
		"\xff":                   "UTF-8",
	} {
		err := CheckName(bad)
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("CheckName(%q) = %v, want a mention of %q", bad, err, why)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\n\x00\x1b") {
			t.Errorf("CheckName(%q): the message itself has control characters: %q", bad, err)
		}
	}
}

// The id of a request stands before the mark of a run that waits.
func TestCheckRequest(t *testing.T) {
	for id, want := range map[string]bool{"a": true, "a~b": true, "~": false, "a~": false, "a/b": false, "": false} {
		if err := CheckRequest(id); (err == nil) != want {
			t.Errorf("CheckRequest(%q) = %v", id, err)
		}
	}
}

// A run that was asked for by hand is known by its mark of today and by the one of an
// older conch; each keeps its own, by which etcd has it.
func TestManualMarks(t *testing.T) {
	c := Space(DefaultPrefix).Cron()
	now, was := "0001767225600"+ManualPlace("x!y"), "0001767225600!x!y"
	if now != "0001767225600+x!y" {
		t.Errorf("a run is called %s", now)
	}
	var runs []RunID
	for _, id := range []string{now, was} {
		r, ok := RunOfID("job", id)
		request, manual := r.Request()
		if !ok || !manual || request != "x!y" || r.ID() != id {
			t.Errorf("%s is read as %s, asked for by %q", id, r, request)
		}
		for _, key := range []string{c.Run(r), c.Act(r), c.Retry(r), c.Lost(r)} {
			if e, ok := c.Entry(key); !ok || e.Run != r || e.Waits != (key == c.Retry(r)) {
				t.Errorf("%s is of %+v", key, e)
			}
		}
		runs = append(runs, r)
	}
	placed, _ := RunOfID("job", "0001767225600@x!y")
	if !runs[0].Is(runs[1]) || runs[0].Is(placed) || placed.Is(runs[1]) {
		t.Error("what is one run is taken for two, or the reverse")
	}
}

// RecordOf finds the record that Record spells, and none of a candidate of a semaphore.
func TestRecordOf(t *testing.T) {
	const s = Space(DefaultPrefix)
	office, pool, host := s.Office("a"), s.Pool("a"), s.PoolHost("a", "web")
	for got, want := range map[string]string{
		office.RecordOf(office.Candidate(10)): office.Record(10),
		host.RecordOf(host.Candidate(10)):     host.Record(10),
		pool.RecordOf(host.Candidate(11)):     host.Record(11),
		pool.RecordOf(pool.Candidate(10)):     "",
	} {
		if got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}

// The reference lets "a" and "a/b" collide: candidates of one were candidates
// of the other.
func TestLinesDoNotMeet(t *testing.T) {
	s, err := NewSpace(DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	a, ab := s.Office("a"), s.Office("ab")
	if strings.HasPrefix(ab.Candidate(1), a.Dir) || strings.HasPrefix(ab.Runs, a.Dir) || strings.HasPrefix(a.Runs, s.Offices()) {
		t.Errorf("%+v and %+v meet", a, ab)
	}
	if name, ok := s.OfficeOf(a.Candidate(255)); !ok || name != "a" {
		t.Errorf("OfficeOf = %q, %v", name, ok)
	}
}

func TestNewSpace(t *testing.T) {
	if s, err := NewSpace("/team/a/"); err != nil || s != "/team/a" {
		t.Errorf("NewSpace = %q, %v", s, err)
	}
	for _, bad := range []string{"", "/", "x", "/a//b", "/a b"} {
		if _, err := NewSpace(bad); err == nil {
			t.Errorf("NewSpace(%q) passed", bad)
		}
	}
}
