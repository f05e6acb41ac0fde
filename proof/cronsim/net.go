package main

import (
	"errors"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcd"
)

// call asks etcd something, as etcd.Do does: again until there is an answer, which may
// have been given to an earlier attempt, or the session is over. What was sent is
// carried out even so, and now and then a second time, later.
func (s *session) call(ask func() (any, error), then func(any, error)) {
	s.attempt(0, ask, then)
}

func (s *session) attempt(n int, ask func() (any, error), then func(any, error)) {
	h := s.host
	again := func(low, high time.Duration) {
		s.after(h.between(low, high), func() { s.attempt(n+1, ask, then) })
	}
	if !h.reaches() {
		again(50*time.Millisecond, time.Second)
		return
	}
	if h.lossy.is && h.chance(0.3) {
		again(200*time.Millisecond, time.Second)
		return
	}
	mark := s.w.mark
	s.w.after(h.delay(), func() {
		if !s.w.etcdUp || h.cut.is || mark != s.w.mark { // lost on its way
			again(200*time.Millisecond, time.Second)
			return
		}
		s.w.author = h.spec.name
		before := s.w.db.entries
		v, err := ask()
		s.w.counts.Entries += int(s.w.db.entries - before)
		s.w.committed()
		if h.lossy.is && h.chance(0.2) { // sent to another member as well, which was slow
			s.w.after(h.between(0, 3*time.Second), func() {
				if s.w.etcdUp && mark == s.w.mark {
					s.w.author = h.spec.name
					_, _ = ask()
					s.w.committed()
				}
			})
		}
		if h.lossy.is && h.chance(0.3) { // its answer is lost
			again(200*time.Millisecond, time.Second)
			return
		}
		s.after(h.delay(), func() {
			switch {
			case h.cut.is:
				again(50*time.Millisecond, time.Second)
			case errors.As(err, new(*etcd.Unreachable)):
				again(50*time.Millisecond, time.Second)
			default:
				then(v, err)
			}
		})
	})
}

// client is what the host asks etcd with.
func (s *session) client() client { return client{s.w} }

// item is one inner transaction of a batch, and who waits for its answer.
type item struct {
	job  string
	op   clientv3.Op
	then func(rev int64, inner *clientv3.TxnResponse, err error)
}

// batcher sends transactions together, as cron's does: never two of one job.
type batcher struct {
	*session
	claims bool // each request is guarded by the runner's key
	queue  []item
	set    bool
}

const (
	maxTogether = 64
	maxBytes    = 1 << 20
	linger      = 5 * time.Millisecond
)

func newBatcher(s *session, claims bool) *batcher { return &batcher{session: s, claims: claims} }

func (b *batcher) add(wait time.Duration, it item) {
	b.queue = append(b.queue, it)
	if b.set {
		return
	}
	b.set = true
	b.after(max(wait, linger), b.flush)
}

func (b *batcher) flush() {
	b.set = false
	var batch, rest []item
	size := 0
	for _, it := range b.queue {
		n := len(it.job) + 2*opBytes(it.op)
		if len(batch) < maxTogether && !slices.ContainsFunc(batch, func(o item) bool { return o.job == it.job }) && (len(batch) == 0 || size+n <= maxBytes || b.unbounded()) {
			batch = append(batch, it)
			size += n
			continue
		}
		rest = append(rest, it)
	}
	b.queue = rest
	if len(rest) > 0 {
		b.set = true
		b.after(linger, b.flush)
	}
	if len(batch) > 0 {
		b.send(batch)
	}
}

func (b *batcher) unbounded() bool { return b.w.broken != nil && b.w.broken.noBounds }

func (b *batcher) send(batch []item) {
	var guard []clientv3.Cmp
	if b.claims {
		guard = append(guard, guardOf(b.session))
	}
	ops := make([]clientv3.Op, len(batch))
	for i, it := range batch {
		ops[i] = it.op
	}
	b.call(func() (any, error) { return b.client().txn(guard, ops, nil) }, func(v any, err error) {
		if err != nil && len(batch) > 1 && !b.unbounded() { // one that etcd refuses is not to take the others with it
			for _, it := range batch {
				b.send([]item{it})
			}
			return
		}
		for i, it := range batch {
			if err != nil {
				it.then(0, nil, err)
				continue
			}
			r := v.(*clientv3.TxnResponse)
			var inner *clientv3.TxnResponse
			if r.Succeeded {
				inner = (*clientv3.TxnResponse)(r.Responses[i].GetResponseTxn())
			}
			it.then(r.Header.Revision, inner, nil)
		}
	})
}

// opBytes is about what an operation takes.
func opBytes(op clientv3.Op) int {
	n := len(op.KeyBytes()) + len(op.ValueBytes()) + 40
	if cmps, then, otherwise := op.Txn(); op.IsTxn() {
		n += 60 * len(cmps)
		for _, o := range slices.Concat(then, otherwise) {
			n += opBytes(o)
		}
	}
	return n
}
