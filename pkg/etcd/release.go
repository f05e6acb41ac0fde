package etcd

import (
	"context"
	"errors"

	"github.com/coreos/go-semver/semver"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
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

// Release asks the member what it runs, until that has once been answered.
func (m *Member) Release(ctx context.Context) (Release, error) {
	if r := m.release.Load(); r != nil {
		return *r, nil
	}
	// Not the library's Status, which makes a connection for each call.
	s, err := pb.NewMaintenanceClient(m.v3.ActiveConnection()).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return Release{}, err
	}
	r := ReleaseOf(s.Version)
	m.release.Store(&r)
	return r, nil
}

// ErrProxy means that a member is a grpc-proxy: it answers a keepalive from one
// that it has sent before, so that no deadline can be counted from ours.
var ErrProxy = errors.New("it is a grpc-proxy, through which renewals cannot be verified; use etcd's own endpoints")

// Verifies reports whether this member's linearizable reads may be relied on to
// verify a renewal. It asks the member once; until that has answered, the
// answer is no. The only error is ErrProxy.
func (m *Member) Verifies(ctx context.Context) (bool, error) {
	const direct, proxy = 1, 2
	if m.origin.Load() == 0 {
		isProxy, err := m.isProxy(ctx)
		switch {
		case err != nil:
			return false, nil
		case isProxy:
			m.origin.Store(proxy)
		default:
			m.origin.Store(direct)
		}
	}
	if m.origin.Load() == proxy {
		return false, ErrProxy
	}
	r, err := m.Release(ctx)
	return err == nil && r.Verifies, nil
}

// isProxy asks for a watch that cannot be: of no keys, for proxies up to 3.4,
// and from a revision before all. Whatever the answer, etcd's own bears a
// member's id, and a proxy's none.
func (m *Member) isProxy(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := pb.NewWatchClient(m.v3.ActiveConnection()).Watch(ctx)
	if err != nil {
		return false, err
	}
	err = w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("a"), StartRevision: -1}}})
	if err != nil {
		return false, err
	}
	r, err := w.Recv()
	if err != nil {
		return false, err
	}
	return r.Header.GetMemberId() == 0, nil
}
