package hold

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
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
	ops := []clientv3.Op{inOrder(line.Dir)}
	if line.Runs != "" {
		ops = append(ops, clientv3.OpGet(line.Runs, clientv3.WithPrefix(), clientv3.WithKeysOnly()))
	}
	return etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (Line, error) {
		r, err := m.KV().Txn(ctx).Then(ops...).Commit()
		if err != nil {
			return Line{}, err
		}
		l := lineOf(r, 0)
		if len(l.Candidates) > 0 && line.Runs != "" {
			l.Candidates[0].NoteTurn(line, keysOf(rangeOf(r, 1)))
		}
		return l, nil
	})
}

// inOrder reads the candidates below dir, oldest first.
func inOrder(dir string) clientv3.Op {
	return clientv3.OpGet(dir, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
}

// lineOf is the line that the i'th operation of r read.
func lineOf(r *clientv3.TxnResponse, i int) Line {
	l := Line{Rev: r.Header.Revision, Cluster: r.Header.ClusterId}
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

// Watch calls show with the line as it is and again after each change of it,
// until ctx ends or show returns an error. A connection that is lost, and a
// history that was compacted, are got over by reading the line again.
func Watch(ctx context.Context, c *etcd.Client, line keys.Line, show func(Line) error) error {
	for {
		l, err := List(ctx, c, line)
		if err != nil {
			return err
		}
		if err := show(l); err != nil {
			return err
		}
		if err := changed(ctx, c, line, l.Rev); err != nil {
			return err
		}
	}
}

// changed returns when the line may differ from what it was at rev.
func changed(ctx context.Context, c *etcd.Client, line keys.Line, rev int64) error {
	wctx, cancel := context.WithTimeout(ctx, pollEvery)
	defer cancel()
	m, moved := c.Preferred()
	events := m.Watch(wctx, line.Dir, clientv3.WithPrefix(), clientv3.WithRev(rev+1))
	for {
		select {
		case <-moved:
			return nil
		case r, ok := <-events:
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if !ok && wctx.Err() != nil {
				return nil
			}
			if !ok || r.Err() != nil {
				return pause(ctx)
			}
			if len(r.Events) > 0 {
				return nil
			}
		}
	}
}
