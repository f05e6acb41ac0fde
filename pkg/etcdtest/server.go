package etcdtest

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"
)

// Options of a server or a cluster; the zero value is a plain one.
type Options struct {
	TLS  *TLS     // serve TLS and demand a certificate of clients
	JWT  bool     // tokens of authenticated users are JWTs
	Args []string // further flags of etcd

	TokenTTL time.Duration // of a JWT; 0: 10 minutes

	// AsShipped runs etcd as its users do: what it has answered is on the disk,
	// and elections take their time. For measurements.
	AsShipped bool

	// PeerRoads lets members of a cluster reach each other over roads that can be
	// cut; see Isolate.
	PeerRoads bool

	// Hosts, if not nil, are where the members of a cluster run, one each.
	Hosts []Host
}

// A Host is a network namespace that the caller has made, and the address that
// it has there. The caller must be able to reach that address.
type Host struct {
	Namespace string // a file, as setns(2) takes it
	IP        string
}

// A Server is one etcd process, a member of a cluster of one or more.
type Server struct {
	Name    string
	opts    Options
	dir     string
	host    Host
	port    int
	args    []string
	cmd     *exec.Cmd
	exited  chan struct{}
	waitErr error // valid once exited is closed

	cluster  []*Server // itself too
	peerRoad *Proxy    // to it, with Options.PeerRoads
}

// startTimeout is for a machine that is busy building something else.
const startTimeout = 30 * time.Second

// Start runs one etcd until it answers.
func Start(o Options) (*Server, error) {
	c, err := StartCluster(1, o)
	if err != nil {
		return nil, err
	}
	return c[0], nil
}

// StartCluster runs n members of one cluster until all of them answer.
func StartCluster(n int, o Options) ([]*Server, error) {
	etcd, err := Find()
	if err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		c, err := startOnce(etcd, n, o)
		if err == nil || try == 5 || !errors.Is(err, syscall.EADDRINUSE) {
			return c, err
		}
	}
}

func startOnce(etcd string, n int, o Options) ([]*Server, error) {
	ports, err := freePorts(2 * n)
	if err != nil {
		return nil, err
	}
	var members []*Server
	var initial []string
	for i := range n {
		m := &Server{Name: "m" + strconv.Itoa(i+1), opts: o, port: ports[2*i], host: Host{IP: "127.0.0.1"}}
		if o.Hosts != nil {
			m.host = o.Hosts[i]
		}
		members = append(members, m)
		if o.PeerRoads && err == nil {
			m.peerRoad, err = NewProxy(strings.TrimPrefix(m.peerURL(ports[2*i+1]), "http://"))
		}
		initial = append(initial, m.Name+"="+m.advertised(ports[2*i+1]))
	}
	for i, m := range members {
		m.cluster = members
		if err == nil {
			err = m.prepare(etcd, ports[2*i+1], strings.Join(initial, ","))
		}
		if err == nil {
			err = m.run()
		}
	}
	for _, m := range members {
		if err == nil {
			err = m.Ready()
		}
	}
	if err != nil {
		for _, m := range members {
			m.Close()
		}
		return nil, err
	}
	return members, nil
}

// prepare makes the data directory and the command line.
func (s *Server) prepare(etcd string, peerPort int, initial string) error {
	dir, err := os.MkdirTemp("", "conch-etcd-")
	if err != nil {
		return err
	}
	s.dir = dir
	// A cluster of several must not elect anew whenever the machine stalls
	// for 100 ms; a single member has nobody to lose an election to.
	heartbeat, election := "10", "100"
	if strings.Contains(initial, ",") {
		heartbeat, election = "50", "500"
	}
	s.args = []string{etcd,
		"--name=" + s.Name,
		"--data-dir=" + s.Data(),
		"--listen-client-urls=" + s.Endpoint(),
		"--advertise-client-urls=" + s.Endpoint(),
		"--listen-peer-urls=" + s.peerURL(peerPort),
		"--initial-advertise-peer-urls=" + s.advertised(peerPort),
		"--initial-cluster=" + initial,
		"--initial-cluster-token=" + initial,
	}
	if !s.opts.AsShipped {
		s.args = append(s.args, "--unsafe-no-fsync", "--heartbeat-interval="+heartbeat, "--election-timeout="+election)
	}
	if t := s.opts.TLS; t != nil {
		s.args = append(s.args, "--client-cert-auth", "--trusted-ca-file="+t.CA,
			"--cert-file="+t.ServerCert, "--key-file="+t.ServerKey)
	}
	if s.opts.JWT {
		pub, key, err := writeJWTKeys(dir)
		if err != nil {
			return err
		}
		s.args = append(s.args, "--auth-token=jwt,pub-key="+pub+",priv-key="+key+",sign-method=ES256,ttl="+cmp.Or(s.opts.TokenTTL, 10*time.Minute).String())
	}
	s.args = append(s.args, s.opts.Args...)
	return nil
}

// run starts the process. A goroutine of its own owns it, on a thread of its
// own: the kernel sends the death signal when the *thread* that forked ends
// (golang.org/issue/27505), not the process.
func (s *Server) run() error {
	log, err := os.OpenFile(s.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(s.args[0], s.args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = environWithout("ETCD_")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	exited := make(chan struct{})
	go func() {
		runtime.LockOSThread() // for good: the thread ends here
		err := s.host.enter()
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err == nil {
			s.waitErr = cmd.Wait()
			close(exited)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	s.cmd, s.exited = cmd, exited
	return nil
}

// Ready waits until the member answers a linearizable read.
func (s *Server) Ready() error {
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	if s.opts.TLS != nil {
		cfg, err := s.opts.TLS.ClientConfig()
		if err != nil {
			return err
		}
		client.Transport = &http.Transport{DisableKeepAlives: true, TLSClientConfig: cfg}
	}
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		select {
		case <-s.exited:
			return s.startError()
		default:
		}
		if healthy(client, s.Endpoint()+"/health") {
			return nil
		}
	}
	return fmt.Errorf("etcd %s not healthy within %v:\n%s", s.Name, startTimeout, s.logTail())
}

func healthy(c *http.Client, url string) bool {
	resp, err := c.Get(url)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return err == nil && resp.StatusCode == http.StatusOK && strings.Contains(string(body), `"health":"true"`)
}

func (s *Server) startError() error {
	tail := s.logTail()
	if strings.Contains(tail, "address already in use") {
		return fmt.Errorf("etcd %s: %w", s.Name, syscall.EADDRINUSE)
	}
	return fmt.Errorf("etcd %s: %v:\n%s", s.Name, s.waitErr, tail)
}

func (s *Server) logTail() string {
	b, _ := os.ReadFile(s.Log())
	return string(b[max(0, len(b)-2000):])
}

// Addr returns the host and port clients connect to.
func (s *Server) Addr() string { return s.host.IP + ":" + strconv.Itoa(s.port) }

func (s *Server) peerURL(port int) string { return fmt.Sprintf("http://%s:%d", s.host.IP, port) }

// advertised is where other members find it.
func (s *Server) advertised(peerPort int) string {
	if s.peerRoad != nil {
		return "http://" + s.peerRoad.Addr()
	}
	return s.peerURL(peerPort)
}

// enter moves the calling thread to the host.
func (h Host) enter() error {
	if h.Namespace == "" {
		return nil
	}
	f, err := os.Open(h.Namespace)
	if err != nil {
		return err
	}
	defer f.Close()
	return os.NewSyscallError("setns", unix.Setns(int(f.Fd()), unix.CLONE_NEWNET))
}

// Start starts cmd on the host.
func (h Host) Start(cmd *exec.Cmd) error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread is of no use elsewhere
		err := h.enter()
		if err == nil {
			err = cmd.Start()
		}
		started <- err
	}()
	return <-started
}

// Endpoint returns Addr as a URL.
func (s *Server) Endpoint() string {
	if s.opts.TLS != nil {
		return "https://" + s.Addr()
	}
	return "http://" + s.Addr()
}

// Data returns the directory of what etcd keeps, for a stopped one to be copied.
func (s *Server) Data() string { return filepath.Join(s.dir, "data") }

// Log returns the path of what etcd has printed.
func (s *Server) Log() string { return filepath.Join(s.dir, "log") }

// Pid returns the process id.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Pause stops the process as SIGSTOP does: connections stay open, nothing is
// answered.
func (s *Server) Pause() error { return s.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume continues a paused process.
func (s *Server) Resume() error { return s.cmd.Process.Signal(syscall.SIGCONT) }

// Leads reports whether the member believes to be the leader.
func (s *Server) Leads(ctx context.Context) (bool, error) {
	st, err := s.status(ctx)
	return err == nil && st.Leader == st.Header.MemberId, err
}

func (s *Server) status(ctx context.Context) (*clientv3.StatusResponse, error) {
	c, err := s.Client("", "")
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Status(ctx, s.Endpoint())
}

// Leader returns which member leads, once one does.
func Leader(ctx context.Context, members []*Server) (int, error) {
	for ; ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		for i, m := range members {
			ask, cancel := context.WithTimeout(ctx, time.Second)
			leads, err := m.Leads(ask)
			cancel()
			if err == nil && leads {
				return i, nil
			}
		}
	}
	return 0, fmt.Errorf("no member leads: %w", ctx.Err())
}

// Isolate cuts the member off from the others of its cluster, and not from its
// clients. The cluster has PeerRoads.
func (s *Server) Isolate(ctx context.Context) error {
	if s.peerRoad == nil {
		return errors.New("etcd was started without PeerRoads")
	}
	st, err := s.status(ctx)
	if err != nil {
		return err
	}
	for _, m := range s.cluster {
		if m == s {
			m.peerRoad.Cut()
		} else { // a member says who it is in each request that is about its log
			m.peerRoad.CutFrom(fmt.Sprintf("X-Server-From: %x\r\n", st.Header.MemberId))
		}
	}
	return nil
}

// Rejoin undoes Isolate.
func (s *Server) Rejoin() error {
	var errs []error
	for _, m := range s.cluster {
		errs = append(errs, m.peerRoad.Heal())
	}
	return errors.Join(errs...)
}

// Kill ends the process as a power cut would. The data stay.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill() // already gone is fine
	<-s.exited
}

// Stop asks the process to end, and kills it when it does not. The data stay.
func (s *Server) Stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Process.Signal(syscall.SIGCONT)
	select {
	case <-s.exited:
	case <-time.After(5 * time.Second):
		s.Kill()
	}
}

// Restart runs a stopped or killed member again, on the same data and port,
// until it answers.
func (s *Server) Restart() error {
	if err := s.Rerun(); err != nil {
		return err
	}
	return s.Ready()
}

// Rerun is Restart without the waiting, for when too few members are up to
// answer.
func (s *Server) Rerun() error {
	select {
	case <-s.exited:
	default:
		return fmt.Errorf("etcd %s is running", s.Name)
	}
	return s.run()
}

// Close kills the process and removes its data.
func (s *Server) Close() {
	if s.cmd != nil {
		s.Kill()
	}
	if s.peerRoad != nil {
		s.peerRoad.Close()
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
}

// freePorts picks n ports of 127.0.0.1 that nobody listens on, below those the
// kernel gives to outgoing connections: a server that is down for a while must
// find its port free when it comes back.
func freePorts(n int) ([]int, error) {
	low := 32768
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		_, _ = fmt.Sscan(string(b), &low)
	}
	if low < 12000 {
		low = 65536
	}
	var ports []int
	for range 1000 {
		port := 10000 + rand.IntN(low-10000)
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		defer l.Close() // held until all are picked, so that none comes twice
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("no free port on 127.0.0.1")
}

func environWithout(prefix string) []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, prefix) {
			env = append(env, kv)
		}
	}
	return env
}

// ClientConfig returns what a client of a TLS server needs.
func (t *TLS) ClientConfig() (*tls.Config, error) {
	pool, err := certPool(t.CA)
	if err != nil {
		return nil, err
	}
	cert, err := tls.LoadX509KeyPair(t.ClientCert, t.ClientKey)
	if err != nil {
		return nil, err
	}
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}, nil
}
