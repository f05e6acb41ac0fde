package etcd

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
)

const (
	// A password that etcd has just refused is not shown again before this: a
	// refusal costs etcd as much as an answer.
	refusedFor = time.Second

	// changeover is how long a password that was good may be refused while it is
	// being changed: in etcd first, and in its file a moment later.
	changeover = 30 * time.Second
)

// login gets tokens for a user and a password, or has one that was given. A token
// is good at every member. It is got anew when etcd does not take it any more, and
// the password is read again from its file when etcd does not take that.
//
// The library has a login of its own, which never asks for a password again, has a
// token made for each stream, and shows an expired one when it asks for another,
// which etcd 3.4 refuses.
type login struct {
	user string
	file string // where the password is; empty: it cannot be read again

	mu       sync.Mutex
	password string
	token    string
	changes  int  // of the token
	off      bool // etcd has told that it knows no users
	worked   bool // etcd has taken a password of ours

	bad     string // a password that was refused, ...
	badErr  error  // ... how, ...
	badAt   time.Time
	badFrom time.Time // ... and since when every one was
}

func newLogin(c Config) *login {
	l := &login{user: c.User, file: c.PasswordFile, password: c.Password, token: c.Session}
	if c.Token != "" {
		l.token = c.Token
	}
	return l
}

// bareKey marks a context whose request bears no token.
type bareKey struct{}

// metadata is what goes with a call.
func (l *login) metadata() map[string]string {
	if token := l.current(); token != "" {
		return map[string]string{rpctypes.TokenFieldNameGRPC: token}
	}
	return nil
}

// User returns who we are for etcd, as far as we have a name there; "": we have none, or
// etcd knows no users. That of a token is by its own account.
func (c *Client) User() string {
	c.login.mu.Lock()
	defer c.login.mu.Unlock()
	switch l := c.login; {
	case l.off:
		return ""
	case l.user != "":
		return l.user
	default:
		return userOf(c.cfg.Token)
	}
}

// userOf returns the user of a JWT of etcd's, "" if it names none.
func userOf(token string) string {
	_, rest, _ := strings.Cut(token, ".")
	claims, _, _ := strings.Cut(rest, ".")
	b, _ := base64.RawURLEncoding.DecodeString(claims)
	var is struct {
		Username string `json:"username"`
	}
	_ = json.Unmarshal(b, &is) // what it cannot be read out of names none
	return is.Username
}

func (l *login) current() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.token
}

// count says which token it is, without telling it.
func (l *login) count() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strconv.Itoa(l.changes)
}

// drop forgets a token, so that the next request gets another.
func (l *login) drop(token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.user != "" && l.token == token {
		l.token = ""
		l.changes++
	}
}

// ensure returns the token, which it gets over conn if there is none.
func (l *login) ensure(ctx context.Context, m *Member, conn *grpc.ClientConn) (string, error) {
	l.mu.Lock()
	token, needless := l.token, l.off || l.user == ""
	l.mu.Unlock()
	if token != "" || needless {
		return token, nil
	}
	err := l.renew(ctx, m, conn, "")
	return l.current(), err
}

// renew replaces a token that etcd does not take, unless somebody else has. One
// call at a time asks the same member: another member must not wait for it.
func (l *login) renew(ctx context.Context, m *Member, conn *grpc.ClientConn, old string) error {
	select {
	case m.loggingIn <- struct{}{}:
		defer func() { <-m.loggingIn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	l.mu.Lock()
	has, password := l.token, l.password
	bad, badErr, recent := l.bad, l.badErr, time.Since(l.badAt) < refusedFor
	l.mu.Unlock()
	if has != old {
		return nil
	}
	if !recent || password != bad {
		err := l.ask(ctx, conn, password)
		if !errors.Is(rpctypes.Error(err), rpctypes.ErrAuthFailed) || l.file == "" {
			return err
		}
		badErr = err
	}
	again, err := readPassword(l.file)
	if l.file == "" || err != nil || again == password || again == "" {
		return badErr
	}
	return l.ask(ctx, conn, again)
}

// ask shows etcd a password, and keeps what comes of it.
func (l *login) ask(ctx context.Context, conn *grpc.ClientConn, password string) error {
	ctx = context.WithValue(ctx, bareKey{}, true)
	r, err := pb.NewAuthClient(conn).Authenticate(ctx, &pb.AuthenticateRequest{Name: l.user, Password: password})
	known := rpctypes.Error(err)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.changes++
		l.password, l.token, l.off, l.worked, l.bad, l.badFrom = password, r.Token, false, true, "", time.Time{}
	case errors.Is(known, rpctypes.ErrAuthNotEnabled):
		l.token, l.off = "", true
		return nil
	case errors.Is(known, rpctypes.ErrAuthFailed):
		l.bad, l.badErr, l.badAt = password, err, time.Now()
		if l.badFrom.IsZero() {
			l.badFrom = l.badAt
		}
	}
	return err
}

// changing reports whether a refusal may be one of a password that is being
// changed, so that another comes to lie in its file.
func (l *login) changing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.worked && l.file != "" && (l.badFrom.IsZero() || time.Since(l.badFrom) < changeover)
}

// known returns what a helper needs to log in as we do.
func (l *login) known() (password, token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.password, l.token
}

// stale reports whether etcd does not take the token any more.
func stale(err error) bool {
	known := rpctypes.Error(err)
	return errors.Is(known, rpctypes.ErrInvalidAuthToken) || errors.Is(known, rpctypes.ErrAuthOldRevision) || errors.Is(known, rpctypes.ErrUserEmpty)
}
