package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/cron"
	"conch/pkg/keys"
)

// What conch itself sends, and makes of the answers, is the same on the model as on etcd:
// also where a request is sent twice, its first answer lost.
func TestModelTakesConch(t *testing.T) {
	p := newPair(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	p.grant()
	lease := p.leases[0]
	onEtcd, onModel := newClerk(seed, lease, realEtcd{t, p.real}), newClerk(seed, lease, p.model)
	each := []string{"succeeded", "put ", "claim ", "settle ", "replaced", "low ", "note ["}
	did := func(what string) bool { return onModel.did[what] > 0 }
	for i := 0; i < 400 || i < 4000 && slices.ContainsFunc(each, func(what string) bool { return !did(what) }); i++ {
		did, want := onModel.step(), onEtcd.step()
		if did != want {
			t.Fatalf("step %d\non the model\n%s\nand on etcd\n%s", i, did, want)
		}
		if i%100 == 99 {
			p.sameState(0)
		}
	}
	for _, what := range each {
		if !did(what) {
			t.Errorf("in no step: %q", what)
		}
	}
	if t.Log(onModel.did); len(onModel.runs) == 0 {
		t.Error("nothing was claimed")
	}
}

// clerk does what runners and people do. Two with the same seed do the same as long as
// they are answered the same.
type clerk struct {
	*rand.Rand
	keys  keys.Cron
	hand  *etcdHand
	store cron.Store
	now   time.Time
	lease int64
	node  cron.Node
	runs  []*cron.Run // the latest that were claimed
	did   map[string]int
}

func newClerk(seed uint64, lease int64, on doer) *clerk {
	c := &clerk{Rand: rand.New(rand.NewPCG(seed, 1)), keys: keys.Space("/x").Cron(), now: time.Unix(1e9, 0), lease: lease, did: map[string]int{}}
	c.hand = &etcdHand{e: on, clock: func() time.Time { return c.now }, before: func() fate {
		return fate(c.IntN(30) / 27) // now and then twice
	}}
	c.store = c.hand.store(c.keys)
	c.node = cron.Node{ID: "n"}
	return c
}

func (c *clerk) do(op clientv3.Op) (clientv3.OpResponse, error) {
	return c.hand.Do(context.Background(), op)
}

func (c *clerk) txn(is []clientv3.Cmp, then ...clientv3.Op) (*clientv3.TxnResponse, error) {
	r, err := c.do(clientv3.OpTxn(is, then, nil))
	return r.Txn(), err
}

func (c *clerk) one(n int) bool { return c.IntN(n) == 0 }

func pick[T any](c *clerk, from ...T) T { return from[c.IntN(len(from))] }

// step does something, and says what came of it.
func (c *clerk) step() string {
	c.now = c.now.Add(time.Duration(c.IntN(20)) * time.Second)
	steps := []func() string{c.put, c.remove, c.pause, c.request, c.kill, c.apply, c.enlist, c.look, c.note}
	said := ""
	switch n := c.IntN(20); {
	case n < len(steps):
		said = steps[n]()
	case n < 15:
		said = c.claim()
	default:
		said = c.settle()
	}
	for _, what := range []string{"put ", "claim ", "settle ", "low ", "replaced", "note ["} {
		if strings.Contains(said, what) {
			c.did[what]++
		}
	}
	if !strings.Contains(said, "failed") {
		c.did["succeeded"]++
	}
	return said
}

// said spells what came of something.
func said(what string, v any, err error) string {
	if err != nil {
		return what + " failed: " + err.Error()
	}
	b, err := json.Marshal(v)
	return what + " " + string(b) + fmt.Sprint(err)
}

func (c *clerk) name() string { return pick(c, "a", "b", "c") }

func (c *clerk) job(name string) *cron.Job {
	return &cron.Job{Name: name, Schedule: pick(c, "* * * * *", "@manual"), Cmd: []string{"true"}, Description: fmt.Sprint(c.IntN(9)),
		Overlap: pick(c, cron.Forbid, cron.Allow), Paused: c.one(8)}
}

// rev is the mod-revision of a job, or what it is not.
func (c *clerk) rev(name string) int64 {
	j, err := c.store.Job(context.Background(), name)
	if err != nil || c.one(10) {
		return int64(c.IntN(3)) - 1
	}
	return j.Rev
}

func (c *clerk) put() string {
	name := c.name()
	rev, err := c.store.Put(context.Background(), c.job(name), c.rev(name))
	return said("put "+name, rev, err)
}

func (c *clerk) remove() string {
	name := c.name()
	acts, err := c.store.Remove(context.Background(), name, c.rev(name), pick(c, "", "me"))
	return said("remove "+name, acts, err)
}

func (c *clerk) pause() string {
	ctx := context.Background()
	switch c.IntN(4) {
	case 0:
		done, err := c.store.PauseAll(ctx, "me")
		return said("pause all", done, err)
	case 1:
		done, err := c.store.ResumeAll(ctx)
		return said("resume all", done, err)
	}
	names, err := c.store.Pause(ctx, c.one(2), c.name())
	return said("pause", names, err)
}

func (c *clerk) request() string {
	ctx := context.Background()
	if c.one(4) {
		id, err := c.store.Submit(ctx, &cron.Job{Name: pick(c, "s", "t"), Cmd: []string{"true"}, KeepFor: cron.Duration(time.Hour)}, "me")
		return said("submit", id, err)
	}
	id, err := c.store.RunNow(ctx, c.name(), pick(c, "", "x", "y"), "me", time.Time{})
	if err == nil && c.one(4) {
		ok, err := c.store.Withdraw(ctx, id)
		return said("withdraw", ok, err)
	}
	return said("run", id, err)
}

func (c *clerk) kill() string {
	r := c.known()
	if r == nil {
		return ""
	}
	return said("kill "+r.RunID.String(), nil, c.store.Kill(context.Background(), r.RunID, "me"))
}

// apply makes a new job, edits one, and removes one.
func (c *clerk) apply() string {
	ctx := context.Background()
	jobs, rev, err := c.store.Jobs(ctx)
	if err != nil {
		return err.Error()
	}
	name := fmt.Sprint("new", c.IntN(3))
	var changes []cron.Change
	for i := range jobs {
		if change := (cron.Change{Name: jobs[i].Name, Old: &jobs[i]}); c.one(3) {
			if c.one(2) {
				change.Job = c.job(jobs[i].Name)
			}
			changes = append(changes, change)
		} else if jobs[i].Name == name {
			name = ""
		}
	}
	if name != "" && c.one(2) {
		changes = append(changes, cron.Change{Name: name + "x", Job: c.job(name + "x")})
	}
	return said("apply", len(changes), c.store.Apply(ctx, rev-c.Int64N(4)/3, changes, nil))
}

// enlist makes the runner's key anew.
func (c *clerk) enlist() string {
	r, err := c.txn([]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(c.keys.Node("n")), ">", -1)}, clientv3.OpDelete(c.keys.Node("n")))
	if err == nil {
		r, err = c.txn([]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(c.keys.Node("n")), "=", 0)},
			clientv3.OpPut(c.keys.Node("n"), c.node.Encode(), clientv3.WithLease(clientv3.LeaseID(c.lease))))
	}
	if err == nil && r.Succeeded {
		c.node.Rev = r.Header.Revision
	}
	return said("enlist", c.node, err)
}

func (c *clerk) look() string {
	t, err := c.store.Table(context.Background())
	runs, _ := c.store.History(context.Background(), c.name(), c.IntN(5))
	return said("look", []any{t, runs}, err)
}

// known is one of the latest runs; nil: there is none.
func (c *clerk) known() *cron.Run {
	if len(c.runs) == 0 {
		return nil
	}
	r := *c.runs[max(0, len(c.runs)-1-c.IntN(5))]
	return &r
}

func (c *clerk) claim() string {
	name := c.name()
	w := cron.Claim{Forbid: c.one(2), JobRev: c.rev(name), Run: &cron.Run{State: cron.Running, Claim: c.hand.ID(), Attempt: 1, Node: "n",
		Claimed: c.now, JobRev: c.made(name)}}
	w.Run.RunID = keys.RunID{Job: name, Tick: c.now.Add(time.Duration(c.IntN(400)-20) * time.Second).Truncate(time.Second), Place: pick(c, "", "", "@h", "@i")}
	requests, err := c.store.Requests(context.Background())
	switch r := c.known(); {
	case err != nil:
		return err.Error()
	case c.one(3) && r != nil && r.State == cron.Retrying:
		w.Run.RunID, w.Run.Attempt, w.After = r.RunID, 2, r.Rev
	case c.one(4) && r != nil:
		w.Run.RunID = r.RunID
	case c.one(2) && len(requests) > 0 && requests[0].Action == cron.RunNow:
		w.Run.RunID, w.Request = requests[0].RunID(), requests[0].Rev
		w.JobRev = c.rev(requests[0].Job)
	}
	r, err := c.txn([]clientv3.Cmp{cron.Guard(c.keys, c.node)}, w.Op(c.keys))
	if err != nil || !r.Succeeded {
		return said("claim of who is not there", nil, err)
	}
	run, err := w.Answer((*clientv3.TxnResponse)(r.Responses[0].GetResponseTxn()), r.Header.Revision)
	if err == nil && run.Claim == w.Run.Claim {
		c.runs = append(c.runs, run)
	}
	return said("claim "+w.Run.RunID.String(), run, err)
}

// note counts ticks that nobody has run.
func (c *clerk) note() string {
	name := c.name()
	r, err := c.do(clientv3.OpGet(c.keys.Last(name), clientv3.WithKeysOnly()))
	if err != nil {
		return err.Error()
	}
	from := c.now.Truncate(time.Second).Add(-time.Minute)
	n := cron.Note{Job: name, JobRev: c.made(name), By: "n", At: c.now, Over: from.Add(time.Duration(c.IntN(99)-50) * time.Second),
		Gaps: []cron.Gap{{State: pick(c, cron.Missed, cron.Unplaced), From: from, To: from.Add(20 * time.Second), Count: 21, Forgotten: c.one(2)}}}
	for _, kv := range r.Get().Kvs {
		n.Rev = kv.ModRevision
	}
	t, err := c.txn(nil, n.Look(c.keys))
	if err == nil {
		err = n.Seen(c.keys, (*clientv3.TxnResponse)(t.Responses[0].GetResponseTxn()), t.Header.Revision)
	}
	var begun []*cron.Run
	if err == nil {
		if t, err = c.txn(nil, n.Op(c.keys)); err == nil {
			begun, err = n.Answer((*clientv3.TxnResponse)(t.Responses[0].GetResponseTxn()), t.Header.Revision)
		}
	}
	return said("note", begun, err)
}

// made is the create-revision of the job, or one that nobody knows.
func (c *clerk) made(name string) int64 {
	r, err := c.do(clientv3.OpGet(c.keys.Job(name)))
	if err != nil || len(r.Get().Kvs) == 0 || c.one(4) {
		return 0
	}
	return r.Get().Kvs[0].CreateRevision
}

func (c *clerk) settle() string {
	was := c.known()
	if was == nil {
		return ""
	}
	run := *was
	run.State = pick(c, cron.OK, cron.Failed, cron.Lost, cron.Retrying)
	run.Ended = c.now.Add(time.Duration(c.IntN(60)) * time.Second)
	s := cron.Settlement{Run: &run, Rev: was.Rev, Over: run.Tick, Counted: c.one(5)}
	what := "settle "
	if run.State == cron.Retrying {
		run.RetryAt = c.now
	} else if !c.one(5) {
		s.Memory = &cron.Memory{Rev: pick(c, int64(-1), 0)}
	}
	if c.one(8) {
		s.Gone = "n"
	}
	if c.one(4) {
		p := cron.Pruning{Keys: c.keys, Self: run.RunID, Keep: 1 + c.IntN(3)}
		r, err := c.txn(nil, p.Ops()...)
		if err != nil {
			return err.Error()
		}
		s.LowWater = p.Answer(r)
		what = fmt.Sprint("low ", s.LowWater, " "+what)
	}
	requests, err := c.store.Requests(context.Background())
	if err != nil {
		return err.Error()
	}
	for _, q := range requests {
		if q.Job == run.Job && q.Action == cron.Kill {
			s.Requests = append(s.Requests, q.ID)
		}
	}
	for again := true; again && err == nil; {
		var r *clientv3.TxnResponse
		if r, err = c.txn(nil, s.Op(c.keys)); err == nil {
			inner := r.Responses[0].GetResponseTxn()
			what += spellTxn((*pb.TxnResponse)(inner))
			again, err = s.Answer((*clientv3.TxnResponse)(inner))
		}
	}
	if err == nil && run.State == cron.Retrying {
		if is, err := c.store.RunOf(context.Background(), run.RunID); err == nil {
			c.runs = append(c.runs, is)
		}
	}
	return said(what, s.Run, err)
}
