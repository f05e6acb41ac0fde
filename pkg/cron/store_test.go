package cron

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcd"
	"conch/pkg/etcdtest"
	"conch/pkg/keys"
)

// shop is a store of the test's own, and a client that does what others would.
type shop struct {
	Store
	t     *testing.T
	ctx   context.Context
	admin *clientv3.Client
}

func newShop(t *testing.T) *shop {
	t.Helper()
	srv := etcdtest.Shared(t)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	c, err := etcd.Open(ctx, etcd.Config{Endpoints: []string{srv.Endpoint()}, DialTimeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	space := keys.Space("/test/store/" + strings.ReplaceAll(t.Name(), "/", "-"))
	w := &shop{Store{C: c, Keys: space.Cron()}, t, ctx, etcdtest.Client(t, srv)}
	if _, err := w.admin.Delete(ctx, w.Keys.Dir, clientv3.WithPrefix()); err != nil { // of -count=2
		t.Fatal(err)
	}
	return w
}

func job(name string) *Job { return &Job{Name: name, Schedule: "@hourly", Cmd: []string{"true"}} }

// add puts a job, and returns its mod-revision.
func (w *shop) add(name string) int64 {
	w.t.Helper()
	rev, err := w.Put(w.ctx, job(name), Absent)
	if err != nil {
		w.t.Fatal(err)
	}
	return rev
}

func (w *shop) put(key, value string) {
	w.t.Helper()
	if _, err := w.admin.Put(w.ctx, key, value); err != nil {
		w.t.Fatal(err)
	}
}

// claim puts what a claim of the run would.
func (w *shop) claim(id keys.RunID) *Run {
	r := &Run{RunID: id, State: Running, Claim: "c1", Attempt: 1, Node: "n1", Claimed: time.Now()}
	a := r.Marker()
	w.put(w.Keys.Run(id), r.Encode())
	w.put(w.Keys.Act(id), encode(a))
	return r
}

// end puts what its settlement would.
func (w *shop) end(r *Run, s State) {
	r.State = s
	w.put(w.Keys.Run(r.RunID), r.Encode())
	if _, err := w.admin.Delete(w.ctx, w.Keys.Act(r.RunID)); err != nil {
		w.t.Fatal(err)
	}
}

// keys returns what lies under cron/, without that.
func (w *shop) keys() (all []string) {
	w.t.Helper()
	r, err := w.admin.Get(w.ctx, w.Keys.Dir, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, kv := range r.Kvs {
		all = append(all, strings.TrimPrefix(string(kv.Key), w.Keys.Dir))
	}
	return all
}

func (w *shop) value(key string) string {
	w.t.Helper()
	r, err := w.admin.Get(w.ctx, key)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(r.Kvs) == 0 {
		return ""
	}
	return string(r.Kvs[0].Value)
}

func tick(sec int64) time.Time { return time.Unix(sec, 0).UTC() }

func TestPut(t *testing.T) {
	w := newShop(t)
	rev := w.add("a")
	if low, ok := keys.ParseTick(w.value(w.Keys.LowWater("a"))); !ok || time.Since(low) > time.Minute {
		t.Errorf("the low water of a new job is %v", low)
	}
	got, err := w.Job(w.ctx, "a")
	if err != nil || got.Rev != rev || got.Schedule != "@hourly" || time.Since(got.Updated) > time.Minute {
		t.Errorf("got %+v, %v", got, err)
	}

	if _, err := w.Put(w.ctx, job("a"), Absent); !errors.Is(err, ErrExists) || err.Error() != "a: there is such a job already" {
		t.Errorf("put what exists: %v", err)
	}
	w.put(w.Keys.LowWater("a"), keys.Tick(tick(77)))
	over, err := w.Put(w.ctx, job("a"), Whatever)
	if err != nil || over <= rev {
		t.Errorf("overwrite: %d, %v", over, err)
	}
	if low := w.value(w.Keys.LowWater("a")); low != keys.Tick(tick(77)) {
		t.Errorf("an edit has moved the low water to %s", low)
	}
	var conflict *Conflict
	if _, err := w.Put(w.ctx, job("a"), rev); !errors.As(err, &conflict) || conflict.Name != "a" {
		t.Errorf("put over an edit: %v", err)
	}
	if _, err := w.Put(w.ctx, job("a"), over); err != nil {
		t.Errorf("put over what was read: %v", err)
	}
	big := job("a")
	big.Stdin = strings.Repeat("x", MaxSpec)
	if _, err := w.Put(w.ctx, big, Whatever); err == nil {
		t.Error("a job of 64 KiB was put")
	}
	if _, err := w.Job(w.ctx, "b"); !errors.Is(err, ErrNoJob) || err.Error() != "b: no such job" {
		t.Errorf("a job that is not there: %v", err)
	}
}

// Of many who put at once one is first, and the others are told.
func TestPutAtOnce(t *testing.T) {
	w := newShop(t)
	var wg sync.WaitGroup
	won := make([]error, 8)
	for i := range won {
		wg.Go(func() { _, won[i] = w.Put(w.ctx, job("a"), Absent) })
	}
	wg.Wait()
	wins := 0
	for _, err := range won {
		if err == nil {
			wins++
		} else if !errors.Is(err, ErrExists) {
			t.Error(err)
		}
	}
	if wins != 1 {
		t.Errorf("%d have created the job", wins)
	}
}

func TestRemove(t *testing.T) {
	w := newShop(t)
	rev := w.add("a")
	w.add("a1") // begins with the same letter
	w.put(w.Keys.Last("a"), (&Last{State: OK}).Encode())
	w.put(w.Keys.Run(keys.RunID{Job: "a", Tick: tick(60)}), (&Run{State: OK}).Encode())
	w.put(w.Keys.Request("a", "x"), (&Request{Action: RunNow}).Encode())

	if _, err := w.Remove(w.ctx, "b", 1, ""); !errors.Is(err, ErrNoJob) {
		t.Errorf("remove what is not there: %v", err)
	}
	if _, err := w.Remove(w.ctx, "a", rev+1, ""); !errors.As(err, new(*Conflict)) {
		t.Errorf("remove what was edited: %v", err)
	}
	if live, err := w.Remove(w.ctx, "a", rev, "me"); err != nil || len(live) > 0 {
		t.Errorf("%v, %v", live, err)
	}
	if got := w.keys(); !slices.Equal(got, []string{"job/a1", "lw/a1"}) {
		t.Errorf("left: %v", got)
	}
	if claim := w.claims("a", rev, tick(1<<33)); claim {
		t.Error("a tick of a removed job can be claimed")
	}
}

// claims reports whether a tick can be claimed by what was known at rev.
func (w *shop) claims(name string, rev int64, at time.Time) bool {
	w.t.Helper()
	c := Claim{Run: &Run{RunID: keys.RunID{Job: name, Tick: at}, State: Running, Claim: "c"}, JobRev: rev, Forbid: true}
	r, err := w.admin.Txn(w.ctx).Then(c.Op(w.Keys)).Commit()
	if err != nil {
		w.t.Fatal(err)
	}
	return r.Responses[0].GetResponseTxn().Succeeded
}

// An edit, a pause and a removal are each ordered with claims.
func TestChangesAndClaims(t *testing.T) {
	w := newShop(t)
	rev := w.add("a")
	if w.claims("a", rev, time.Now().Add(-time.Hour)) {
		t.Error("a tick from before the job was claimed")
	}
	soon := time.Now().Add(time.Hour)
	if _, err := w.Pause(w.ctx, true, "a"); err != nil {
		t.Fatal(err)
	}
	if w.claims("a", rev, soon) {
		t.Error("a tick was claimed that was computed before the pause")
	}
	j, err := w.Job(w.ctx, "a")
	if err != nil || !j.Paused {
		t.Fatal(j, err)
	}
	if !w.claims("a", j.Rev, soon) {
		t.Error("a tick was refused")
	}
	if w.claims("a", j.Rev, soon) {
		t.Error("a tick was claimed twice")
	}
}

func TestRemoveWhileRunning(t *testing.T) {
	w := newShop(t)
	rev := w.add("a")
	runs := []keys.RunID{{Job: "a", Tick: tick(60)}, {Job: "a", Tick: tick(120), Place: "@db1"}, {Job: "a", Tick: tick(180), Place: "+0000beef"}}
	for _, id := range runs {
		w.end(w.claim(id), OK)
	}
	w.claim(runs[1])
	w.put(w.Keys.Request("a", "9"), (&Request{Action: RunNow}).Encode())
	live, err := w.Remove(w.ctx, "a", rev, "me@here")
	if err != nil || len(live) != 1 || live[0].RunID.String() != "a/0000000000120@db1" {
		t.Fatalf("%v, %v", live, err)
	}
	requests, err := w.Requests(w.ctx)
	if err != nil || len(requests) != 1 {
		t.Fatal(requests, err)
	}
	if r := requests[0]; r.Action != Kill || r.Run != "0000000000120@db1" || r.By != "me@here" || r.Job != "a" {
		t.Errorf("asked for %+v", r)
	}
	want := []string{"act/a/@db1/0000000000120", "req/a/" + requests[0].ID, "run/a/0000000000120@db1"}
	if got := w.keys(); !slices.Equal(got, want) {
		t.Errorf("left: %v\nwant: %v", got, want)
	}
}

// More run than fit into one level of a transaction.
func TestRemoveWhileManyRun(t *testing.T) {
	w := newShop(t)
	rev := w.add("a")
	for i := range 150 {
		w.claim(keys.RunID{Job: "a", Tick: tick(60), Place: fmt.Sprintf("@n%03d", i)})
		w.put(w.Keys.Run(keys.RunID{Job: "a", Tick: tick(0), Place: fmt.Sprintf("@n%03d", i)}), (&Run{State: OK}).Encode())
	}
	live, err := w.Remove(w.ctx, "a", rev, "me")
	if err != nil || len(live) != 150 {
		t.Fatal(len(live), err)
	}
	if n := len(w.keys()); n != 3*150 {
		t.Errorf("%d keys are left", n)
	}
}

func TestPause(t *testing.T) {
	w := newShop(t)
	for _, name := range []string{"a", "b", "c"} {
		w.add(name)
	}
	w.put(w.Keys.Job("b"), `{"schedule":"@hourly","cmd":["true"],"from-the-future":[1,2]}`)
	changed, err := w.Pause(w.ctx, true, "a", "b")
	if err != nil || !slices.Equal(changed, []string{"a", "b"}) {
		t.Fatal(changed, err)
	}
	if v := w.value(w.Keys.Job("b")); !strings.Contains(v, `"from-the-future":[1,2]`) || !strings.Contains(v, `"paused":true`) {
		t.Errorf("it was edited to %s", v)
	}
	if changed, err := w.Pause(w.ctx, true, "a", "c"); err != nil || !slices.Equal(changed, []string{"c"}) {
		t.Error(changed, err)
	}
	if _, err := w.Pause(w.ctx, false, "a", "none"); !errors.Is(err, ErrNoJob) {
		t.Error(err)
	}
	before, _ := w.Job(w.ctx, "a")
	if !before.Paused {
		t.Error("one of two was resumed, and the other does not exist")
	}
	if changed, err := w.Pause(w.ctx, false, "a", "b", "c"); err != nil || len(changed) != 3 {
		t.Error(changed, err)
	}
	if after, _ := w.Job(w.ctx, "a"); after.Paused || !after.Updated.After(before.Updated) {
		t.Errorf("resumed: %+v", after)
	}
}

func TestPauseAll(t *testing.T) {
	w := newShop(t)
	if p, err := w.Paused(w.ctx); p != nil || err != nil {
		t.Error(p, err)
	}
	if did, err := w.ResumeAll(w.ctx); did || err != nil {
		t.Error(did, err)
	}
	for i, want := range []bool{true, false} {
		if did, err := w.PauseAll(w.ctx, fmt.Sprint("me", i)); did != want || err != nil {
			t.Error(i, did, err)
		}
	}
	if p, err := w.Paused(w.ctx); err != nil || p.By != "me0" || time.Since(p.At) > time.Minute {
		t.Errorf("%+v, %v", p, err)
	}
	if did, err := w.ResumeAll(w.ctx); !did || err != nil {
		t.Error(did, err)
	}
	r, err := w.get(w.ctx, w.Keys.Resumed())
	if err != nil || len(r.Kvs) != 1 {
		t.Fatal(r, err)
	}
	var all []Pausing
	if err := json.Unmarshal(r.Kvs[0].Value, &all); err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	if was := all[0]; was.From.IsZero() || was.To.Before(was.From) || time.Since(was.To) > time.Minute {
		t.Errorf("%+v", was)
	}
}

// What is read is of one revision, and more than a page.
func TestTable(t *testing.T) {
	w := newShop(t)
	w.apply(many("job", 2500))
	w.put(w.Keys.Job("broken"), "{")
	w.put(w.Keys.Last("job-0001"), (&Last{State: Failed, Runs: 3}).Encode())
	w.claim(keys.RunID{Job: "job-0002", Tick: tick(60)})
	w.put(w.Keys.Retry(keys.RunID{Job: "job-0003", Tick: tick(60)}), encode(Act{Attempt: 2}))
	w.put(w.Keys.Request("job-0004", "aa"), (&Request{Action: RunNow, By: "me"}).Encode())
	w.put(w.Keys.Node("n1"), (&Node{ID: "n1", Host: "h"}).Encode())
	if _, err := w.PauseAll(w.ctx, "me"); err != nil {
		t.Fatal(err)
	}
	table, err := w.Table(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(table.Jobs) != 2501 || table.Jobs[0].Name != "broken" || table.Jobs[0].Err == nil || table.Jobs[2500].Name != "job-2499" {
		t.Errorf("%d jobs, the first %+v", len(table.Jobs), table.Jobs[0])
	}
	if l := table.Lasts["job-0001"]; len(table.Lasts) != 1 || l.State != Failed || l.Runs != 3 {
		t.Errorf("lasts: %+v", table.Lasts)
	}
	if len(table.Acts) != 2 || table.Acts[0].Waits || !table.Acts[1].Waits || table.Acts[1].Job != "job-0003" {
		t.Errorf("acts: %+v", table.Acts)
	}
	if len(table.Requests) != 1 || table.Requests[0].Job != "job-0004" || table.Requests[0].ID != "aa" || table.Paused == nil {
		t.Errorf("requests: %+v, paused: %v", table.Requests, table.Paused)
	}
	lasts, err := w.Lasts(w.ctx)
	if len(lasts) != 1 || err != nil {
		t.Error(lasts, err)
	}
	acts, err := w.Acts(w.ctx)
	if len(acts) != 2 || err != nil {
		t.Error(acts, err)
	}
	nodes, err := w.Nodes(w.ctx)
	if len(nodes) != 1 || err != nil || nodes[0].Host != "h" || nodes[0].Rev == 0 {
		t.Error(nodes, err)
	}
}

// Since moves when an edit moves the ticks of a job, or lets it go on, and with no
// other.
func TestSince(t *testing.T) {
	w := newShop(t)
	rev := w.add("a")
	was := func() (since, updated time.Time) {
		t.Helper()
		j, err := w.Job(w.ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		rev = j.Rev
		return j.Since, j.Updated
	}
	first, _ := was()
	put := func(edit func(*Job)) {
		t.Helper()
		j := job("a")
		edit(j)
		_, err := w.Put(w.ctx, j, rev)
		w.must(nil, err)
	}
	for _, c := range []struct {
		name  string
		edit  func()
		moves bool
	}{
		{"description", func() { put(func(j *Job) { j.Description = "x" }) }, false},
		{"command", func() { put(func(j *Job) { j.Cmd = []string{"false"} }) }, false},
		{"zone that it has", func() { put(func(j *Job) { j.TZ = "UTC" }) }, false},
		{"zone", func() { put(func(j *Job) { j.TZ = "Europe/Rome" }) }, true},
		{"splay", func() { put(func(j *Job) { j.TZ, j.Splay = "Europe/Rome", Duration(time.Second) }) }, true},
		{"schedule", func() { put(func(*Job) {}) }, true},
		{"labels", func() { put(func(j *Job) { j.On = "zone=a" }) }, false},
		{"places", func() { put(func(j *Job) { j.On = "2 zone=a" }) }, true},
		{"labels of several", func() { put(func(j *Job) { j.On = "2" }) }, false},
		{"all places", func() { put(func(j *Job) { j.On = "all" }) }, true},
		{"one place", func() { put(func(*Job) {}) }, true},
		{"pause", func() { w.must(w.Pause(w.ctx, true, "a")) }, false},
		{"edit while paused", func() { put(func(j *Job) { j.Paused, j.Keep = true, 3 }) }, false},
		{"resume", func() { w.must(w.Pause(w.ctx, false, "a")) }, true},
		{"pause by edit", func() { put(func(j *Job) { j.Paused = true }) }, false},
		{"resume by edit", func() { put(func(*Job) {}) }, true},
		{"by another", func() { w.By = "bob@b"; put(func(*Job) {}) }, false},
		{"apply", func() {
			old, err := w.Job(w.ctx, "a")
			w.must(nil, err)
			j := job("a")
			j.Description = "y"
			w.must(nil, w.Apply(w.ctx, w.revision(), []Change{{Name: "a", Job: j, Old: &old}}, nil))
		}, false},
	} {
		c.edit()
		since, updated := was()
		if c.moves == since.Equal(first) || c.moves && !since.Equal(updated) || !updated.After(first) {
			t.Errorf("%s: since %v, updated %v, before since %v", c.name, since, updated, first)
		}
		first = since
	}
}
