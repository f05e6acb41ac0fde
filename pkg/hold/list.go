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
	switch {
	case c.Unkilled == 1:
		s += ", where 1 process cannot be killed"
	case c.Unkilled > 1:
		s += fmt.Sprintf(", where %d processes cannot be killed", c.Unkilled)
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
const pollEvery = 8 * time.Second

// Contact is what a watcher hears of the road to etcd.
type Contact struct {
	Silent bool      // etcd has not answered for etcd.SilentAfter: what was shown may be old
	Heard  time.Time // when it last has
}

// Watch calls show with the line as it is and then as each change of it left it,
// until ctx ends or show returns an error. A connection that is lost, and a
// history that was compacted, are got over by reading the line as it is again.
// contact is called when etcd has fallen silent, and when it answers again, before
// show is called with what there is then; an error of it ends the watch, too.
func Watch(ctx context.Context, c *etcd.Client, line keys.Line, show func(Line) error, contact func(Contact) error) error {
	w := watcher{c: c, dirs: []string{line.Dir}, contact: contact}
	w.read = func(ctx context.Context, rev int64) seen {
		l, err := listAt(ctx, c, line, rev)
		return seen{l.Rev, func() error { return show(l) }, err}
	}
	return w.run(ctx)
}

// WatchPool is Watch for a semaphore and those who wait for a host. Changes of the
// two that come at the same time may be shown as one.
func WatchPool(ctx context.Context, c *etcd.Client, pool keys.Pool, show func(PoolLine) error, contact func(Contact) error) error {
	w := watcher{c: c, dirs: []string{pool.Dir, pool.Hosts}, contact: contact}
	w.read = func(ctx context.Context, rev int64) seen {
		p, err := readPoolAt(ctx, c, pool, rev)
		return seen{p.Rev, func() error { return show(p) }, err}
	}
	return w.run(ctx)
}

// watcher looks at what is below some directories, now and after each change.
type watcher struct {
	c       *etcd.Client
	dirs    []string
	read    func(ctx context.Context, rev int64) seen
	contact func(Contact) error // nil: nobody wants to hear

	heard  time.Time // when etcd last answered; zero: not yet
	silent bool      // and that was said
}

// seen is what was read as it was at a revision.
type seen struct {
	rev  int64
	show func() error // nil: it is not shown
	err  error
}

// tooFarBehind is how many changes may wait to be looked at before all but the
// latest are passed over.
const tooFarBehind = 100

func (w *watcher) run(ctx context.Context) error {
	for {
		rev, err := w.look(ctx, 0)
		if err == nil {
			err = w.follow(ctx, rev)
		}
		if err != nil && !errors.Is(err, rpctypes.ErrCompacted) && !errors.Is(err, rpctypes.ErrFutureRev) {
			return err
		}
	}
}

// look reads and shows what there is at a revision, 0: now, and returns that. It
// waits for etcd as long as ctx lasts, and says when that takes long.
func (w *watcher) look(ctx context.Context, rev int64) (int64, error) {
	var reading sync.WaitGroup
	defer reading.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answer := make(chan seen, 1)
	reading.Go(func() { answer <- w.read(ctx, rev) })
	if w.heard.IsZero() {
		w.heard = time.Now()
	}
	late := time.NewTimer(time.Until(w.heard.Add(etcd.SilentAfter)))
	defer late.Stop()
	for {
		select {
		case s := <-answer:
			if s.err != nil {
				return s.rev, s.err
			}
			w.heard = time.Now()
			if err := w.say(false); err != nil {
				return s.rev, err
			}
			if s.show == nil {
				return s.rev, nil
			}
			return s.rev, s.show()
		case <-late.C:
			if err := w.say(true); err != nil {
				return 0, err
			}
		}
	}
}

// say passes on that etcd is silent, or is no more, once.
func (w *watcher) say(silent bool) error {
	if w.silent == silent {
		return nil
	}
	w.silent = silent
	if w.contact == nil {
		return nil
	}
	return w.contact(Contact{silent, w.heard})
}

// follow looks at the changes after a revision, and returns nil when it is time to
// begin anew.
func (w *watcher) follow(ctx context.Context, rev int64) error {
	var watching sync.WaitGroup
	defer watching.Wait()
	part, cancel := context.WithCancel(ctx)
	defer cancel()
	m, moved := w.c.Preferred()
	changes, broken := make(chan int64, tooFarBehind), make(chan struct{}, len(w.dirs))
	for _, dir := range w.dirs {
		watching.Go(func() {
			revisions(part, m.Watch(part, dir, clientv3.WithPrefix(), clientv3.WithRev(rev+1)), changes)
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
		case at := <-changes:
			quiet.Reset(pollEvery)
			if at <= rev {
				continue
			}
			if len(changes) == tooFarBehind {
				at = 0
			}
			var err error
			if rev, err = w.look(ctx, at); err != nil {
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
