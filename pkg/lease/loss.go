package lease

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"conch/pkg/etcd"
)

// Kind tells the causes of a loss apart.
type Kind int

const (
	// Lapsed: no renewal was verified in time; the lease may be gone.
	Lapsed Kind = iota
	// Deleted: somebody deleted the key, or replaced it; the lease lived.
	Deleted
	// Revoked: the lease was gone before its time.
	Revoked
	// Evicted: somebody asked conch for it; By says who.
	Evicted
	// Proxied: etcd was reached through a grpc-proxy; Cause says at which endpoint.
	Proxied
	// Replaced: every endpoint is of another cluster; Cause says of which.
	Replaced
	// Refused: etcd did not renew it, for the user was no longer welcome; Cause says
	// how.
	Refused
	// Gone: the key is not there; Explain has not yet found out why.
	Gone
)

// Loss is why a lease was lost.
type Loss struct {
	Kind   Kind
	By     string        // Evicted: who did it
	Silent time.Duration // how long ago the last verified renewal was sent
	Cause  error         // Proxied, Replaced, Refused
}

func (l *Loss) Error() string {
	switch l.Kind {
	case Deleted:
		return "its key was deleted"
	case Revoked:
		return "its lease was revoked"
	case Evicted:
		return "evicted by " + l.By
	case Proxied:
		return "an endpoint cannot be relied on: " + l.Cause.Error()
	case Replaced:
		return "etcd is another: " + l.Cause.Error()
	case Refused:
		return fmt.Sprintf("%v (no renewal for %.1fs)", l.Cause, l.Silent.Seconds())
	case Gone:
		return "its key is gone"
	}
	return fmt.Sprintf("no keepalive answered for %.1fs", l.Silent.Seconds())
}

// Silence is the loss that the lease is heading for if no renewal succeeds.
func (l *Lease) Silence() *Loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lapse()
}

// Explain asks etcd what became of a lease whose key is gone, and completes
// Loss. note is the key of the eviction note. Nobody else may be reading the Loss
// meanwhile. It is for the message only: the
// command must be dead, or dying, before anybody takes the time to ask.
func (l *Lease) Explain(ctx context.Context, note string) {
	loss := l.Loss()
	if loss.Kind != Gone {
		return
	}
	k, by, err := l.explain(ctx, note)
	if err == nil {
		loss.Kind, loss.By = k, by
	}
}

func (l *Lease) explain(ctx context.Context, note string) (Kind, string, error) {
	type found struct {
		by  string
		ttl int64
	}
	f, err := etcd.Do(ctx, l.c, func(ctx context.Context, m *etcd.Member) (f found, _ error) {
		n, err := m.KV().Get(ctx, note)
		if err != nil {
			return f, err
		}
		if len(n.Kvs) > 0 {
			f.by = string(n.Kvs[0].Value)
		}
		t, err := m.Lease().LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: l.ID})
		if err != nil {
			return f, err
		}
		f.ttl = t.TTL
		return f, nil
	})
	switch {
	case err != nil:
		return Gone, "", err
	case f.by != "":
		return Evicted, f.by, nil
	case f.ttl > 0:
		return Deleted, "", nil
	}
	return Revoked, "", nil
}

// errNotOurs is a verify read that did not show our key.
var errNotOurs = errors.New("the key is not ours")
