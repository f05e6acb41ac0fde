package etcd

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcdtest"
)

// withUsers starts an etcd that has users, and writes the password of one to a file.
func withUsers(t *testing.T, o etcdtest.Options) (_ *etcdtest.Server, passwordFile string) {
	t.Helper()
	srv, err := etcdtest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	if err := srv.EnableAuth(within(t, 30*time.Second), "/test"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "password")
	write(t, file, etcdtest.AppUser)
	return srv, file
}

func write(t *testing.T, file, password string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// setPassword changes the password in etcd, which forgets every token got for the old
// one.
func setPassword(t *testing.T, srv *etcdtest.Server, password string) {
	t.Helper()
	root, err := srv.Client(etcdtest.RootUser, etcdtest.RootUser)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if _, err := root.UserChangePassword(within(t, 10*time.Second), etcdtest.AppUser, password); err != nil {
		t.Fatal(err)
	}
}

// A password that is changed in etcd and in its file is read again, in whichever
// order; while only one of them has changed, that is waited for.
func TestPasswordChanged(t *testing.T) {
	t.Parallel()
	srv, file := withUsers(t, etcdtest.Options{})
	c := open(t, Config{Endpoints: []string{srv.Endpoint()}, User: etcdtest.AppUser, PasswordFile: file})
	ask := func(d time.Duration) error {
		_, err := Do(within(t, d), c, get)
		return err
	}
	if err := ask(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	write(t, file, "second")
	if err := ask(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	setPassword(t, srv, "second")
	if err := ask(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	setPassword(t, srv, "third")
	var refused *Refused
	if err := ask(1500 * time.Millisecond); !errors.As(err, &refused) {
		t.Errorf("what is refused by etcd is not said: %v", err)
	}
	done := make(chan error)
	go func() { done <- ask(30 * time.Second) }()
	write(t, file, "third")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A password that was never good is not waited for.
func TestPasswordWrong(t *testing.T) {
	t.Parallel()
	srv, file := withUsers(t, etcdtest.Options{})
	write(t, file, "wrong")
	began := time.Now()
	_, err := Open(t.Context(), Config{Endpoints: []string{srv.Endpoint()}, User: etcdtest.AppUser, PasswordFile: file, DialTimeout: time.Minute})
	var refused *Refused
	if d := time.Since(began); !errors.As(err, &refused) || d > 20*time.Second {
		t.Errorf("%v, after %v", err, d)
	}
}

// A token that was got is handed on, and costs etcd no second look at the password; an
// old one is replaced.
func TestSessionHandedOn(t *testing.T) {
	t.Parallel()
	srv, file := withUsers(t, etcdtest.Options{})
	c := open(t, Config{Endpoints: []string{srv.Endpoint()}, User: etcdtest.AppUser, PasswordFile: file})
	if _, err := Do(within(t, 10*time.Second), c, get); err != nil {
		t.Fatal(err)
	}
	helper := handed(t, c)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	before := etcdtest.Requests(t, srv, "Authenticate")
	if _, err := Do(within(t, 10*time.Second), open(t, helper), get); err != nil {
		t.Error(err)
	}
	if n := etcdtest.Requests(t, srv, "Authenticate"); n != before {
		t.Errorf("it has logged in %d times", n-before)
	}
	helper.Session = "old.1"
	if _, err := Do(within(t, 10*time.Second), open(t, helper), get); err != nil {
		t.Error(err)
	}
}

// A watch that is begun when the token has expired gets another, also while an older
// watch of the same member lives on.
func TestWatchAfterExpiry(t *testing.T) {
	t.Parallel()
	srv, file := withUsers(t, etcdtest.Options{JWT: true, TokenTTL: 3 * time.Second})
	c := open(t, Config{Endpoints: []string{srv.Endpoint()}, User: etcdtest.AppUser, PasswordFile: file})
	ctx := within(t, 60*time.Second)
	if _, err := Do(ctx, c, get); err != nil {
		t.Fatal(err)
	}
	m, _ := c.Preferred()
	if r := <-m.Watch(ctx, "/test/a", clientv3.WithCreatedNotify()); r.Err() != nil {
		t.Fatal(r.Err())
	}
	time.Sleep(4 * time.Second) // the life of a token, and more
	for range 3 {
		if _, err := Do(ctx, c, get); err != nil {
			t.Fatal(err)
		}
		r := <-m.Watch(ctx, "/test/b", clientv3.WithCreatedNotify())
		if r.Err() == nil && r.Created {
			return
		}
		t.Log(r.Err())
	}
	t.Error("no watch is taken on any more")
}

func TestUserOf(t *testing.T) {
	const payload = "eyJ1c2VybmFtZSI6ImFubiIsInJldmlzaW9uIjo0fQ" // {"username":"ann","revision":4}
	for token, want := range map[string]string{
		"": "", "x": "", "..": "", "x.y.z": "", "a." + payload + ".b": "ann", "a." + payload: "ann", "a.e30.b": "", "a.W10.b": "",
	} {
		if got := userOf(token); got != want {
			t.Errorf("%q is of %q, not %q", token, got, want)
		}
	}
}
