package etcdtest_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcdtest"
)

func TestMain(m *testing.M) { os.Exit(etcdtest.M{M: m}.Run()) }

func start(t *testing.T, n int, o etcdtest.Options) []*etcdtest.Server {
	t.Helper()
	c, err := etcdtest.StartCluster(n, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, s := range c {
			s.Close()
		}
	})
	return c
}

func put(t *testing.T, c *clientv3.Client, key string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := c.Put(ctx, key, "v")
	return err
}

func TestServerKeepsDataOverKillAndRestart(t *testing.T) {
	t.Parallel()
	s := start(t, 1, etcdtest.Options{})[0]
	c := etcdtest.Client(t, s)
	if err := put(t, c, "a"); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	got, err := etcdtest.Client(t, s).Get(t.Context(), "a")
	if err != nil || got.Count != 1 {
		t.Fatalf("after a restart: %v, %v", got, err)
	}
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := c.Get(ctx, "a"); err == nil {
		t.Fatal("a paused server answered")
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := put(t, c, "b"); err != nil {
		t.Fatal(err)
	}
	s.Stop()
}

func TestClusterOfThreeOutlivesOne(t *testing.T) {
	t.Parallel()
	m := start(t, 3, etcdtest.Options{})
	m[0].Kill()
	c := etcdtest.Client(t, m[1])
	err := put(t, c, "a")
	for range 3 { // it may be sent to the member that died, more than once on a busy machine
		if errors.Is(err, rpctypes.ErrTimeoutDueToLeaderFail) || errors.Is(err, rpctypes.ErrTimeout) {
			err = put(t, c, "a")
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := m[0].Restart(); err != nil {
		t.Fatal(err)
	}
}

// A leader that is cut off from its peers hears its clients still, and can do
// nothing for them; the others choose another.
func TestIsolatedLeader(t *testing.T) {
	t.Parallel()
	members := start(t, 3, etcdtest.Options{PeerRoads: true})
	leader := leading(t, members)
	if err := leader.Isolate(t.Context()); err != nil {
		t.Fatal(err)
	}
	others := slices.DeleteFunc(slices.Clone(members), func(m *etcdtest.Server) bool { return m == leader })
	next := leading(t, others)
	if err := put(t, etcdtest.Client(t, next), "a"); err != nil {
		t.Error(err)
	}
	c := etcdtest.Client(t, leader)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if r, err := c.Get(ctx, "a"); err == nil {
		t.Errorf("the leader that was cut off read %v", r)
	}
	if st, err := c.Status(t.Context(), leader.Endpoint()); err != nil {
		t.Error(err)
	} else if slices.ContainsFunc(others, func(m *etcdtest.Server) bool { return st.Leader == id(t, m) }) {
		t.Errorf("it has heard of another leader: %v", st)
	}
	if err := leader.Rejoin(); err != nil {
		t.Fatal(err)
	}
	if err := leader.Ready(); err != nil {
		t.Fatal(err)
	}
	if r, err := c.Get(t.Context(), "a"); err != nil || len(r.Kvs) != 1 {
		t.Errorf("when it is back it reads %v, %v", r, err)
	}
}

// id returns the member's.
func id(t *testing.T, m *etcdtest.Server) uint64 {
	t.Helper()
	st, err := etcdtest.Client(t, m).Status(t.Context(), m.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	return st.Header.MemberId
}

// leading waits until one of the members leads, and returns it.
func leading(t *testing.T, members []*etcdtest.Server) *etcdtest.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	i, err := etcdtest.Leader(ctx, members)
	if err != nil {
		t.Fatal(err)
	}
	return members[i]
}

func TestTLSAndAuth(t *testing.T) {
	t.Parallel()
	certs, err := etcdtest.NewTLS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, 1, etcdtest.Options{TLS: certs, JWT: true})[0]
	if err := s.EnableAuth(t.Context(), "/mine"); err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{etcdtest.AppUser, ""} { // by password, and by certificate
		c, err := s.Client(user, user)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := put(t, c, "/mine/a"); err != nil {
			t.Errorf("user %q: %v", user, err)
		}
		if err := put(t, c, "/other"); !errors.Is(err, rpctypes.ErrPermissionDenied) {
			t.Errorf("user %q outside the prefix: %v", user, err)
		}
	}
}
