package cron

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcd"
	"conch/pkg/keys"
)

// Ledger is where a runner writes what it claims and what came of it. Its
// methods may be called by many goroutines at once: what they write goes to
// etcd together.
type Ledger struct {
	keys    keys.Cron
	claims  *batcher
	results *batcher
	wg      sync.WaitGroup
	stop    context.CancelFunc
}

// NewLedger returns the ledger of the runner whose key has been made at
// revision rev, until Close. Claims are guarded by that key.
func NewLedger(ctx context.Context, c *etcd.Client, k keys.Cron, node Node) *Ledger {
	ctx, stop := context.WithCancel(ctx)
	l := &Ledger{keys: k, stop: stop, results: newBatcher(c, nil, nil)}
	l.claims = newBatcher(c, []clientv3.Cmp{Guard(k, node)}, nil)
	l.wg.Go(func() { l.claims.run(ctx) })
	l.wg.Go(func() { l.results.run(ctx) })
	return l
}

// Close ends what is under way: its outcome stays unknown.
func (l *Ledger) Close() {
	l.stop()
	l.wg.Wait()
}

// Claim is a wish to run something.
type Claim struct {
	// Run is the record to be written. Its Claim has to be an id that no other
	// claim has, its State Running.
	Run *Run
	// JobRev is the mod-revision of the job that the tick was computed from.
	JobRev int64
	// Forbid: not while another run of the job, in the same place, is in progress.
	Forbid bool
	// After is the revision of the attempt before, of a Retry; else 0.
	After int64
	// Request is the create-revision of the request that it answers; else 0.
	Request int64
}

// Why a claim was refused. Another's claim is no error.
var (
	ErrChanged = errors.New("the job was changed, paused or removed meanwhile")
	ErrOverlap = errors.New("another run of the job is in progress")
	ErrPruned  = errors.New("the tick lies below the low water: it has been over for long")
	ErrNode    = errors.New("this runner's own key is gone")
	ErrPaused  = errors.New("all jobs are paused")
)

// Claim claims a run and returns its record: ours, if its Claim is that of c,
// else that of whoever was first. It asks until the answer is definite; what has
// been claimed and cannot be run must be settled.
//
// Rev of the record, for ours, is the fencing token: it grows with each claim of
// a job.
func (l *Ledger) Claim(c Claim) (*Run, error) {
	a := l.claims.do(c.Run.Job, c.Op(l.keys), linger)
	switch {
	case a.err != nil:
		return nil, a.err
	case a.outer != nil:
		return nil, ErrNode
	}
	return c.Answer(a.inner, a.rev)
}

// Guard is the comparison that guards each transaction with claims: the runner's key
// is there, and the one that it has made. Where it fails the answer is ErrNode.
func Guard(k keys.Cron, n Node) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(k.Node(n.ID)), "=", n.Rev)
}

// Op is the transaction of c, which is to be put into one that Guard guards. Its
// comparisons are the promise of this package.
func (c Claim) Op(k keys.Cron) clientv3.Op {
	id := c.Run.RunID
	run, act := k.Run(id), k.Act(id)
	then := []clientv3.Op{
		clientv3.OpPut(run, c.Run.Encode()),
		clientv3.OpPut(act, encode(c.Run.Marker())),
	}
	is := []clientv3.Cmp{
		clientv3.Compare(clientv3.ModRevision(run), "=", c.After),
		clientv3.Compare(clientv3.ModRevision(k.Job(id.Job)), "=", c.JobRev),
		clientv3.Compare(clientv3.CreateRevision(k.Paused()), "=", 0),
	}
	request, manual := id.Request()
	switch {
	case c.After != 0:
		then = append(then, clientv3.OpDelete(k.Retry(id)))
	case manual:
		is = append(is, clientv3.Compare(clientv3.CreateRevision(k.Request(id.Job, request)), "=", c.Request))
		then = append(then, clientv3.OpDelete(k.Request(id.Job, request)))
	default:
		is = append(is, clientv3.Compare(clientv3.Value(k.LowWater(id.Job)), "<", keys.Tick(id.Tick)))
	}
	otherwise := []clientv3.Op{
		clientv3.OpGet(run),
		clientv3.OpGet(k.Job(id.Job), clientv3.WithKeysOnly()),
		clientv3.OpGet(k.Paused(), clientv3.WithKeysOnly()),
	}
	if c.Forbid && c.After == 0 {
		for _, r := range rivals(k, id) {
			is = append(is, clientv3.Compare(clientv3.CreateRevision(r.From), "=", 0).WithRange(r.To))
			otherwise = append(otherwise, clientv3.OpGet(r.From, clientv3.WithRange(r.To), clientv3.WithKeysOnly(), clientv3.WithLimit(1)))
		}
	}
	return clientv3.OpTxn(is, then, otherwise)
}

// rivals are where the markers lie that a run must not overlap: all of its job,
// or, for one of several places, those of that place and those of none, which
// begin with a digit.
func rivals(k keys.Cron, id keys.RunID) []etcd.Range {
	all := k.ActsOf(id.Job, "")
	if _, manual := id.Request(); manual || id.Place == "" {
		return []etcd.Range{etcd.Prefix(all)}
	}
	return []etcd.Range{etcd.Prefix(k.ActsOf(id.Job, id.Place)), {From: all + "0", To: all + ":"}}
}

// Answer is what Ledger.Claim returns: r is etcd's answer to Op, rev that of the whole
// transaction.
func (c Claim) Answer(r *clientv3.TxnResponse, rev int64) (*Run, error) {
	if !r.Succeeded {
		return c.refused(r)
	}
	run := *c.Run
	run.Rev = rev
	return &run, nil
}

// refused says why c was refused, or by whom it was forestalled.
func (c Claim) refused(r *clientv3.TxnResponse) (*Run, error) {
	if kvs := rangeOf(r, 0).Kvs; len(kvs) > 0 && kvs[0].ModRevision != c.After {
		return DecodeRun(c.Run.RunID, kvs[0].Value, kvs[0].ModRevision)
	}
	if kvs := rangeOf(r, 1).Kvs; len(kvs) == 0 || kvs[0].ModRevision != c.JobRev {
		return nil, ErrChanged
	}
	if len(rangeOf(r, 2).Kvs) > 0 {
		return nil, ErrPaused
	}
	for i := 3; i < len(r.Responses); i++ {
		if len(rangeOf(r, i).Kvs) > 0 {
			return nil, ErrOverlap
		}
	}
	if c.After != 0 || c.Request != 0 {
		return nil, ErrChanged // the record was pruned, or the request withdrawn
	}
	return nil, ErrPruned
}

// Marker returns the marker of a run that is in progress.
func (r *Run) Marker() *Act {
	return &Act{RunID: r.RunID, Rev: r.Rev, Waits: r.State == Retrying, Node: r.Node, Host: r.Host, Claim: r.Claim, Attempt: r.Attempt, Claimed: r.Claimed, First: r.First, RetryAt: r.RetryAt, By: r.By, JobRev: r.JobRev}
}

// Settlement is the end of an attempt.
type Settlement struct {
	// Run is the record to be written: of a state that is final, or Retrying.
	Run *Run
	// Rev is the revision of the record that it follows.
	Rev int64
	// Memory is what the job was remembered by, to which the end is added, as in
	// Last.With; where it is another by now, that is taken. Nil: nothing is added.
	Memory *Memory
	// Over is up to where the job's ticks are over with the run; zero: not known.
	Over time.Time
	// Counted: the run has been added before, with another end.
	Counted bool
	// LowWater, if not zero, prunes: runs up to this tick are deleted, and cannot
	// be claimed again. It is before the run's own tick.
	LowWater time.Time
	// Gone, if not empty, is a runner that must not be there any more: the one
	// that is said to have lost the run.
	Gone string
	// Requests are the ids of requests about the run, which are met by this; maxMet of
	// them are deleted with it, and the others as any about a run that is over.
	Requests []string
	// Wait is for how long it may be kept back, to go with others.
	Wait time.Duration
	// Untold: who writes this tells nobody of it. A Loss is left for a runner that does.
	Untold bool

	lost bool // the record was of a loss
}

// maxMet is how many requests go with the end of a run: there may be hundreds, and
// with maxBatch other results a transaction has room for so many.
const maxMet = 32

// ErrSuperseded: the record is not the one that was to be followed.
var ErrSuperseded = errors.New("the run's record has been replaced")

// Settle ends an attempt. That it has been settled in this way before is no
// error. It asks until the answer is definite. Where the job was removed
// meanwhile, the record goes with the marker. Where the run has been recorded as lost
// meanwhile, and nobody has tried again, its true end takes the place of that.
func (l *Ledger) Settle(s Settlement) error {
	return s.settle(func() (*clientv3.TxnResponse, error) {
		a := l.results.do(s.Run.Job, s.Op(l.keys), max(s.Wait, linger))
		return a.inner, a.err
	})
}

// Settle is Ledger.Settle for who has no ledger, alone in its transaction.
func Settle(ctx context.Context, c *etcd.Client, k keys.Cron, s Settlement) error {
	return s.settle(func() (*clientv3.TxnResponse, error) {
		r, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
			return m.KV().Txn(ctx).Then(s.Op(k)).Commit()
		})
		if err != nil {
			return nil, err
		}
		return (*clientv3.TxnResponse)(r.Responses[0].GetResponseTxn()), nil
	})
}

// settle commits s, as often as it takes.
func (s *Settlement) settle(commit func() (*clientv3.TxnResponse, error)) error {
	for {
		r, err := commit()
		if err != nil {
			return err
		}
		if again, err := s.Answer(r); !again {
			return err
		}
	}
}

// Op is the transaction of s.
func (s *Settlement) Op(k keys.Cron) clientv3.Op {
	id := s.Run.RunID
	run, act := k.Run(id), k.Act(id)
	is := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(run), "=", s.Rev)}
	if s.Gone != "" {
		is = append(is, clientv3.Compare(clientv3.CreateRevision(k.Node(s.Gone)), "=", 0))
	}
	ours := clientv3.Compare(clientv3.CreateRevision(k.Job(id.Job)), ">", 0)
	if s.Run.JobRev != 0 {
		ours = clientv3.Compare(clientv3.CreateRevision(k.Job(id.Job)), "=", s.Run.JobRev)
	}
	keep := []clientv3.Op{clientv3.OpPut(run, s.Run.Encode())}
	if s.Run.State == Retrying {
		keep = append(keep, clientv3.OpPut(k.Retry(id), encode(s.Run.Marker())))
	} else {
		keep = append(keep, clientv3.OpDelete(k.Retry(id)))
	}
	otherwise := []clientv3.Op{clientv3.OpGet(run)}
	if s.Memory != nil {
		is = append(is, clientv3.Compare(clientv3.ModRevision(k.Last(id.Job)), "=", s.Memory.Rev))
		keep = append(keep, clientv3.OpPut(k.Last(id.Job), encode(s.Memory.With(s.Run, s.Over, s.Counted))))
		otherwise = append(otherwise, clientv3.OpGet(k.Last(id.Job)))
	}
	var met []clientv3.Op
	for _, r := range s.Requests[:min(len(s.Requests), maxMet)] {
		met = append(met, clientv3.OpDelete(k.Request(id.Job, r)))
	}
	if !s.LowWater.IsZero() {
		low := keys.Tick(s.LowWater)
		keep = append(keep, clientv3.OpTxn(
			[]clientv3.Cmp{clientv3.Compare(clientv3.Value(k.LowWater(id.Job)), "<", low)},
			[]clientv3.Op{
				clientv3.OpPut(k.LowWater(id.Job), low),
				clientv3.OpDelete(k.Runs(id.Job), clientv3.WithRange(k.Runs(id.Job)+keys.Tick(s.LowWater.Add(time.Second)))),
			}, nil))
	}
	// A job that was removed while it ran is not remembered, nor does another have
	// what was its.
	then := append([]clientv3.Op{clientv3.OpDelete(act), clientv3.OpTxn(
		[]clientv3.Cmp{ours},
		keep,
		[]clientv3.Op{clientv3.OpDelete(run), clientv3.OpDelete(k.Retry(id))})}, met...)
	switch {
	case s.Untold:
		then = append(then, clientv3.OpPut(k.Lost(id), encode(Loss{Run: s.Run})))
	case s.lost: // who has not told of that tells of this
		then = append(then, clientv3.OpDelete(k.Lost(id)))
	}
	gone := append([]clientv3.Op{clientv3.OpDelete(act), clientv3.OpDelete(k.Retry(id))}, met...)
	return clientv3.OpTxn(is, then, append(otherwise,
		clientv3.OpTxn([]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(run), "=", 0)}, gone, nil)))
}

// Answer is what Settle returns: r is etcd's answer to Op. Or s was not what etcd has
// by now, has been changed accordingly, and is to be sent again.
func (s *Settlement) Answer(r *clientv3.TxnResponse) (again bool, _ error) {
	if r.Succeeded {
		return false, nil
	}
	kvs := rangeOf(r, 0).Kvs
	if len(kvs) == 0 {
		return false, fmt.Errorf("%s: %w", s.Run.RunID, ErrSuperseded)
	}
	if kvs[0].ModRevision == s.Rev && s.remembered(r) {
		return true, nil
	}
	is, err := DecodeRun(s.Run.RunID, kvs[0].Value, kvs[0].ModRevision)
	switch {
	case err != nil, string(kvs[0].Value) == s.Run.Encode():
		return false, err
	case is.Rev != s.Rev && is.Claim == s.Run.Claim && (is.State == Lost && s.Run.State != Lost || is.State == Retrying && s.Run.State.Well()):
		s.found(is)
		s.remembered(r)
		return true, nil
	}
	return false, fmt.Errorf("%s: %w", s.Run.RunID, ErrSuperseded)
}

// remembered takes over what the job is remembered by, and reports whether that is
// something else than was thought.
func (s *Settlement) remembered(r *clientv3.TxnResponse) bool {
	if s.Memory == nil || len(r.Responses) < 3 { // it was not asked for
		return false
	}
	is := Memory{}
	for _, kv := range rangeOf(r, 1).Kvs {
		is.Rev = kv.ModRevision
		_ = json.Unmarshal(kv.Value, &is.Last) // what cannot be read is replaced
	}
	moved := is.Rev != s.Memory.Rev
	s.Memory = &is
	return moved
}

// found makes s the end of a run that is not lost after all: that was recorded as its
// end, or it waits for another attempt. One that was to be tried again has been given up
// by who recorded the loss: that stays.
func (s *Settlement) found(lost *Run) {
	s.Rev, s.Counted, s.lost = lost.Rev, lost.State == Lost, true
	if s.Run.State == Retrying {
		run := *s.Run
		run.State, run.RetryAt = Failed, time.Time{}
		s.Run, s.Memory = &run, &Memory{Rev: -1} // what there is is found out
	}
}

// rangeOf is what the i'th operation of r has read.
func rangeOf(r *clientv3.TxnResponse, i int) *clientv3.GetResponse {
	return (*clientv3.GetResponse)(r.Responses[i].GetResponseRange())
}

// The records beside the runs', as they lie in etcd.

// Encode returns l as it lies in etcd.
func (l *Last) Encode() string { return encode(l) }

// Encode returns n as it lies in etcd.
func (n *Node) Encode() string { return encode(n) }

// Encode returns r as it lies in etcd.
func (r *Request) Encode() string { return encode(r) }

// DecodeAct reads the marker of a run. waits is what its key says.
func DecodeAct(id keys.RunID, waits bool, b []byte, rev int64) (*Act, error) {
	a := &Act{RunID: id, Waits: waits, Rev: rev}
	return a, json.Unmarshal(b, a)
}
