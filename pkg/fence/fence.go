// Package fence is the token that proves a hold: how it is passed on, compared
// and checked; and a file that only the newest may replace.
//
// A token does not stop anybody by itself. Who writes to a store under a hold
// must have the store compare the token with the newest that it has seen, or
// make the write conditional on Compare in etcd; then a holder that was frozen,
// and thawed after its hold had passed on, can do no harm.
//
// The token is the create-revision of the holder's key. It grows with each
// later holder of the same name, survives restarts of etcd, and does not
// survive a restore from a backup made without --bump-revision; so the id of
// the cluster goes with it.
package fence

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Token proves a hold. The zero Token proves nothing.
type Token struct {
	Key     string // the holder's key in etcd
	Rev     int64  // its create-revision
	Lease   int64  // its lease
	Cluster uint64 // the etcd cluster's id
}

// Compare is the condition for a transaction of the caller's own: it is true
// exactly while the hold that t proves exists.
func (t Token) Compare() clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(t.Key), "=", t.Rev)
}

// Of returns the token of a key that was read from the cluster with header h.
func Of(h *pb.ResponseHeader, key string, rev, lease int64) Token {
	return Token{Key: key, Rev: rev, Lease: lease, Cluster: h.GetClusterId()}
}
