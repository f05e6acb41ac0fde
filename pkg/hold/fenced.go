package hold

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcd"
	"conch/pkg/fence"
)

// ErrFenced means that the hold which a token proves is over.
var ErrFenced = fence.ErrFenced

// Holds asks whether the hold that t proves still exists: nil, or ErrFenced.
func Holds(ctx context.Context, c *etcd.Client, t fence.Token) error {
	_, err := peek(ctx, c, t, t.Key)
	return err
}

// HolderOf returns who has the hold that t proves, or ErrFenced if it is over, and
// likewise if only the place is kept, by After.Linger.
func HolderOf(ctx context.Context, c *etcd.Client, t fence.Token) (Candidate, error) {
	kv, err := peek(ctx, c, t, t.Key)
	if err != nil {
		return Candidate{}, err
	}
	h := candidate(kv)
	if h.State == Lingering {
		return h, ErrFenced
	}
	return h, nil
}

// Put writes value to key, only while the hold that t proves exists; otherwise
// it writes nothing and returns ErrFenced. An attempt that a slow member makes
// late writes nothing either: it is conditional on what the key was before.
func Put(ctx context.Context, c *etcd.Client, t fence.Token, key, value string) error {
	old, err := peek(ctx, c, t, key)
	if err != nil {
		return err
	}
	before := int64(0)
	if old != nil {
		before = old.ModRevision
	}
	r, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		return m.KV().Txn(ctx).If(t.Compare(), clientv3.Compare(clientv3.ModRevision(key), "=", before)).
			Then(clientv3.OpPut(key, value)).Else(clientv3.OpGet(key)).Commit()
	})
	switch {
	case err != nil || r.Succeeded:
		return err
	case rangeOf(r, 0).Count > 0 && string(rangeOf(r, 0).Kvs[0].Value) == value:
		return nil // by the attempt whose answer was lost
	}
	if err := Holds(ctx, c, t); err != nil {
		return err
	}
	return fmt.Errorf("%s was written by somebody else meanwhile", key)
}

// peek reads key, nil if it is not there, while the hold that t proves exists, and
// otherwise returns ErrFenced.
func peek(ctx context.Context, c *etcd.Client, t fence.Token, key string) (*mvccpb.KeyValue, error) {
	r, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		return m.KV().Txn(ctx).If(t.Compare()).Then(clientv3.OpGet(key)).Commit()
	})
	switch {
	case err != nil:
		return nil, err
	case t.Cluster != 0 && r.Header.ClusterId != t.Cluster:
		return nil, fmt.Errorf("%w: the token is of cluster %x, this is %x", ErrFenced, t.Cluster, r.Header.ClusterId)
	case !r.Succeeded:
		return nil, ErrFenced
	case rangeOf(r, 0).Count == 0:
		return nil, nil
	}
	return rangeOf(r, 0).Kvs[0], nil
}
