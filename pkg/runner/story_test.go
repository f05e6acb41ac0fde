package runner

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// story is what etcd, the runners and the hand have to say of a tick.
func (b *books) story(t *tick) string {
	from, to := t.due.Add(-6*time.Second), sooner(t.until, t.due.Add(10*time.Second)).Add(recovery)
	type entry struct {
		at   time.Time
		text string
	}
	var all []entry
	add := func(at time.Time, text string) {
		if !at.Before(from) && at.Before(to) {
			all = append(all, entry{at, text})
		}
	}
	for _, l := range b.lines {
		if l.Name == t.Job || l.Run.Job == t.Job || l.Kind == "node" || l.Kind == "paused" {
			add(l.at, l.String())
		}
	}
	for _, all := range b.spoken {
		for _, e := range all {
			if e.Job == t.Job || e.Job == "" {
				add(e.Time, e.String())
			}
		}
	}
	for _, d := range b.deeds {
		if d.job == t.Job || d.what == "apply" || d.what == "pause --all" {
			add(d.from, d.String())
		}
	}
	for _, s := range b.strikes {
		add(s.from, fmt.Sprintf("%s a fault: %s %s, until %s", s.from.UTC().Format(clockTime), s.name, s.host, s.to.UTC().Format(clockTime)))
	}
	slices.SortStableFunc(all, func(a, b entry) int { return a.at.Compare(b.at) })
	var text strings.Builder
	for _, e := range all {
		text.WriteString("    " + e.text + "\n")
	}
	return text.String()
}

// said is a step that a runner has spoken of.
type said struct {
	Event
	host string
}

func (s said) String() string {
	return fmt.Sprintf("%s %s: %s %s %d %s %s", s.Time.Format(clockTime), s.host, s.Event.Event, cmp.Or(s.Run, s.Job), s.Count, s.State, s.Reason)
}
