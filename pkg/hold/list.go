package hold

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
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

// Has reports whether the process of c is in l.
func (l Line) Has(c Candidate) bool {
	return slices.ContainsFunc(l.Candidates, func(d Candidate) bool {
		return d.Host == c.Host && d.PID == c.PID && d.Started.Equal(c.Started)
	})
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

// watch calls look, to look at what is below dirs as it was at a revision, 0 for
// now: first, and after each change. look returns the revision that it has seen.
func watch(ctx context.Context, c *etcd.Client, dirs []string, look func(rev int64) (seen int64, err error)) error {
	for rev := int64(0); ; {
		seen, err := look(rev)
		switch {
		case rev != 0 && (errors.Is(err, rpctypes.ErrCompacted) || errors.Is(err, rpctypes.ErrFutureRev)):
			rev = 0 // its history is not to be had any more
			continue
		case err == nil:
			rev, err = changed(ctx, c, dirs, seen)
		}
		if err != nil {
			return err
		}
	}
}

// changed returns the revision at which something below dirs changed after seen;
// or 0 when there is another reason to look.
func changed(ctx context.Context, c *etcd.Client, dirs []string, seen int64) (rev int64, err error) {
	part, cancel := context.WithTimeout(ctx, pollEvery)
	defer cancel()
	first := make(chan news, len(dirs))
	for _, dir := range dirs {
		go func() { first <- touched(part, c, dir, seen) }()
	}
	n := <-first
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case n.broken && part.Err() == nil:
		return 0, pause(ctx)
	}
	return n.rev, nil
}

// news is what a watch has come to.
type news struct {
	rev    int64 // of a change; 0: none, look
	broken bool
}

// touched returns when something below dir has changed after revision seen, or
// there is another reason to look.
func touched(ctx context.Context, c *etcd.Client, dir string, seen int64) news {
	m, moved := c.Preferred()
	events := m.Watch(ctx, dir, clientv3.WithPrefix(), clientv3.WithRev(seen+1))
	for {
		select {
		case <-moved:
			return news{}
		case r, ok := <-events:
			if !ok || r.Err() != nil {
				return news{broken: true}
			}
			if len(r.Events) > 0 {
				return news{rev: r.Events[0].Kv.ModRevision}
			}
		}
	}
}
