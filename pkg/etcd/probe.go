package etcd

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// probeAfter is how long a question may stay without an answer before somebody
// goes and looks why.
const probeAfter = time.Second

// probe finds out why no member answers, in words that a user can act on. gRPC
// knows too, but says so in text only; this walks the same road with types.
type probe struct {
	c     *Client
	off   bool // there is nothing to look for
	timer *time.Timer

	looking sync.Mutex
	looked  time.Time // when it last did

	mu    sync.Mutex
	found []finding // one per member, once it has looked
}

// finding is what stands in the way to one member.
type finding struct {
	endpoint string
	cause    error
	hint     string
	final    bool // waiting does not help
}

// probeLater starts a probe that looks by itself if it is not stopped within
// probeAfter.
func (c *Client) probeLater(ctx context.Context) *probe {
	p := &probe{c: c}
	if c.answered.Load() { // the road is known to be good; what is wrong will pass
		p.off = true
		return p
	}
	c.wg.Add(1)
	p.timer = time.AfterFunc(probeAfter, func() {
		defer c.wg.Done()
		p.look(ctx)
	})
	return p
}

// Stop ends the probe if it has not begun.
func (p *probe) Stop() {
	if !p.off && p.timer.Stop() {
		p.c.wg.Done()
	}
}

// look walks to every member, all at the same time, unless it has just done so.
func (p *probe) look(ctx context.Context) {
	p.looking.Lock()
	defer p.looking.Unlock()
	if p.off || time.Since(p.looked) < probeAfter {
		return
	}
	members := p.c.list().members
	found := make([]finding, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() {
			found[i] = m.diagnose(ctx)
			found[i].endpoint = m.Endpoint
		})
	}
	wg.Wait()
	p.looked = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if end, any := ctx.Deadline(); any && p.looked.After(end) && p.found != nil {
		return // it was cut short: what it found before says more
	}
	p.found = found
}

// permanent looks, and returns an error if no member will ever answer as
// things are set.
func (p *probe) permanent(ctx context.Context) error {
	p.look(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.found) == 0 || slices.ContainsFunc(p.found, func(f finding) bool { return !f.final }) {
		return nil
	}
	f := p.found[0]
	return &Unreachable{Endpoint: f.endpoint, Cause: f.cause, hint: f.hint}
}

// unreachable is the error for a question that found no answer before ctx, the
// caller's context, ended.
func (c *Client) unreachable(ctx context.Context, last failure, p *probe) error {
	if errors.Is(ctx.Err(), context.Canceled) || (ctx.Err() == nil && c.ctx.Err() != nil) {
		return context.Canceled
	}
	if errors.As(last.err, new(*Refused)) { // for as long as that might have passed
		return last.err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.found {
		if f.cause != nil {
			return &Unreachable{Endpoint: f.endpoint, Cause: f.cause, hint: f.hint}
		}
	}
	u := &Unreachable{Endpoint: last.endpoint, Cause: last.err}
	switch {
	case last.err == nil || errors.Is(last.err, context.DeadlineExceeded):
		m, _ := c.Preferred()
		u.Endpoint, u.Cause = m.Endpoint, errors.New("no answer in time")
	default:
		u.Cause = errors.New(message(last.err))
	}
	return u
}

// diagnose finds what stands in the way to m, and where: the road may lead through a
// proxy.
func (m *Member) diagnose(ctx context.Context) finding {
	ctx, cancel := context.WithTimeout(ctx, probeAfter)
	defer cancel()
	f := m.walk(ctx)
	if proxy := m.proxy(); proxy != nil && f.cause != nil {
		f.cause = fmt.Errorf("through the proxy %s: %w", proxy.Redacted(), f.cause)
		f.hint = cmp.Or(f.hint, "the proxy is that of HTTPS_PROXY; NO_PROXY names the hosts that need none")
	}
	return f
}

// walk walks the road: TCP, TLS, HTTP, and what etcd says of itself.
func (m *Member) walk(ctx context.Context) finding {
	secure := m.secure()
	conn, err := m.dialRaw(ctx)
	if err != nil {
		refused := errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) // of a socket's path
		return finding{cause: dialCause(err), final: refused && m.client.cfg.Hasty || errors.As(err, new(*notThrough))}
	}
	defer conn.Close()
	if d, ok := ctx.Deadline(); ok {
		conn.SetDeadline(d)
	}
	if secure {
		t := tls.Client(conn, m.tlsConfig())
		if err := t.HandshakeContext(ctx); err != nil {
			if m.speaksPlain(ctx) {
				err = tls.RecordHeaderError{}
			}
			return tlsFinding(err)
		}
		conn = t
	}
	switch is, err := askVersion(conn); {
	case err == nil && !is:
		return finding{cause: errors.New("it answers HTTP but is not etcd"), hint: "check the port; etcd's clients use 2379", final: true}
	case err == nil:
		return m.leaderless(ctx)
	case secure:
		return tlsFinding(err)
	case m.speaksTLS(ctx):
		return finding{cause: errors.New("it speaks TLS, and the endpoint is a plain one"),
			hint: "use https:// in --endpoints, and set --cacert", final: true}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return finding{cause: errors.New("connected, but no answer in time")}
	}
	return finding{cause: fmt.Errorf("it does not speak HTTP: %w", err)}
}

func (m *Member) tlsConfig() *tls.Config {
	cfg := &tls.Config{}
	if m.spec.TLS != nil {
		cfg = m.spec.TLS.Clone()
	}
	cfg.ServerName = hostOf(m.Endpoint)
	cfg.NextProtos = nil // HTTP/1.1 will do
	return cfg
}

func (m *Member) speaksTLS(ctx context.Context) bool {
	conn, err := m.dialRaw(ctx)
	if err != nil {
		return false
	}
	defer conn.Close()
	err = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx)
	var alert tls.AlertError // it does, and wants more of us
	return err == nil || errors.As(err, &alert)
}

// speaksPlain reports whether what is behind an https endpoint answers plain
// HTTP.
func (m *Member) speaksPlain(ctx context.Context) bool {
	conn, err := m.dialRaw(ctx)
	if err != nil {
		return false
	}
	defer conn.Close()
	if d, ok := ctx.Deadline(); ok {
		conn.SetDeadline(d)
	}
	_, err = askVersion(conn)
	return err == nil
}

const versionRequest = "GET /version HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n"

// askVersion asks for /version as HTTP/1.1, which every etcd answers without a
// user, and reports whether the answer is etcd's.
func askVersion(conn net.Conn) (is bool, _ error) {
	if _, err := fmt.Fprint(conn, versionRequest); err != nil {
		return false, err
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return false, err
	}
	defer r.Body.Close()
	if r.StatusCode == http.StatusBadRequest { // how Go's TLS servers answer plain HTTP
		return false, errors.New("bad request")
	}
	var v struct {
		Etcd string `json:"etcdserver"`
	}
	err = json.NewDecoder(http.MaxBytesReader(nil, r.Body, 1<<16)).Decode(&v)
	return err == nil && v.Etcd != "", nil
}

// leaderless asks a member that is up why it does not answer.
func (m *Member) leaderless(ctx context.Context) finding {
	if err := m.connect(ctx); err != nil {
		return finding{}
	}
	s, err := m.status(ctx)
	if err == nil && s.Leader == 0 {
		return finding{cause: errors.New("the cluster has no leader"), hint: "etcdctl endpoint status --cluster shows which members are up"}
	}
	return finding{}
}

func dialCause(err error) error {
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("connection refused")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("no answer to a connection attempt")
	case errors.As(err, &dns):
		return fmt.Errorf("cannot look up %s: %s", dns.Name, dns.Err)
	}
	return err
}

// tlsFinding explains a handshake that failed.
func tlsFinding(err error) finding {
	var authority x509.UnknownAuthorityError
	var verify *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.As(err, &authority):
		return finding{cause: authority, hint: "set --cacert or ETCDCTL_CACERT to the authority that signed etcd's certificate", final: true}
	case errors.As(err, &verify):
		return finding{cause: verify.Err, final: true}
	case errors.As(err, &header):
		return finding{cause: errors.New("it does not speak TLS, and the endpoint is an https one"), hint: "use http:// in --endpoints", final: true}
	case errors.As(err, &alert):
		return finding{cause: fmt.Errorf("it refused our side of TLS: %w", err), hint: "set --cert and --key if etcd asks for client certificates", final: true}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return finding{cause: errors.New("connected, but no answer in time")}
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return finding{cause: fmt.Errorf("it refused our side of TLS: %w", op.Err), hint: "set --cert and --key if etcd asks for client certificates", final: true}
	}
	return finding{cause: err}
}
