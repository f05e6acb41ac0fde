package main

import (
	"bytes"
	"cmp"
	"math"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
)

const (
	maxTxnOps       = 128
	maxRequestBytes = 3 << 19 // 1.5 MiB
)

// txn is what a member does with a transaction, and with what is none as with one in
// which it is alone.
func (e *etcdModel) txn(r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := checkTxn(r, maxTxnOps); err != nil {
		return nil, err
	}
	if err := checkWrites(r); err != nil {
		return nil, err
	}
	switch {
	case e.refused && mayWrite(r):
		return nil, rpctypes.ErrGRPCPermissionDenied
	case readOnly(r):
		return e.apply(r)
	case tooLarge(r):
		return nil, rpctypes.ErrGRPCRequestTooLarge
	}
	e.entries++
	if e.full && mayPut(r) {
		return nil, rpctypes.ErrGRPCNoSpace
	}
	return e.apply(r)
}

// checkTxn counts operations as etcd does: the most of the three lists of each level,
// along the deepest way.
func checkTxn(r *pb.TxnRequest, most int) error {
	n := max(len(r.Compare), len(r.Success), len(r.Failure))
	if n > most {
		return rpctypes.ErrGRPCTooManyOps
	}
	for _, c := range r.Compare {
		if len(c.Key) == 0 {
			return rpctypes.ErrGRPCEmptyKey
		}
	}
	for _, ops := range [][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			if err := checkOp(op, most-n); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkOp(op *pb.RequestOp, most int) error {
	var key []byte
	switch op := op.Request.(type) {
	case *pb.RequestOp_RequestRange:
		key = op.RequestRange.Key
	case *pb.RequestOp_RequestPut:
		switch p := op.RequestPut; {
		case p.IgnoreValue && len(p.Value) != 0:
			return rpctypes.ErrGRPCValueProvided
		case p.IgnoreLease && p.Lease != 0:
			return rpctypes.ErrGRPCLeaseProvided
		}
		key = op.RequestPut.Key
	case *pb.RequestOp_RequestDeleteRange:
		key = op.RequestDeleteRange.Key
	case *pb.RequestOp_RequestTxn:
		return checkTxn(op.RequestTxn, most)
	}
	if len(key) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	return nil
}

// written are the keys that operations put and delete.
type written struct {
	puts []string
	dels []*pb.DeleteRangeRequest
}

func (w *written) deletes(key string) bool {
	return slices.ContainsFunc(w.dels, func(d *pb.DeleteRangeRequest) bool {
		from, to := string(d.Key), string(d.RangeEnd)
		return key == from && to == "" || key >= from && (key < to || to == "\x00")
	})
}

// take takes puts over; that one is among those of but is no matter.
func (w *written) take(puts, but []string) error {
	for _, key := range puts {
		if slices.Contains(w.puts, key) && !slices.Contains(but, key) || w.deletes(key) {
			return rpctypes.ErrGRPCDuplicateKey
		}
	}
	w.puts = append(w.puts, puts...)
	return nil
}

// checkWrites refuses what etcd does: that a key is put twice, or put and deleted. Of
// two nested transactions, the second of which deletes what the first puts, etcd does
// not see it.
func checkWrites(r *pb.TxnRequest) error {
	if _, err := writesOf(r.Success); err != nil {
		return err
	}
	_, err := writesOf(r.Failure)
	return err
}

func writesOf(ops []*pb.RequestOp) (w written, _ error) {
	for _, op := range ops {
		if d := op.GetRequestDeleteRange(); d != nil {
			w.dels = append(w.dels, d)
		}
	}
	for _, op := range ops {
		t := op.GetRequestTxn()
		if t == nil {
			continue
		}
		then, err := writesOf(t.Success)
		if err != nil {
			return w, err
		}
		otherwise, err := writesOf(t.Failure)
		if err != nil {
			return w, err
		}
		if err := w.take(then.puts, nil); err != nil {
			return w, err
		}
		if err := w.take(otherwise.puts, then.puts); err != nil {
			return w, err
		}
		w.dels = append(append(w.dels, then.dels...), otherwise.dels...)
	}
	for _, op := range ops {
		if p := op.GetRequestPut(); p != nil {
			if err := w.take([]string{string(p.Key)}, nil); err != nil {
				return w, err
			}
		}
	}
	return w, nil
}

// readOnly: it does not go through Raft. One with another within always does.
func readOnly(r *pb.TxnRequest) bool {
	other := func(op *pb.RequestOp) bool { return op.GetRequestRange() == nil }
	return !slices.ContainsFunc(r.Success, other) && !slices.ContainsFunc(r.Failure, other)
}

// mayPut: whether it does or not, it is refused with the NOSPACE alarm.
func mayPut(r *pb.TxnRequest) bool {
	return may(r, func(op *pb.RequestOp) bool { return op.GetRequestPut() != nil })
}

func mayWrite(r *pb.TxnRequest) bool {
	return may(r, func(op *pb.RequestOp) bool { return op.GetRequestPut() != nil || op.GetRequestDeleteRange() != nil })
}

func may(r *pb.TxnRequest, is func(*pb.RequestOp) bool) bool {
	either := func(op *pb.RequestOp) bool {
		t := op.GetRequestTxn()
		return is(op) || t != nil && may(t, is)
	}
	return slices.ContainsFunc(r.Success, either) || slices.ContainsFunc(r.Failure, either)
}

// tooLarge reports whether the request is larger than etcd takes. Most are so small that
// it need not be known exactly.
func tooLarge(r *pb.TxnRequest) bool {
	return payload(r) > maxRequestBytes/4 && proto.Size(&pb.InternalRaftRequest{Header: &pb.RequestHeader{ID: math.MaxUint64}, Txn: r}) > maxRequestBytes
}

func payload(r *pb.TxnRequest) (n int) {
	for _, ops := range [][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			switch op := op.Request.(type) {
			case *pb.RequestOp_RequestPut:
				n += len(op.RequestPut.Key) + len(op.RequestPut.Value)
			case *pb.RequestOp_RequestTxn:
				n += payload(op.RequestTxn)
			}
			n += 64
		}
	}
	return n
}

// apply carries a transaction out. All comparisons, also those of the ones within, are
// made before anything is written.
func (e *etcdModel) apply(r *pb.TxnRequest) (*pb.TxnResponse, error) {
	ways := e.ways(nil, r)
	if _, err := e.check(r, ways); err != nil {
		return nil, err
	}
	w := writer{e: e}
	a, _ := w.txn(r, ways)
	w.end()
	a.Header = &pb.ResponseHeader{ClusterId: e.cluster, Revision: e.rev}
	return a, nil
}

// ways says of a transaction, and of those within it that are carried out, in their
// order, whether its comparisons hold.
func (e *etcdModel) ways(ways []bool, r *pb.TxnRequest) []bool {
	holds := !slices.ContainsFunc(r.Compare, func(c *pb.Compare) bool { return !e.holds(c) })
	ways = append(ways, holds)
	for _, op := range carriedOut(r, holds) {
		if t := op.GetRequestTxn(); t != nil {
			ways = e.ways(ways, t)
		}
	}
	return ways
}

func carriedOut(r *pb.TxnRequest, holds bool) []*pb.RequestOp {
	if holds {
		return r.Success
	}
	return r.Failure
}

// none stands for a key that is not there.
var none = &mvccpb.KeyValue{}

// holds: a comparison of a range is one with each of its keys.
func (e *etcdModel) holds(c *pb.Compare) bool {
	kvs := within(e.keys, c.Key, c.RangeEnd)
	if len(kvs) == 0 {
		return c.Target != pb.Compare_VALUE && compares(c, none)
	}
	return !slices.ContainsFunc(kvs, func(kv *mvccpb.KeyValue) bool { return !compares(c, kv) })
}

func compares(c *pb.Compare, kv *mvccpb.KeyValue) bool {
	var is int
	switch c.Target {
	case pb.Compare_VALUE:
		is = bytes.Compare(kv.Value, c.GetValue())
	case pb.Compare_CREATE:
		is = cmp.Compare(kv.CreateRevision, c.GetCreateRevision())
	case pb.Compare_MOD:
		is = cmp.Compare(kv.ModRevision, c.GetModRevision())
	case pb.Compare_VERSION:
		is = cmp.Compare(kv.Version, c.GetVersion())
	case pb.Compare_LEASE:
		is = cmp.Compare(kv.Lease, c.GetLease())
	}
	switch c.Result {
	case pb.Compare_EQUAL:
		return is == 0
	case pb.Compare_NOT_EQUAL:
		return is != 0
	case pb.Compare_GREATER:
		return is > 0
	}
	return is < 0
}

// check says why a transaction cannot be carried out. It returns the ways that are left.
func (e *etcdModel) check(r *pb.TxnRequest, ways []bool) ([]bool, error) {
	ops, ways := carriedOut(r, ways[0]), ways[1:]
	for _, op := range ops {
		var err error
		switch op := op.Request.(type) {
		case *pb.RequestOp_RequestRange:
			err = e.checkRange(op.RequestRange)
		case *pb.RequestOp_RequestPut:
			err = e.checkPut(op.RequestPut)
		case *pb.RequestOp_RequestTxn:
			ways, err = e.check(op.RequestTxn, ways)
		}
		if err != nil {
			return ways, err
		}
	}
	return ways, nil
}

func (e *etcdModel) checkRange(r *pb.RangeRequest) error {
	switch {
	case r.Revision > e.rev:
		return rpctypes.ErrGRPCFutureRev
	case r.Revision > 0 && r.Revision < e.compacted:
		return rpctypes.ErrGRPCCompacted
	}
	return nil
}

func (e *etcdModel) checkPut(p *pb.PutRequest) error {
	if p.Lease != 0 && !e.HasLease(p.Lease) {
		return rpctypes.ErrGRPCLeaseNotFound
	}
	if _, found := search(e.keys, p.Key); (p.IgnoreValue || p.IgnoreLease) && !found {
		return rpctypes.ErrGRPCKeyNotFound
	}
	return nil
}

// writer carries out one request: all that it writes is of one revision.
type writer struct {
	e      *etcdModel
	writes bool
}

func (w *writer) rev() int64 {
	if w.writes {
		return w.e.rev + 1
	}
	return w.e.rev
}

func (w *writer) end() { w.e.rev = w.rev() }

func (w *writer) txn(r *pb.TxnRequest, ways []bool) (*pb.TxnResponse, []bool) {
	ops := carriedOut(r, ways[0])
	a := &pb.TxnResponse{Header: &pb.ResponseHeader{}, Succeeded: ways[0], Responses: make([]*pb.ResponseOp, len(ops))}
	ways = ways[1:]
	for i, op := range ops {
		var is pb.ResponseOp
		switch op := op.Request.(type) {
		case *pb.RequestOp_RequestRange:
			is.Response = &pb.ResponseOp_ResponseRange{ResponseRange: w.get(op.RequestRange)}
		case *pb.RequestOp_RequestPut:
			is.Response = &pb.ResponseOp_ResponsePut{ResponsePut: w.put(op.RequestPut)}
		case *pb.RequestOp_RequestDeleteRange:
			is.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: w.deleteRange(op.RequestDeleteRange)}
		case *pb.RequestOp_RequestTxn:
			var within *pb.TxnResponse
			within, ways = w.txn(op.RequestTxn, ways)
			is.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: within}
		}
		a.Responses[i] = &is
	}
	return a, ways
}

func (w *writer) get(r *pb.RangeRequest) *pb.RangeResponse {
	kvs := w.e.keys
	if r.Revision > 0 {
		kvs = w.e.at(r.Revision)
	}
	kvs = within(kvs, r.Key, r.RangeEnd)
	a := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: w.rev()}, Count: int64(len(kvs))}
	if r.CountOnly {
		return a
	}
	if r.MinModRevision|r.MaxModRevision|r.MinCreateRevision|r.MaxCreateRevision != 0 {
		kvs = slices.DeleteFunc(slices.Clone(kvs), func(kv *mvccpb.KeyValue) bool { return filtered(r, kv) })
	}
	kvs = sorted(r, kvs)
	if a.More = r.Limit > 0 && int64(len(kvs)) > r.Limit; a.More {
		kvs = kvs[:r.Limit]
	}
	a.Kvs = slices.Clone(kvs)
	for i, kv := range a.Kvs {
		if r.KeysOnly {
			a.Kvs[i] = &mvccpb.KeyValue{Key: kv.Key, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Version: kv.Version}
		}
	}
	return a
}

func filtered(r *pb.RangeRequest, kv *mvccpb.KeyValue) bool {
	outside := func(rev, from, to int64) bool { return rev < from || to != 0 && rev > to }
	return outside(kv.ModRevision, r.MinModRevision, r.MaxModRevision) || outside(kv.CreateRevision, r.MinCreateRevision, r.MaxCreateRevision)
}

// sorted returns the keys, which are in the order of their names, in the one asked for.
// Those that are equal in it stay in the order of their names, which is not etcd's.
func sorted(r *pb.RangeRequest, kvs []*mvccpb.KeyValue) []*mvccpb.KeyValue {
	down := r.SortOrder == pb.RangeRequest_DESCEND
	if r.SortTarget == pb.RangeRequest_KEY && !down {
		return kvs
	}
	kvs = slices.Clone(kvs)
	if r.SortTarget == pb.RangeRequest_KEY {
		slices.Reverse(kvs)
		return kvs
	}
	slices.SortStableFunc(kvs, func(a, b *mvccpb.KeyValue) int {
		if down {
			a, b = b, a
		}
		switch r.SortTarget {
		case pb.RangeRequest_VERSION:
			return cmp.Compare(a.Version, b.Version)
		case pb.RangeRequest_CREATE:
			return cmp.Compare(a.CreateRevision, b.CreateRevision)
		case pb.RangeRequest_MOD:
			return cmp.Compare(a.ModRevision, b.ModRevision)
		}
		return bytes.Compare(a.Value, b.Value)
	})
	return kvs
}

func (w *writer) put(p *pb.PutRequest) *pb.PutResponse {
	e := w.e
	kv := &mvccpb.KeyValue{Key: p.Key, Value: p.Value, Lease: p.Lease, CreateRevision: e.rev + 1, ModRevision: e.rev + 1, Version: 1}
	a := &pb.PutResponse{Header: &pb.ResponseHeader{Revision: e.rev + 1}}
	var prev *mvccpb.KeyValue
	i, found := search(e.keys, p.Key)
	if found {
		prev = e.keys[i]
		kv.CreateRevision, kv.Version = prev.CreateRevision, prev.Version+1
		if p.IgnoreValue {
			kv.Value = prev.Value
		}
		if p.IgnoreLease {
			kv.Lease = prev.Lease
		}
		if p.PrevKv {
			a.PrevKv = prev
		}
		e.keys[i] = kv
	} else {
		e.keys = slices.Insert(e.keys, i, kv)
	}
	w.log(clientv3.EventTypePut, kv, prev)
	return a
}

func (w *writer) deleteRange(d *pb.DeleteRangeRequest) *pb.DeleteRangeResponse {
	gone := slices.Clone(within(w.e.keys, d.Key, d.RangeEnd))
	a := &pb.DeleteRangeResponse{Deleted: int64(len(gone))}
	if d.PrevKv {
		a.PrevKvs = gone
	}
	for _, kv := range gone {
		w.delete(kv)
	}
	a.Header = &pb.ResponseHeader{Revision: w.rev()}
	return a
}

func (w *writer) delete(kv *mvccpb.KeyValue) {
	i, _ := search(w.e.keys, kv.Key)
	w.e.keys = slices.Delete(w.e.keys, i, i+1)
	gone := &mvccpb.KeyValue{Key: kv.Key, ModRevision: w.e.rev + 1}
	w.log(clientv3.EventTypeDelete, gone, kv)
}

func (w *writer) log(what mvccpb.Event_EventType, kv, prev *mvccpb.KeyValue) {
	w.writes = true
	w.e.attach(string(kv.Key), prev.GetLease(), kv.Lease)
	w.e.history = append(w.e.history, &clientv3.Event{Type: what, Kv: kv, PrevKv: prev})
}
