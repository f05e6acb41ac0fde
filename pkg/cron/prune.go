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
	r, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		return m.KV().Txn(ctx).Then(
			clientv3.OpGet(k.Runs(self.Job), clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(int64(keep)),
				clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend)),
			clientv3.OpGet(k.ActsOf(self.Job, ""), clientv3.WithPrefix(), clientv3.WithKeysOnly())).Commit()
	})
	if err != nil {
		return time.Time{}, err
	}
	kept := rangeOf(r, 0).Kvs
	if len(kept) < keep {
		return time.Time{}, nil
	}
	oldest := self.Tick
	for _, kv := range append(kept, rangeOf(r, 1).Kvs...) {
		if e, ok := k.Entry(string(kv.Key)); ok && e.Run.Tick.Before(oldest) {
			oldest = e.Run.Tick
		}
	}
	return oldest.Add(-time.Second), nil
}
