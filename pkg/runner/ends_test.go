package runner

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"conch/pkg/cron"
)

// states: a run ends in a way that its command, a fault or somebody explains.
func (b *books) states() {
	count := map[string]int{}
	for _, lives := range b.lives {
		for _, j := range lives {
			for _, a := range j.runs {
				count[a.ending()]++
				b.times(a)
				if why := b.unexplained(a); why != "" {
					b.wrong("what has ended a run is known", "%s on %s is %s, %s: %s", a.RunID, a.Host, a.State, a.Cause, why)
				}
			}
		}
	}
	b.Logf("runs: %v", count)
}

func (b *books) unexplained(a *account) string {
	switch a.State {
	case cron.Lost, cron.Unknown:
		if !slices.ContainsFunc(a.attempts, func(t attempt) bool { return b.struck(a.Host, t.at.Add(-10*time.Second), t.at.Add(20*time.Second)) }) {
			return "no fault was there"
		}
	case cron.Failed:
		if a.Job != "retried" && !strings.Contains(a.Cause, "next attempt") {
			return "its command does not fail"
		}
	case cron.Killed:
		if !slices.ContainsFunc(b.wishes, func(w *wish) bool { return w.Action == cron.Kill && w.Job == a.Job && w.Run == a.ID() }) {
			return "nobody has asked for that"
		}
	case cron.TimedOut:
		return "it may take ten minutes"
	}
	return ""
}

// ending is how the run has ended, if its job was there to know.
func (a *account) ending() string {
	if !a.State.Final() {
		return "removed"
	}
	return string(a.State)
}

// times: a tick is not claimed when it is too late, or was due while all was paused.
func (b *books) times(a *account) {
	first := a.attempts[0]
	v, at := first.job, first.at.UTC().Format(clockTime)
	due := a.Tick.Add(v.splay)
	if _, manual := a.Request(); manual || v.ticks == nil {
		return
	}
	if v.Misfires() == cron.MisfireSkip && first.at.After(due.Add(v.Lateness()+skew)) && a.State != cron.Unknown && a.State != cron.Lost { // a claim may have been under way
		b.wrong("a tick is claimed in time", "%s at %s: %s", a.RunID, at, a.State)
	}
	for _, p := range b.pauses {
		if due.After(p.from.Add(blur)) && due.Before(p.to.Add(-blur)) && first.at.After(p.to) {
			b.wrong(madeUp, "%s at %s, paused until %s", a.RunID, at, p.to.UTC().Format(clockTime))
		}
	}
	for _, e := range b.spoken[a.RunID.String()] {
		if e.Event.Event == "missed" && v.Misfires() != cron.MisfireSkip {
			continue // and is run all the same
		}
		if slices.Contains([]string{"skipped", "missed", "withdrawn", "unplaced"}, e.Event.Event) {
			b.wrong(gainsaid, "%s, claimed at %s: %s", a.RunID, at, e)
		}
	}
}

// hands: nobody but the hand changes a job, or removes one that was not submitted.
func (b *books) hands() {
	by := func(name string, at time.Time) bool {
		return slices.ContainsFunc(b.deeds, func(d deed) bool {
			return (d.job == name || d.what == "apply") && !at.Before(d.from) && at.Before(d.to.Add(recovery))
		})
	}
	for name, lives := range b.lives {
		for _, j := range lives {
			for _, v := range j.versions {
				if !by(name, v.from) {
					b.wrong("nobody but the hand changes a job", "%s, revision %d", name, v.rev)
				}
			}
			if !j.to.IsZero() && j.now().KeepFor == 0 && !by(name, j.to) {
				b.wrong("nobody but the hand removes a job", "%s, of revision %d, at %s", name, j.rev, j.to.UTC().Format(clockTime))
			}
		}
	}
}

// struck reports whether a fault has struck a runner, or etcd, in between.
func (b *books) struck(host string, from, to time.Time) bool {
	return slices.ContainsFunc(b.strikes, func(s strike) bool {
		return (s.host == "" || s.host == host) && s.from.Before(to) && s.to.After(from)
	})
}

// began: each claim was started at most once, by the job as it was claimed.
func (b *books) began() {
	claims := map[string]*account{}
	for _, lives := range b.lives {
		for _, j := range lives {
			for _, a := range j.runs {
				for _, t := range a.attempts {
					claims[fmt.Sprint(a.RunID, " ", t.n, " ", t.rev)] = a
				}
			}
		}
	}
	const rule = "what is claimed is started once, and nothing else is"
	notes := map[string]bool{}
	f, err := os.Open(b.path("starts"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for all := bufio.NewScanner(f); all.Scan(); {
		words := strings.Fields(all.Text())
		if len(words) != 4 {
			b.wrong(rule, "%q", all.Text())
			continue
		}
		claim := strings.Join(words[:3], " ")
		a := claims[claim]
		if notes[claim] || a == nil {
			b.wrong(rule, "%s: claimed: %v; started before: %v", claim, a != nil, notes[claim])
			continue
		}
		notes[claim] = true
		i := slices.IndexFunc(a.attempts, func(t attempt) bool { return strconv.FormatInt(t.rev, 10) == words[2] })
		if is := cmp.Or(a.attempts[i].job.Env["EDITION"], "0"); is != words[3] {
			b.wrong("what is started is the job as it was claimed", "%s: edition %s, not %s", claim, words[3], is)
		}
	}
	for claim, a := range claims {
		if last := a.attempts[len(a.attempts)-1]; a.State == cron.OK && strings.HasSuffix(claim, fmt.Sprint(" ", last.rev)) && !notes[claim] {
			b.wrong(rule, "%s: it is recorded as ok, and was not started", claim)
		}
	}
	b.Logf("%d claims, %d starts", len(claims), len(notes))
}

// requests says what became of what was asked for by hand.
func (b *books) requests() {
	count := map[string]int{}
	for _, w := range b.wishes {
		id := w.RunID()
		switch j := slices.IndexFunc(b.lives[w.Job], func(j *life) bool { return j.runs[id.ID()] != nil }); {
		case w.Action == cron.Kill:
			count["to kill"]++
		case j >= 0:
			count["run"]++
		case slices.ContainsFunc(b.lives[w.Job], func(j *life) bool { return j.to.Equal(w.to) }):
			count["withdrawn"]++
		default:
			count["expired"]++
		}
	}
	b.Logf("requests: %v", count)
}
