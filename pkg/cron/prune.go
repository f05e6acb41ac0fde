package cron

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcd"
	"conch/pkg/keys"
)

// LowWater says up to which tick the runs of a job can be pruned if the newest
// keep are to stay, with self among them, and all that are in progress; zero:
// there is nothing to prune.
func LowWater(ctx context.Context, c *etcd.Client, k keys.Cron, self keys.RunID, keep int) (time.Time, error) {
	p := Pruning{k, self, keep}
	r, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		return m.KV().Txn(ctx).Then(p.Ops()...).Commit()
	})
	if err != nil {
		return time.Time{}, err
	}
	return p.Answer(r), nil
}

// Pruning is LowWater's question, apart from asking it.
type Pruning struct {
	Keys keys.Cron
	Self keys.RunID
	Keep int
}

// Ops are the reads of p, to be made in one transaction.
func (p Pruning) Ops() []clientv3.Op {
	return []clientv3.Op{
		clientv3.OpGet(p.Keys.Runs(p.Self.Job), clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(int64(p.Keep)),
			clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend)),
		clientv3.OpGet(p.Keys.ActsOf(p.Self.Job, ""), clientv3.WithPrefix(), clientv3.WithKeysOnly()),
	}
}

// Answer is what LowWater returns: r is etcd's answer to Ops.
func (p Pruning) Answer(r *clientv3.TxnResponse) time.Time {
	kept := rangeOf(r, 0).Kvs
	if len(kept) < p.Keep {
		return time.Time{}
	}
	oldest := p.Self.Tick
	for _, kv := range append(kept, rangeOf(r, 1).Kvs...) {
		if e, ok := p.Keys.Entry(string(kv.Key)); ok && e.Run.Tick.Before(oldest) {
			oldest = e.Run.Tick
		}
	}
	return oldest.Add(-time.Second)
}
