package main

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// wire turns operations into the requests that are sent for them. The client library
// does so for each alone, which tells what an operation does not: its lease, its order.
// For a whole transaction it would copy all comparisons.
type wire struct {
	pb.KVClient // what is not below is not there
	kv          clientv3.KV
	sent        *pb.RequestOp
}

func (w *wire) request(op clientv3.Op) *pb.RequestOp {
	if !op.IsTxn() {
		_, _ = w.kv.Do(context.Background(), op)
		return w.sent
	}
	is, then, otherwise := op.Txn()
	t := &pb.TxnRequest{Compare: make([]*pb.Compare, len(is)), Success: w.requests(then), Failure: w.requests(otherwise)}
	for i := range is {
		t.Compare[i] = is[i].GetCompare()
	}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: t}}
}

func (w *wire) requests(ops []clientv3.Op) []*pb.RequestOp {
	all := make([]*pb.RequestOp, len(ops))
	for i, op := range ops {
		all[i] = w.request(op)
	}
	return all
}

// Range is pb.KVClient's.
func (w *wire) Range(_ context.Context, r *pb.RangeRequest, _ ...grpc.CallOption) (*pb.RangeResponse, error) {
	w.sent = &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
	return nil, nil
}

// Put is pb.KVClient's.
func (w *wire) Put(_ context.Context, r *pb.PutRequest, _ ...grpc.CallOption) (*pb.PutResponse, error) {
	w.sent = &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
	return nil, nil
}

// DeleteRange is pb.KVClient's.
func (w *wire) DeleteRange(_ context.Context, r *pb.DeleteRangeRequest, _ ...grpc.CallOption) (*pb.DeleteRangeResponse, error) {
	w.sent = &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
	return nil, nil
}
