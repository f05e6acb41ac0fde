package hold

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcd"
	"conch/pkg/fence"
	"conch/pkg/keys"
	"conch/pkg/lease"
)

// ErrVacant means that there is nobody to evict.
var ErrVacant = errors.New("vacant")

// Evict deletes the key of the present holder, whoever waits for the lock-delay
// included, and leaves a note that says who did it. The holder's watch kills its
// command. It returns who was evicted, or ErrVacant.
func Evict(ctx context.Context, c *etcd.Client, space keys.Space, line keys.Line, by string) (Candidate, error) {
	for {
		l, err := List(ctx, c, line)
		if err != nil {
			return Candidate{}, err
		}
		if len(l.Candidates) == 0 {
			return Candidate{}, ErrVacant
		}
		head := l.Candidates[0]
		if head.State == Lingering { // there is nobody to tell, or to clear up
			return head, lease.Revoke(ctx, c, head.Lease)
		}
		gone, err := evict(ctx, c, space, l.Token(head), by)
		if err != nil || gone {
			return head, err
		}
	}
}

// evict reports false when the hold was gone before.
func evict(ctx context.Context, c *etcd.Client, space keys.Space, t fence.Token, by string) (bool, error) {
	ops := []clientv3.Op{clientv3.OpDelete(t.Key)}
	if t.Lease != 0 {
		ops = append(ops, clientv3.OpPut(space.Evict(t.Lease), by, clientv3.WithLease(clientv3.LeaseID(t.Lease))))
	}
	r, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		return m.KV().Txn(ctx).If(t.Compare()).Then(ops...).Commit()
	})
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return r.Succeeded, nil
}
