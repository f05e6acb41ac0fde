package cron

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"conch/pkg/cli"
	"conch/pkg/cron"
)

func TestExplain(t *testing.T) {
	edited := &cron.Conflict{Name: "a"}
	for _, c := range []struct {
		err    error
		status int
		hint   bool
	}{
		{fmt.Errorf("a: %w", cron.ErrNoJob), cli.Failed, false},
		{edited, cli.Busy, true},
		{&cron.Undone{Cause: edited, Jobs: 3000}, cli.Busy, true},
		{&cron.Undone{Cause: errors.New("etcd"), Jobs: 3000}, cli.Failed, false},
		{fmt.Errorf("a: %w", cron.ErrNotStarted), cli.Busy, true},
		{cli.Errorf(cli.Unreachable, "etcd"), cli.Unreachable, false},
	} {
		err := explain(c.err)
		var hint interface{ Hint() string }
		if got := cli.StatusOf(err); got != c.status || errors.As(err, &hint) != c.hint || err.Error() != c.err.Error() {
			t.Errorf("%v: %v with status %d", c.err, err, got)
		}
	}
	if err := explain(nil); err != nil {
		t.Error(err)
	}
}

// What is printed as a command can be pasted.
func TestQuote(t *testing.T) {
	for _, word := range []string{"", "a", "a b", "it's", "$HOME", "a\nb", "*", "~", `\`, "-x", "é", "#"} {
		out, err := exec.Command("sh", "-c", "printf %s "+quote(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q is quoted as %s, and is then %q: %v", word, quote(word), out, err)
		}
	}
	if quote("/usr/bin/env") != "/usr/bin/env" {
		t.Error("more is quoted than need be")
	}
}

func TestDue(t *testing.T) {
	starts, expires := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2030, 1, 1, 2, 0, 0, 0, time.UTC)
	j := &cron.Job{Schedule: "@hourly", Starts: &starts, Expires: &expires}
	s, err := j.Schedules()
	if err != nil {
		t.Fatal(err)
	}
	if got := ticks(j, s, starts.Add(-240*time.Hour), 9); len(got) != 2 || !got[0].Equal(starts) || !got[1].Equal(starts.Add(time.Hour)) {
		t.Errorf("due at %v", got)
	}
}

// The agenda is what one gets by sorting all ticks.
func TestAgenda(t *testing.T) {
	from := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	var jobs []cron.Stored
	for i, schedule := range []string{"@every 7m", "*/5 * * * *", "@daily", "@manual", "nonsense", "@at 2030-01-01T00:10:00Z", "*/5 * * * *"} {
		jobs = append(jobs, cron.Stored{Job: cron.Job{Name: fmt.Sprint("j", i), Schedule: schedule, Paused: i == 6}})
	}
	o := &nextOptions{n: 6, from: from}
	var got []string
	for _, tick := range o.upcoming(jobs) {
		got = append(got, tick.Tick.Format("15:04")+tick.Job)
	}
	if want := "00:03j0 00:05j1 00:10j0 00:10j1 00:10j5 00:15j1"; strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
	}
}

// Why no runner has a place for a run.
func TestNoSlot(t *testing.T) {
	place, err := cron.ParsePlacement("2 zone=a role=db")
	if err != nil {
		t.Fatal(err)
	}
	db := map[string]string{"role": "db", "zone": "a"}
	node := func(id string, edit func(*cron.Node)) cron.Node {
		n := cron.Node{ID: id, Host: id + "-host", Labels: db, Slots: 2}
		edit(&n)
		return n
	}
	free := node("free", func(*cron.Node) {})
	other := node("other", func(n *cron.Node) { n.Labels = nil })
	ends := node("ends", func(n *cron.Node) { n.Draining = true })
	stands := node("stands", func(n *cron.Node) { n.Standby = "its clock is wrong" })
	full := node("full", func(n *cron.Node) { n.Slots = 1 })
	busy := []cron.Act{{Node: "full"}, {Node: "free", Waits: true}, {Node: "free"}}
	for _, c := range []struct {
		nodes []cron.Node
		want  string
	}{
		{nil, "there is no runner"},
		{[]cron.Node{other}, "no runner has role=db zone=a"},
		{[]cron.Node{other, ends}, "every runner that may is about to end"},
		{[]cron.Node{ends, stands}, "stands-host stands by: its clock is wrong"},
		{[]cron.Node{full, stands, other}, "all slots are taken, 1 on full-host"},
		{[]cron.Node{full, free}, ""},
	} {
		if got := noSlot(c.nodes, place, busy); got != c.want {
			t.Errorf("%q, not %q", got, c.want)
		}
	}
}

func TestInstant(t *testing.T) {
	if got, err := instant("2026-03-29T02:30:00+02:00"); err != nil || got.Format(time.RFC3339) != "2026-03-29T00:30:00Z" {
		t.Error(got, err)
	}
	for _, text := range []string{"", "2026-03-29", "2026-03-29 02:30", "tomorrow", "1767225600"} {
		if _, err := instant(text); err == nil {
			t.Errorf("%q is taken for a time", text)
		}
	}
}

// Every command says how it is used.
func TestCommandsAreExplained(t *testing.T) {
	for _, c := range Tool.Commands {
		if c.Brief == "" || len(c.Usage) == 0 || len(c.Examples) == 0 || len(c.Statuses) < 2 || c.Setup == nil {
			t.Errorf("%s lacks something", c.Name)
		}
		for _, e := range c.Examples {
			if !strings.Contains(e.Command, name+" ") {
				t.Errorf("%s: an example of %q", c.Name, e.Command)
			}
		}
	}
}
