package hold

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcd"
	"conch/pkg/keys"
	"conch/pkg/lease"
)

// ErrVacant means that there is nobody to evict.
var ErrVacant = errors.New("vacant")

// Evict deletes the key of the present holder, whoever waits for the lock-delay
// included, and leaves a note that says who did it. The holder's watch kills its
// command. It returns who was evicted, or had gone just then, or ErrVacant.
func Evict(ctx context.Context, c *etcd.Client, space keys.Space, line keys.Line, by string) (Candidate, error) {
	l, err := List(ctx, c, line)
	if err != nil {
		return Candidate{}, err
	}
	if len(l.Candidates) == 0 {
		return Candidate{}, ErrVacant
	}
	who := l.Candidates[0]
	return who, l.evict(ctx, c, space, who, line.RecordOf(who.Key), by)
}

// Ambiguous means that several are meant where one was to be.
type Ambiguous struct{ Meant []Candidate }

func (e *Ambiguous) Error() string { return fmt.Sprintf("%d are meant", len(e.Meant)) }

// EvictAll does the same to everybody at a semaphore who is meant, waiters
// included, and returns who they were. Of one, nobody is if that does not say
// which: then the error is *Ambiguous.
func EvictAll(ctx context.Context, c *etcd.Client, space keys.Space, pool keys.Pool, meant func(Candidate) bool, one bool, by string) ([]Candidate, error) {
	p, all, err := pick(ctx, c, pool, meant, one)
	if err != nil {
		return nil, err
	}
	var evicted []Candidate
	for _, who := range all {
		if err := p.evict(ctx, c, space, who, pool.RecordOf(who.Key), by); err != nil {
			return evicted, err
		}
		evicted = append(evicted, who)
	}
	return evicted, p.clearAfter(ctx, c, pool, evicted)
}

// clearAfter clears up for those of the evicted whose process has ended before:
// their turns of a host, and after the last of all the capacity.
func (p PoolLine) clearAfter(ctx context.Context, c *etcd.Client, pool keys.Pool, evicted []Candidate) error {
	if !slices.ContainsFunc(evicted, func(who Candidate) bool { return who.State == Lingering }) {
		return nil
	}
	for _, host := range p.Hosts {
		first := host.Candidates[0]
		if first.State == Lingering && slices.ContainsFunc(evicted, func(who Candidate) bool { return who.same(first) }) {
			if err := lease.Revoke(ctx, c, first.Lease); err != nil {
				return err
			}
		}
	}
	_, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		return m.KV().Txn(ctx).Then(ifVacant(pool.Dir, clientv3.OpDelete(pool.Cap()))).Commit()
	})
	return err
}

// pick finds who is meant at a semaphore: who waits before who holds, and the last in
// line first, else those who wait would start meanwhile.
func pick(ctx context.Context, c *etcd.Client, pool keys.Pool, meant func(Candidate) bool, one bool) (_ PoolLine, all []Candidate, _ error) {
	p, err := ReadPool(ctx, c, pool)
	if err != nil {
		return p, nil, err
	}
	for _, l := range append(p.outside(), p.Line) {
		for _, who := range slices.Backward(l.Candidates) {
			if meant(who) {
				all = append(all, who)
			}
		}
	}
	switch {
	case len(all) == 0:
		return p, nil, ErrVacant
	case len(all) > 1 && one:
		slices.SortFunc(all, func(a, b Candidate) int { return cmp.Compare(a.Rev, b.Rev) })
		return p, nil, &Ambiguous{all}
	}
	return p, all, nil
}

func (l Line) evict(ctx context.Context, c *etcd.Client, space keys.Space, who Candidate, record, by string) error {
	if who.State == Lingering { // there is nobody to tell, or to clear up
		return lease.Revoke(ctx, c, who.Lease)
	}
	t := l.Token(who)
	ops := []clientv3.Op{clientv3.OpDelete(t.Key)}
	if t.Lease != 0 {
		ops = append(ops, clientv3.OpPut(space.Evict(t.Lease), by, clientv3.WithLease(clientv3.LeaseID(t.Lease))))
	}
	if who.State == Waiting {
		ops = append(ops, nudge(record)...)
	}
	// That the comparison fails may mean that an earlier attempt succeeded. It
	// is no reason to try the next in line: the one who was meant is gone.
	_, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		return m.KV().Txn(ctx).If(t.Compare()).Then(ops...).Commit()
	})
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		err = nil
	}
	return err
}
