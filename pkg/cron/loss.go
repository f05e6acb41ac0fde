package cron

import (
	"encoding/json"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/keys"
)

// Loss is the end of a run that its sentinel has written, in the place of a runner that
// was killed, and of which nobody has been told yet: by a report, in a log, by a command
// of the job's. A runner takes it, tells, and forgets it.
type Loss struct {
	Run *Run `json:"run"`
	// Teller is the runner that has taken it; empty: none has.
	Teller string `json:"teller,omitempty"`

	Rev int64 `json:"-"` // its mod-revision
}

// DecodeLoss reads a Loss; made and rev are the revisions of its key.
func DecodeLoss(id keys.RunID, b []byte, made, rev int64) (*Loss, error) {
	l := &Loss{Rev: rev}
	err := json.Unmarshal(b, l)
	if err == nil && l.Run == nil {
		err = fmt.Errorf("the loss of %s is of no run", id)
	}
	if err != nil {
		return nil, err
	}
	l.Run.RunID, l.Run.Rev = id, made // the record was written with it
	return l, nil
}

// Take is the transaction by which a runner takes l, if nobody has since it was read.
func (l *Loss) Take(k keys.Cron, teller string) clientv3.Op {
	key := k.Lost(l.Run.RunID)
	return clientv3.OpTxn([]clientv3.Cmp{unchanged(key, l.Rev)}, []clientv3.Op{clientv3.OpPut(key, l.with(teller))}, []clientv3.Op{clientv3.OpGet(key)})
}

func (l *Loss) with(teller string) string { return encode(Loss{Run: l.Run, Teller: teller}) }

// Taken reports whether the runner has taken l; r is etcd's answer to Take, which may
// have been sent twice.
func (l *Loss) Taken(r *clientv3.TxnResponse, teller string) bool {
	if r.Succeeded {
		return true
	}
	for _, kv := range rangeOf(r, 0).Kvs {
		return string(kv.Value) == l.with(teller)
	}
	return false
}

// Forget is the transaction by which the runner that has taken l, and has told of it,
// forgets it, and not one of a later attempt.
func (l *Loss) Forget(k keys.Cron, teller string) clientv3.Op {
	key := k.Lost(l.Run.RunID)
	return clientv3.OpTxn([]clientv3.Cmp{clientv3.Compare(clientv3.Value(key), "=", l.with(teller))}, []clientv3.Op{clientv3.OpDelete(key)}, nil)
}
