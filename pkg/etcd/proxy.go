package etcd

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
)

// dialRaw connects to the member without gRPC, on the road that gRPC takes.
func (m *Member) dialRaw(ctx context.Context) (net.Conn, error) {
	network, address := target(m.Endpoint)
	if proxy := m.proxy(); proxy != nil {
		return through(ctx, proxy, address)
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// proxy returns the proxy through which gRPC goes to the member, nil if it goes
// straight: whichever the endpoint's scheme is, it is that for https.
func (m *Member) proxy() *url.URL {
	network, address := target(m.Endpoint)
	if network == "unix" {
		return nil
	}
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "https", Host: address}})
	if err != nil {
		return nil // nor does gRPC get anywhere, and says why
	}
	return proxy
}

// notThrough is a proxy's refusal to let us through.
type notThrough struct{ status string }

func (e *notThrough) Error() string { return "it answers " + e.status }

// through connects to address through a proxy, by HTTP's CONNECT.
func through(ctx context.Context, proxy *url.URL, address string) (net.Conn, error) {
	host := proxy.Host
	if proxy.Port() == "" {
		host = net.JoinHostPort(proxy.Hostname(), "443") // as gRPC has it
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	err = connectThrough(conn, proxy, address)
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	return conn, nil
}

func connectThrough(conn net.Conn, proxy *url.URL, address string) error {
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Host: address}, Header: http.Header{"User-Agent": {"conch"}}}
	if proxy.User != nil {
		password, _ := proxy.User.Password()
		auth := http.Request{Header: http.Header{}}
		auth.SetBasicAuth(proxy.User.Username(), password)
		req.Header.Set("Proxy-Authorization", auth.Header.Get("Authorization"))
	}
	if err := req.Write(conn); err != nil {
		return err
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), req) // etcd says nothing before it is asked
	switch {
	case err != nil:
		return fmt.Errorf("it does not speak HTTP: %w", err)
	case r.StatusCode == http.StatusOK:
		return nil
	case r.StatusCode < 500:
		return &notThrough{r.Status}
	}
	return fmt.Errorf("it answers %s", r.Status)
}
