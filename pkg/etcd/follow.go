package etcd

import (
	"context"
	"errors"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// pageSize is how many keys one answer of a reading holds: at 300 bytes each
// well below the limit of a message.
const pageSize = 2000

const (
	// rewatchAfter is how long Follow waits before it watches anew what broke.
	rewatchAfter = 100 * time.Millisecond

	// checkEvery is how often Follow asks whether etcd is there and still the
	// same: a watch through a member that is gone, or of a history that is, is
	// silent like one in which nothing happens.
	checkEvery = 5 * time.Second
)

// SilentAfter is how long etcd may not have answered until what is known of it
// counts as old. Whoever shows that asks every few seconds.
const SilentAfter = 13 * time.Second

// Range is the keys from From up to, and without, To.
type Range struct{ From, To string }

// Prefix returns the range of all keys that begin with p.
func Prefix(p string) Range { return Range{p, clientv3.GetPrefixRangeEnd(p)} }

// Feed is what Follow and Read tell. Its functions are called by one goroutine,
// that of Follow or Read.
type Feed struct {
	// Reset: the Puts up to the next Synced are all keys that there are; what is
	// not among them has been deleted. It comes first, and again when the history
	// since was compacted, or was replaced by a backup's.
	Reset func()
	Put   func(kv *mvccpb.KeyValue)
	// Delete: the key went at revision rev. Keys between the ranges may be told
	// of too, here and in Put.
	Delete func(key string, rev int64)
	// Synced: everything up to revision rev has been told.
	Synced func(rev int64)
	// Heard, if it is not nil: etcd has answered a read, a linearizable one. There
	// is one every few seconds, whether something happens or not.
	Heard func(Answer)
}

// Answer is what is known of etcd by an answer to a read.
type Answer struct {
	Cluster uint64
	Rev     int64
	Took    time.Duration // from question to answer
}

// errHistory means that what happened since the last revision cannot be had.
var errHistory = errors.New("the history since is not to be had")

// Follow reads the ranges, which are in order and do not overlap, page by page
// at one revision, then watches from the first to the last of them and tells f
// of each change in the order of revisions, until ctx ends or etcd gives a
// definite error; that it refuses what lies between the ranges is one. A
// connection that breaks, or a member that another has overtaken, is got over by
// watching on elsewhere; a history that was compacted meanwhile, or replaced, by
// reading again. Nothing is missed, and nothing is told twice but after a Reset.
func Follow(ctx context.Context, c *Client, ranges []Range, f Feed) error {
	whole := Range{ranges[0].From, ranges[len(ranges)-1].To}
	for {
		w := watch{c: c, whole: whole, feed: f}
		at, err := Read(ctx, c, ranges, 0, f)
		w.last, w.heard, w.cluster = at.Rev, at.Rev, at.Cluster
		for err == nil {
			err = w.run(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.Is(err, errHistory):
			return err
		}
	}
}

// Read tells f of all keys of the ranges, as of one revision, and returns that.
// Each page may take as long as patience, 0 means until ctx ends.
func Read(ctx context.Context, c *Client, ranges []Range, patience time.Duration, f Feed) (Answer, error) {
	for {
		at, err := readOnce(ctx, c, ranges, patience, f)
		if errors.Is(err, rpctypes.ErrCompacted) {
			continue // the pages are of one revision, which took too long
		}
		return at, err
	}
}

// readOnce reads the ranges at the revision of its first answer.
func readOnce(ctx context.Context, c *Client, ranges []Range, patience time.Duration, f Feed) (at Answer, _ error) {
	f.Reset()
	for _, r := range ranges {
		for from, more := r.From, true; more; {
			page, a, err := c.get(ctx, patience, from, clientv3.WithRange(r.To), clientv3.WithLimit(pageSize), clientv3.WithRev(at.Rev))
			if err != nil {
				return at, err
			}
			f.heard(a)
			if at.Rev == 0 {
				at = a
			}
			for _, kv := range page.Kvs {
				f.Put(kv)
			}
			if more = page.More && len(page.Kvs) > 0; more {
				from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
			}
		}
	}
	f.Synced(at.Rev)
	return at, nil
}

// get is a linearizable read.
func (c *Client) get(ctx context.Context, patience time.Duration, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, Answer, error) {
	if patience > 0 {
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	began := time.Now()
	r, err := Do(ctx, c, func(ctx context.Context, m *Member) (*clientv3.GetResponse, error) {
		return m.KV().Get(ctx, key, opts...)
	})
	if err != nil {
		return nil, Answer{}, err
	}
	return r, answerOf(r.Header, time.Since(began)), nil
}

func answerOf(h *pb.ResponseHeader, took time.Duration) Answer {
	return Answer{Cluster: h.ClusterId, Rev: h.Revision, Took: took}
}

func (f Feed) heard(a Answer) {
	if f.Heard != nil {
		f.Heard(a)
	}
}

// watch is the watching part of Follow.
type watch struct {
	c       *Client
	whole   Range
	feed    Feed
	last    int64 // the revision up to which everything was told
	heard   int64 // the highest of any answer
	cluster uint64
}

// check is the outcome of a question whether etcd is still the same.
type check struct {
	Answer
	since int64 // what was known when it was put
	err   error
}

// run watches until that has to be begun anew. Errors: errHistory, and those of
// Do.
func (w *watch) run(ctx context.Context) error {
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	checks := make(chan check, 1)
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	due := tick.C // nil while one is being asked

	m, moved := w.c.Preferred()
	events := m.Watch(ctx, w.whole.From, clientv3.WithRange(w.whole.To), clientv3.WithRev(w.last+1))
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
			return nil
		case <-due:
			due = nil
			since := w.known()
			asking.Go(func() { checks <- w.ask(ctx, since) })
		case k := <-checks:
			due = tick.C
			if err := w.judge(k); err != nil {
				return err
			}
		case r, ok := <-events:
			switch {
			case r.CompactRevision != 0:
				return errHistory
			case !ok || r.Err() != nil:
				// The question finds a member that answers, and what etcd has against us.
				wait(ctx, rewatchAfter)
				return w.judge(w.ask(ctx, w.known(), w.doubt(r.Err())...))
			}
			w.tell(r.Events)
		}
	}
}

func (w *watch) tell(events []*clientv3.Event) {
	for _, e := range events {
		if e.Type == clientv3.EventTypeDelete {
			w.feed.Delete(string(e.Kv.Key), e.Kv.ModRevision)
		} else {
			w.feed.Put(e.Kv)
		}
	}
	if n := len(events); n > 0 {
		// Not the header's revision: one that catches up is ahead of its events.
		w.last = events[n-1].Kv.ModRevision
		w.feed.Synced(w.last)
	}
}

func (w *watch) ask(ctx context.Context, since int64, opts ...clientv3.OpOption) check {
	_, a, err := w.c.get(ctx, 0, w.whole.From, append(opts, clientv3.WithKeysOnly())...)
	return check{Answer: a, since: since, err: err}
}

// doubt returns what makes the question that follows a watch's end one about all
// that was watched, if etcd has said that we may not. It says so of an expired
// token too (3.4), which the question renews, and in text alone. The server
// counts the keys for it, so it is not put every time.
func (w *watch) doubt(err error) []clientv3.OpOption {
	if err == nil || err.Error() != rpctypes.ErrGRPCPermissionDenied.Error() {
		return nil
	}
	return []clientv3.OpOption{clientv3.WithRange(w.whole.To), clientv3.WithLimit(1)}
}

// known is a revision that any answer to a question put now is at least of.
func (w *watch) known() int64 { return max(w.last, w.heard) }

func (w *watch) judge(k check) error {
	switch {
	case k.err != nil:
		return k.err
	case k.Rev < k.since, k.Cluster != w.cluster: // restored from a backup
		return errHistory
	}
	w.heard = max(w.heard, k.Rev)
	w.feed.heard(k.Answer)
	return nil
}

// wait returns after d, or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
