package cron

import (
	"encoding/json"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/keys"
)

// Reckoning is how many of a job's ticks nobody has run. Each is counted once,
// whichever runner does, for those that have been are up to Through.
type Reckoning struct {
	Through  time.Time `json:"through"` // the latest tick that has been counted
	By       string    `json:"by"`      // the runner that has counted it, ...
	At       time.Time `json:"at"`      // ... and when, by its clock
	Missed   Stretch   `json:"missed,omitzero"`
	Unplaced Stretch   `json:"unplaced,omitzero"`
}

// Stretch is how many ticks there were of a kind, and the latest stretch of them: its
// first, its last, and how many.
type Stretch struct {
	Total int       `json:"total"`
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	Count int       `json:"count"`
}

// of is where r counts what has come to that.
func (r *Reckoning) of(state State) *Stretch {
	if state == Unplaced {
		return &r.Unplaced
	}
	return &r.Missed
}

// Gap is ticks of a job that nobody has run.
type Gap struct {
	State State // Missed or Unplaced
	From  time.Time
	To    time.Time
	Count int
	// Forgotten: if they lie below the low water, nobody knows whether they were run.
	Forgotten bool
}

// Note counts ticks that nobody has run, and writes down the stretch that they belong
// to. Whoever decides so by what a job was remembered by is refused when that has
// changed: what others have counted meanwhile is not counted again.
type Note struct {
	Job    string
	Rev    int64     // the mod-revision of what the job was remembered by
	JobRev int64     // the create-revision of the job
	Gaps   []Gap     // by their ticks, one behind the other
	Over   time.Time // the latest tick that somebody has run, or that is over with a run
	// Late is how long after its tick a run may be claimed. One that is claimed later
	// was missed, and is made up for.
	Late time.Duration
	// Causes say in words why nobody has run them.
	Causes map[State]string
	By     string // the id of the runner that counts
	Host   string // its host
	At     time.Time

	last    Last
	records []*Run
	begun   []*Run
	rev     int64
}

// ErrCounted: the job is remembered by something else by now.
var ErrCounted = errors.New("what the job is remembered by has changed")

// Look is what has to be read for n, in one transaction.
func (n *Note) Look(k keys.Cron) clientv3.Op {
	return clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpGet(k.Last(n.Job)), n.among(k), clientv3.OpGet(k.LowWater(n.Job))}, nil)
}

// runs are the keys of runs from the first tick of n to the last.
func (n *Note) runs(k keys.Cron) (from, to string) {
	dir := k.Runs(n.Job)
	return dir + keys.Tick(n.Gaps[0].From), dir + keys.Tick(n.Gaps[len(n.Gaps)-1].To.Add(time.Second))
}

func (n *Note) among(k keys.Cron) clientv3.Op {
	from, to := n.runs(k)
	return clientv3.OpGet(from, clientv3.WithRange(to))
}

// Seen takes etcd's answer to Look, of revision rev. Errors: ErrCounted.
func (n *Note) Seen(k keys.Cron, r *clientv3.TxnResponse, rev int64) error {
	n.last, n.rev = Last{}, rev
	is := int64(0)
	for _, kv := range rangeOf(r, 0).Kvs {
		is = kv.ModRevision
		if json.Unmarshal(kv.Value, &n.last) != nil { // it begins anew, as with the end of a run
			n.last = Last{}
		}
	}
	if is != n.Rev {
		return ErrCounted
	}
	n.take(k, rangeOf(r, 1).Kvs)
	for _, kv := range rangeOf(r, 2).Kvs {
		if low, ok := keys.ParseTick(string(kv.Value)); ok {
			n.pruned(low)
		}
	}
	n.reckon()
	return nil
}

// take takes off what has been run all the same, and in time.
func (n *Note) take(k keys.Cron, kvs []*mvccpb.KeyValue) {
	taken := map[time.Time]bool{}
	for _, kv := range kvs {
		e, ok := k.Entry(string(kv.Key))
		_, manual := e.Run.Request()
		if !ok || manual || e.Run.Ticks() || taken[e.Run.Tick] {
			continue
		}
		run, err := DecodeRun(e.Run, kv.Value, kv.ModRevision)
		if err == nil && run.Since().After(run.Tick.Add(n.Late)) {
			continue
		}
		taken[e.Run.Tick] = true
		for i := range n.Gaps {
			if g := &n.Gaps[i]; !e.Run.Tick.Before(g.From) && !e.Run.Tick.After(g.To) {
				g.Count = max(g.Count-1, 0)
			}
		}
	}
}

// pruned takes off what lies below the low water.
func (n *Note) pruned(low time.Time) {
	for i := range n.Gaps {
		if g := &n.Gaps[i]; g.Forgotten && !g.To.After(low) {
			g.Count = 0
		}
	}
}

// reckon adds the gaps to what the job is remembered by. A stretch goes on as long as
// nothing of the job has been run.
func (n *Note) reckon() {
	r := Reckoning{}
	if n.last.Reckoned != nil {
		r = *n.last.Reckoned
	}
	r.By, r.At = n.By, n.At.UTC()
	for _, state := range []State{Missed, Unplaced} {
		t := r.of(state)
		begins := false
		for _, g := range n.Gaps {
			if g.State != state || g.Count == 0 {
				continue
			}
			if t.Count == 0 || n.Over.After(t.To) && !begins {
				t.From, t.Count, begins = g.From, 0, true
			}
			t.Total, t.Count, t.To = t.Total+g.Count, t.Count+g.Count, g.To
		}
		if !t.To.After(r.Through) { // nothing has come to it
			continue
		}
		run := &Run{RunID: keys.RunID{Job: n.Job, Tick: t.From.UTC(), Place: keys.TicksPlace(string(state))}, State: state,
			Node: n.By, Host: n.Host, JobRev: n.JobRev, Claimed: n.At.UTC(), Ended: n.At.UTC(), Count: t.Count, Until: t.To.UTC(), Cause: n.Causes[state]}
		n.records = append(n.records, run)
		if begins {
			n.begun = append(n.begun, run)
		}
	}
	if to := n.Gaps[len(n.Gaps)-1].To; to.After(r.Through) {
		r.Through = to.UTC()
	}
	n.last.Reckoned = &r
}

// Op is the transaction of n, once it has seen what there is.
func (n *Note) Op(k keys.Cron) clientv3.Op {
	from, to := n.runs(k)
	is := []clientv3.Cmp{
		clientv3.Compare(clientv3.ModRevision(k.Last(n.Job)), "=", n.Rev),
		clientv3.Compare(clientv3.CreateRevision(k.Job(n.Job)), "=", n.JobRev),
		clientv3.Compare(clientv3.ModRevision(from), "<", n.rev+1).WithRange(to),
	}
	then := []clientv3.Op{clientv3.OpPut(k.Last(n.Job), n.last.Encode())}
	for _, run := range n.records {
		then = append(then, clientv3.OpPut(k.Run(run.RunID), run.Encode()))
	}
	return clientv3.OpTxn(is, then, []clientv3.Op{clientv3.OpGet(k.Last(n.Job))})
}

// Answer returns the stretches that n has begun; r is etcd's answer to Op. Errors:
// ErrCounted.
func (n *Note) Answer(r *clientv3.TxnResponse, rev int64) ([]*Run, error) {
	if !r.Succeeded {
		kvs := rangeOf(r, 0).Kvs
		if len(kvs) == 0 || string(kvs[0].Value) != n.last.Encode() { // else its answer was lost
			return nil, ErrCounted
		}
		rev = kvs[0].ModRevision
	}
	for _, run := range n.begun {
		run.Rev = rev
	}
	return n.begun, nil
}

// Note counts ticks that nobody has run, and returns the stretches that begin with
// them. It asks until the answer is definite. Errors: ErrCounted.
func (l *Ledger) Note(n Note) ([]*Run, error) {
	a := l.results.do(n.Job, n.Look(l.keys), linger)
	if a.err != nil {
		return nil, a.err
	}
	if err := n.Seen(l.keys, a.inner, a.rev); err != nil {
		return nil, err
	}
	if a = l.results.do(n.Job, n.Op(l.keys), linger); a.err != nil {
		return nil, a.err
	}
	return n.Answer(a.inner, a.rev)
}
