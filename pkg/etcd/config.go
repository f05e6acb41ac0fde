// Package etcd is a client made from flags and environment: endpoints, TLS,
// user, discovery; and one way to ask a cluster something.
//
// It does not promise that an answer is the only effect of a question: a call
// that is slow is put to the next member too, so whatever is passed to Do must
// be harmless when it happens twice, or late.
package etcd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Config says how to reach a cluster. The fields before those of a helper have the
// names, and the meaning, of etcdctl's flags. It is JSON so that a helper process
// can be handed the same road; see Client.Config.
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

	// Of a helper. What files held when they were read: the files may be gone,
	// or be a pipe that can be read once. Where one is still there, it is newer.
	Resolved bool   `json:"resolved,omitempty"` // Client.Config has made it
	CAPEM    string `json:"ca_pem,omitempty"`
	CertPEM  string `json:"cert_pem,omitempty"`
	KeyPEM   string `json:"key_pem,omitempty"`
	Session  string `json:"session,omitempty"` // a token that was got for the password
	Cluster  uint64 `json:"cluster,omitempty"` // the one that answers must come from; 0: that of the first

	// Of this process alone.
	Hasty    bool         `json:"-"` // that every endpoint refuses the connection is an answer
	Survey   bool         `json:"-"` // ask each endpoint who it is; see Client.Surveyed
	Observer bool         `json:"-"` // nothing depends on the cluster: when all endpoints are of another, go over to that
	Note     func(string) `json:"-"` // is told what a user should know
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
// records, the password and what TLS needs from their files.
func (c Config) resolve(ctx context.Context) (Config, error) {
	if err := c.readFiles(); err != nil {
		return c, err
	}
	if c.SRV != "" && !c.Resolved {
		found, err := lookupSRV(ctx, c.SRV, c.SRVName)
		if err != nil {
			return c, &Unreachable{Endpoint: "SRV records of " + c.SRV, Cause: err}
		}
		c.Endpoints = found
	}
	var err error
	if c.Endpoints, err = canonical(c.Endpoints, c.aboutTLS()); err != nil {
		return c, err
	}
	if name, password, ok := strings.Cut(c.User, ":"); ok {
		c.User = name
		if c.Password == "" {
			c.Password = password
		}
	}
	return c, c.checkAuth()
}

// readFiles reads each file once, and keeps the names of those alone that can be
// read again.
func (c *Config) readFiles() error {
	if c.Resolved {
		return c.readLongCA()
	}
	if c.PasswordFile != "" {
		password, err := readPassword(c.PasswordFile)
		if err != nil {
			return configErrorf("--password-file: %w", err)
		}
		c.Password, c.PasswordFile = password, lasting(c.PasswordFile)
	}
	return c.readTLS()
}

// readPassword returns the first line of a file.
func readPassword(file string) (string, error) {
	b, err := os.ReadFile(file)
	password, _, _ := strings.Cut(string(b), "\n")
	return password, err
}

// lasting returns the absolute name of a file that can be read again later, by
// this process or a helper, and empty if it is none: a pipe, or a descriptor.
func lasting(file string) string {
	abs, err := filepath.Abs(file)
	if err != nil {
		return ""
	}
	for _, dir := range []string{"/dev/fd/", "/dev/std", "/proc/"} {
		if strings.HasPrefix(abs, dir) {
			return ""
		}
	}
	if info, err := os.Stat(abs); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return abs
}

func (c Config) checkAuth() error {
	switch {
	case c.User != "" && c.Password == "":
		return configErrorf("user %q has no password (set --password-file or ETCDCTL_PASSWORD)", c.User)
	case c.User == "" && c.Password != "":
		return configErrorf("a password is set but no user (set --user or ETCDCTL_USER)")
	case c.User != "" && c.Token != "":
		return configErrorf("both a user and a token are set; use one of --user and CONCH_AUTH_JWT_TOKEN")
	}
	return nil
}

// spec is the client library's own form of c, for one endpoint. It knows of no
// user: see login.
func (c Config) spec(endpoint string) *clientv3.Config {
	return &clientv3.Config{
		Endpoints:            []string{endpoint},
		DialTimeout:          c.DialTimeout,
		DialKeepAliveTime:    pingAfter,
		DialKeepAliveTimeout: pingTimeout,
		TLS:                  c.tls(endpoint),
		Logger:               zap.NewNop(), // a library neither prints nor logs
		MaxUnaryRetries:      1,            // that is none: asking again is for Do
	}
}
