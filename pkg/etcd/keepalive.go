package etcd

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// keepalive is a member's lease stream. A stream per renewal would cost a new
// authentication each time where users have passwords.
type keepalive struct {
	pb.Lease_LeaseKeepAliveClient
	cancel context.CancelFunc
}

// KeepAlive renews the lease id on this very member and returns the answer; a
// TTL of zero or less in it means that the lease is gone. One call at a time
// uses the stream; a call whose ctx ends drops it, and the next makes a new
// one, so that an answer is never taken for that of a later request.
func (m *Member) KeepAlive(ctx context.Context, id int64) (*pb.LeaseKeepAliveResponse, error) {
	s, stop, err := m.takeStream(ctx)
	if err != nil {
		return nil, err
	}
	if err = s.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
		_, err = s.Recv() // this is what tells why
	}
	var r *pb.LeaseKeepAliveResponse
	if err == nil {
		r, err = s.Recv()
	}
	if !stop() || err != nil {
		s.cancel()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	m.putStream(s)
	return r, nil
}

// takeStream returns the stream, or a new one, that ends with ctx unless stop
// is called first.
func (m *Member) takeStream(ctx context.Context) (s *keepalive, stop func() bool, err error) {
	m.mu.Lock()
	s = m.alive
	m.alive = nil
	m.mu.Unlock()
	if s != nil {
		return s, context.AfterFunc(ctx, s.cancel), nil
	}
	life, cancel := context.WithCancel(m.client.ctx)
	stop = context.AfterFunc(ctx, cancel)
	c, err := m.Lease().LeaseKeepAlive(life)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return &keepalive{c, cancel}, stop, nil
}

func (m *Member) putStream(s *keepalive) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.alive != nil || m.client.ctx.Err() != nil {
		s.cancel()
		return
	}
	m.alive = s
}
