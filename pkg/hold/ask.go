package hold

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcd"
	"conch/pkg/keys"
	"conch/pkg/lease"
)

// Asked means that somebody has asked for the place in line, which was given up.
type Asked struct{ By string }

func (e *Asked) Error() string { return "asked by " + e.By + " to give up the place in line" }

// ErrDeaf means that a candidate cannot be asked for anything: what its key says was
// not written by conch.
var ErrDeaf = errors.New("was not put there by conch, and cannot be asked")

// Ask asks the present holder, whoever waits for the lock-delay included, to give up
// the turn: in a field of its key's value, which its watch tells it of. It returns who
// was asked, as Lingering if the place was only kept, which it is not any more, or
// ErrVacant. See AwaitGone.
func Ask(ctx context.Context, c *etcd.Client, line keys.Line, by string) (Candidate, error) {
	l, err := List(ctx, c, line)
	if err != nil {
		return Candidate{}, err
	}
	if len(l.Candidates) == 0 {
		return Candidate{}, ErrVacant
	}
	who := l.Candidates[0]
	a, err := ask(ctx, c, who, line.RecordOf(who.Key), by)
	if a.kept {
		who.State = Lingering
	}
	return who, err
}

// AskAll does the same to everybody at a semaphore who is meant, waiters included,
// and returns who they were. Of one, nobody is asked if that does not say which: then
// the error is *Ambiguous.
func AskAll(ctx context.Context, c *etcd.Client, pool keys.Pool, meant func(Candidate) bool, one bool, by string) ([]Candidate, error) {
	p, all, err := pick(ctx, c, pool, meant, one)
	if err != nil {
		return nil, err
	}
	var asked []Candidate
	var deaf error
	for _, who := range all {
		a, err := ask(ctx, c, who, pool.RecordOf(who.Key), by)
		if a.kept {
			who.State = Lingering
		}
		switch {
		case errors.Is(err, ErrDeaf):
			deaf = err
		case err != nil:
			return asked, err
		default:
			asked = append(asked, who)
		}
	}
	return asked, errors.Join(deaf, p.clearAfter(ctx, c, pool, asked))
}

// errGone ends the watch of AwaitGone.
var errGone = errors.New("gone")

// AwaitGone waits until who is gone, who was asked by by: until the turn has been
// released, or lost. Where the word that was left has been written over, or only the
// place is kept, it sees to that.
func AwaitGone(ctx context.Context, c *etcd.Client, line keys.Line, who Candidate, by string) error {
	_, err := awaitGone(ctx, c, who, line.RecordOf(who.Key), by)
	return err
}

// AwaitGoneFrom is AwaitGone for a semaphore.
func AwaitGoneFrom(ctx context.Context, c *etcd.Client, pool keys.Pool, who Candidate, by string) error {
	kept, err := awaitGone(ctx, c, who, pool.RecordOf(who.Key), by)
	if err != nil || !kept {
		return err
	}
	p, err := ReadPool(ctx, c, pool)
	if err != nil {
		return err
	}
	who.State = Lingering
	return p.clearAfter(ctx, c, pool, []Candidate{who})
}

// awaitGone reports whether in the end the place was only kept.
func awaitGone(ctx context.Context, c *etcd.Client, who Candidate, record, by string) (kept bool, _ error) {
	w := watcher{c: c, dirs: []string{who.Key}, read: func(ctx context.Context, _ int64) seen {
		a, err := ask(ctx, c, who, record, by)
		kept = a.kept
		if err == nil && a.gone {
			err = errGone
		}
		return seen{rev: a.rev, err: err}
	}}
	err := w.run(ctx)
	switch {
	case errors.Is(err, errGone):
		return kept, nil
	case ctx.Err() != nil:
		return false, ctx.Err()
	}
	return false, err
}

// answer is what became of a question.
type answer struct {
	gone bool
	kept bool  // it was only kept, and ended for that
	rev  int64 // that this was seen at
}

// ask asks one candidate, unless somebody has. A place that is only kept is ended:
// there is nobody to ask.
func ask(ctx context.Context, c *etcd.Client, who Candidate, record, by string) (answer, error) {
	for {
		r, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.GetResponse, error) {
			return m.KV().Get(ctx, who.Key)
		})
		if err != nil {
			return answer{}, err
		}
		a := answer{rev: r.Header.Revision}
		if len(r.Kvs) == 0 || r.Kvs[0].CreateRevision != who.Rev {
			a.gone = true
			return a, nil
		}
		kv := r.Kvs[0]
		h := parse(kv.Value)
		switch {
		case h.Ask != "":
			return a, nil
		case h.State == Lingering:
			a.gone, a.kept = true, true
			return a, lease.Revoke(ctx, c, kv.Lease)
		case h.State == "":
			return a, ErrDeaf
		}
		ops := []clientv3.Op{clientv3.OpPut(who.Key, with(kv.Value, "ask", by), clientv3.WithLease(clientv3.LeaseID(kv.Lease)))}
		if h.State == Waiting {
			ops = append(ops, nudge(record)...)
		}
		// If it was written meanwhile, by the candidate or by an attempt whose answer
		// was lost, the next glance sees that.
		_, err = etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
			return m.KV().Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(who.Key), "=", kv.ModRevision)).
				Then(ops...).Commit()
		})
		if err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return a, err
		}
	}
}

// nudge puts the running record of who waits, if there is one, as it is. What is in
// the same transaction that one hears of before it can hear, by its watch of the
// records, that the turn is its own: of two watches etcd may tell in any order.
func nudge(record string) []clientv3.Op {
	if record == "" {
		return nil
	}
	there := clientv3.Compare(clientv3.CreateRevision(record), ">", 0)
	return []clientv3.Op{clientv3.OpTxn([]clientv3.Cmp{there},
		[]clientv3.Op{clientv3.OpPut(record, "", clientv3.WithIgnoreValue(), clientv3.WithIgnoreLease())}, nil)}
}

// with is the value of a candidate's key with one field set, and everything else as
// it is.
func with(value []byte, field string, to any) string {
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(value, &fields); err != nil {
		panic("hold: " + err.Error()) // it has been parsed
	}
	b, err := json.Marshal(to)
	if err == nil {
		fields[field] = b
		b, err = json.Marshal(fields)
	}
	if err != nil {
		panic("hold: " + err.Error())
	}
	return string(b)
}

// asks is where a candidate hears that somebody asks for its place.
type asks struct {
	once  sync.Once
	heard chan struct{} // closed then, ...
	by    string        // ... when this is set
}

func newAsks() *asks { return &asks{heard: make(chan struct{})} }

// hear looks for the word in a value of the candidate's key.
func (a *asks) hear(value []byte) {
	if by := parse(value).Ask; by != "" {
		a.once.Do(func() {
			a.by = by
			close(a.heard)
		})
	}
}

// unasked looks at our key, as it was read while we wait. It returns the revision that
// its value is of, or *Asked if somebody asks in that for our place.
func (me *candidacy) unasked(own *pb.RangeResponse) (rev int64, _ error) {
	if len(own.Kvs) == 0 || own.Kvs[0].CreateRevision != me.token.Rev {
		return 0, errOusted
	}
	kv := own.Kvs[0]
	if h := parse(kv.Value); h.Ask != "" && h.State == Waiting {
		return 0, &Asked{h.Ask}
	}
	return kv.ModRevision, nil
}

// untouched is the comparison that our key is still there, and that nobody has put it
// since we have, or since what e saw of it.
func (me *candidacy) untouched(e entry) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(me.key), "=", cmp.Or(e.own, me.token.Rev))
}

// during returns a context that ends when somebody asks, too, with *Asked as its
// cause. It must be ended, by stop.
func (a *asks) during(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-a.heard:
			cancel(&Asked{a.by})
		case <-ctx.Done():
		}
	})
	return ctx, func() { cancel(nil); wg.Wait() }
}

// Asked is closed when somebody has asked for the turn. AskedBy says who.
func (t *Turn) Asked() <-chan struct{} { return t.me.asks.heard }

// AskedBy says who has asked for the turn. Call it only after Asked is closed.
func (t *Turn) AskedBy() string { return t.me.asks.by }
