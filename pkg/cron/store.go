package cron

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcd"
	"conch/pkg/keys"
)

// Store is how people and tools see jobs and runs, and change them. Each change
// is one transaction that fails cleanly if somebody else was faster; where the
// answer to one is lost, it is found out what has become of it.
type Store struct {
	C    *etcd.Client
	Keys keys.Cron
	// By is who writes, for people: user@host, say. It is kept in each job that is
	// written, by the same transaction.
	By string
	// Stage, if not nil, stands in for C, for this machine's clock, and for chance.
	Stage Stage
}

// Stage is what a Store stands on where there is no etcd but a model of one.
type Stage interface {
	// Do returns etcd's definite answer.
	Do(ctx context.Context, op clientv3.Op) (clientv3.OpResponse, error)
	// Now is the time on the clock of who uses the Store.
	Now() time.Time
	// ID returns a new id of 8 hexadecimal digits.
	ID() string
}

// Answers of a Store that are no trouble of etcd's. They come wrapped, after the
// name of the job or the run.
var (
	ErrNoJob      = errors.New("no such job")
	ErrExists     = errors.New("there is such a job already")
	ErrNoRun      = errors.New("no such run")
	ErrNotRunning = errors.New("it is not running")
	ErrNotStarted = errors.New("no runner has started it in time")
	ErrRemoved    = errors.New("its record is gone: the job was removed, or newer runs took its place")
)

// Conflict means that somebody else was faster. Nothing was changed.
type Conflict struct{ Name string } // of a job that was edited, if that is known

func (e *Conflict) Error() string {
	if e.Name == "" {
		return "jobs were edited by somebody else meanwhile; nothing was changed"
	}
	return e.Name + " was edited by somebody else meanwhile; nothing was changed"
}

// attempts is how often a change is tried again that has failed because what it
// does not depend on was changed.
const attempts = 20

// pageSize is how many keys are read at a time.
const pageSize = 1000

// Stored is a job as it lies in etcd.
type Stored struct {
	Job
	Rev int64 // its mod-revision
	Err error // it cannot be read, and has a name alone

	raw []byte // with what a newer conch may have added
}

// value is the job as it was read.
func (j *Stored) value() string {
	if j.raw != nil {
		return string(j.raw)
	}
	return encode(j.Job)
}

// Pause is who has paused every job.
type Pause struct {
	By string    `json:"by"`
	At time.Time `json:"at"`
}

// Pausing is a time in which every job was paused.
type Pausing struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// MaxPausings is how many of these are kept: the latest.
const MaxPausings = 20

// Table is all that there is at one revision, but for the history of runs.
type Table struct {
	Rev      int64
	Jobs     []Stored        // by name
	Lasts    map[string]Last // by the name of the job
	Acts     []Act           // by job
	Requests []Request       // by job
	Nodes    []Node          // the runners, by id
	Paused   *Pause
}

// Alive reports whether there is a runner of that id.
func (t *Table) Alive(node string) bool {
	_, ok := slices.BinarySearchFunc(t.Nodes, node, func(n Node, id string) int { return strings.Compare(n.ID, id) })
	return ok
}

// Table reads all jobs and what is known of their runs, page by page.
func (s Store) Table(ctx context.Context) (*Table, error) {
	for {
		t := &Table{Lasts: map[string]Last{}}
		err := s.fill(ctx, t)
		if errors.Is(err, rpctypes.ErrCompacted) {
			continue // the pages are of one revision, which took too long
		}
		return t, err
	}
}

func (s Store) fill(ctx context.Context, t *Table) error {
	r := reader{Store: s, ctx: ctx}
	r.scan(s.Keys.Jobs(), func(kv *mvccpb.KeyValue) { t.Jobs = append(t.Jobs, s.stored(kv)) })
	r.scan(s.Keys.Lasts(), t.addLast(s.Keys))
	r.scan(s.Keys.Acts(), func(kv *mvccpb.KeyValue) { t.Acts = add(t.Acts, kv, s.act) })
	r.scan(s.Keys.Requests(), func(kv *mvccpb.KeyValue) { t.Requests = add(t.Requests, kv, s.request) })
	r.scan(s.Keys.Nodes(), func(kv *mvccpb.KeyValue) { t.Nodes = add(t.Nodes, kv, s.node) })
	r.scan(s.Keys.Paused(), t.addPaused(s.Keys))
	t.Rev = r.rev
	return r.err
}

// TableOf is Table for one job, in one read. Errors: ErrNoJob.
func (s Store) TableOf(ctx context.Context, name string) (*Table, error) {
	r, err := s.txn(ctx, nil, []clientv3.Op{
		clientv3.OpGet(s.Keys.Job(name)),
		clientv3.OpGet(s.Keys.Last(name)),
		clientv3.OpGet(s.Keys.ActsOf(name, ""), clientv3.WithPrefix()),
		clientv3.OpGet(s.Keys.RequestsOf(name), clientv3.WithPrefix()),
		clientv3.OpGet(s.Keys.Nodes(), clientv3.WithPrefix()),
		clientv3.OpGet(s.Keys.Paused()),
	}, nil)
	if err != nil {
		return nil, err
	}
	t := &Table{Rev: r.Header.Revision, Lasts: map[string]Last{}}
	for i, each := range []func(*mvccpb.KeyValue){
		func(kv *mvccpb.KeyValue) { t.Jobs = append(t.Jobs, s.stored(kv)) },
		t.addLast(s.Keys),
		func(kv *mvccpb.KeyValue) { t.Acts = add(t.Acts, kv, s.act) },
		func(kv *mvccpb.KeyValue) { t.Requests = add(t.Requests, kv, s.request) },
		func(kv *mvccpb.KeyValue) { t.Nodes = add(t.Nodes, kv, s.node) },
		t.addPaused(s.Keys),
	} {
		for _, kv := range found(r, i) {
			each(kv)
		}
	}
	if len(t.Jobs) == 0 {
		return nil, fmt.Errorf("%s: %w", name, ErrNoJob)
	}
	return t, nil
}

func (t *Table) addLast(k keys.Cron) func(kv *mvccpb.KeyValue) {
	return func(kv *mvccpb.KeyValue) {
		var l Last
		if e, ok := k.Entry(string(kv.Key)); ok && json.Unmarshal(kv.Value, &l) == nil {
			t.Lasts[e.Name] = l
		}
	}
}

func (t *Table) addPaused(k keys.Cron) func(kv *mvccpb.KeyValue) {
	return func(kv *mvccpb.KeyValue) {
		if string(kv.Key) == k.Paused() {
			t.Paused = pause(kv)
		}
	}
}

// pause reads the key that pauses every job; that it is there is what counts.
func pause(kv *mvccpb.KeyValue) *Pause {
	p := &Pause{}
	_ = json.Unmarshal(kv.Value, p)
	return p
}

// add appends what parse makes of kv. What cannot be read is left out: it is not
// ours, and must not keep anybody from seeing the rest.
func add[T any](list []T, kv *mvccpb.KeyValue, parse func(*mvccpb.KeyValue) (T, bool)) []T {
	if v, ok := parse(kv); ok {
		return append(list, v)
	}
	return list
}

// Jobs reads all jobs, by name, and the revision that they are of.
func (s Store) Jobs(ctx context.Context) (jobs []Stored, rev int64, _ error) {
	rev, err := s.list(ctx, s.Keys.Jobs(), func() { jobs = nil }, func(kv *mvccpb.KeyValue) { jobs = append(jobs, s.stored(kv)) })
	return jobs, rev, err
}

// Lasts reads how the latest run of each job has ended.
func (s Store) Lasts(ctx context.Context) (map[string]Last, error) {
	var t Table
	_, err := s.list(ctx, s.Keys.Lasts(), func() { t.Lasts = map[string]Last{} }, t.addLast(s.Keys))
	return t.Lasts, err
}

// Acts reads what is in progress.
func (s Store) Acts(ctx context.Context) (acts []Act, _ error) {
	_, err := s.list(ctx, s.Keys.Acts(), func() { acts = nil }, func(kv *mvccpb.KeyValue) { acts = add(acts, kv, s.act) })
	return acts, err
}

// Nodes reads which runners there are.
func (s Store) Nodes(ctx context.Context) (nodes []Node, _ error) {
	_, err := s.list(ctx, s.Keys.Nodes(), func() { nodes = nil }, func(kv *mvccpb.KeyValue) { nodes = add(nodes, kv, s.node) })
	return nodes, err
}

// Requests reads what was asked for by hand and is not done.
func (s Store) Requests(ctx context.Context) (requests []Request, _ error) {
	_, err := s.list(ctx, s.Keys.Requests(), func() { requests = nil }, func(kv *mvccpb.KeyValue) { requests = add(requests, kv, s.request) })
	return requests, err
}

// Job reads one job.
func (s Store) Job(ctx context.Context, name string) (Stored, error) {
	r, err := s.get(ctx, s.Keys.Job(name))
	if err != nil {
		return Stored{}, err
	}
	if len(r.Kvs) == 0 {
		return Stored{}, fmt.Errorf("%s: %w", name, ErrNoJob)
	}
	return s.stored(r.Kvs[0]), nil
}

// Paused returns who has paused every job, nil if nobody has.
func (s Store) Paused(ctx context.Context) (*Pause, error) {
	r, err := s.get(ctx, s.Keys.Paused())
	if err != nil || len(r.Kvs) == 0 {
		return nil, err
	}
	return pause(r.Kvs[0]), nil
}

// list reads what lies under dir, at one revision; again begins anew.
func (s Store) list(ctx context.Context, dir string, again func(), each func(*mvccpb.KeyValue)) (int64, error) {
	for {
		again()
		r := reader{Store: s, ctx: ctx}
		r.scan(dir, each)
		if !errors.Is(r.err, rpctypes.ErrCompacted) {
			return r.rev, r.err
		}
	}
}

// reader reads several ranges at the revision of its first answer.
type reader struct {
	Store
	ctx context.Context
	rev int64
	err error
}

func (r *reader) scan(dir string, each func(*mvccpb.KeyValue)) {
	end := clientv3.GetPrefixRangeEnd(dir)
	for from, more := dir, true; more && r.err == nil; {
		var page *clientv3.GetResponse
		page, r.err = r.get(r.ctx, from, clientv3.WithRange(end), clientv3.WithLimit(pageSize), clientv3.WithRev(r.rev))
		if r.err != nil {
			return
		}
		if r.rev == 0 {
			r.rev = page.Header.Revision
		}
		for _, kv := range page.Kvs {
			each(kv)
		}
		if more = page.More && len(page.Kvs) > 0; more {
			from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
		}
	}
}

func (s Store) get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if s.Stage != nil {
		r, err := s.Stage.Do(ctx, clientv3.OpGet(key, opts...))
		return r.Get(), err
	}
	return etcd.Do(ctx, s.C, func(ctx context.Context, m *etcd.Member) (*clientv3.GetResponse, error) {
		return m.KV().Get(ctx, key, opts...)
	})
}

func (s Store) txn(ctx context.Context, cmps []clientv3.Cmp, then, otherwise []clientv3.Op) (*clientv3.TxnResponse, error) {
	if s.Stage != nil {
		r, err := s.Stage.Do(ctx, clientv3.OpTxn(cmps, then, otherwise))
		return r.Txn(), err
	}
	return etcd.Do(ctx, s.C, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		return m.KV().Txn(ctx).If(cmps...).Then(then...).Else(otherwise...).Commit()
	})
}

// found returns the keys that the ith answer of r has read.
func found(r *clientv3.TxnResponse, i int) []*mvccpb.KeyValue {
	return r.Responses[i].GetResponseRange().GetKvs()
}

func absent(key string) clientv3.Cmp { return clientv3.Compare(clientv3.CreateRevision(key), "=", 0) }

func exists(key string) clientv3.Cmp { return clientv3.Compare(clientv3.CreateRevision(key), ">", 0) }

func unchanged(key string, rev int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(key), "=", rev)
}

// nothingNewer is true if no key under dir was put after rev. That one was
// deleted does not show.
func nothingNewer(dir string, rev int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(dir), "<", rev+1).WithPrefix()
}

// noneUnder is true if there is no key under dir.
func noneUnder(dir string) clientv3.Cmp { return absent(dir).WithPrefix() }

func (s Store) stored(kv *mvccpb.KeyValue) Stored {
	j, err := DecodeJob(kv.Value)
	if err != nil {
		j = &Job{}
	}
	if e, ok := s.Keys.Entry(string(kv.Key)); ok {
		j.Name = e.Name // of two names the key's counts
	}
	return Stored{Job: *j, Rev: kv.ModRevision, Err: err, raw: kv.Value}
}

func (s Store) act(kv *mvccpb.KeyValue) (Act, bool) {
	e, ok := s.Keys.Entry(string(kv.Key))
	if !ok {
		return Act{}, false
	}
	a, err := DecodeAct(e.Run, e.Waits, kv.Value, kv.ModRevision)
	return *a, err == nil
}

func (s Store) node(kv *mvccpb.KeyValue) (Node, bool) {
	e, ok := s.Keys.Entry(string(kv.Key))
	var n Node
	err := json.Unmarshal(kv.Value, &n)
	n.ID, n.Rev, n.Lease = e.Name, kv.CreateRevision, kv.Lease
	return n, ok && err == nil
}

func (s Store) request(kv *mvccpb.KeyValue) (Request, bool) {
	e, ok := s.Keys.Entry(string(kv.Key))
	r := Request{}
	ok = ok && json.Unmarshal(kv.Value, &r) == nil
	r.Job, r.ID, r.Rev = e.Name, e.ID, kv.ModRevision
	return r, ok
}

// maxAhead is how wrong the clock may be of who puts jobs and requests: ticks up
// to that instant are over for a new job.
const maxAhead = 5 * time.Second

// WrongClock means that this machine's wall clock and etcd's differ by too much:
// what is written now would be of another time.
type WrongClock struct{ Ahead time.Duration }

func (e *WrongClock) Error() string {
	if e.Ahead < 0 {
		return fmt.Sprintf("the clock of this machine is behind etcd's by %v", -e.Ahead.Round(time.Second))
	}
	return fmt.Sprintf("the clock of this machine is ahead of etcd's by %v", e.Ahead.Round(time.Second))
}

// now is the time to write into a job or a request. Errors: *WrongClock.
func (s Store) now(ctx context.Context) (time.Time, error) {
	if s.Stage != nil {
		return s.Stage.Now().UTC(), nil
	}
	look, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	ahead, err := s.C.Ahead(look, time.Now)
	if err == nil && ahead.Abs() > maxAhead { // one that cannot be had is trusted
		return time.Time{}, &WrongClock{ahead}
	}
	return time.Now().UTC(), nil
}

// wall is now unchecked.
func (s Store) wall() time.Time {
	if s.Stage != nil {
		return s.Stage.Now().UTC()
	}
	return time.Now().UTC()
}

func (s Store) newID() string {
	if s.Stage != nil {
		return s.Stage.ID()
	}
	return newID()
}

// etcdTime is the time by etcd's clock, as far as that is known and this machine's
// is wrong. Who pauses everything is not to be refused for a clock.
func (s Store) etcdTime(ctx context.Context) time.Time {
	now, err := s.now(ctx)
	if wrong := (*WrongClock)(nil); errors.As(err, &wrong) {
		return s.wall().Add(-wrong.Ahead)
	}
	return now
}
