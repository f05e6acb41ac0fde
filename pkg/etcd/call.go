package etcd

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
)

// Everything that is asked of a member goes through unary or stream, whichever way
// it was asked: they log in, and look whose answer it is.

// unary is gRPC's hook around a call with one answer.
func (m *Member) unary(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	put := func() error {
		var p peer.Peer
		if err := invoke(ctx, method, req, reply, conn, append(opts, grpc.Peer(&p))...); err != nil {
			return err
		}
		return m.heard(connectionOf(&p), headerOf(reply))
	}
	l := m.client.login
	if l.user == "" || method == pb.Auth_Authenticate_FullMethodName {
		return put()
	}
	token, err := l.ensure(ctx, m, conn)
	if err != nil {
		return err
	}
	if err = put(); !stale(err) {
		return err
	}
	if err := l.renew(ctx, m, conn, token); err != nil {
		return err
	}
	return put()
}

// stream is gRPC's hook around a stream.
func (m *Member) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	token, err := "", error(nil)
	if ctx.Value(bareKey{}) == nil {
		token, err = m.client.login.ensure(ctx, m, conn)
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	s, err := open(ctx, desc, conn, method, opts...)
	if err != nil {
		cancel()
		return nil, err
	}
	return &stream{s, m, token, cancel}, nil
}

// stream is a stream of which every answer is looked at.
type stream struct {
	grpc.ClientStream
	m      *Member
	token  string
	cancel context.CancelFunc
}

// RecvMsg is gRPC's.
func (s *stream) RecvMsg(msg any) error {
	err := s.ClientStream.RecvMsg(msg)
	if err == nil {
		p, _ := peer.FromContext(s.Context())
		err = s.m.heard(connectionOf(p), headerOf(msg))
	}
	w, ok := msg.(*pb.WatchResponse)
	if stale(err) || err == nil && ok && w.Canceled && tokenRefused(w.CancelReason) {
		s.m.client.login.drop(s.token)
	}
	if err != nil {
		s.cancel()
	}
	return err
}

// tokenRefused reports whether a watch was refused for its token. 3.4 says of one that
// has expired that it lacks a permission.
func tokenRefused(reason string) bool {
	for _, err := range []error{rpctypes.ErrGRPCPermissionDenied, rpctypes.ErrGRPCInvalidAuthToken, rpctypes.ErrGRPCAuthOldRevision, rpctypes.ErrGRPCUserEmpty} {
		if reason == err.Error() {
			return true
		}
	}
	return false
}
