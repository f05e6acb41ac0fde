package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcdtest"
)

// notes collects what a client notes.
type notes struct {
	mu  sync.Mutex
	all []string
}

func (n *notes) add(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, text)
}

func (n *notes) list() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.all
}

func cluster(t *testing.T, srv *etcdtest.Server) uint64 {
	t.Helper()
	r, err := clientFor(t, srv).Get(within(t, 10*time.Second), "x")
	if err != nil {
		t.Fatal(err)
	}
	return r.Header.ClusterId
}

func another(t *testing.T) *etcdtest.Server {
	t.Helper()
	other, err := etcdtest.Start(etcdtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	return other
}

func putting(value string) func(context.Context, *Member) (*clientv3.PutResponse, error) {
	return func(ctx context.Context, m *Member) (*clientv3.PutResponse, error) {
		return m.KV().Put(ctx, "/test/identity", value)
	}
}

// A member of another cluster is asked for nothing, and its answers count for
// nothing, also when the one whose cluster came first is silent. It is said once.
func TestOtherCluster(t *testing.T) {
	t.Parallel()
	srv, other := etcdtest.Shared(t), another(t)
	first, second := etcdtest.Road(t, srv), etcdtest.Road(t, other)
	var said notes
	c := open(t, Config{Endpoints: []string{"http://" + first.Addr(), "http://" + second.Addr()}, Note: said.add})
	if _, err := Do(within(t, 10*time.Second), c, putting("1")); err != nil {
		t.Fatal(err)
	}
	first.Cut()
	for range 2 {
		var u *Unreachable
		if _, err := Do(within(t, time.Second), c, putting("2")); !errors.As(err, &u) {
			t.Errorf("%v", err)
		}
	}
	if r, err := clientFor(t, other).Get(within(t, 10*time.Second), "/test/identity"); err != nil || len(r.Kvs) > 0 {
		t.Errorf("it was asked: %v, %v", r, err)
	}
	want := fmt.Sprintf("endpoint http://%s: it is of etcd cluster %x, and http://%s, which answered first, of %x; its answers do not count",
		second.Addr(), cluster(t, other), first.Addr(), cluster(t, srv))
	if all := said.list(); len(all) != 1 || all[0] != want {
		t.Errorf("it said %q, want %q once", all, want)
	}
	if err := first.Heal(); err != nil {
		t.Fatal(err)
	}
	if _, err := Do(within(t, 10*time.Second), c, putting("3")); err != nil {
		t.Error(err)
	}
}

// Where another cluster has come to lie behind every endpoint, that is definite for a
// question, a watch and a keepalive, until the client goes over to it.
func TestReplaced(t *testing.T) {
	t.Parallel()
	srv, other := etcdtest.Shared(t), another(t)
	road := etcdtest.Road(t, srv)
	c := open(t, Config{Endpoints: []string{"http://" + road.Addr()}})
	ctx := within(t, 20*time.Second)
	if _, err := Do(ctx, c, get); err != nil {
		t.Fatal(err)
	}
	m, _ := c.Preferred()
	ours := cluster(t, srv)
	road.Lead(other.Addr())
	isOther := func(what string, err error) {
		t.Helper()
		var o *OtherCluster
		if !errors.As(err, &o) || *o != (OtherCluster{cluster(t, other), ours, m.Endpoint, true}) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := Do(ctx, c, putting("1"))
	isOther("a put", err)
	r, ok := <-m.Watch(ctx, "/test/identity", clientv3.WithCreatedNotify())
	if !ok {
		t.Fatal("a watch said nothing")
	}
	isOther("a watch", r.Err())
	_, err = m.KeepAlive(ctx, 1)
	isOther("a keepalive", err)
	if r, err := clientFor(t, other).Get(ctx, "/test/identity"); err != nil || len(r.Kvs) > 0 {
		t.Errorf("it was written to: %v, %v", r, err)
	}
	c.Adopt(cluster(t, other))
	if _, err := Do(ctx, c, putting("1")); err != nil {
		t.Error(err)
	}
}

// A refusal, which has no header, is not taken from another cluster.
func TestRefusalOfAnother(t *testing.T) {
	t.Parallel()
	srv, other := etcdtest.Shared(t), another(t)
	c := open(t, Config{Endpoints: []string{other.Endpoint()}, Cluster: cluster(t, srv)}) // as a helper has it
	_, err := Do(within(t, 20*time.Second), c, func(ctx context.Context, m *Member) (*clientv3.LeaseRevokeResponse, error) {
		return clientv3.NewLeaseFromLeaseClient(m.Lease(), m.v3, time.Second).Revoke(ctx, 1)
	})
	if !errors.As(err, new(*OtherCluster)) {
		t.Errorf("%v", err)
	}
}

// What is known of a member is forgotten with the connection to it: another may
// answer at its address.
func TestMemberReplaced(t *testing.T) {
	t.Parallel()
	members, err := etcdtest.StartCluster(3, etcdtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		t.Cleanup(m.Close)
	}
	road := etcdtest.Road(t, members[0])
	c := open(t, Config{Endpoints: []string{"http://" + road.Addr()}})
	ctx := within(t, 30*time.Second)
	var last Verdict
	for _, srv := range members {
		road.Lead(srv.Addr())
		v, err := Do(ctx, c, func(ctx context.Context, m *Member) (Verdict, error) {
			v, err := m.Verifies(ctx)
			if err != nil {
				return v, err
			}
			r, err := get(ctx, m)
			if err == nil && v.Member != r.Header.MemberId {
				err = errors.New("the connection broke just then")
			}
			return v, err
		})
		if err != nil || v.Member == last.Member {
			t.Fatalf("%+v after %+v, %v", v, last, err)
		}
		last = v
	}
}

// Endpoints of which one is unfit end a start, whichever it is; each is asked once.
func TestSurvey(t *testing.T) {
	t.Parallel()
	srv, other := etcdtest.Shared(t), another(t)
	for name, endpoints := range map[string][]string{
		"two clusters": {srv.Endpoint(), other.Endpoint()},
		"a grpc-proxy": {srv.Endpoint(), etcdtest.GRPCProxy(t, srv)},
	} {
		c := open(t, Config{Endpoints: endpoints, Survey: true})
		if _, err := Do(within(t, 10*time.Second), c, get); err != nil {
			t.Fatal(err)
		}
		ctx, over := c.Surveyed(t.Context())
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Second):
		}
		var unfit *Unfit
		if err := over(); !errors.As(err, &unfit) || unfit.Endpoint != endpoints[1] {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := open(t, Config{Endpoints: []string{srv.Endpoint(), "http://" + etcdtest.Road(t, srv).Addr(), "http://127.0.0.1:1"}, Survey: true})
	ctx, over := c.Surveyed(t.Context())
	if _, err := Do(within(t, 10*time.Second), c, get); err != nil {
		t.Fatal(err)
	}
	if err := over(); err != nil || ctx.Err() == nil {
		t.Errorf("%v", err)
	}
}

// A helper is told of the cluster.
func TestConfigCluster(t *testing.T) {
	t.Parallel()
	srv, other := etcdtest.Shared(t), another(t)
	c := open(t, Config{Endpoints: []string{srv.Endpoint()}})
	if _, err := Do(within(t, 10*time.Second), c, get); err != nil {
		t.Fatal(err)
	}
	helper := handed(t, c)
	helper.Endpoints = append([]string{other.Endpoint()}, helper.Endpoints...)
	h := open(t, helper)
	r, err := Do(within(t, 10*time.Second), h, get)
	if err != nil || r.Header.ClusterId != cluster(t, srv) {
		t.Errorf("%v, %v", r, err)
	}
}

// handed is the configuration as a helper gets it.
func handed(t *testing.T, c *Client) (helper Config) {
	t.Helper()
	b, err := json.Marshal(c.Config())
	if err == nil {
		err = json.NewDecoder(strings.NewReader(string(b))).Decode(&helper)
	}
	if err != nil {
		t.Fatal(err)
	}
	return helper
}
