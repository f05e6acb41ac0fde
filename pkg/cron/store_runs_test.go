package cron

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/keys"
)

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
	if e := <-waiting; e.err != nil || e.run.State != Failed || e.run.RunID != id || time.Since(began) > 8*time.Second {
		t.Errorf("%+v after %v", e, time.Since(began))
	}
	if e := <-wait(id); e.err != nil || e.run.State != Failed {
		t.Errorf("a run that is over: %+v", e)
	}

	late := wait(ask(-grace + 3*time.Second))
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

// Runs of one second are told in the order in which they were claimed, not in
// that of their ids, and the latest is the latest.
func TestHistoryOfOneSecond(t *testing.T) {
	w := newShop(t)
	var want []string
	for _, id := range []string{"c", "a", "d", "b"} {
		run := &Run{RunID: keys.RunID{Job: "job", Tick: time.Unix(1e9, 0).UTC(), Place: keys.ManualPlace(id)}, State: OK}
		w.put(w.Keys.Run(run.RunID), run.Encode())
		want = append([]string{run.ID()}, want...)
	}
	for _, limit := range []int{0, 1, 3} {
		got, err := w.History(w.ctx, "job", limit)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, r := range got {
			ids = append(ids, r.ID())
		}
		n := len(want)
		if limit > 0 {
			n = limit
		}
		if !slices.Equal(ids, want[:n]) {
			t.Errorf("the latest %d: %v, want %v", limit, ids, want[:n])
		}
	}
}
