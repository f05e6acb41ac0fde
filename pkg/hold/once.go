package hold

import (
	"context"
	"encoding/json"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcd"
	"conch/pkg/keys"
)

// Done is what a done-marker says.
type Done struct {
	Host string    `json:"host"`
	PID  int       `json:"pid"`
	At   time.Time `json:"at"` // UTC
	Exit int       `json:"exit"`
}

// Marker is a done-marker as it lies in etcd.
type Marker struct {
	Done
	Once string // the key that it is for
	Key  string // where it lies
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

// ListDone returns the done-markers of the office called name, sorted by where
// they lie.
func ListDone(ctx context.Context, c *etcd.Client, space keys.Space, name string) ([]Marker, error) {
	var ops []clientv3.Op
	for _, prefix := range space.Onces(name) {
		ops = append(ops, clientv3.OpGet(prefix, clientv3.WithPrefix()))
	}
	r, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		return m.KV().Txn(ctx).Then(ops...).Commit()
	})
	if err != nil {
		return nil, err
	}
	var all []Marker
	for i := range ops {
		for _, kv := range rangeOf(r, i).Kvs {
			if key, ok := space.OnceOf(name, string(kv.Key)); ok {
				all = append(all, Marker{parseDone(kv.Value), key, string(kv.Key)})
			}
		}
	}
	return all, nil
}

// ForgetDone deletes the done-marker key of the office called name, and returns
// what it said, or ErrVacant.
func ForgetDone(ctx context.Context, c *etcd.Client, space keys.Space, name, key string) (Marker, error) {
	at := space.Once(name, key)
	r, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.GetResponse, error) {
		return m.KV().Get(ctx, at)
	})
	if err != nil {
		return Marker{}, err
	}
	if len(r.Kvs) == 0 {
		return Marker{}, ErrVacant
	}
	// That one, and none that was put since: who repeats a delete whose answer was
	// lost must not undo what has been done after it.
	same := clientv3.Compare(clientv3.ModRevision(at), "=", r.Kvs[0].ModRevision)
	_, err = etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		return m.KV().Txn(ctx).If(same).Then(clientv3.OpDelete(at)).Commit()
	})
	return Marker{parseDone(r.Kvs[0].Value), key, at}, err
}

// parseDone reads a done-marker. Whatever is there means that it is done; what is
// not ours says only that.
func parseDone(value []byte) Done {
	var d Done
	if err := json.Unmarshal(value, &d); err != nil || d.Host == "" {
		return Done{Host: "unknown-host"}
	}
	return d
}
