package hold

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcd"
	"conch/pkg/fence"
)

// ErrFenced means that the hold which a token proves is over.
var ErrFenced = errors.New("the hold is over")

// Holds asks whether the hold that t proves still exists: nil, or ErrFenced.
func Holds(ctx context.Context, c *etcd.Client, t fence.Token) error {
	_, err := peek(ctx, c, t, t.Key)
	return err
}

// Put writes value to key, only while the hold that t proves exists; otherwise
// it writes nothing and returns ErrFenced. An attempt that a slow member makes
// late writes nothing either: it is conditional on what the key was before.
func Put(ctx context.Context, c *etcd.Client, t fence.Token, key, value string) error {
	before, err := peek(ctx, c, t, key)
	if err != nil {
		return err
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

// peek returns the mod-revision of key, 0 if there is none, while the hold that
// t proves exists, and otherwise ErrFenced.
func peek(ctx context.Context, c *etcd.Client, t fence.Token, key string) (int64, error) {
	r, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		return m.KV().Txn(ctx).If(t.Compare()).Then(clientv3.OpGet(key)).Commit()
	})
	switch {
	case err != nil:
		return 0, err
	case t.Cluster != 0 && r.Header.ClusterId != t.Cluster:
		return 0, fmt.Errorf("%w: the token is of cluster %x, this is %x", ErrFenced, t.Cluster, r.Header.ClusterId)
	case !r.Succeeded:
		return 0, ErrFenced
	case rangeOf(r, 0).Count == 0:
		return 0, nil
	}
	return rangeOf(r, 0).Kvs[0].ModRevision, nil
}
