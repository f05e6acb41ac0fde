package main

import (
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// store is what the world asks of the model of etcd. What is asked is applied at once:
// how long it takes to get there and back, whether it arrives, and whether twice, is
// the world's affair.
type store interface {
	// Txn does what a member does with a transaction, and answers as it does: also
	// with etcd's own errors (no space, permission denied, too many operations, too
	// large).
	Txn(is []clientv3.Cmp, then, otherwise []clientv3.Op) (*clientv3.TxnResponse, error)

	Rev() int64
	Cluster() uint64

	// Grant makes a lease, which lives until Revoke: the world says when it lapses.
	Grant(lease int64) error
	Revoke(lease int64)

	// Since returns what has happened after rev, in order; false: that is compacted.
	Since(rev int64) (events []*clientv3.Event, ok bool)
	// All returns what there is under a prefix.
	All(prefix string) []*mvccpb.KeyValue

	Compact()                       // all but the present is forgotten
	SetNoSpace(on bool)             // the alarm
	SetRefused(on bool)             // of everything that is written: permission denied
	Save() any                      // a backup
	Restore(backup any, other bool) // from a backup; as another cluster
}
