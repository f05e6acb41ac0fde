package etcd

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcdtest"
)

func TestMain(m *testing.M) { etcdtest.M{M: m}.Run() }

func get(ctx context.Context, m *Member) (*clientv3.GetResponse, error) {
	return m.KV().Get(ctx, "/test/etcd")
}

func open(t *testing.T, cfg Config) *Client {
	t.Helper()
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = 10 * time.Second
	}
	c, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// A member behind which nothing answers costs a hedge, and is not asked first
// again.
func TestDoHedges(t *testing.T) {
	srv := etcdtest.Shared(t)
	roads := map[string]*etcdtest.Proxy{}
	var endpoints []string
	for range 2 {
		road := etcdtest.Road(t, srv)
		endpoints = append(endpoints, "http://"+road.Addr())
		roads[endpoints[len(endpoints)-1]] = road
	}
	c := open(t, Config{Endpoints: endpoints})
	if _, err := Do(within(t, 10*time.Second), c, get); err != nil {
		t.Fatal(err)
	}
	first, moved := c.Preferred()
	bad := roads[first.Endpoint]
	bad.Cut()
	if _, err := Do(within(t, 10*time.Second), c, get); err != nil {
		t.Fatal(err)
	}
	select {
	case <-moved:
	default:
		t.Error("those who watch were not told to move")
	}
	if m, _ := c.Preferred(); m.Endpoint == first.Endpoint {
		t.Errorf("%s is still preferred", m.Endpoint)
	}
	asked := make(chan *Member, 2)
	if _, err := Do(within(t, 10*time.Second), c, func(ctx context.Context, m *Member) (*clientv3.GetResponse, error) {
		asked <- m
		return get(ctx, m)
	}); err != nil {
		t.Fatal(err)
	}
	if m := <-asked; m.Endpoint == first.Endpoint {
		t.Error("the bad member was asked first again")
	}
}

// A keepalive whose answer did not come in time is not answered by that of an
// earlier one.
func TestKeepAliveDropsLateAnswers(t *testing.T) {
	srv := etcdtest.Shared(t)
	road := etcdtest.Road(t, srv)
	c := open(t, Config{Endpoints: []string{"http://" + road.Addr()}})
	m, _ := c.Preferred()
	grant, err := clientFor(t, srv).Grant(within(t, 10*time.Second), 60)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := m.KeepAlive(within(t, 10*time.Second), int64(grant.ID)); err != nil || r.TTL != 60 {
		t.Fatalf("%v, %v", r, err)
	}
	road.Cut()
	if _, err := m.KeepAlive(within(t, 100*time.Millisecond), int64(grant.ID)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if _, err := clientFor(t, srv).Revoke(within(t, 10*time.Second), grant.ID); err != nil {
		t.Fatal(err)
	}
	if err := road.Heal(); err != nil {
		t.Fatal(err)
	}
	if r, err := m.KeepAlive(within(t, 10*time.Second), int64(grant.ID)); err != nil || r.TTL > 0 {
		t.Errorf("%v, %v: the answer to the keepalive before", r, err)
	}
}

func clientFor(t *testing.T, srv *etcdtest.Server) *clientv3.Client { return etcdtest.Client(t, srv) }

// What answers but is not etcd is told apart, at once.
func TestNotEtcd(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	for _, c := range []struct {
		endpoint string
		skip     bool
		want     string
	}{
		{plain.URL, false, "not etcd"},
		{secure.URL, false, "signed by unknown authority"},
		{secure.URL, true, "not etcd"},
		{strings.Replace(secure.URL, "https", "http", 1), false, "it speaks TLS"},
		{strings.Replace(plain.URL, "http", "https", 1), false, "does not speak TLS"},
	} {
		began := time.Now()
		cl, err := Open(context.Background(), Config{Endpoints: []string{c.endpoint}, SkipVerify: c.skip, DialTimeout: 30 * time.Second})
		if err == nil {
			_, err = Do(within(t, 30*time.Second), cl, get)
			cl.Close()
		}
		var u *Unreachable
		if !errors.As(err, &u) || !strings.Contains(err.Error(), c.want) || u.Endpoint != c.endpoint {
			t.Errorf("%s: %v, want %q", c.endpoint, err, c.want)
		}
		if d := time.Since(began); d > 15*time.Second {
			t.Errorf("%s: took %v, as if waiting could help", c.endpoint, d)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	for want, cfg := range map[string]Config{
		"no endpoint":           {},
		"unknown scheme":        {Endpoints: []string{"ftp://x:1"}},
		"mix https":             {Endpoints: []string{"http://x:1", "https://x:1"}},
		"has a path":            {Endpoints: []string{"http://x:1/v3"}},
		"not a URL":             {Endpoints: []string{"http://"}},
		"no such file":          {Endpoints: []string{"https://x:1"}, CACert: "/nonexistent"},
		"go together":           {Endpoints: []string{"https://x:1"}, Cert: "x"},
		"has no password":       {Endpoints: []string{"x:1"}, User: "u"},
		"but no user":           {Endpoints: []string{"x:1"}, Password: "p"},
		"a user and a token":    {Endpoints: []string{"x:1"}, User: "u:p", Token: "t"},
		"--password-file: open": {Endpoints: []string{"x:1"}, User: "u", PasswordFile: "/nonexistent"},
	} {
		cfg.DialTimeout = time.Second
		_, err := Open(context.Background(), cfg)
		var c *ConfigError
		if !errors.As(err, &c) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
}

// The endpoints come from SRV records.
func TestSRV(t *testing.T) {
	srv := etcdtest.Shared(t)
	_, port, err := net.SplitHostPort(srv.Addr())
	if err != nil {
		t.Fatal(err)
	}
	serveDNS(t, func() string { return port })
	c := open(t, Config{SRV: "conch.test"})
	if _, err := Do(within(t, 10*time.Second), c, get); err != nil {
		t.Fatal(err)
	}
	if m, _ := c.Preferred(); m.Endpoint != "http://localhost:"+port {
		t.Errorf("endpoint %s", m.Endpoint)
	}
	_, err = Open(context.Background(), Config{SRV: "none.test", DialTimeout: 5 * time.Second})
	var u *Unreachable
	if !errors.As(err, &u) || !strings.Contains(err.Error(), "none.test") {
		t.Errorf("a domain without records: %v", err)
	}
}

// SRV records are looked up again when no endpoint answers any more, whether it refuses
// or is silent.
func TestSRVAgain(t *testing.T) {
	var now atomic.Pointer[etcdtest.Proxy]
	serveDNS(t, func() string {
		_, port, _ := net.SplitHostPort(now.Load().Addr())
		return port
	})
	srv, other := etcdtest.Shared(t), another(t)
	var roads []*etcdtest.Proxy
	for range 3 {
		roads = append(roads, etcdtest.Road(t, srv))
	}
	now.Store(roads[0])
	c := open(t, Config{SRV: "conch.test"})
	if _, err := Do(within(t, 10*time.Second), c, get); err != nil {
		t.Fatal(err)
	}
	events := make(chan error, 1)
	m, moved := c.Preferred()
	go func() {
		<-moved
		events <- nil
	}()
	for i, strike := range []func(*etcdtest.Proxy){down, (*etcdtest.Proxy).Cut} {
		now.Store(roads[i+1])
		strike(roads[i])
		if _, err := Do(within(t, 30*time.Second), c, get); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	select {
	case <-events:
	case <-time.After(10 * time.Second):
		t.Errorf("who watches through %s was not told to move", m.Endpoint)
	}
	if h := handed(t, c); len(h.Endpoints) != 1 || !strings.HasSuffix(roads[2].Addr(), h.Endpoints[0][strings.LastIndex(h.Endpoints[0], ":"):]) {
		t.Errorf("a helper is told of %q", h.Endpoints)
	}
	now.Store(etcdtest.Road(t, other)) // which is none of ours
	roads[2].Cut()
	var u *Unreachable
	if _, err := Do(within(t, 6*time.Second), c, get); !errors.As(err, &u) && !errors.As(err, new(*OtherCluster)) {
		t.Errorf("another cluster: %v", err)
	}
}

// serveDNS answers SRV queries for conch.test with localhost and the port, and
// nothing else. Go's resolver asks it from now on.
func serveDNS(t *testing.T, port func() string) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	old := net.DefaultResolver
	t.Cleanup(func() { net.DefaultResolver = old })
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	go func() {
		buf := make([]byte, 1500)
		for {
			size, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var q dnsmessage.Message
			if q.Unpack(buf[:size]) != nil || len(q.Questions) != 1 {
				continue
			}
			q.Response, q.Authoritative, q.Additionals = true, true, nil
			q.RCode = dnsmessage.RCodeNameError
			n, _ := strconv.Atoi(port()) // not by the resolver that this is
			if q.Questions[0].Name.String() == "_etcd-client._tcp.conch.test." {
				q.RCode = dnsmessage.RCodeSuccess
				q.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Questions[0].Name, Type: dnsmessage.TypeSRV, Class: dnsmessage.ClassINET, TTL: 1},
					Body:   &dnsmessage.SRVResource{Port: uint16(n), Target: dnsmessage.MustNewName("localhost.")},
				}}
			}
			if b, err := q.Pack(); err == nil {
				conn.WriteTo(b, from)
			}
		}
	}()
}

// A JWT in the place of user and password.
func TestToken(t *testing.T) {
	srv, err := etcdtest.Start(etcdtest.Options{JWT: true})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	if err := srv.EnableAuth(within(t, 30*time.Second), "/test"); err != nil {
		t.Fatal(err)
	}
	root, err := srv.Client(etcdtest.RootUser, etcdtest.RootUser)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	app, err := root.Authenticate(within(t, 10*time.Second), etcdtest.AppUser, etcdtest.AppUser)
	if err != nil {
		t.Fatal(err)
	}
	c := open(t, Config{Endpoints: []string{srv.Endpoint()}, Token: app.Token})
	if _, err := Do(within(t, 10*time.Second), c, get); err != nil {
		t.Error(err)
	}
	c = open(t, Config{Endpoints: []string{srv.Endpoint()}, Token: app.Token + "x"})
	_, err = Do(within(t, 10*time.Second), c, get)
	var refused *Refused
	if !errors.As(err, &refused) {
		t.Errorf("a token that is none: %v", err)
	}
}

// A look that has no time takes nothing away from what was found before.
func TestProbeCutShort(t *testing.T) {
	road := etcdtest.Road(t, etcdtest.Shared(t))
	p := &probe{c: open(t, Config{Endpoints: []string{"http://" + road.Addr()}})}
	road.Refuse()
	p.look(within(t, time.Minute))
	p.looked = time.Time{}
	p.look(within(t, 0))
	if len(p.found) != 1 || p.found[0].cause == nil || p.found[0].cause.Error() != "connection refused" {
		t.Errorf("%+v", p.found)
	}
}

// A token that was got for a password is good for a while, and then another is got.
func TestTokenExpires(t *testing.T) {
	srv, err := etcdtest.Start(etcdtest.Options{JWT: true, TokenTTL: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	if err := srv.EnableAuth(within(t, 30*time.Second), "/test"); err != nil {
		t.Fatal(err)
	}
	c := open(t, Config{Endpoints: []string{srv.Endpoint()}, User: etcdtest.AppUser, Password: etcdtest.AppUser})
	for range 2 {
		if _, err := Do(within(t, 20*time.Second), c, get); err != nil {
			t.Fatal(err)
		}
		m, _ := c.Preferred()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if r, ok := <-m.Watch(ctx, "/test/etcd", clientv3.WithCreatedNotify()); !ok || !r.Created {
			t.Fatalf("no watch: %v", r)
		}
		cancel()
		time.Sleep(4 * time.Second) // the life of a token, and more
	}
}

// The releases from which on a linearizable read verifies a renewal.
func TestReleases(t *testing.T) {
	for version, want := range map[string]bool{
		"3.3.27": false, "3.4.23": false, "3.4.41": false, "3.4.42": true, "3.5.27": false, "3.5.28": true,
		"3.6.8": false, "3.6.9": true, "3.7.0": true, "3.7.0-rc.1": true, "3.8.0": true, "4.0.0": true, "2.3.8": false, "": false, "junk": false,
	} {
		if got := ReleaseOf(version); got != (Release{version, want}) {
			t.Errorf("ReleaseOf(%q) = %+v", version, got)
		}
	}
	// The one that the tests run against is.
	c := open(t, Config{Endpoints: []string{etcdtest.Shared(t).Endpoint()}})
	m, _ := c.Preferred()
	ctx := within(t, 10*time.Second)
	s, err := m.v3.Status(ctx, m.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := m.Release(ctx); err != nil || r != ReleaseOf(s.Version) {
		t.Errorf("%+v, %v; it is %s", r, err, s.Version)
	}
	if v, err := m.Verifies(ctx); err != nil || v.Verifies != ReleaseOf(s.Version).Verifies || v.Member != s.Header.MemberId {
		t.Errorf("%+v, %v", v, err)
	}
}

// A member that hangs does not keep the others from being asked again: of two,
// one is silent and the other fails once.
func TestDoAsksAgain(t *testing.T) {
	srv := etcdtest.Shared(t)
	endpoints := []string{"http://" + etcdtest.Road(t, srv).Addr(), "http://" + etcdtest.Road(t, srv).Addr()}
	c := open(t, Config{Endpoints: endpoints})
	asked := make(chan *Member, 100)
	answered, err := Do(within(t, 20*time.Second), c, func(ctx context.Context, m *Member) (bool, error) {
		asked <- m
		if m.Endpoint == endpoints[0] {
			<-ctx.Done()
			return false, ctx.Err()
		}
		if len(asked) < 3 {
			return false, errors.New("not now")
		}
		return true, nil
	})
	if err != nil || !answered {
		t.Errorf("%v, %v", answered, err)
	}
}
