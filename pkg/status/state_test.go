package status

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"conch/pkg/cron"
	"conch/pkg/hold"
	"conch/pkg/keys"
)

const space = keys.Space("/test/status")

// store is a state that is fed by hand.
type store struct {
	*state
	rev int64
}

func newStore() *store { return &store{state: newState(space)} }

func (s *store) set(key, value string) {
	s.rev++
	s.put(&mvccpb.KeyValue{Key: []byte(key), Value: []byte(value), CreateRevision: s.rev, ModRevision: s.rev, Lease: 7})
}

// marshal is JSON, for what is known to have one.
func marshal(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func holder(host, state string) string {
	return marshal(hold.Holder{Host: host, PID: 1, State: state, Since: time.Unix(1000, 0).UTC()})
}

func job(name, schedule string) string {
	return marshal(cron.Job{Name: name, Schedule: schedule, Cmd: []string{"true"}})
}

func TestOffices(t *testing.T) {
	s := newStore()
	show := func() string {
		var b strings.Builder
		snap := s.snapshot()
		for _, o := range snap.Offices {
			h := "-"
			if o.Holder != nil {
				h = o.Holder.Host + ":" + o.Holder.State
			}
			fmt.Fprintf(&b, "%s %s", o.Name, h)
			for _, c := range o.Waiters {
				b.WriteString(" " + c.Host)
			}
			b.WriteString("\n")
		}
		return b.String()
	}
	is := func(want string) {
		t.Helper()
		if got := show(); got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	}
	is("")
	a, ab := space.Office("a"), space.Office("a.b")
	s.set(ab.Candidate(0xf), holder("x", hold.Held))
	s.set(a.Candidate(0x9), holder("one", hold.Waiting))
	s.set(a.Candidate(0x2), holder("two", hold.Waiting)) // behind, though its key sorts before
	is("a - one two\na.b x:held\n")
	s.set(a.Record(0x9), "{}") // but its lease is 7
	is("a - one two\na.b x:held\n")
	s.drop(a.Record(0x9))
	s.set(a.Record(7), "{}") // it has the turn, and has not said so yet
	is("a one:held two\na.b x:held\n")
	s.set(a.Record(8), "{}") // another one's is there too: not clean
	is("a - one two\na.b x:held\n")
	s.drop(a.Candidate(0x9))
	s.drop(ab.Candidate(0xf))
	s.set(a.Candidate(0x3), "by hand")
	is("a - two unknown-host\n")
	s.drop(a.Candidate(0x2))
	is("a unknown-host:\n")
	s.drop(a.Candidate(0x3))
	is("")
}

func TestSemaphores(t *testing.T) {
	s := newStore()
	p := space.Pool("p")
	slot := 1
	s.set(p.Cap(), "3")
	if n := len(s.snapshot().Semaphores); n != 0 {
		t.Errorf("%d semaphores are in use", n)
	}
	s.set(p.Candidate(2), marshal(hold.Holder{Host: "h", PID: 2, State: hold.Held, Weight: 2, Slot: &slot}))
	s.set(p.Candidate(1), holder("w", hold.Waiting))
	s.set(space.PoolHost("p", "rack").Candidate(5), holder("r", hold.Waiting))
	s.set(space.PoolHost("p", "h").Candidate(6), holder("h", hold.Held)) // it is in the line too
	s.set(p.Slot(1), "x")
	s.set(p.RunIn(1), "x")
	sems := s.snapshot().Semaphores
	if len(sems) != 1 {
		t.Fatalf("%d semaphores", len(sems))
	}
	got := marshal(sems[0].json())
	for _, want := range []string{`"name":"p","max":3,"held":2,"holders":[{"host":"h",`, `"slot":1,"weight":2}`, `"waiters":[{"host":"w",`, `{"host":"r",`, `"slot":null,"weight":1,"spread":"rack"}]}`} {
		if !strings.Contains(got, want) {
			t.Errorf("%s\nlacks %s", got, want)
		}
	}
	s.drop(p.Cap())
	if m := s.snapshot().Semaphores[0].Max; m != 0 {
		t.Errorf("a capacity of %d without its key", m)
	}
}

func TestJobs(t *testing.T) {
	s := newStore()
	c := space.Cron()
	tick := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	for _, name := range []string{"b", "a", "a.b"} {
		s.set(c.Job(name), job(name, "*/5 * * * *"))
	}
	s.set(c.Job("bad"), "no JSON")
	exit := 3
	s.set(c.Last("a"), marshal(cron.Last{ID: keys.Tick(tick), State: cron.Failed, Began: tick, Ended: tick.Add(1500 * time.Millisecond), Tick: tick, Exit: &exit, Runs: 4, Failures: 2}))
	one, two := keys.RunID{Job: "a", Tick: tick.Add(time.Hour)}, keys.RunID{Job: "b", Tick: tick, Place: "@web"}
	s.set(c.Act(one), marshal(cron.Act{Node: "n-1", Host: "web", Claim: "c", Attempt: 1, Claimed: tick}))
	s.set(c.Act(two), marshal(cron.Act{Node: "n-1", Host: "web", Claim: "c", Attempt: 1, Claimed: tick}))
	s.set(c.Node("n-1"), marshal(cron.Node{ID: "n-1", Host: "web", Slots: 4}))
	s.set(c.Paused(), "{}")

	before := s.snapshot()
	var names []string
	for _, j := range before.Jobs {
		names = append(names, j.Name)
	}
	if got := strings.Join(names, " "); got != "a a.b b bad" {
		t.Errorf("jobs: %s", got)
	}
	var b bytes.Buffer
	if err := before.writeCron(&b, tick); err != nil {
		t.Fatal(err)
	}
	want := `[{"name":"a","schedule":"*/5 * * * *","next_tick":"2026-01-02T03:05:00Z","last_tick":"2026-01-02T04:04:00Z","node":"web","exit":null,"duration":"—"},` +
		`{"name":"a.b","schedule":"*/5 * * * *","next_tick":"2026-01-02T03:05:00Z","last_tick":"—","node":"—","exit":null,"duration":"—"},` +
		`{"name":"b","schedule":"*/5 * * * *","next_tick":"2026-01-02T03:05:00Z","last_tick":"2026-01-02T03:04:00Z","node":"web","exit":null,"duration":"—"},` +
		`{"name":"bad","schedule":"","next_tick":"—","last_tick":"—","node":"—","exit":null,"duration":"—"}]` + "\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
	if r := before.Runners; len(r) != 1 || r[0].Running != 2 || !before.Paused {
		t.Errorf("%s, paused %v", marshal(r), before.Paused)
	}

	// What a Snapshot has shown stays as it was.
	s.drop(c.Act(one))
	s.drop(c.Act(two))
	s.drop(c.Node("n-1"))
	s.drop(c.Paused())
	s.set(c.Last("b"), marshal(cron.Last{ID: keys.Tick(tick), State: cron.OK, Ended: tick, Tick: tick}))
	s.drop(c.Job("b"))
	if len(before.Running) != 2 || len(before.Jobs) != 4 || before.Jobs[2].Last != nil {
		t.Error("a Snapshot has changed")
	}
	after := s.snapshot()
	if len(after.Running)+len(after.Runners) != 0 || after.Paused || len(after.Jobs) != 3 {
		t.Errorf("%+v", after)
	}
	if theirs := marshal(after.Jobs[0].theirs(tick, nil)); !strings.HasSuffix(theirs, `"last_tick":"2026-01-02T03:04:00Z","node":"—","exit":3,"duration":"1.5s"}`) {
		t.Error(theirs)
	}

	// A job that comes back finds how its latest run ended.
	s.set(c.Job("b"), job("b", "@hourly"))
	if j := s.snapshot().Jobs[2]; j.Name != "b" || j.Last == nil || j.Schedule != "@hourly" {
		t.Errorf("%+v", j)
	}
	s.drop(c.Last("b"))
	s.drop(c.Job("b"))
	if n := len(s.state.jobs.all); n != 3 {
		t.Errorf("%d jobs are kept", n)
	}
}

func TestNext(t *testing.T) {
	s := newStore()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	next := func(j cron.Job, at time.Time) string {
		s.set(space.Cron().Job("j"), marshal(j))
		got := s.snapshot().Jobs[0].Next(at)
		if got.IsZero() {
			return "never"
		}
		return got.Format("2006-01-02 15:04:05")
	}
	at := func(text string) *time.Time {
		v, err := time.Parse(time.DateTime, text)
		if err != nil {
			t.Fatal(err)
		}
		return &v
	}
	for _, c := range []struct {
		job  cron.Job
		want string
	}{
		{cron.Job{Schedule: "*/5 * * * *"}, "2026-01-02 03:05:00"},
		{cron.Job{Schedule: "0 12 * * *", TZ: "Asia/Kolkata"}, "2026-01-02 06:30:00"},
		{cron.Job{Schedule: "*/5 * * * *", Paused: true}, "never"},
		{cron.Job{Schedule: "@manual"}, "never"},
		{cron.Job{Schedule: "nonsense"}, "never"},
		{cron.Job{Schedule: "*/5 * * * *", Starts: at("2026-02-01 00:00:00")}, "2026-02-01 00:00:00"},
		{cron.Job{Schedule: "*/5 * * * *", Expires: at("2026-01-02 03:05:00")}, "never"},
		{cron.Job{Schedule: "@every 7s", Anchor: at("2026-01-02 03:04:05")}, "2026-01-02 03:04:12"},
	} {
		if got := next(c.job, now); got != c.want {
			t.Errorf("%+v: %s, want %s", c.job, got, c.want)
		}
	}
	// What is remembered is never told at another time.
	s.set(space.Cron().Job("j"), job("j", "*/7 * * * *"))
	j := s.snapshot().Jobs[0]
	for range 2000 {
		at := now.Add(time.Duration(rand.Int64N(int64(48 * time.Hour)))).Truncate(time.Second)
		if rand.IntN(2) == 0 {
			at = at.Truncate(time.Minute) // ticks themselves
		}
		fresh := &Job{Name: "j", Spec: &Spec{Schedule: "*/7 * * * *"}}
		if got, want := j.Next(at), fresh.Next(at); !got.Equal(want) || !got.After(at) {
			t.Fatalf("after %v: %v, and anew %v", at, got, want)
		}
	}
}

// Whatever the order in which keys come and go, what is left is what was put.
func TestRows(t *testing.T) {
	r := rows[Job]{cmp: func(a, b *Job) int { return strings.Compare(a.Name, b.Name) }}
	model := map[string]bool{}
	for range 5000 {
		name := fmt.Sprint(rand.IntN(300))
		if rand.IntN(3) == 0 {
			r.drop(&Job{Name: name})
			delete(model, name)
		} else {
			r.put(&Job{Name: name})
			model[name] = true
		}
		if got := r.get(&Job{Name: name}) != nil; got != model[name] {
			t.Fatalf("%s: %v", name, got)
		}
	}
	if !slices.IsSortedFunc(r.all, r.cmp) || len(r.all) != len(model) {
		t.Errorf("%d rows, not %d, or not in order", len(r.all), len(model))
	}
}

func TestWriteJSON(t *testing.T) {
	s := newStore()
	write := func(only ...string) string {
		snap := s.snapshot()
		snap.Rev, snap.Cluster, snap.At = 5, 0xabc, time.Unix(0, 0)
		var b strings.Builder
		if err := snap.WriteJSON(&b, time.Unix(0, 0), only...); err != nil {
			t.Fatal(err)
		}
		if !json.Valid([]byte(b.String())) {
			t.Errorf("not JSON: %s", b.String())
		}
		return b.String()
	}
	const head = `{"rev":5,"cluster":"abc","at":"1970-01-01T00:00:00Z","stale":"","paused":false`
	if got, want := write(), head+`,"offices":[],"semaphores":[],"jobs":[],"runners":[]}`+"\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got, want := write("jobs"), head+`,"jobs":[]}`+"\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	c := space.Cron()
	tick := time.Unix(60, 0).UTC()
	s.set(c.Job("j"), job("j", "@hourly"))
	s.set(c.Last("j"), marshal(cron.Last{ID: "0000000000060", State: cron.TimedOut, Began: tick, Ended: tick.Add(1500 * time.Millisecond), Tick: tick, Runs: 2, Failures: 1}))
	s.set(c.Node("n"), marshal(cron.Node{ID: "n"}))
	s.set(c.Act(keys.RunID{Job: "j", Tick: tick}), marshal(cron.Act{Node: "n", Host: "h", Attempt: 2, Claimed: tick}))
	want := head + `,"jobs":[{"name":"j","schedule":"@hourly","tz":"UTC","on":"any","paused":false,"next":"1970-01-01T01:00:00Z",` +
		`"last":{"id":"j/0000000000060","state":"timeout","tick":"1970-01-01T00:01:00Z","began":"1970-01-01T00:01:00Z","ended":"1970-01-01T00:01:01.5Z","duration":1.5,"exit":null,"status":124,"host":"","ok":null,"runs":2,"failures":1},` +
		`"running":[{"id":"j/0000000000060","state":"running","tick":"1970-01-01T00:01:00Z","attempt":2,"runner":"n","host":"h","claimed":"1970-01-01T00:01:00Z"}],"state":"running","missed":0,"unplaced":0}]}` + "\n"
	if got := write("jobs"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	s.drop(c.Node("n")) // it is gone, and nobody has said of its run that it is lost
	if got, want := write("jobs"), strings.ReplaceAll(want, `"state":"running"`, `"state":"?"`); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	// Nothing of it has been run, nobody is there who may, and what that came to was counted.
	s.drop(c.Act(keys.RunID{Job: "j", Tick: tick}))
	s.set(c.Last("j"), marshal(cron.Last{Reckoned: &cron.Reckoning{Missed: cron.Stretch{Total: 3}, Unplaced: cron.Stretch{Total: 4}}}))
	if got, want := write("jobs"), `"last":null,"running":[],"state":"unplaced","missed":3,"unplaced":4}]}`+"\n"; !strings.HasSuffix(got, want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	s.drop(c.Last("j"))
	if got, want := write("jobs"), `"state":"unplaced","missed":0,"unplaced":0}]}`+"\n"; !strings.HasSuffix(got, want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
