package cron

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"conch/pkg/keys"
)

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

// What is put back twice, because the first answer was lost, is put back.
func TestPutBackTwice(t *testing.T) {
	w := newShop(t)
	w.apply(many("old", 3))
	jobs, _, err := w.Jobs(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	var changes []Change
	rev := int64(0)
	for i := range jobs {
		j := job(jobs[i].Name)
		j.Description = "new"
		changes = append(changes, Change{Name: j.Name, Job: j, Old: &jobs[i]})
	}
	if err := w.Apply(w.ctx, jobs[2].Rev, changes, nil); err != nil {
		t.Fatal(err)
	}
	after, _, err := w.Jobs(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	rev = after[0].Rev
	w.must(w.Put(w.ctx, job("old-0001"), Whatever))
	for range 2 {
		var undone *Undone
		if err := w.undo(w.ctx, []part{{changes: changes, rev: rev}}, &Conflict{}); !errors.As(err, &undone) || !slices.Equal(undone.Left, []string{"old-0001"}) {
			t.Errorf("%v", err)
		}
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
