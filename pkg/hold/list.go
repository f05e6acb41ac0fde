package hold

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcd"
	"conch/pkg/fence"
	"conch/pkg/keys"
)

// Candidate is one key of a line.
type Candidate struct {
	Holder
	Key   string
	Rev   int64 // create-revision
	Lease int64 // 0: none, not one of ours
}

// CandidateOf reads the key of a candidate, whoever has written it.
func CandidateOf(kv *mvccpb.KeyValue) Candidate { return candidate(kv) }

func candidate(kv *mvccpb.KeyValue) Candidate {
	return Candidate{Holder: parse(kv.Value), Key: string(kv.Key), Rev: kv.CreateRevision, Lease: kv.Lease}
}

// Begun is since when c holds, or, where that is not known, runs.
func (c Candidate) Begun() time.Time {
	if !c.Since.IsZero() {
		return c.Since
	}
	return c.Started
}

// String is c as messages name it: host (pid N) since T.
func (c Candidate) String() string {
	s := fmt.Sprintf("%s (pid %d)", c.Host, c.PID)
	if t := c.Begun(); !t.IsZero() {
		s += " since " + t.Format(time.RFC3339)
	}
	if c.State == Lingering {
		s += ", whose command has ended: --hold-for keeps the place"
	}
	return s
}

// Line is a line as it stood at one revision.
type Line struct {
	Rev        int64       // of the read
	Cluster    uint64      // of the etcd cluster
	Candidates []Candidate // oldest first
}

// Holder returns who has the turn. There is none in an empty line, and while
// the head still waits for the lock-delay.
func (l Line) Holder() (Candidate, bool) {
	if len(l.Candidates) == 0 || l.Candidates[0].State == Waiting {
		return Candidate{}, false
	}
	return l.Candidates[0], true
}

// Token returns the fencing token of one of l's candidates.
func (l Line) Token(c Candidate) fence.Token {
	return fence.Token{Key: c.Key, Rev: c.Rev, Lease: c.Lease, Cluster: l.Cluster}
}

// List reads a line. The read is linearizable.
func List(ctx context.Context, c *etcd.Client, line keys.Line) (Line, error) {
	return listAt(ctx, c, line, 0)
}

// listAt reads a line as it was at revision rev; 0: as it is.
func listAt(ctx context.Context, c *etcd.Client, line keys.Line, rev int64) (Line, error) {
	ops := []clientv3.Op{inOrder(line.Dir, rev)}
	if line.Runs != "" {
		ops = append(ops, clientv3.OpGet(line.Runs, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithRev(rev)))
	}
	return etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (Line, error) {
		r, err := m.KV().Txn(ctx).Then(ops...).Commit()
		if err != nil {
			return Line{}, err
		}
		l := lineOf(r, 0, rev)
		if len(l.Candidates) > 0 && line.Runs != "" {
			l.Candidates[0].NoteTurn(line, keysOf(rangeOf(r, 1)))
		}
		return l, nil
	})
}

// inOrder reads the candidates below dir, oldest first, at revision rev; 0: now.
func inOrder(dir string, rev int64) clientv3.Op {
	return clientv3.OpGet(dir, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend), clientv3.WithRev(rev))
}

// lineOf is the line that the i'th operation of r read at revision rev; 0: at r's.
func lineOf(r *clientv3.TxnResponse, i int, rev int64) Line {
	l := Line{Rev: cmp.Or(rev, r.Header.Revision), Cluster: r.Header.ClusterId}
	for _, kv := range rangeOf(r, i).Kvs {
		l.Candidates = append(l.Candidates, candidate(kv))
	}
	return l
}

// NoteTurn notes that the head has the turn although its key says still that it
// waits: its running record was written before, and there is no other. records
// are the keys of all of the line's.
func (c *Candidate) NoteTurn(line keys.Line, records []string) {
	if c.State == Waiting && len(records) == 1 && records[0] == line.Record(c.Lease) {
		c.State = Held
	}
}

func keysOf(r *pb.RangeResponse) []string {
	var all []string
	for _, kv := range r.Kvs {
		all = append(all, string(kv.Key))
	}
	return all
}

// pollEvery is how often Watch reads a line in which nothing happens: a server
// that died behind an open connection is noticed by it.
const pollEvery = 10 * time.Second

// Watch calls show with the line as it is and then as each change of it left it,
// until ctx ends or show returns an error. A connection that is lost, and a
// history that was compacted, are got over by reading the line as it is again.
func Watch(ctx context.Context, c *etcd.Client, line keys.Line, show func(Line) error) error {
	return watch(ctx, c, []string{line.Dir}, func(rev int64) (int64, error) {
		l, err := listAt(ctx, c, line, rev)
		if err == nil {
			err = show(l)
		}
		return l.Rev, err
	})
}

// WatchPool is Watch for a semaphore and those who wait for a host. Changes of the
// two that come at the same time may be shown as one.
func WatchPool(ctx context.Context, c *etcd.Client, pool keys.Pool, show func(PoolLine) error) error {
	return watch(ctx, c, []string{pool.Dir, pool.Hosts}, func(rev int64) (int64, error) {
		p, err := readPoolAt(ctx, c, pool, rev)
		if err == nil {
			err = show(p)
		}
		return p.Rev, err
	})
}

// tooFarBehind is how many changes may wait to be looked at before all but the
// latest are passed over.
const tooFarBehind = 100

// watch calls look, to look at what is below dirs as it was at a revision, 0 for
// now: first, and after each change. look returns the revision that it has seen.
func watch(ctx context.Context, c *etcd.Client, dirs []string, look func(rev int64) (seen int64, err error)) error {
	for {
		seen, err := look(0)
		if err == nil {
			err = watchFrom(ctx, c, dirs, seen, look)
		}
		if err != nil && !errors.Is(err, rpctypes.ErrCompacted) && !errors.Is(err, rpctypes.ErrFutureRev) {
			return err
		}
	}
}

// watchFrom calls look for the changes after revision seen, and returns nil when
// it is time to begin anew.
func watchFrom(ctx context.Context, c *etcd.Client, dirs []string, seen int64, look func(rev int64) (seen int64, err error)) error {
	var watching sync.WaitGroup
	defer watching.Wait()
	part, cancel := context.WithCancel(ctx)
	defer cancel()
	m, moved := c.Preferred()
	changes, broken := make(chan int64, tooFarBehind), make(chan struct{}, len(dirs))
	for _, dir := range dirs {
		watching.Go(func() {
			revisions(part, m.Watch(part, dir, clientv3.WithPrefix(), clientv3.WithRev(seen+1)), changes)
			broken <- struct{}{}
		})
	}
	quiet := time.NewTimer(pollEvery)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
			return nil
		case <-broken:
			return pause(ctx)
		case <-quiet.C:
			return nil
		case rev := <-changes:
			quiet.Reset(pollEvery)
			if rev <= seen {
				continue
			}
			if len(changes) == tooFarBehind {
				rev = 0
			}
			var err error
			if seen, err = look(rev); err != nil {
				return err
			}
		}
	}
}

// revisions sends the revision of each change that events tell of, once, until
// they end.
func revisions(ctx context.Context, events clientv3.WatchChan, to chan<- int64) {
	last := int64(0)
	for r := range events {
		if r.Err() != nil {
			return
		}
		for _, e := range r.Events {
			if e.Kv.ModRevision == last {
				continue
			}
			last = e.Kv.ModRevision
			select {
			case to <- last:
			case <-ctx.Done():
				return
			}
		}
	}
}
