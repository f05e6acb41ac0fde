package runner

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"conch/pkg/cron"
	"conch/pkg/etcdtest"
)

// etcd is stopped and comes back from a copy that is older, under a runner that
// lives on: what has run since the copy, of which etcd knows nothing any more, does
// not run again until an operator has said that it may. A runner that is started
// meanwhile, on the same spool, knows as well.
func TestRestoredUnderRunner(t *testing.T) {
	t.Parallel()
	srv, err := etcdtest.Start(etcdtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	w := worldOn(t, srv, srv.Endpoint())
	set := func(s *settings) { s.Spool, s.TTL = w.path("spool"), 20*time.Second }
	p := w.start(set).ready()
	w.add(cron.Job{Name: "job", Schedule: soon(6 * time.Second), Script: note})
	saved := w.path("saved")
	stopped(t, srv, func() error { return os.CopyFS(saved, os.DirFS(srv.Data())) })
	w.want(w.one("job"), cron.OK, "host1", 1, 1)
	for i := range 50 { // which the restored one will not soon have made up for
		w.add(cron.Job{Name: "other" + strconv.Itoa(i), Schedule: "@yearly", Script: "exit 0"})
	}
	w.wait("it to have heard", func() bool { return len(p.events("job")) == 51 })
	stopped(t, srv, func() error {
		if err := os.RemoveAll(srv.Data()); err != nil {
			return err
		}
		return os.Rename(saved, srv.Data())
	})
	standsBy := func() {
		t.Helper()
		w.wait("it to stand by", func() bool { return p.says("standby", "etcd's revision went back from ") })
		w.wait("it to say so in its key", func() bool {
			nodes, err := w.store.Nodes(t.Context())
			return err == nil && slices.ContainsFunc(nodes, func(n cron.Node) bool { return n.Host == p.set.Host && n.Standby != "" })
		})
		if runs, starts := w.runs("job"), w.starts(); len(runs) != 0 || len(starts) != 1 {
			t.Fatalf("it goes on: %v, %v", runs, starts)
		}
	}
	standsBy()
	p.kill()
	p = w.start(set)
	standsBy()
	if err := w.store.Restored(t.Context(), "somebody"); err != nil {
		t.Fatal(err)
	}
	w.wait("it to go on", func() bool { return len(p.events("resumed")) > 0 })
	w.want(w.one("job"), cron.OK, "host2", 1, 2) // as the operator was told
}

// stopped does something to an etcd that does not run.
func stopped(t *testing.T, srv *etcdtest.Server, f func() error) {
	t.Helper()
	srv.Kill()
	if err := f(); err != nil {
		t.Fatal(err)
	}
	if err := srv.Restart(); err != nil {
		t.Fatal(err)
	}
}
