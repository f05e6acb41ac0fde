// Package etcd is a client made from flags and environment: endpoints, TLS,
// user, discovery; and one way to ask a cluster something.
//
// It does not promise that an answer is the only effect of a question: a call
// that is slow is put to the next member too, so whatever is passed to Do must
// be harmless when it happens twice, or late.
package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/srv"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Config says how to reach a cluster. Its fields have the names, and the
// meaning, of etcdctl's flags. It is JSON so that a helper process can be
// handed the same road.
type Config struct {
	Endpoints    []string      `json:"endpoints"`               // URLs, or host:port
	DialTimeout  time.Duration `json:"dial_timeout"`            // for the first answer
	CACert       string        `json:"cacert,omitempty"`        // file, PEM
	Cert         string        `json:"cert,omitempty"`          // file, PEM
	Key          string        `json:"key,omitempty"`           // file, PEM
	SkipVerify   bool          `json:"skip_verify,omitempty"`   // accept any server certificate
	User         string        `json:"user,omitempty"`          // name, or name:password
	Password     string        `json:"password,omitempty"`      // beats the one in User
	PasswordFile string        `json:"password_file,omitempty"` // its first line beats both
	Token        string        `json:"token,omitempty"`         // a JWT, instead of user and password
	SRV          string        `json:"srv,omitempty"`           // domain whose SRV records name the endpoints
	SRVName      string        `json:"srv_name,omitempty"`      // suffix of the SRV service
}

// ConfigError is a setting that cannot work: an unreadable certificate, two
// schemes at once. The user mends it; trying again does not.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }
func (e *ConfigError) Unwrap() error { return e.Err }

func configErrorf(format string, args ...any) error {
	return &ConfigError{Err: fmt.Errorf(format, args...)}
}

// resolve fills in what the other fields only point to: endpoints from SRV
// records, the password from its file.
func (c Config) resolve(ctx context.Context) (Config, error) {
	if c.SRV != "" {
		found, err := lookupSRV(ctx, c.SRV, c.SRVName)
		if err != nil {
			return c, &Unreachable{Endpoint: "SRV records of " + c.SRV, Cause: err}
		}
		c.Endpoints = found
	}
	if len(c.Endpoints) == 0 {
		return c, configErrorf("no endpoint is given (set --endpoints or ETCDCTL_ENDPOINTS)")
	}
	c.Endpoints = withoutUsers(c.Endpoints)
	if err := checkEndpoints(c.Endpoints); err != nil {
		return c, err
	}
	if c.PasswordFile != "" {
		b, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return c, configErrorf("--password-file: %w", err)
		}
		c.Password, _, _ = strings.Cut(string(b), "\n")
	}
	if name, password, ok := strings.Cut(c.User, ":"); ok {
		c.User = name
		if c.Password == "" {
			c.Password = password
		}
	}
	if err := c.checkAuth(); err != nil {
		return c, err
	}
	return c, c.checkFiles()
}

// checkFiles looks at the files of TLS before the client library does, whose
// errors do not say which setting they are about, and which takes a file
// without a certificate for an authority that signs nothing.
func (c Config) checkFiles() error {
	if c.CACert != "" {
		pem, err := os.ReadFile(c.CACert)
		if err != nil {
			return configErrorf("--cacert: %w", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			return configErrorf("--cacert: %s holds no certificate in PEM form", c.CACert)
		}
	}
	if c.Cert == "" {
		return nil
	}
	cert, err := os.ReadFile(c.Cert)
	if err != nil {
		return configErrorf("--cert: %w", err)
	}
	key, err := os.ReadFile(c.Key)
	if err != nil {
		return configErrorf("--key: %w", err)
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return configErrorf("--cert %s and --key %s: %w", c.Cert, c.Key, err)
	}
	return nil
}

func (c Config) checkAuth() error {
	switch {
	case c.User != "" && c.Password == "":
		return configErrorf("user %q has no password (set --password-file or ETCDCTL_PASSWORD)", c.User)
	case c.User == "" && c.Password != "":
		return configErrorf("a password is set but no user (set --user or ETCDCTL_USER)")
	case c.User != "" && c.Token != "":
		return configErrorf("both a user and a token are set; use one of --user and CONCH_AUTH_JWT_TOKEN")
	case (c.Cert == "") != (c.Key == ""):
		return configErrorf("--cert and --key go together; only one of them is set")
	}
	return nil
}

// lookupSRV is srv.GetClient within ctx, which the library does not take.
func lookupSRV(ctx context.Context, domain, name string) ([]string, error) {
	type result struct {
		c   *srv.SRVClients
		err error
	}
	done := make(chan result, 1)
	go func() {
		c, err := srv.GetClient("etcd-client", domain, name)
		done <- result{c, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, r.err
		}
		for i, e := range r.c.Endpoints { // the dot that ends a name in DNS does not end one in a certificate
			r.c.Endpoints[i] = strings.Replace(e, ".:", ":", 1)
		}
		return r.c.Endpoints, nil
	case <-ctx.Done():
		return nil, errors.New("no answer from DNS in time")
	}
}

// withoutUsers takes away what endpoints have before an @: etcd does not read it,
// and it is not for messages.
func withoutUsers(endpoints []string) []string {
	bare := slices.Clone(endpoints)
	for i, e := range bare {
		scheme, rest, ok := strings.Cut(e, "://")
		if !ok {
			scheme, rest = "", e
		} else {
			scheme += "://"
		}
		if at := strings.LastIndexByte(rest, '@'); at >= 0 && !strings.HasPrefix(scheme, "unix") {
			bare[i] = scheme + rest[at+1:]
		}
	}
	return bare
}

// checkEndpoints refuses what cannot be an endpoint, and a mix of encrypted and
// plain ones: a plain one would get the password in clear.
func checkEndpoints(endpoints []string) error {
	secure := 0
	for _, e := range endpoints {
		scheme, rest, ok := strings.Cut(e, "://")
		if !ok {
			scheme, rest = "http", e
		}
		switch scheme {
		case "http", "unix":
		case "https", "unixs":
			secure++
		default:
			return configErrorf("endpoint %q: unknown scheme %q; use http, https, unix or unixs", e, scheme)
		}
		if u, err := url.Parse(scheme + "://" + rest); err != nil || (u.Host == "" && u.Path == "") {
			return configErrorf("endpoint %q is not a URL or host:port, as 127.0.0.1:2379 is", e)
		}
		if _, path, _ := strings.Cut(rest, "/"); !strings.HasPrefix(scheme, "unix") && path != "" {
			return configErrorf("endpoint %q has a path; etcd has none", e)
		}
	}
	if secure != 0 && secure != len(endpoints) {
		return configErrorf("endpoints %s mix https and plain ones", strings.Join(endpoints, ","))
	}
	return nil
}

// spec is the client library's own form of c, for one endpoint.
func (c Config) spec(endpoint string) (*clientv3.Config, error) {
	secure := &clientv3.SecureConfig{
		Cert: c.Cert, Key: c.Key, Cacert: c.CACert,
		InsecureTransport:  !strings.HasPrefix(endpoint, "https:") && !strings.HasPrefix(endpoint, "unixs:"),
		InsecureSkipVerify: c.SkipVerify,
	}
	cfg, err := clientv3.NewClientConfig(&clientv3.ConfigSpec{
		Endpoints:        []string{endpoint},
		DialTimeout:      c.DialTimeout,
		KeepAliveTime:    pingAfter,
		KeepAliveTimeout: pingTimeout,
		Secure:           secure,
		Auth:             &clientv3.AuthConfig{Username: c.User, Password: c.Password, Token: c.Token},
	}, zap.NewNop())
	if err != nil {
		return nil, &ConfigError{Err: err}
	}
	cfg.Logger = zap.NewNop() // a library neither prints nor logs
	cfg.MaxUnaryRetries = 2   // one more after a new token; the rest is for Do
	return cfg, nil
}
