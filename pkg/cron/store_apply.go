package cron

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// maxRequest is how many bytes go into one request. etcd takes 1.5 MiB,
	// with what it adds itself.
	maxRequest = 1_400_000
	// perOp is more than an operation takes beside its key and its value.
	perOp = 40
	// maxLevel is how many operations stand side by side. etcd takes 128, those
	// of an outer transaction and of the largest in it together, so that three
	// levels, and one within, fit.
	maxLevel = 40
	maxOps   = maxLevel * maxLevel * maxLevel
)

// Change is one job to be written or removed.
type Change struct {
	Name string
	Job  *Job    // nil: it is removed
	Old  *Stored // nil: it is new
}

// Undone means that jobs which go into more than one transaction were changed by
// somebody else in between, or etcd failed; what had been written was taken back.
type Undone struct {
	Cause error
	Jobs  int      // how many had been changed
	Left  []string // of these, jobs that could not be put back: they were edited since
	Err   error    // why none of them could be put back
}

func (e *Undone) Error() string {
	cause := e.Cause.Error()
	if errors.As(e.Cause, new(*Conflict)) {
		cause = strings.TrimSuffix(cause, "; nothing was changed")
	}
	switch {
	case e.Err != nil:
		return fmt.Sprintf("%s; %d jobs had been changed, and could not be put back: %v", cause, e.Jobs, e.Err)
	case len(e.Left) > 0:
		return fmt.Sprintf("%s; of %d jobs that had been changed all were put back but %s, edited since", cause, e.Jobs, strings.Join(e.Left, ", "))
	}
	return fmt.Sprintf("%s; %d jobs had been changed, and were put back", cause, e.Jobs)
}

// Unwrap returns Cause.
func (e *Undone) Unwrap() error { return e.Cause }

// Apply makes all of the changes, or none. They are those to the jobs as they
// were at revision rev: if one was written since, that is a *Conflict.
//
// About 3,000 jobs fit into one transaction. More are written in several, each
// guarded by the revision of the one before; runners see them one after another,
// and what was written is taken back if a later one conflicts: *Undone. progress,
// if not nil, is told between them how many of the changes are made.
func (s Store) Apply(ctx context.Context, rev int64, changes []Change, progress func(done, total int)) error {
	now, err := s.now(ctx)
	if err != nil {
		return err
	}
	parts, err := s.parts(changes, now)
	if err != nil {
		return err
	}
	var made []part
	done := 0
	for _, p := range parts {
		p.rev, err = s.commit(ctx, rev, p)
		if err != nil && len(made) > 0 {
			return s.undo(context.WithoutCancel(ctx), made, err)
		}
		if err != nil {
			return err
		}
		rev = p.rev
		made = append(made, p)
		if done += len(p.changes); progress != nil {
			progress(done, len(changes))
		}
	}
	return s.forget(ctx, removed(changes))
}

// part is what of the changes goes into one transaction.
type part struct {
	changes []Change
	ops     []clientv3.Op
	probe   clientv3.Op // the first put, to tell a transaction that was sent twice
	rev     int64       // once it is made
}

func (s Store) parts(changes []Change, now time.Time) ([]part, error) {
	var parts []part
	var p part
	size := 0
	for _, c := range changes {
		ops, err := s.change(c, now)
		if err != nil {
			return nil, err
		}
		n := bytesOf(ops)
		if size+n > maxRequest || len(p.ops)+len(ops) > maxOps {
			parts = append(parts, p)
			p, size = part{}, 0
		}
		if ops[0].IsPut() && !p.probe.IsPut() {
			p.probe = ops[0]
		}
		p.changes = append(p.changes, c)
		p.ops = append(p.ops, ops...)
		size += n
	}
	if len(p.changes) > 0 {
		parts = append(parts, p)
	}
	return parts, nil
}

// change is what makes one change. A job's low water and history stay until all
// changes are made, so that the job can be put back.
func (s Store) change(c Change, now time.Time) ([]clientv3.Op, error) {
	key := s.Keys.Job(c.Name)
	if c.Job == nil {
		return []clientv3.Op{clientv3.OpDelete(key)}, nil
	}
	j := *c.Job
	j.Name = c.Name
	var old *Job
	if c.Old != nil && c.Old.Err == nil {
		old = &c.Old.Job
	}
	j.stamp(old, now, s.By)
	value, err := j.Encode()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	if c.Old == nil {
		return []clientv3.Op{clientv3.OpPut(key, value), s.lowWater(c.Name, now)}, nil
	}
	// The guard of the whole does not see that a job was removed. A put that
	// keeps the lease, of which there is none, fails if there is no key, and the
	// whole with it; a comparison for each job would go beyond etcd's limit.
	return []clientv3.Op{clientv3.OpPut(key, value, clientv3.WithIgnoreLease())}, nil
}

func bytesOf(ops []clientv3.Op) int {
	n := 0
	for _, op := range ops {
		n += perOp + len(op.KeyBytes()) + len(op.ValueBytes())
		if cmps, then, otherwise := op.Txn(); op.IsTxn() {
			n += bytesOf(then) + bytesOf(otherwise)
			for _, c := range cmps {
				n += perOp + len(c.KeyBytes())
			}
		}
	}
	return n
}

// nest puts operations into groups until few enough stand side by side.
func nest(ops []clientv3.Op) []clientv3.Op {
	for len(ops) > maxLevel {
		var groups []clientv3.Op
		for some := range slices.Chunk(ops, maxLevel) {
			groups = append(groups, clientv3.OpTxn(nil, some, nil))
		}
		ops = groups
	}
	return ops
}

// commit makes one part if no job was written after rev, and returns its
// revision.
func (s Store) commit(ctx context.Context, rev int64, p part) (int64, error) {
	otherwise := []clientv3.Op{clientv3.OpGet(s.Keys.Jobs(), clientv3.WithPrefix(), clientv3.WithKeysOnly(),
		clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend), clientv3.WithLimit(1))}
	if p.probe.IsPut() {
		otherwise = append(otherwise, clientv3.OpGet(string(p.probe.KeyBytes())))
	}
	r, err := s.txn(ctx, []clientv3.Cmp{nothingNewer(s.Keys.Jobs(), rev)}, nest(p.ops), otherwise)
	switch {
	case errors.Is(err, rpctypes.ErrKeyNotFound): // see change
		return 0, &Conflict{}
	case err != nil:
		return 0, err
	case r.Succeeded:
		return r.Header.Revision, nil
	}
	if p.probe.IsPut() {
		for _, kv := range found(r, 1) {
			if string(kv.Value) == string(p.probe.ValueBytes()) { // it was sent twice, and this is the second answer
				return kv.ModRevision, nil
			}
		}
	}
	for _, kv := range found(r, 0) {
		e, _ := s.Keys.Entry(string(kv.Key))
		return 0, &Conflict{e.Name}
	}
	return 0, &Conflict{}
}

// undoIn is how long the taking back may last.
const undoIn = 30 * time.Second

// undo puts every job that nobody has edited since back to what it was.
func (s Store) undo(ctx context.Context, made []part, cause error) error {
	ctx, cancel := context.WithTimeout(ctx, undoIn)
	defer cancel()
	e := &Undone{Cause: cause}
	var ops []clientv3.Op
	was := map[string]string{}
	for _, p := range made {
		e.Jobs += len(p.changes)
		for _, c := range p.changes {
			if c.Old != nil {
				was[c.Name] = c.Old.value()
			}
			ops = append(ops, s.restore(c, p.rev))
		}
	}
	for len(ops) > 0 {
		n := fitting(ops)
		r, err := s.txn(ctx, nil, nest(ops[:n]), nil)
		if err != nil {
			e.Err = err
			return e
		}
		e.Left = append(e.Left, s.left((*pb.TxnResponse)(r), was)...)
		ops = ops[n:]
	}
	return e
}

// fitting is how many of the operations go into one request.
func fitting(ops []clientv3.Op) int {
	size := 0
	for i := range ops {
		if size += bytesOf(ops[i : i+1]); i > 0 && size > maxRequest {
			return i
		}
	}
	return min(len(ops), maxOps)
}

// restore undoes a change that was made at revision rev; it reads the job's key
// instead if it is not as it was then left.
func (s Store) restore(c Change, rev int64) clientv3.Op {
	key := s.Keys.Job(c.Name)
	if c.Job == nil { // it was removed
		rev = 0
	}
	back := []clientv3.Op{clientv3.OpDelete(key)}
	if c.Old != nil {
		back[0] = clientv3.OpPut(key, c.Old.value())
	} else {
		back = append(back, s.leftovers(c.Name)...)
	}
	return clientv3.OpTxn([]clientv3.Cmp{unchanged(key, rev)}, back, []clientv3.Op{clientv3.OpGet(key)})
}

// left are the jobs whose keys a restore has read, but for those that are as they were:
// it was sent twice, and this is the second answer.
func (s Store) left(r *pb.TxnResponse, was map[string]string) (names []string) {
	for _, a := range r.Responses {
		if inner := a.GetResponseTxn(); inner != nil {
			names = append(names, s.left(inner, was)...)
		}
		for _, kv := range a.GetResponseRange().GetKvs() {
			if e, ok := s.Keys.Entry(string(kv.Key)); ok && string(kv.Value) != was[e.Name] {
				names = append(names, e.Name)
			}
		}
	}
	return names
}

func removed(changes []Change) (names []string) {
	for _, c := range changes {
		if c.Job == nil {
			names = append(names, c.Name)
		}
	}
	return names
}

// leftovers deletes what a job that is gone leaves behind. Records of its runs
// stay while one of them is in progress.
func (s Store) leftovers(name string) []clientv3.Op {
	return []clientv3.Op{
		clientv3.OpDelete(s.Keys.LowWater(name)),
		clientv3.OpDelete(s.Keys.Last(name)),
		clientv3.OpDelete(s.Keys.RequestsOf(name), clientv3.WithPrefix()),
		clientv3.OpTxn([]clientv3.Cmp{noneUnder(s.Keys.ActsOf(name, ""))},
			[]clientv3.Op{clientv3.OpDelete(s.Keys.Runs(name), clientv3.WithPrefix())}, nil),
	}
}
