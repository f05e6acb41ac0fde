package main

import (
	"bytes"
	"cmp"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// etcdModel is etcd in memory: keys with revisions, transactions, leases, a history to
// watch, and what may be wrong with it. It has no goroutine and no clock. What it knows
// of etcd is what TestModelIsEtcd compares with a real one.
//
// What it hands out is shared, and must not be changed.
type etcdModel struct {
	cluster   uint64
	rev       int64
	compacted int64              // what lies before is not to be had
	keys      []*mvccpb.KeyValue // in the order of their names
	history   []*clientv3.Event  // from compacted on, each with what was there before
	leases    map[int64][]string // their keys, in order
	full      bool               // the NOSPACE alarm
	refused   bool               // nobody may write
	entries   int64
	wire      wire
}

var _ store = (*etcdModel)(nil)

// newEtcdModel returns an empty etcd.
func newEtcdModel(cluster uint64) *etcdModel {
	e := &etcdModel{cluster: cluster, rev: 1, leases: map[int64][]string{}}
	e.wire.kv = clientv3.NewKVFromKVClient(&e.wire, nil)
	return e
}

// Do answers as the client library would. Errors: etcd's, as the library has them.
func (e *etcdModel) Do(op clientv3.Op) (clientv3.OpResponse, error) {
	r := e.wire.request(op)
	t := r.GetRequestTxn()
	if t == nil {
		t = &pb.TxnRequest{Success: []*pb.RequestOp{r}}
	}
	a, err := e.txn(t)
	if err != nil {
		return clientv3.OpResponse{}, rpctypes.Error(err)
	}
	if op.IsTxn() {
		return (*clientv3.TxnResponse)(a).OpResponse(), nil
	}
	switch a := a.Responses[0]; {
	case op.IsGet():
		return (*clientv3.GetResponse)(a.GetResponseRange()).OpResponse(), nil
	case op.IsPut():
		return (*clientv3.PutResponse)(a.GetResponsePut()).OpResponse(), nil
	default:
		return (*clientv3.DeleteResponse)(a.GetResponseDeleteRange()).OpResponse(), nil
	}
}

// Txn is Do for a transaction.
func (e *etcdModel) Txn(is []clientv3.Cmp, then, otherwise []clientv3.Op) (*clientv3.TxnResponse, error) {
	r, err := e.Do(clientv3.OpTxn(is, then, otherwise))
	return r.Txn(), err
}

// Rev is the revision of all that there is.
func (e *etcdModel) Rev() int64 { return e.rev }

// Cluster is the id of the cluster.
func (e *etcdModel) Cluster() uint64 { return e.cluster }

// Entries is how many entries Raft's log has got.
func (e *etcdModel) Entries() int64 { return e.entries }

// SetNoSpace raises or ends the NOSPACE alarm: nothing may be put, and no lease granted.
func (e *etcdModel) SetNoSpace(on bool) { e.full = on }

// SetRefused has every transaction that might write something refused.
func (e *etcdModel) SetRefused(on bool) { e.refused = on }

// All returns what there is under a prefix.
func (e *etcdModel) All(prefix string) []*mvccpb.KeyValue {
	return slices.Clone(within(e.keys, []byte(prefix), []byte(clientv3.GetPrefixRangeEnd(prefix))))
}

func search(kvs []*mvccpb.KeyValue, key []byte) (int, bool) {
	return slices.BinarySearchFunc(kvs, key, func(kv *mvccpb.KeyValue, key []byte) int { return bytes.Compare(kv.Key, key) })
}

// within returns what lies from a key to another, as a range of etcd's: the end is
// empty for one key alone, and a zero byte for all that follow.
func within(kvs []*mvccpb.KeyValue, from, to []byte) []*mvccpb.KeyValue {
	i, found := search(kvs, from)
	switch {
	case len(to) == 0 && !found, len(to) > 0 && bytes.Compare(to, from) <= 0 && !fromOn(to):
		return nil
	case len(to) == 0:
		return kvs[i : i+1]
	case fromOn(to):
		return kvs[i:]
	}
	j, _ := search(kvs[i:], to)
	return kvs[i : i+j]
}

func fromOn(to []byte) bool { return len(to) == 1 && to[0] == 0 }

// at returns all keys as they were at a revision.
func (e *etcdModel) at(rev int64) []*mvccpb.KeyValue {
	kvs := e.keys
	for i := len(e.history) - 1; i >= 0 && e.history[i].Kv.ModRevision > rev; i-- {
		if i == len(e.history)-1 {
			kvs = slices.Clone(kvs)
		}
		h := e.history[i]
		j, found := search(kvs, h.Kv.Key)
		switch {
		case found && h.PrevKv != nil:
			kvs[j] = h.PrevKv
		case found:
			kvs = slices.Delete(kvs, j, j+1)
		case h.PrevKv != nil:
			kvs = slices.Insert(kvs, j, h.PrevKv)
		}
	}
	return kvs
}

// Since returns what has happened after a revision, in order: what a watch tells. false:
// that has been compacted.
func (e *etcdModel) Since(rev int64) ([]*clientv3.Event, bool) {
	i, _ := slices.BinarySearchFunc(e.history, rev+1, func(h *clientv3.Event, rev int64) int { return cmp.Compare(h.Kv.ModRevision, rev) })
	return e.history[i:len(e.history):len(e.history)], rev+1 >= e.compacted
}

// Compact forgets all but the present.
func (e *etcdModel) Compact() {
	e.entries++
	now, _ := e.Since(e.rev - 1)
	e.history, e.compacted = slices.Clone(now), e.rev
}

// Save returns a backup.
func (e *etcdModel) Save() any {
	b := *e
	b.keys, b.history = slices.Clone(e.keys), e.history[:len(e.history):len(e.history)]
	b.leases = map[int64][]string{}
	for id, keys := range e.leases {
		b.leases[id] = slices.Clone(keys)
	}
	return &b
}

// Restore puts back what a backup holds, its leases as well. other: in a cluster that
// was set up for it, and has an id of its own.
func (e *etcdModel) Restore(backup any, other bool) {
	b := backup.(*etcdModel).Save().(*etcdModel)
	e.rev, e.compacted, e.keys, e.history, e.leases = b.rev, b.compacted, b.keys, b.history, b.leases
	if other {
		e.cluster++
	}
}
