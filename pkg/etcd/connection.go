package etcd

import (
	"context"
	"net"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// What is known of who is behind an endpoint is known of one connection, and gRPC
// makes another whenever it likes, even for a call that is under way. So each gets a
// number, which every answer bears; and a call that may only go to a member of our
// cluster is looked at when it is put on a connection.

// transport numbers the connections of a member.
type transport struct {
	credentials.TransportCredentials
	m *Member
}

func (m *Member) transport() credentials.TransportCredentials {
	if m.spec.TLS != nil {
		return transport{credentials.NewTLS(m.spec.TLS), m}
	}
	return transport{insecure.NewCredentials(), m}
}

// ClientHandshake is gRPC's.
func (t transport) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := t.TransportCredentials.ClientHandshake(ctx, authority, conn)
	return conn, numbered{info, t.m.conns.Add(1)}, err
}

// Clone is gRPC's.
func (t transport) Clone() credentials.TransportCredentials {
	return transport{t.TransportCredentials.Clone(), t.m}
}

// numbered is what gRPC keeps of a connection.
type numbered struct {
	credentials.AuthInfo
	n int64
}

// connectionOf returns the number of the connection that a call went over, 0 if it
// went over none.
func connectionOf(p *peer.Peer) int64 {
	if p == nil {
		return 0
	}
	info, _ := p.AuthInfo.(numbered)
	return info.n
}

// oursKey marks a context whose calls may only go to a member of our cluster.
type oursKey struct{}

// perCall is asked by gRPC for each call, once it is put on a connection, what is to
// go with it.
type perCall struct{ m *Member }

// GetRequestMetadata is gRPC's.
func (p perCall) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	if ctx.Value(oursKey{}) != nil {
		ri, _ := credentials.RequestInfoFromContext(ctx)
		if info, _ := ri.AuthInfo.(numbered); info.n != p.m.vouched.Load() {
			return nil, status.Error(codes.Unavailable, "the connection was lost")
		}
	}
	if ctx.Value(bareKey{}) != nil {
		return nil, nil
	}
	return p.m.client.login.metadata(), nil
}

// RequireTransportSecurity is no: etcd's users may do without.
func (perCall) RequireTransportSecurity() bool { return false }
