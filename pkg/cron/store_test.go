package cron

import (
	"context"
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
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
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
	a := r.act()
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
	r, err := w.admin.Txn(w.ctx).Then(c.op(w.Keys)).Commit()
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
	runs := []keys.RunID{{Job: "a", Tick: tick(60)}, {Job: "a", Tick: tick(120), Place: "@db1"}, {Job: "a", Tick: tick(180), Place: "!0000beef"}}
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

// many are the changes that create so many jobs.
func many(stem string, n int) (changes []Change) {
	for i := range n {
		name := fmt.Sprintf("%s-%04d", stem, i)
		j := job(name)
		j.Description = strings.Repeat("x", 200)
		changes = append(changes, Change{Name: name, Job: j})
	}
	return changes
}

// apply applies changes to what there is.
func (w *shop) apply(changes []Change) {
	w.t.Helper()
	_, rev, err := w.Jobs(w.ctx)
	if err == nil {
		err = w.Apply(w.ctx, rev, changes, nil)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestApply(t *testing.T) {
	w := newShop(t)
	w.apply(many("a", 3))
	w.claim(keys.RunID{Job: "a-0000", Tick: tick(120)})
	for _, name := range []string{"a-0000", "a-0001"} {
		w.put(w.Keys.Run(keys.RunID{Job: name, Tick: tick(60)}), (&Run{State: OK}).Encode())
		w.put(w.Keys.Last(name), (&Last{}).Encode())
		w.put(w.Keys.Request(name, "x"), (&Request{}).Encode())
	}
	jobs, rev, err := w.Jobs(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	changes := append(many("b", 1), Change{Name: "a-0000", Old: &jobs[0]}, Change{Name: "a-0001", Old: &jobs[1]},
		Change{Name: "a-0002", Job: job("a-0002"), Old: &jobs[2]})
	var told []string
	before := w.revision()
	if err := w.Apply(w.ctx, rev, changes, func(done, total int) { told = append(told, fmt.Sprint(done, "/", total)) }); err != nil {
		t.Fatal(err)
	}
	if n := w.revision() - before; n > 3 { // the jobs; what is left of those removed
		t.Errorf("it took %d transactions", n)
	}
	want := []string{"act/a-0000/0000000000120", "job/a-0002", "job/b-0000", "lw/a-0002", "lw/b-0000", "run/a-0000/0000000000120"}
	if got := w.keys(); !slices.Equal(got, want) {
		t.Errorf("there is %v\nwant %v", got, want)
	}
	if j, _ := w.Job(w.ctx, "a-0002"); j.Description != "" || time.Since(j.Updated) > time.Minute {
		t.Errorf("it was updated to %+v", j)
	}
	if !slices.Equal(told, []string{"4 / 4"}) && !slices.Equal(told, []string{"4/4"}) {
		t.Errorf("told %v", told)
	}
}

func (w *shop) revision() int64 {
	w.t.Helper()
	r, err := w.admin.Get(w.ctx, "x")
	if err != nil {
		w.t.Fatal(err)
	}
	return r.Header.Revision
}

// Whatever somebody else does to a job that is to be changed, it is not lost.
func TestApplyConflict(t *testing.T) {
	for name, meanwhile := range map[string]func(*shop){
		"edited":      func(w *shop) { w.must(w.Put(w.ctx, job("a-0001"), Whatever)) },
		"another new": func(w *shop) { w.add("z") },
		"removed": func(w *shop) {
			j, _ := w.Job(w.ctx, "a-0001")
			w.must(w.Remove(w.ctx, j.Name, j.Rev, ""))
		},
		"made anew": func(w *shop) {
			j, _ := w.Job(w.ctx, "a-0001")
			w.must(w.Remove(w.ctx, j.Name, j.Rev, ""))
			w.add("a-0001")
		},
		"paused": func(w *shop) { w.must(w.Pause(w.ctx, true, "a-0001")) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newShop(t)
			w.apply(many("a", 3))
			jobs, rev, err := w.Jobs(w.ctx)
			if err != nil {
				t.Fatal(err)
			}
			meanwhile(w)
			before := w.keys()
			changes := append(many("b", 100), Change{Name: "a-0000", Old: &jobs[0]}, Change{Name: "a-0001", Job: job("a-0001"), Old: &jobs[1]})
			var conflict *Conflict
			if err := w.Apply(w.ctx, rev, changes, nil); !errors.As(err, &conflict) {
				t.Fatalf("applied: %v", err)
			}
			if after := w.keys(); !slices.Equal(before, after) {
				t.Errorf("changed nevertheless: %d keys, before %d", len(after), len(before))
			}
		})
	}
}

func (w *shop) must(_ any, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// 5,000 jobs do not fit into one transaction. One that was edited between two of
// them: all are put back but that.
func TestApplyMany(t *testing.T) {
	w := newShop(t)
	w.apply(many("old", 1000))
	jobs, rev, err := w.Jobs(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	low := w.value(w.Keys.LowWater("old-0000"))
	var changes []Change
	for i := range jobs {
		c := Change{Name: jobs[i].Name, Old: &jobs[i]} // to be removed
		if i%2 == 1 {
			c.Job = job(c.Name)
		}
		changes = append(changes, c)
	}
	changes = append(changes, many("new", 5000)...)
	calls := 0
	err = w.Apply(w.ctx, rev, changes, func(done, total int) {
		if calls++; calls == 1 {
			if done == total {
				t.Error("6,000 changes went into one transaction")
			}
			w.must(w.Put(w.ctx, job("old-0001"), Whatever))
			w.add("other")
		}
	})
	var undone *Undone
	if !errors.As(err, &undone) || !errors.As(err, new(*Conflict)) || undone.Err != nil || !slices.Equal(undone.Left, []string{"old-0001"}) {
		t.Fatalf("applied: %v", err)
	}
	t.Log(err)
	after, _, err := w.Jobs(w.ctx)
	if err != nil || len(after) != 1001 {
		t.Fatalf("%d jobs, %v", len(after), err)
	}
	for i, j := range after[:1000] {
		if same := string(j.raw) == string(jobs[i].raw); same == (j.Name == "old-0001") {
			t.Errorf("%s was put back: %v", j.Name, same)
		}
	}
	if got := w.value(w.Keys.LowWater("old-0000")); got != low {
		t.Errorf("the low water was %s, and is %s", low, got)
	}
	if n := len(w.keys()); n != 2*1001 {
		t.Errorf("%d keys", n)
	}

	// Without such a one all of it is there.
	_, rev, err = w.Jobs(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Apply(w.ctx, rev, many("new", 5000), nil); err != nil {
		t.Fatal(err)
	}
	if all, _, _ := w.Jobs(w.ctx); len(all) != 6001 {
		t.Errorf("%d jobs", len(all))
	}
}

func TestApplyFits(t *testing.T) {
	w := newShop(t)
	var changes []Change
	for _, c := range many("job", 3000) {
		c.Job.Description = ""
		changes = append(changes, c)
	}
	calls := 0
	_, rev, _ := w.Jobs(w.ctx)
	if err := w.Apply(w.ctx, rev, changes, func(int, int) { calls++ }); err != nil || calls != 1 {
		t.Errorf("3,000 jobs took %d transactions: %v", calls, err)
	}
}

func TestHistory(t *testing.T) {
	w := newShop(t)
	for i := range 5 {
		w.put(w.Keys.Run(keys.RunID{Job: "a", Tick: tick(int64(60 * i))}), (&Run{State: OK, Attempt: i}).Encode())
	}
	w.put(w.Keys.Run(keys.RunID{Job: "ab", Tick: tick(600)}), (&Run{State: OK}).Encode())
	runs, err := w.History(w.ctx, "a", 2)
	if err != nil || len(runs) != 2 || runs[0].String() != "a/0000000000240" || runs[1].Attempt != 3 || runs[0].Rev == 0 {
		t.Fatal(runs, err)
	}
	if all, err := w.History(w.ctx, "a", 0); len(all) != 5 || err != nil {
		t.Error(len(all), err)
	}
	if r, err := w.RunOf(w.ctx, runs[1].RunID); err != nil || r.Attempt != 3 {
		t.Error(r, err)
	}
	if _, err := w.RunOf(w.ctx, keys.RunID{Job: "a", Tick: tick(7)}); !errors.Is(err, ErrNoRun) {
		t.Error(err)
	}
}

func TestRunNow(t *testing.T) {
	w := newShop(t)
	if _, err := w.RunNow(w.ctx, "a", "", "me", time.Time{}); !errors.Is(err, ErrNoJob) {
		t.Error(err)
	}
	w.add("a")
	one, err := w.RunNow(w.ctx, "a", "", "me", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	id, _ := one.Request()
	if two, _ := w.RunNow(w.ctx, "a", "", "me", time.Time{}); len(id) != 8 || two == one {
		t.Errorf("%v and %v are one", one, two)
	}
	requests, err := w.Requests(w.ctx)
	if err != nil || len(requests) != 2 {
		t.Fatal(requests, err)
	}
	for _, r := range requests {
		if r.ID == id && (r.Expires.Sub(r.At) != time.Duration(DefaultDeadline) || r.By != "me" || r.RunID() != one) {
			t.Errorf("it asks for %+v", r)
		}
	}
	if ok, err := w.Withdraw(w.ctx, one); !ok || err != nil {
		t.Error(ok, err)
	}
	if ok, err := w.Withdraw(w.ctx, one); ok || err != nil {
		t.Error(ok, err)
	}
}

// With one id there is one run: while it is asked for, while it runs, and after.
func TestRunNowOnce(t *testing.T) {
	w := newShop(t)
	w.add("a")
	var wg sync.WaitGroup
	ids := make([]keys.RunID, 8)
	for i := range ids {
		wg.Go(func() {
			var err error
			if ids[i], err = w.RunNow(w.ctx, "a", "deploy-7", "me", time.Time{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	again := func(what string) {
		t.Helper()
		if id, err := w.RunNow(w.ctx, "a", "deploy-7", "me", time.Time{}); err != nil || id != ids[0] {
			t.Errorf("%s: %v, %v; want %v", what, id, err, ids[0])
		}
	}
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("at once: %v and %v", id, ids[0])
		}
	}
	again("asked for")
	if _, err := w.admin.Delete(w.ctx, w.Keys.Request("a", "deploy-7")); err != nil {
		t.Fatal(err)
	}
	r := w.claim(ids[0])
	time.Sleep(1100 * time.Millisecond) // another second would be another run
	again("running")
	w.end(r, OK)
	again("over")
	if n, _ := w.Requests(w.ctx); len(n) != 0 {
		t.Errorf("left: %v", n)
	}
}

func TestKill(t *testing.T) {
	w := newShop(t)
	id := keys.RunID{Job: "a", Tick: tick(60)}
	if err := w.Kill(w.ctx, id, "me"); !errors.Is(err, ErrNoRun) {
		t.Error(err)
	}
	r := w.claim(id)
	if err := w.Kill(w.ctx, id, "me"); err != nil {
		t.Error(err)
	}
	w.end(r, OK)
	if err := w.Kill(w.ctx, id, "me"); !errors.Is(err, ErrNotRunning) {
		t.Error(err)
	}
	w.put(w.Keys.Retry(id), encode(Act{}))
	if err := w.Kill(w.ctx, id, "me"); err != nil {
		t.Errorf("a run that waits for its retry: %v", err)
	}
	requests, err := w.Requests(w.ctx)
	if err != nil || len(requests) != 2 || requests[0].Action != Kill || requests[0].Run != id.ID() || requests[0].By != "me" {
		t.Error(requests, err)
	}
}

func TestSubmit(t *testing.T) {
	w := newShop(t)
	j := &Job{Cmd: []string{"true"}, KeepFor: Duration(time.Hour)}
	id, err := w.Submit(w.ctx, j, "me")
	if err != nil || id.Job != j.Name || keys.CheckName(j.Name) != nil {
		t.Fatal(id, err)
	}
	r, err := w.Requests(w.ctx)
	if err != nil || len(r) != 1 || r[0].RunID() != id || !r[0].Expires.IsZero() {
		t.Error(r, err)
	}
	if s, _ := w.Job(w.ctx, id.Job); s.Schedule != "@manual" || s.KeepFor != Duration(time.Hour) || w.value(w.Keys.LowWater(id.Job)) == "" {
		t.Errorf("%+v", s)
	}
	if _, err := w.Submit(w.ctx, j, "me"); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	a, b := NewName(time.UnixMilli(1<<41-1)), NewName(time.UnixMilli(1<<41))
	if a >= b || len(a) != len("submit-")+16 || a == NewName(time.UnixMilli(1<<41-1)) {
		t.Errorf("names: %s, %s", a, b)
	}
}

func TestWait(t *testing.T) {
	w := newShop(t)
	w.add("a")
	type end struct {
		run *Run
		err error
	}
	wait := func(id keys.RunID) <-chan end {
		ends := make(chan end, 1)
		go func() {
			r, err := w.Wait(w.ctx, id)
			ends <- end{r, err}
		}()
		time.Sleep(100 * time.Millisecond)
		return ends
	}
	ask := func(d time.Duration) keys.RunID {
		t.Helper()
		id, err := w.RunNow(w.ctx, "a", "", "me", time.Now().Add(d))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	claim := func(id keys.RunID) *Run { // in one transaction, as it is
		r := &Run{RunID: id, State: Running, Claim: "c1"}
		request, _ := id.Request()
		_, err := w.admin.Txn(w.ctx).Then(clientv3.OpPut(w.Keys.Run(id), r.Encode()), clientv3.OpDelete(w.Keys.Request("a", request))).Commit()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}

	id := ask(time.Minute)
	waiting := wait(id)
	r := claim(id)
	time.Sleep(50 * time.Millisecond)
	select {
	case e := <-waiting:
		t.Fatal("it returned early", e)
	default:
	}
	r.State = Retrying
	w.put(w.Keys.Run(id), r.Encode())
	time.Sleep(50 * time.Millisecond)
	began := time.Now()
	w.end(r, Failed)
	if e := <-waiting; e.err != nil || e.run.State != Failed || e.run.RunID != id || time.Since(began) > 2*time.Second {
		t.Errorf("%+v after %v", e, time.Since(began))
	}
	if e := <-wait(id); e.err != nil || e.run.State != Failed {
		t.Errorf("a run that is over: %+v", e)
	}

	late := wait(ask(-grace + 300*time.Millisecond))
	if e := <-late; !errors.Is(e.err, ErrNotStarted) {
		t.Errorf("one that expires: %+v", e)
	}
	gone := ask(time.Minute)
	waiting = wait(gone)
	if ok, err := w.Withdraw(w.ctx, gone); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if e := <-waiting; !errors.Is(e.err, ErrNotStarted) {
		t.Errorf("one that was withdrawn: %+v", e)
	}
	if e := <-wait(keys.RunID{Job: "none", Tick: tick(60)}); !errors.Is(e.err, ErrNoJob) {
		t.Errorf("no job: %+v", e)
	}
	if e := <-wait(keys.RunID{Job: "a", Tick: tick(60)}); !errors.Is(e.err, ErrNoRun) {
		t.Errorf("no run: %+v", e)
	}
	waiting = wait(ask(time.Minute))
	j, _ := w.Job(w.ctx, "a")
	w.must(w.Remove(w.ctx, "a", j.Rev, ""))
	if e := <-waiting; !errors.Is(e.err, ErrRemoved) {
		t.Errorf("the job was removed: %+v", e)
	}
}

// The answer to a change is lost on the way, and it is sent again: that it has been
// made is success, and it is made once.
func TestAnswerLost(t *testing.T) {
	for name, change := range map[string]func(*shop, Store) error{
		"create":    func(w *shop, s Store) error { _, err := s.Put(w.ctx, job("new"), Absent); return err },
		"overwrite": func(w *shop, s Store) error { _, err := s.Put(w.ctx, job("a"), Whatever); return err },
		"edit": func(w *shop, s Store) error {
			j, err := w.Job(w.ctx, "a")
			if err == nil {
				_, err = s.Put(w.ctx, &j.Job, j.Rev)
			}
			return err
		},
		"remove": func(w *shop, s Store) error {
			j, err := w.Job(w.ctx, "a")
			if err == nil {
				_, err = s.Remove(w.ctx, "a", j.Rev, "me")
			}
			return err
		},
		"apply": func(w *shop, s Store) error {
			jobs, rev, err := w.Jobs(w.ctx)
			if err == nil {
				err = s.Apply(w.ctx, rev, append(many("b", 50), Change{Name: "a", Job: job("a"), Old: &jobs[0]}), nil)
			}
			return err
		},
		"pause":     func(w *shop, s Store) error { _, err := s.Pause(w.ctx, true, "a"); return err },
		"pause all": func(w *shop, s Store) error { _, err := s.PauseAll(w.ctx, "me"); return err },
		"run":       func(w *shop, s Store) error { _, err := s.RunNow(w.ctx, "a", "", "me", time.Time{}); return err },
		"run once":  func(w *shop, s Store) error { _, err := s.RunNow(w.ctx, "a", "x", "me", time.Time{}); return err },
		"submit": func(w *shop, s Store) error {
			_, err := s.Submit(w.ctx, &Job{Cmd: []string{"true"}, KeepFor: Duration(time.Hour)}, "me")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			for round := range 100 { // until it comes to that
				if losesAnswer(t, change) {
					return
				}
				t.Log("round", round, "ended before its answer could be lost")
			}
			t.Error("no answer was lost")
		})
	}
}

// losesAnswer makes the change, and reports whether the first answer to it was
// lost.
func losesAnswer(t *testing.T, change func(*shop, Store) error) bool {
	w := newShop(t)
	w.add("a")
	road := etcdtest.Road(t, etcdtest.Shared(t))
	c, err := etcd.Open(w.ctx, etcd.Config{Endpoints: []string{"http://" + road.Addr()}, DialTimeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	before := w.changes()
	done := make(chan error, 1)
	go func() { done <- change(w, Store{C: c, Keys: w.Keys}) }()
	for range 5000 { // from when it is made, nothing comes back
		if road.Hold(false, true); w.changes() != before {
			break
		}
		if err := road.Heal(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Microsecond)
	}
	lost := len(done) == 0
	road.Drop()
	if err := road.Heal(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("it failed: %v", err)
	}
	if requests, err := w.Requests(w.ctx); err != nil || len(requests) > 1 {
		t.Errorf("asked for: %v, %v", requests, err)
	}
	return lost
}

// changes counts the changes to what there is.
func (w *shop) changes() (n int64) {
	w.t.Helper()
	r, err := w.admin.Get(w.ctx, w.Keys.Dir, clientv3.WithPrefix())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, kv := range r.Kvs {
		n = max(n, kv.ModRevision)
	}
	return n + 1_000_000*int64(max(0, 2-len(r.Kvs))) // a removal is one too
}
