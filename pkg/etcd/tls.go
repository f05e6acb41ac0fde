package etcd

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
)

// aboutTLS reports whether anything is set that only TLS has.
func (c *Config) aboutTLS() bool {
	return c.CACert+c.CAPEM+c.Cert+c.CertPEM != "" || c.SkipVerify
}

// readTLS reads the files of TLS, and refuses them before the client library would,
// whose errors do not say which setting they are about, and which takes a file
// without a certificate for an authority that signs nothing.
func (c *Config) readTLS() error {
	if (c.Cert == "") != (c.Key == "") {
		return configErrorf("--cert and --key go together; only one of them is set")
	}
	for _, f := range []struct {
		flag string
		file *string
		pem  *string
	}{{"--cacert", &c.CACert, &c.CAPEM}, {"--cert", &c.Cert, &c.CertPEM}, {"--key", &c.Key, &c.KeyPEM}} {
		if *f.file == "" {
			continue
		}
		b, err := os.ReadFile(*f.file)
		if err != nil {
			return configErrorf("%s: %w", f.flag, err)
		}
		*f.pem = string(b)
	}
	if c.CACert != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(c.CAPEM)) {
		return configErrorf("--cacert: %s holds no certificate in PEM form", c.CACert)
	}
	if c.Cert != "" {
		if _, err := tls.X509KeyPair([]byte(c.CertPEM), []byte(c.KeyPEM)); err != nil {
			return configErrorf("--cert %s and --key %s: %w", c.Cert, c.Key, err)
		}
	}
	// What is handed on is an absolute name, or none.
	c.CACert, c.Cert, c.Key = lasting(c.CACert), lasting(c.Cert), lasting(c.Key)
	return nil
}

// readLongCA reads the authorities that were too long to be handed on.
func (c *Config) readLongCA() error {
	if c.CACert == "" || c.CAPEM != "" {
		return nil
	}
	b, err := os.ReadFile(c.CACert)
	if err != nil {
		return configErrorf("--cacert: %w", err)
	}
	c.CAPEM = string(b)
	return nil
}

// secure reports whether the member is spoken to by TLS.
func (m *Member) secure() bool { return m.spec.TLS != nil }

// tls is what is needed for TLS to one endpoint; nil: it is a plain one. As etcdctl
// has it, a unix endpoint is encrypted if something about TLS is set.
func (c Config) tls(endpoint string) *tls.Config {
	if !isSecure(endpoint) && !(strings.HasPrefix(endpoint, "unix:") && c.aboutTLS()) {
		return nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: c.SkipVerify}
	if c.CAPEM != "" {
		cfg.RootCAs = x509.NewCertPool()
		cfg.RootCAs.AppendCertsFromPEM([]byte(c.CAPEM))
	}
	if c.CertPEM != "" {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.certificate() }
	}
	return cfg
}

// certificate is ours: that of the files, which are read again for each connection,
// or the one that they held before, where they are gone or being replaced.
func (c Config) certificate() (*tls.Certificate, error) {
	if c.Cert != "" && c.Key != "" {
		if cert, err := tls.LoadX509KeyPair(c.Cert, c.Key); err == nil {
			return &cert, nil
		}
	}
	cert, err := tls.X509KeyPair([]byte(c.CertPEM), []byte(c.KeyPEM))
	return &cert, err
}
