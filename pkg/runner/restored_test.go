package runner

import (
	"os"
	"slices"
	"strconv"
	"syscall"
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
	srv := server(t)
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

// Another cluster comes to lie at etcd's address, under a runner and what it runs:
// that ends, and the runner goes over to the other cluster and stands by there, until
// an operator has said that it may go on.
func TestReplacedUnderRunner(t *testing.T) {
	t.Parallel()
	var servers [2]*etcdtest.Server
	for i := range servers {
		servers[i] = server(t)
	}
	road := etcdtest.Road(t, servers[0])
	w := worldOn(t, servers[0], servers[0].Endpoint())
	set := func(s *settings) {
		s.Endpoints, s.Spool, s.TTL = []string{"http://" + road.Addr()}, w.path("spool"), 20*time.Second
	}
	p := w.start(set).ready()
	w.add(cron.Job{Name: "long", Schedule: soon(time.Second), Script: note + "sleep 300"})
	w.wait("it to run", func() bool { return len(w.starts()) == 1 })
	road.Lead(servers[1].Addr())
	w.wait("it to stand by", func() bool { return p.says("standby", "etcd is another cluster than before") })
	pid := w.starts()[0].pid
	w.wait("the run to have ended", func() bool { return syscall.Kill(pid, 0) != nil })
	anew := worldOn(t, servers[1], servers[1].Endpoint())
	anew.add(cron.Job{Name: "job", Schedule: "@every 1s", Script: "true"})
	if err := anew.store.Restored(t.Context(), "somebody"); err != nil {
		t.Fatal(err)
	}
	w.wait("it to go on", func() bool { return len(p.events("resumed")) > 0 })
	anew.over("job", 1)
}

// A runner that is told of two clusters does not begin.
func TestTwoClusters(t *testing.T) {
	t.Parallel()
	other := server(t)
	w := newWorld(t)
	p := w.start(func(s *settings) { s.Endpoints = []string{w.srv.Endpoint(), other.Endpoint()} })
	p.ends()
	if len(p.events("ready")) > 0 {
		t.Error("it has begun")
	}
}
