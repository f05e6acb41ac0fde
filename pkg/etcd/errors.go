package etcd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Unreachable means that no member gave an answer in time.
type Unreachable struct {
	Endpoint string // the one that Cause is about
	Cause    error
	hint     string
}

func (e *Unreachable) Error() string {
	return fmt.Sprintf("etcd unreachable: %s: %v", e.Endpoint, e.Cause)
}
func (e *Unreachable) Unwrap() error { return e.Cause }

// Hint says what to change, or is empty.
func (e *Unreachable) Hint() string { return e.hint }

// Refused means that etcd answered, and said no: authentication failed, or the
// user lacks a permission.
type Refused struct {
	User  string // empty: none was given
	Cause error
}

func (e *Refused) Error() string {
	return fmt.Sprintf("refused by etcd: %s: %s", e.who(), strings.TrimPrefix(message(e.Cause), "etcdserver: "))
}
func (e *Refused) Unwrap() error { return e.Cause }

// PermissionMissing reports whether the user is known but may not touch the
// keys.
func (e *Refused) PermissionMissing() bool {
	return errors.Is(rpctypes.Error(e.Cause), rpctypes.ErrPermissionDenied)
}

func (e *Refused) who() string {
	if e.User == "" {
		return "no user given"
	}
	return fmt.Sprintf("user %q", e.User)
}

// Final is an answer that another member could not better; Do returns its Err.
type Final struct{ Err error }

func (e *Final) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *Final) Unwrap() error { return e.Err }

// ErrNoSpace is etcd's NOSPACE alarm: what exists lives on, nothing new can be
// written.
var ErrNoSpace = rpctypes.ErrNoSpace

// refusals are the answers that a retry does not change.
var refusals = []error{
	rpctypes.ErrAuthFailed, rpctypes.ErrPermissionDenied, rpctypes.ErrUserEmpty,
	rpctypes.ErrInvalidAuthToken, rpctypes.ErrUserNotFound,
}

// classify turns the library's error into ours and reports whether another
// member, or another moment, may answer better.
func (c *Client) classify(err error) (_ error, retry bool) {
	var final *Final
	if errors.As(err, &final) {
		return final.Err, false
	}
	if errors.As(err, new(*Unfit)) {
		return err, true
	}
	known := rpctypes.Error(err)
	for _, r := range refusals {
		if errors.Is(known, r) {
			return &Refused{User: c.cfg.User, Cause: err}, r == rpctypes.ErrAuthFailed && c.login.changing()
		}
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err, true
	case errors.Is(known, rpctypes.ErrNoSpace), errors.Is(known, rpctypes.ErrLeaseNotFound):
		return known, false
	case errors.Is(known, rpctypes.Error(rpctypes.ErrGRPCNotSupportedForLearner)):
		return err, true
	}
	code := status.Code(unwrapStatus(err))
	if code == codes.ResourceExhausted && strings.Contains(message(err), "message larger than max") { // gRPC's limit, on either side
		return rpctypes.ErrRequestTooLarge, false
	}
	if code == codes.Unimplemented && !c.answered.Load() { // HTTP/2, but not etcd; the probe says so
		return err, true
	}
	switch code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown, codes.Internal, codes.ResourceExhausted, codes.Aborted:
		return err, true
	}
	var cfg *ConfigError
	if errors.As(err, &cfg) {
		return err, false
	}
	if errors.Is(known, rpctypes.ErrAuthOldRevision) {
		return err, true
	}
	return known, false
}

// unwrapStatus finds the gRPC status in err; rpctypes.EtcdError hides it.
func unwrapStatus(err error) error {
	var e rpctypes.EtcdError
	if errors.As(err, &e) {
		return status.Error(e.Code(), e.Error())
	}
	return err
}

// message is what err says, without gRPC's wrapping of it.
func message(err error) string {
	if s, ok := status.FromError(err); ok {
		return notGRPC(strings.TrimPrefix(s.Message(), "connection error: desc = "))
	}
	return err.Error()
}

// notGRPC says in few words that a proxy has answered and not etcd. gRPC gives the
// answer on a line of its own, in quotes; it is JSON, as a rule, and ends a line.
func notGRPC(text string) string {
	const most = 200 // bytes of it
	code, ok := strings.CutPrefix(text, "unexpected HTTP status code received from server: ")
	if !ok {
		return text
	}
	code, quoted, _ := strings.Cut(code, "\ndata: ")
	code, _, _ = strings.Cut(code, "; ")
	text = "no etcd answers there, but HTTP status " + code
	data, err := strconv.Unquote(quoted)
	if data = strings.Join(strings.Fields(data), " "); err != nil || data == "" {
		return text
	}
	return text + ": " + strings.ToValidUTF8(data[:min(len(data), most)], "")
}
