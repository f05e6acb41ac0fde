package lease

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/clock"
	"conch/pkg/etcd"
)

// Heed has f called with the value of the key that the lease is kept for, whenever
// that is seen: when somebody has put it anew, and with each renewal. f may be called
// by several goroutines at a time, with one value more than once, and must not wait.
// Heed comes before Keep, if at all.
func (l *Lease) Heed(f func(value []byte)) { l.heed = f }

// Keep renews the lease every interval and watches key, which was created under
// it at revision rev, until Stop or Revoke, or until it is lost. It is called
// once, after Grant.
func (l *Lease) Keep(key string, rev int64, interval time.Duration) {
	ctx, cancel := context.WithCancel(context.Background()) // ended by Stop, which is the owner's to call
	l.stop = cancel
	l.wg.Go(func() { l.renew(ctx, key, rev, interval) })
	l.wg.Go(func() { l.watch(ctx, key, rev) })
	l.wg.Go(func() { l.expire(ctx) })
}

// expire declares the loss when the deadline passes. Timers only wake it; the
// clock decides.
func (l *Lease) expire(ctx context.Context) {
	for {
		d, pushed := l.Deadline()
		left := d.Sub(l.clk.Now())
		if left <= 0 {
			l.lose(Lapsed)
			return
		}
		// Not longer than a second, so that a suspended machine, in which Go's
		// timers stand still, is noticed soon after it wakes.
		t := time.NewTimer(min(left, max(time.Second, left/4)))
		select {
		case <-t.C:
		case <-pushed:
		case <-l.lost:
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() != nil || l.isLost() {
			return
		}
	}
}

func (l *Lease) isLost() bool {
	select {
	case <-l.lost:
		return true
	default:
		return false
	}
}

// renew begins a renewal every interval, and sooner after one that failed. One
// that is slow is not given up for the next: over a long road the answer takes
// longer than an interval, and is in time all the same.
func (l *Lease) renew(ctx context.Context, key string, rev int64, interval time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan struct{}, 1)
	t := time.NewTimer(interval - l.Silence().Silent) // the grant may have taken long
	defer t.Stop()
	for {
		select {
		case <-t.C:
			l.wg.Go(func() {
				if l.attempt(ctx, key, rev) != nil {
					select {
					case failed <- struct{}{}:
					default:
					}
				}
			})
			t.Reset(interval)
		case <-failed:
			t.Reset(interval / 8)
		case <-l.lost:
			return
		case <-ctx.Done():
			return
		}
	}
}

// attempt makes one renewal. It has until the deadline: what comes later is of
// no use.
func (l *Lease) attempt(ctx context.Context, key string, rev int64) error {
	deadline, _ := l.Deadline()
	ctx, cancel := context.WithTimeout(ctx, deadline.Sub(l.clk.Now()))
	defer cancel()
	r, err := etcd.Do(etcd.OnFailure(ctx, l.refuse), l.c, func(ctx context.Context, m *etcd.Member) (renewal, error) {
		return l.verify(ctx, m, key, rev)
	})
	switch {
	case errors.Is(err, errNotOurs):
		l.lose(Gone)
	case errors.Is(err, etcd.ErrProxy):
		l.loseTo(Proxied, err)
	case errors.As(err, new(*etcd.Unfit)):
		l.loseTo(Replaced, err)
	case err != nil:
		l.refuse(err)
	default:
		l.accept(r.sent, r.deadline)
	}
	return err
}

// renewal is a verified renewal: when its first request was sent, and the
// deadline that follows.
type renewal struct {
	sent, deadline clock.Instant
}

// errMixed is a pair of answers that did not come from one member.
var errMixed = errors.New("the answers came from two members")

// verify reads the key through m and then renews the lease through m.
func (l *Lease) verify(ctx context.Context, m *etcd.Member, key string, rev int64) (renewal, error) {
	reads, err := m.Verifies(ctx)
	if err != nil {
		return renewal{}, err
	}
	sent := l.clk.Now()
	get, err := m.KV().Get(ctx, key)
	if err != nil {
		return renewal{}, err
	}
	if len(get.Kvs) != 1 || get.Kvs[0].CreateRevision != rev || get.Kvs[0].Lease != l.ID {
		return renewal{}, &etcd.Final{Err: errNotOurs}
	}
	l.heed(get.Kvs[0].Value)
	if !reads.Verifies { // the read proves nothing, so it need not be counted from
		sent = l.clk.Now()
	}
	ka, err := m.KeepAlive(ctx, l.ID)
	switch {
	case err != nil:
		return renewal{}, err
	case ka.TTL <= 0:
		return renewal{}, &etcd.Final{Err: errNotOurs}
	case ka.GetHeader().GetMemberId() != get.Header.GetMemberId(), reads.Verifies && reads.Member != get.Header.GetMemberId():
		return renewal{}, errMixed
	}
	ttl := min(time.Duration(ka.TTL)*time.Second, l.ask)
	if !reads.Verifies {
		ttl -= unverified
	}
	return renewal{sent, Deadline(sent, ttl)}, nil
}

// watch hears of the key's deletion, or of a foreign value. It moves when
// another member becomes the preferred one, and starts again when the stream
// breaks; what it misses, the next verify reads.
func (l *Lease) watch(ctx context.Context, key string, rev int64) {
	for ctx.Err() == nil && !l.isLost() {
		m, moved := l.c.Preferred()
		wctx, cancel := context.WithCancel(ctx)
		ours := l.watchOn(wctx, m, moved, key, rev)
		cancel()
		if !ours {
			l.lose(Gone)
			return
		}
		t := time.NewTimer(100 * time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// glanceTimeout is what a look at the key may take, on a member that has just answered.
const glanceTimeout = time.Second

// glance looks at the key through m, and reports whether it is still ours as far as m
// knows, which may not have heard of it yet.
func (l *Lease) glance(ctx context.Context, m *etcd.Member, key string, rev int64) (ours bool) {
	ctx, cancel := context.WithTimeout(ctx, glanceTimeout)
	defer cancel()
	get, err := m.KV().Get(ctx, key, clientv3.WithSerializable())
	if err != nil || get.Header.Revision < rev {
		return true
	}
	if len(get.Kvs) != 1 || get.Kvs[0].CreateRevision != rev || get.Kvs[0].Lease != l.ID {
		return false
	}
	l.heed(get.Kvs[0].Value)
	return true
}

// watchOn watches through m until that breaks or m is no longer preferred, and
// reports whether the key is still ours as far as was seen. It watches from when m has
// taken that on, and then looks at what was before: of a watch from a revision in the
// past the first events come up to 100 ms late.
func (l *Lease) watchOn(ctx context.Context, m *etcd.Member, moved <-chan struct{}, key string, rev int64) (ours bool) {
	events := m.Watch(ctx, key, clientv3.WithCreatedNotify())
	for {
		select {
		case <-moved:
			return true
		case <-l.lost:
			return true
		case r, ok := <-events:
			if !ok || r.Err() != nil { // no leader, say: the verify reads go on
				if errors.As(r.Err(), new(*etcd.Unfit)) { // at once, if others have taken the place of all
					_ = l.attempt(ctx, key, rev)
				}
				return true
			}
			if r.Created && !l.glance(ctx, m, key, rev) {
				return false
			}
			for _, e := range r.Events {
				if e.Type == clientv3.EventTypeDelete || e.Kv.CreateRevision != rev || e.Kv.Lease != l.ID {
					return false
				}
				l.heed(e.Kv.Value)
			}
		}
	}
}
