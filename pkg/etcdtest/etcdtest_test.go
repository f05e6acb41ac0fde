package etcdtest_test

import (
	"context"
	"errors"
	"os"
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
