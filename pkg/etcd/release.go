package etcd

import (
	"context"
	"errors"

	"github.com/coreos/go-semver/semver"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
)

// Release is what a member says that it runs.
type Release struct {
	Version string

	// Verifies says that its linearizable reads may be relied on to verify a
	// renewal: they cannot be answered from before a pause of the member.
	Verifies bool
}

// verifying are the first releases that verify, by minor version of etcd 3 (PRs
// 21385/21423, 21387/21421, 21378/21417); all of 3.7 do.
var verifying = map[int64]int64{4: 42, 5: 28, 6: 9}

// Verifying is the same for a message.
const Verifying = "etcd >= 3.4.42, 3.5.28, 3.6.9"

// ReleaseOf makes a Release of a version.
func ReleaseOf(version string) Release {
	v, err := semver.NewVersion(version)
	if err != nil || v.Major != 3 {
		return Release{version, err == nil && v.Major > 3}
	}
	first, known := verifying[v.Minor]
	return Release{version, v.Minor >= 7 || known && v.Patch >= first}
}

// releaseOf is what a member has said over one connection.
type releaseOf struct {
	Release
	conn   int64
	member uint64
}

// Release asks the member what it runs, unless it is still the one that has
// answered that.
func (m *Member) Release(ctx context.Context) (Release, error) {
	r, err := m.runs(ctx)
	return r.Release, err
}

// runs is Release with whose it is.
func (m *Member) runs(ctx context.Context) (releaseOf, error) {
	if r := m.release.Load(); r != nil && r.conn == m.conns.Load() && r.member == m.id.Load() {
		return *r, nil
	}
	var p peer.Peer
	s, err := m.status(ctx, grpc.Peer(&p))
	if err != nil {
		return releaseOf{}, err
	}
	r := releaseOf{ReleaseOf(s.Version), connectionOf(&p), s.Header.GetMemberId()}
	m.release.Store(&r)
	return r, nil
}

// status is not the library's Status, which makes a connection for each call.
func (m *Member) status(ctx context.Context, opts ...grpc.CallOption) (*pb.StatusResponse, error) {
	return pb.NewMaintenanceClient(m.v3.ActiveConnection()).Status(ctx, &pb.StatusRequest{}, opts...)
}

// Examine asks the member at once all that Verifies wants to know, and is definite
// that a grpc-proxy will not do.
func (m *Member) Examine(ctx context.Context) (Release, error) {
	direct := make(chan error, 1)
	go func() { direct <- m.direct(ctx) }()
	r, err := m.Release(ctx)
	if derr := <-direct; derr != nil {
		if errors.Is(derr, ErrProxy) {
			return r, &Final{derr}
		}
		return r, derr
	}
	return r, err
}

// direct returns an error if the member is a grpc-proxy.
func (m *Member) direct(ctx context.Context) error {
	who, err := m.identify(ctx)
	if err == nil && who.member == 0 {
		err = &Unfit{m.Endpoint, ErrProxy}
	}
	return err
}

// Verdict says what a member's linearizable reads are worth.
type Verdict struct {
	Verifies bool   // they may be relied on to verify a renewal
	Member   uint64 // whose they are; 0: it has not said, and the answer is no
}

// Verifies judges this member's linearizable reads. It asks the member once, as long
// as it is the same one. The only error is *Unfit.
func (m *Member) Verifies(ctx context.Context) (Verdict, error) {
	err := m.direct(ctx)
	if errors.As(err, new(*Unfit)) {
		return Verdict{}, err
	}
	if err != nil {
		return Verdict{}, nil
	}
	r, err := m.runs(ctx)
	if err != nil {
		return Verdict{}, nil
	}
	return Verdict{r.Verifies, r.member}, nil
}
