// Package connect is the part of every tool's command line that says which etcd
// it talks to, and what that etcd's errors mean for the exit status.
//
// Flags have etcdctl's names and fall back on its ETCDCTL_ variables, so that a
// person with a working etcdctl types nothing.
package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc/grpclog"

	"conch/pkg/cli"
	"conch/pkg/etcd"
	"conch/pkg/keys"
)

// Settings are the values of the flags.
type Settings struct {
	etcd.Config
	Space keys.Space

	flags *cli.Flags
}

// Flags declares the flags. Commands inherit their variables, for a conch among
// them; no password, though.
func Flags(f *cli.Flags) *Settings {
	s := &Settings{flags: f}
	f.Group("Connection")
	f.Strings(&s.Endpoints, cli.Row{Name: "endpoints", Default: "127.0.0.1:2379", Alias: etcdctl("ENDPOINTS"),
		Help: "where etcd answers: URLs (http, https, unix, unixs) or host:port, separated by commas; members of one cluster, and no grpc-proxy. The way there is through the proxy of HTTPS_PROXY, if that is set"})
	f.Duration(&s.DialTimeout, cli.Row{Name: "dial-timeout", Default: "5s", Alias: etcdctl("DIAL_TIMEOUT"),
		Help: "how long etcd may take for its first answer"})
	f.String(&s.CACert, cli.Row{Name: "cacert", Arg: "FILE", Alias: etcdctl("CACERT"), Help: "authorities that etcd's certificate may be signed by"})
	f.String(&s.Cert, cli.Row{Name: "cert", Arg: "FILE", Alias: etcdctl("CERT"), Help: "our certificate; it is read again for each connection"})
	f.String(&s.Key, cli.Row{Name: "key", Arg: "FILE", Alias: etcdctl("KEY"), Help: "the key of our certificate"})
	f.Bool(&s.SkipVerify, cli.Row{Name: "insecure-skip-tls-verify", Alias: etcdctl("INSECURE_SKIP_TLS_VERIFY"), Help: "accept any certificate of etcd's; for tests"})
	f.String(&s.User, cli.Row{Name: "user", Mask: maskPassword, Arg: "NAME", Alias: etcdctl("USER"), Help: "user name; in a variable also name:password"})
	f.String(&s.Password, cli.Row{Name: "password", EnvOnly: true, Secret: true, Alias: etcdctl("PASSWORD"), Help: "password of --user"})
	f.String(&s.PasswordFile, cli.Row{Name: "password-file", Arg: "FILE", Help: "a file whose first line is the password; it is read again when etcd refuses that"})
	f.String(&s.Token, cli.Row{Name: "auth-jwt-token", EnvOnly: true, Secret: true, Alias: etcdctl("AUTH_JWT_TOKEN"), Help: "a JWT, in the place of user and password"})
	f.String(&s.SRV, cli.Row{Name: "discovery-srv", Arg: "DOMAIN", Alias: etcdctl("DISCOVERY_SRV"), Help: "find the endpoints by the SRV records of this domain"})
	f.String(&s.SRVName, cli.Row{Name: "discovery-srv-name", Arg: "SUFFIX", Alias: etcdctl("DISCOVERY_SRV_NAME"), Help: "suffix of the SRV service"})
	f.Func(func(text string) (err error) { s.Space, err = keys.NewSpace(text); return }, cli.Row{Name: "prefix", Arg: "PREFIX", Default: keys.DefaultPrefix,
		Help: "where conch's keys lie; two prefixes never meet"})
	f.Inherit("Connection")
	return s
}

// maskPassword masks the password of name:password.
func maskPassword(text string) string {
	if name, _, ok := strings.Cut(text, ":"); ok {
		return name + ":***"
	}
	return text
}

func etcdctl(name string) []string { return []string{"ETCDCTL_" + name} }

// Configured reports whether anything says where etcd is.
func (s *Settings) Configured() bool {
	return s.flags.Set("endpoints") || s.flags.Set("discovery-srv")
}

// gRPC has one log for the whole process, on standard error, for what is reported as an
// error of ours where it matters. It is to be set before gRPC is used.
func init() { grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard)) }

// Open connects; the error has its exit status.
func (s *Settings) Open(ctx context.Context) (*etcd.Client, error) {
	if strings.Contains(s.User, ":") && s.flags.Source("user") == "--user" {
		return nil, cli.Usagef("--user: a password here can be read by everybody on this machine; use --password-file or CONCH_PASSWORD")
	}
	if s.DialTimeout < 10*time.Millisecond {
		return nil, cli.Errorf(cli.Config, "--dial-timeout %v leaves etcd no time to answer: dial-timeout >= 10ms", s.DialTimeout)
	}
	c, err := etcd.Open(ctx, s.Config)
	return c, s.Explain(err)
}

// Ask connects, puts one question, and explains what comes of it.
func (s *Settings) Ask(ctx context.Context, question func(context.Context, *etcd.Client) error) error {
	s.Observer = true
	c, err := s.Open(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return s.Explain(question(ctx, c))
}

// Explain gives an error of package etcd its exit status and a hint.
func (s *Settings) Explain(err error) error {
	var unreachable *etcd.Unreachable
	var refused *etcd.Refused
	var config *etcd.ConfigError
	var unfit *etcd.Unfit
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unfit):
		return s.unfit(err)
	case errors.As(err, &unreachable):
		err = withStatus(cli.Unreachable, err)
		if !s.Configured() && unreachable.Hint() == "" {
			return cli.Hint(err, "no endpoint is set, and this is the default: set --endpoints, CONCH_ENDPOINTS or ETCDCTL_ENDPOINTS")
		}
		return err
	case errors.As(err, &refused):
		err = withStatus(cli.Refused, err)
		if refused.PermissionMissing() {
			return cli.Hint(err, "the user needs readwrite on the prefix %s/: etcdctl role grant-permission ROLE --prefix=true readwrite %s/", s.Space, s.Space)
		}
		return cli.Hint(err, "set --user and --password-file, or --cert and --key")
	case errors.As(err, &config):
		return withStatus(cli.Config, err)
	case errors.Is(err, etcd.ErrNoSpace):
		return cli.Hint(withStatus(cli.Unreachable, fmt.Errorf("etcd takes no writes: %w", err)), "what is held lives on; compact, defragment and disarm the alarm (etcdctl alarm list)")
	}
	return err
}

// unfit explains an endpoint that must not be among those that are set.
func (s *Settings) unfit(err error) error {
	var other *etcd.OtherCluster
	switch err = withStatus(cli.Config, err); {
	case !errors.As(err, &other):
		return err
	case other.Before:
		return cli.Hint(err, "start this again if the cluster was replaced on purpose")
	}
	return cli.Hint(err, "--endpoints is to name members of one cluster: etcdctl endpoint status shows whose they are")
}

// withStatus keeps a status that err already has.
func withStatus(status int, err error) error {
	var has interface{ ExitStatus() int }
	if errors.As(err, &has) {
		return err
	}
	return cli.Errorf(status, "%w", err)
}
