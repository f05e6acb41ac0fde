package etcd

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"conch/pkg/etcdtest"
)

// A helper needs nothing that the configuration came from: no file, no pipe, no name
// in DNS, and no working directory.
func TestConfigHandedOn(t *testing.T) {
	certs, err := etcdtest.NewTLS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	srv, err := etcdtest.Start(etcdtest.Options{TLS: certs})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	dir := t.TempDir()
	t.Chdir(dir)
	key := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(key, 0o600); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{certs.CA: "ca", certs.ClientCert: "cert", certs.ClientKey: key} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		go os.WriteFile(to, b, 0o600) // a pipe takes it when it is read
	}
	for _, name := range []string{"ca", "cert"} {
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			if b, _ := os.ReadFile(name); bytes.Contains(b, []byte("END")) {
				break
			} else if time.Now().After(end) {
				t.Fatal("the files are not written")
			}
		}
	}
	c := open(t, Config{Endpoints: []string{srv.Endpoint()}, CACert: "ca", Cert: "cert", Key: key})
	if _, err := Do(within(t, 20*time.Second), c, get); err != nil {
		t.Fatal(err)
	}
	helper := handed(t, c)
	if helper.CACert != filepath.Join(dir, "ca") || helper.Cert != filepath.Join(dir, "cert") || helper.Key != "" {
		t.Errorf("files that can be read again: %q %q %q", helper.CACert, helper.Cert, helper.Key)
	}
	t.Chdir("/")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := Do(within(t, 20*time.Second), open(t, helper), get); err != nil {
		t.Error(err)
	}
}

// What is too long is handed on by its name.
func TestConfigLong(t *testing.T) {
	certs, err := etcdtest.NewTLS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(certs.CA)
	if err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(t.TempDir(), "long")
	if err := os.WriteFile(long, []byte(strings.Repeat(string(ca), inlineLimit/len(ca)+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	srv, err := etcdtest.Start(etcdtest.Options{TLS: certs})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	c := open(t, Config{Endpoints: []string{srv.Endpoint()}, CACert: long, Cert: certs.ClientCert, Key: certs.ClientKey})
	helper := handed(t, c)
	if b, err := json.Marshal(helper); err != nil || len(b) > inlineLimit {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if _, err := Do(within(t, 20*time.Second), open(t, helper), get); err != nil {
		t.Error(err)
	}
}

// Every spelling that etcdctl takes comes to one.
func TestEndpoints(t *testing.T) {
	t.Chdir("/")
	for text, want := range map[string]string{
		"127.0.0.1:2379": "127.0.0.1:2379", "http://a:1": "http://a:1", "HTTP://A:1": "http://a:1", "Https://a:1//": "https://a:1",
		" A:1 ": "a:1", "http://u:secret@a:1": "http://a:1", "http://[::1]:1/": "http://[::1]:1", "[::1]:1/": "[::1]:1",
		"unix:/run/e": "unix:///run/e", "unix:///run/e/": "unix:///run/e", "unix://run/e": "unix:///run/e", "UNIXS:e": "unixs:///e",
		"unix:@e": "unix:@e", "unix://localhost:2379": "unix:///localhost:2379",
	} {
		got, err := canonical([]string{text, ""}, false)
		if err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
	if got, err := canonical([]string{"a:1", "https://b:1"}, true); err != nil || strings.Join(got, ",") != "https://a:1,https://b:1" {
		t.Errorf("with TLS: %q, %v", got, err)
	}
	for text, want := range map[string]string{
		"": "no endpoint", "ftp://a:1": `unknown scheme "ftp"`, "http://a:1/v3": "has a path", "http://a:1?x": "has a path", "http://": "is not a URL",
		"a": "has no port", "https://[::1]": "has no port", "unix:": "has no path", "http://u:secret@a:1/x": "has a path", "ftp://u:secret@a:1": "unknown scheme",
	} {
		if got, err := canonical([]string{text}, false); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
}
