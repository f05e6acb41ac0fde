package cron

import (
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcd"
	"conch/pkg/etcdtest"
)

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
