package etcd

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
)

// warm has protobuf work out what it needs to know of the messages of a hold: it
// does so at the first use of each, for a tenth of all the time that a short
// command takes, and can as well while the connection is being made. A message
// that is missing here is worked out later, as it would have been.
func warm() {
	codec := encoding.GetCodecV2(proto.Name)
	for _, m := range messages() {
		if b, err := codec.Marshal(m); err == nil {
			_ = codec.Unmarshal(b, m) // what it comes to is of no use
			b.Free()
		}
	}
}

func messages() []any {
	header, kv := &pb.ResponseHeader{Revision: 1}, &mvccpb.KeyValue{Key: []byte{1}}
	put := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Lease: 1}}}
	get := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Limit: 1}}}
	del := &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte{1}}}}
	nested := &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{}}}
	wasPut := &pb.ResponseOp{Response: &pb.ResponseOp_ResponsePut{ResponsePut: &pb.PutResponse{Header: header}}}
	got := &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: &pb.RangeResponse{Kvs: []*mvccpb.KeyValue{kv}}}}
	deleted := &pb.ResponseOp{Response: &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: &pb.DeleteRangeResponse{Deleted: 1}}}
	done := &pb.ResponseOp{Response: &pb.ResponseOp_ResponseTxn{ResponseTxn: &pb.TxnResponse{}}}
	return []any{
		&pb.LeaseGrantRequest{ID: 1}, &pb.LeaseGrantResponse{Header: header},
		&pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte{1}}}, Success: []*pb.RequestOp{put, get, del, nested}},
		&pb.TxnResponse{Responses: []*pb.ResponseOp{wasPut, got, deleted, done}},
		&pb.LeaseRevokeRequest{ID: 1}, &pb.LeaseRevokeResponse{Header: header},
	}
}
