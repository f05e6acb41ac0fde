package hold

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcd"
	"conch/pkg/fence"
)

// ErrFenced means that the hold which a token proves is over.
var ErrFenced = errors.New("the hold is over")

// Holds asks whether the hold that t proves still exists: nil, or ErrFenced.
func Holds(ctx context.Context, c *etcd.Client, t fence.Token) error {
	return fenced(ctx, c, t, nil)
}

// Put writes value to key, only while the hold that t proves exists; otherwise
// it writes nothing and returns ErrFenced. A repeated Put of an attempt whose
// answer was lost writes the same value again.
func Put(ctx context.Context, c *etcd.Client, t fence.Token, key, value string) error {
	return fenced(ctx, c, t, []clientv3.Op{clientv3.OpPut(key, value)})
}

func fenced(ctx context.Context, c *etcd.Client, t fence.Token, ops []clientv3.Op) error {
	r, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		return m.KV().Txn(ctx).If(t.Compare()).Then(ops...).Commit()
	})
	if err != nil {
		return err
	}
	if t.Cluster != 0 && r.Header.ClusterId != t.Cluster {
		return fmt.Errorf("%w: the token is of cluster %x, this is %x", ErrFenced, t.Cluster, r.Header.ClusterId)
	}
	if !r.Succeeded {
		return ErrFenced
	}
	return nil
}

// Done is what a done-marker says.
type Done struct {
	Host string    `json:"host"`
	PID  int       `json:"pid"`
	At   time.Time `json:"at"` // UTC
	Exit int       `json:"exit"`
}

// WasDone reports whether the done-marker at key exists.
func WasDone(ctx context.Context, c *etcd.Client, key string) (bool, error) {
	r, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.GetResponse, error) {
		return m.KV().Get(ctx, key)
	})
	if err != nil {
		return false, err
	}
	return len(r.Kvs) > 0, nil
}
