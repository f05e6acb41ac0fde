package cron

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcd"
)

const (
	// maxBatch is how many go into one request. etcd takes 128 operations, the
	// outer ones and those of the largest inner transaction together.
	maxBatch = 64
	// maxBytes is how much goes into one request, unless one item alone takes more:
	// well below etcd's limit of 1.5 MiB.
	maxBytes = 1 << 20
	// linger is how long what is urgent waits for others.
	linger = 5 * time.Millisecond
	// inFlight is how many requests there are at a time. While they are under way
	// further ones gather: the more there is to do, the fuller the batches.
	inFlight = 4
	// maxBehind is how long a batch that is not full waits at most for a request
	// that is under way: what comes meanwhile goes with it.
	maxBehind = 100 * time.Millisecond
	// maxHold is how long a request is kept from a second member at most, beyond
	// what etcd.Do waits: see send.
	maxHold = 2 * time.Second
)

// item is one inner transaction and who waits for its answer.
type item struct {
	job    string
	op     clientv3.Op
	by     time.Time // when it is to be sent, with others or alone
	answer chan<- answer
}

// answer is what came of an item. Where the outer comparison failed, inner is
// nil and outer has what was read instead.
type answer struct {
	rev   int64 // of the whole
	inner *clientv3.TxnResponse
	outer *clientv3.TxnResponse
	err   error
}

// batcher sends transactions of many together, as one entry of Raft's log.
// Two of one job are never in the same request: inner comparisons see what was
// there before it, so that both would succeed.
type batcher struct {
	c     *etcd.Client
	guard []clientv3.Cmp // of each request
	miss  []clientv3.Op  // what is read if that fails
	in    chan item
	done  chan struct{} // closed when run has returned

	// Of run alone:
	queue []item
	pace  time.Duration // what a request takes of late
}

func newBatcher(c *etcd.Client, guard []clientv3.Cmp, miss []clientv3.Op) *batcher {
	return &batcher{c: c, guard: guard, miss: miss, in: make(chan item), done: make(chan struct{})}
}

// do returns the answer to op, which is about the job, and which may be kept
// back for as long as wait. It asks until that is definite, or run's context has
// ended; so op must tell by what it finds that it has been applied before.
func (b *batcher) do(job string, op clientv3.Op, wait time.Duration) answer {
	got := make(chan answer, 1)
	select {
	case b.in <- item{job, op, time.Now().Add(wait), got}:
		return <-got
	case <-b.done:
		return answer{err: context.Canceled}
	}
}

// run serves do until ctx ends, and then waits for what is under way.
func (b *batcher) run(ctx context.Context) {
	defer close(b.done)
	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	sent := make(chan time.Duration)
	sending := 0
	for ctx.Err() == nil {
		for sending < inFlight && b.due(alarm, sending) {
			batch := b.take()
			sending++
			hold := min(3*b.pace, maxHold)
			go func() {
				began := time.Now()
				b.ask(ctx, batch, hold)
				sent <- time.Since(began)
			}()
		}
		select {
		case it := <-b.in:
			b.queue = append(b.queue, it)
		case took := <-sent:
			sending--
			b.pace += (took - b.pace) / 4
		case <-alarm.C:
		case <-ctx.Done():
		}
	}
	for ; sending > 0; sending-- {
		<-sent
	}
	for _, it := range b.queue {
		it.answer <- answer{err: ctx.Err()}
	}
}

// due reports whether a batch is to be sent now, and else sets the alarm.
func (b *batcher) due(alarm *time.Timer, sending int) bool {
	if len(b.queue) == 0 || len(b.queue) >= maxBatch {
		return len(b.queue) > 0
	}
	first := b.queue[0].by
	for _, it := range b.queue {
		if it.by.Before(first) {
			first = it.by
		}
	}
	if sending > 0 {
		first = first.Add(min(b.pace, maxBehind))
	}
	left := time.Until(first)
	alarm.Reset(max(left, 0))
	return left <= 0
}

// take takes the first of different jobs off the queue, as many as go into one
// request. Of one job's the order stays.
func (b *batcher) take() []item {
	var batch, rest []item
	size := 0
	seen := make(map[string]bool, maxBatch)
	for _, it := range b.queue {
		if len(batch) < maxBatch && !seen[it.job] {
			seen[it.job] = true
			if takes := bytesOf([]clientv3.Op{it.op}); len(batch) == 0 || size+takes <= maxBytes {
				size += takes
				batch = append(batch, it)
				continue
			}
		}
		rest = append(rest, it)
	}
	b.queue = rest
	return batch
}

func (b *batcher) ask(ctx context.Context, batch []item, hold time.Duration) {
	ops := make([]clientv3.Op, len(batch))
	for i, it := range batch {
		ops[i] = it.op
	}
	r, err := b.send(ctx, ops, hold)
	if err != nil && ctx.Err() == nil && len(batch) > 1 { // one that etcd refuses is not to take the others with it
		for i := range batch {
			b.ask(ctx, batch[i:i+1], hold)
		}
		return
	}
	for i, it := range batch {
		a := answer{err: err}
		if err == nil {
			a.rev = r.Header.Revision
			if r.Succeeded {
				a.inner = (*clientv3.TxnResponse)(r.Responses[i].GetResponseTxn())
			} else {
				a.outer = r
			}
		}
		it.answer <- a
	}
}

// send asks until the answer is definite. A second member is asked only when the
// first has failed, or takes much longer than requests have of late: an etcd that
// is slow because it has much to do would get all of it twice, and be slower.
func (b *batcher) send(ctx context.Context, ops []clientv3.Op, hold time.Duration) (*clientv3.TxnResponse, error) {
	var asked atomic.Bool
	var once sync.Once
	failed := make(chan struct{})
	return etcd.Do(ctx, b.c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		if asked.Swap(true) {
			select {
			case <-failed:
			case <-time.After(hold):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		r, err := m.KV().Txn(ctx).If(b.guard...).Then(ops...).Else(b.miss...).Commit()
		if err != nil {
			once.Do(func() { close(failed) })
		}
		return r, err
	})
}
