// Package etcdtest gives tests a real etcd, and a road to it that can be cut.
//
// Nothing here is for production: the servers do not fsync and elect a leader
// in a tenth of a second. They are processes of their own, not embedded ones,
// because being killed, stopped and cut off apart from the test is the point.
// A test that finds no etcd fails; it never skips.
//
//	func TestMain(m *testing.M) { os.Exit(etcdtest.M{M: m}.Run()) }
//
//	func TestSomething(t *testing.T) {
//		srv := etcdtest.Shared(t)          // one for the package: keep to a prefix of your own
//		road := etcdtest.Road(t, srv)      // a Proxy: Cut, Heal, Delay, Trips
//		client := etcdtest.Client(t, srv)  // straight to the server, past the road
//	}
package etcdtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Find returns the path of an etcd, and builds one when there is none. The
// order is $CONCH_ETCD, the one built before, the one in PATH (3.4 or later),
// the pinned one in dev/etcd; dev/find-etcd decides, so that make and make try
// take the same.
func Find() (string, error) {
	if path := os.Getenv("CONCH_ETCD"); path != "" {
		return exec.LookPath(path)
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	cmd := exec.Command(filepath.Join(root, "dev/find-etcd"))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("find an etcd to test against: %w (set CONCH_ETCD to one)", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Root returns the top of the source tree, above the working directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "layers_test.go")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("not inside conch's source tree")
}

// shared is the one server of a test binary. It starts when the first test
// asks, so that a run of unit tests alone waits for nothing.
var shared struct {
	sync.Mutex
	running bool // between the start and the end of M.Run
	server  *Server
}

// M is a *testing.M whose Run stops the shared server after the tests.
type M struct{ *testing.M }

// Run runs the tests.
func (m M) Run() int {
	shared.Lock()
	shared.running = true
	shared.Unlock()
	defer func() {
		shared.Lock()
		defer shared.Unlock()
		shared.running = false
		if shared.server != nil {
			shared.server.Close()
			shared.server = nil
		}
	}()
	return m.M.Run()
}

// Shared returns the server that all tests of the package share. Do not stop
// it, do not compact it, and keep to a prefix of your own.
func Shared(tb testing.TB) *Server {
	tb.Helper()
	shared.Lock()
	defer shared.Unlock()
	if !shared.running {
		tb.Fatal("etcdtest.Shared needs TestMain to call etcdtest.M{M: m}.Run()")
	}
	if shared.server == nil {
		s, err := Start(Options{})
		if err != nil {
			tb.Fatal(err)
		}
		shared.server = s
	}
	return shared.server
}

// Client returns a client that talks straight to s and is closed at the end
// of the test.
func Client(tb testing.TB, s *Server) *clientv3.Client {
	tb.Helper()
	c, err := s.Client("", "")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return c
}

// Version returns the version of etcd that s runs: not every test finds the
// same in each.
func Version(tb testing.TB, s *Server) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	st, err := Client(tb, s).Status(ctx, s.Endpoint())
	if err != nil {
		tb.Fatal(err)
	}
	return st.Version
}

// Requests returns how many requests of gRPC methods s has been sent, such as Range
// and Txn.
func Requests(tb testing.TB, s *Server, methods ...string) (n int) {
	tb.Helper()
	r, err := http.Get(s.Endpoint() + "/metrics")
	if err != nil {
		tb.Fatal(err)
	}
	defer r.Body.Close()
	found := regexp.MustCompile(`^grpc_server_started_total\{.*grpc_method="(\w+)".*\} (\S+)$`)
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		if m := found.FindStringSubmatch(lines.Text()); m != nil && slices.Contains(methods, m[1]) {
			v, err := strconv.ParseFloat(m[2], 64)
			if err != nil {
				tb.Fatal(err)
			}
			n += int(v)
		}
	}
	if err := lines.Err(); err != nil {
		tb.Fatal(err)
	}
	return n
}

// Road returns a new Proxy to s, closed at the end of the test.
func Road(tb testing.TB, s *Server) *Proxy {
	tb.Helper()
	p, err := NewProxy(s.Addr())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { p.Close() })
	return p
}

// GRPCProxy runs etcd's grpc-proxy in front of s until the end of the test, and
// returns its endpoint.
func GRPCProxy(tb testing.TB, s *Server) string {
	tb.Helper()
	endpoint, stop, err := s.GRPCProxy(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(stop)
	return endpoint
}

// GRPCProxy runs etcd's grpc-proxy in front of s, which keeps what it needs in dir,
// and returns its endpoint, and what ends it.
func (s *Server) GRPCProxy(dir string) (endpoint string, stop func(), _ error) {
	etcd, err := Find()
	if err != nil {
		return "", nil, err
	}
	ports, err := freePorts(1)
	if err != nil {
		return "", nil, err
	}
	addr := "127.0.0.1:" + strconv.Itoa(ports[0])
	cmd := exec.Command(etcd, "grpc-proxy", "start", "--endpoints", s.Endpoint(), "--listen-addr", addr, "--data-dir", dir)
	cmd.Env = environWithout("ETCD_")
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill() // already gone is fine
		_ = cmd.Wait()
	}
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return "http://" + addr, stop, nil
		}
	}
	stop()
	return "", nil, fmt.Errorf("the grpc-proxy does not listen within %v", startTimeout)
}

// Client returns a client that talks straight to s, as user if that is not
// empty.
func (s *Server) Client(user, password string) (*clientv3.Client, error) {
	cfg := clientv3.Config{
		Endpoints:   []string{s.Endpoint()},
		DialTimeout: 10 * time.Second,
		Username:    user,
		Password:    password,
		Logger:      zap.NewNop(),
	}
	if s.opts.TLS != nil {
		t, err := s.opts.TLS.ClientConfig()
		if err != nil {
			return nil, err
		}
		cfg.TLS = t
	}
	return clientv3.New(cfg)
}

// The users that EnableAuth makes. App may read and write only below the
// prefix it was made for. Each has its own name as its password.
const (
	RootUser = "root"
	AppUser  = "app"
)

// EnableAuth turns authentication on, with RootUser and AppUser.
func (s *Server) EnableAuth(ctx context.Context, prefix string) error {
	c, err := s.Client("", "")
	if err != nil {
		return err
	}
	defer c.Close()
	prefix = strings.TrimSuffix(prefix, "/") + "/"
	rw := clientv3.PermissionType(clientv3.PermReadWrite)
	steps := []func() error{
		func() error { _, err := c.RoleAdd(ctx, "root"); return err },
		func() error { _, err := c.UserAdd(ctx, RootUser, RootUser); return err },
		func() error { _, err := c.UserGrantRole(ctx, RootUser, "root"); return err },
		func() error { _, err := c.RoleAdd(ctx, AppUser); return err },
		func() error {
			_, err := c.RoleGrantPermission(ctx, AppUser, prefix, clientv3.GetPrefixRangeEnd(prefix), rw)
			return err
		},
		func() error { _, err := c.UserAdd(ctx, AppUser, AppUser); return err },
		func() error { _, err := c.UserGrantRole(ctx, AppUser, AppUser); return err },
		func() error { _, err := c.AuthEnable(ctx); return err },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("enable auth: %w", err)
		}
	}
	return nil
}
