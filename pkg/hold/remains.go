package hold

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/clock"
	"conch/pkg/etcd"
	"conch/pkg/lease"
)

// Remains is what one place in line leaves in etcd, for a helper process that
// clears it after the process that stood there was killed, and its command, if
// there was one, is proven dead. All but Rev, RunKey of a semaphore and SlotKey is
// known before anything is asked of etcd.
type Remains struct {
	Key    string `json:"key"`
	Lease  int64  `json:"lease"`
	RunKey string `json:"run_key,omitempty"` // of a semaphore: empty until the turn
	Run    string `json:"run"`

	Dir  string `json:"dir"`            // of the line
	Runs string `json:"runs,omitempty"` // of an office: the running records
	Rev  int64  `json:"rev,omitempty"`  // create-revision of Key, of a turn; 0: what there is must be found out

	MayCome bool `json:"may_come,omitempty"` // the lease, though it is revoked; see lease.Lease.MayCome

	// Of a semaphore: what lies below State; the slot, whose value is that of the
	// running record; and the capacity, which goes with the last in line.
	State   string `json:"state,omitempty"`
	SlotKey string `json:"slot_key,omitempty"`
	CapKey  string `json:"cap_key,omitempty"`

	// Of a turn that may be kept, what its key says then; and until when it is to be.
	Lingering string        `json:"lingering,omitempty"`
	Until     clock.Instant `json:"until,omitempty"`
}

// Remains returns what this turn leaves behind if it ends now, and is not to be
// kept: that of the turn itself, and of the one that it rests on.
func (t *Turn) Remains() []Remains {
	all := []Remains{t.me.remains()}
	if t.also != nil {
		all = append(all, t.also.turn.Remains()...)
	}
	return all
}

// remains is what this candidacy may have left in etcd, at any time from before
// the lease is granted on.
func (me *candidacy) remains() Remains {
	r := Remains{Key: me.key, Lease: me.lease.ID, RunKey: me.runAt, Run: me.run, Dir: me.req.Line.Dir, Runs: me.req.Line.Runs, MayCome: me.lease.MayCome()}
	if me.req.Linger {
		r.Lingering = me.holder(Lingering).line()
	}
	if me.pool != nil {
		r.State, r.CapKey = me.pool.State, me.pool.Cap()
	}
	if me.turned {
		r.Rev = me.token.Rev
		if me.pool != nil {
			r.SlotKey = me.pool.Slot(me.slot)
		}
	}
	return r
}

// Clear removes all as releases would have, and keeps the place of a turn until Until,
// with that of the turn that it rests on. What the dead may have asked for last can
// still be on its way: it is waited for, or has no effect once the lease has been
// revoked.
func Clear(ctx context.Context, c *etcd.Client, all []Remains) error {
	var errs []error
	keep := true
	for _, r := range all {
		var after After
		if keep {
			after.Linger = r.Until.Sub(clock.System{}.Now())
		}
		var err error
		keep, err = r.end(ctx, c, after)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// end removes what there is, however far it has come.
func (r Remains) end(ctx context.Context, c *etcd.Client, after After) (kept bool, _ error) {
	var err, unlinger error
	if r.Rev == 0 {
		err = r.withdraw(ctx, c)
	} else {
		kept, err, unlinger = r.release(ctx, c, after)
		if err == nil && !kept {
			r.dispel(ctx, c)
		}
	}
	if err == nil && r.Runs != "" { // the dead may have been about to: see reclaim
		err = lease.Revoke(ctx, c, heir(r.Lease))
	}
	return kept, errors.Join(err, unlinger)
}

// late is how long what was sent, and is not waited for any more, may take to arrive.
var late = []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond}

// withdraw gives up a place of which it is not known how far it has come. What is
// there goes in one revision, as in a release; then the lease, after which a join
// that is under way fails without effect; and once more what such a one may have
// put before that without a lease. All of it again if the lease may come yet.
func (r Remains) withdraw(ctx context.Context, c *etcd.Client) error {
	err := r.leave(ctx, c)
	sure := !r.MayCome || err != nil // who may not write has put nothing, and may have a lease
	for i := 0; ; i++ {
		_, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*pb.LeaseRevokeResponse, error) {
			return m.Lease().LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: r.Lease})
		})
		unknown := errors.Is(err, rpctypes.ErrLeaseNotFound)
		if err != nil && !unknown {
			return err
		}
		if i == 0 || !unknown {
			if err := r.leave(ctx, c); err != nil {
				return err
			}
		}
		if sure || i == len(late) || i > 0 && !unknown {
			return nil
		}
		select {
		case <-time.After(late[i]):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// leave deletes our key, and of the running records and slots what is ours, in one
// revision.
func (r Remains) leave(ctx context.Context, c *etcd.Client) error {
	_, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		records := []string{r.RunKey}
		if r.State != "" {
			var err error
			if records, err = r.ours(ctx, m); err != nil {
				return nil, err
			}
		}
		ops := []clientv3.Op{clientv3.OpDelete(r.Key)}
		for _, key := range records {
			ours := []clientv3.Cmp{clientv3.Compare(clientv3.Value(key), "=", r.Run)}
			ops = append(ops, clientv3.OpTxn(ours, []clientv3.Op{clientv3.OpDelete(key)}, nil))
		}
		if r.CapKey != "" {
			ops = append(ops, ifVacant(r.Dir, clientv3.OpDelete(r.CapKey)))
		}
		return m.KV().Txn(ctx).Then(ops...).Commit()
	})
	return err
}

// heir is the lease that the running record of a lease's candidate is put under by
// who takes it for dead: see entrust. Nobody else has it, for our own are odd; and who
// does not know whether it was granted can revoke it all the same.
func heir(id int64) int64 { return id ^ 1 }

// ours finds the keys of a semaphore that have our running record as their value.
func (r Remains) ours(ctx context.Context, m *etcd.Member) (keys []string, _ error) {
	state, err := m.KV().Get(ctx, r.State, clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	for _, kv := range state.Kvs {
		if string(kv.Value) == r.Run {
			keys = append(keys, string(kv.Key))
		}
	}
	return keys, nil
}

// release gives up a turn, and says whether its place is kept. That it could not be,
// though it was to be, is told apart: it is given up then.
func (r Remains) release(ctx context.Context, c *etcd.Client, after After) (kept bool, err, unlinger error) {
	stay, unlinger := r.linger(ctx, c, after.Linger)
	kept, err = r.clear(ctx, c, stay, after)
	return kept, err, unlinger
}

// dispel sees to it that a turn that was released does not come again with its lease.
func (r Remains) dispel(ctx context.Context, c *etcd.Client) {
	if r.MayCome {
		_ = r.withdraw(ctx, c) // else it lapses
	}
}

// keeping is how a place is kept: these operations put it under a lease of its own.
type keeping struct {
	lease *lease.Lease
	ops   []clientv3.Op
}

// done reports whether the release has kept the place, and shall have. There may be
// none any more; and somebody may have asked for it who was not heard.
func (k *keeping) done(t *clientv3.TxnResponse) bool {
	if t.Succeeded {
		put := t.Responses[1].GetResponseTxn()
		return put.Succeeded && parse(put.Responses[0].GetResponsePut().GetPrevKv().GetValue()).Ask == ""
	}
	return underLease(rangeOf(t, 0), k.lease.ID) // by an attempt before
}

// linger returns how the place is to be kept for d, or nil where it is given up.
func (r Remains) linger(ctx context.Context, c *etcd.Client, d time.Duration) (*keeping, error) {
	switch {
	case d <= 0:
		return nil, nil
	case r.Lingering == "": // the next in line believes that
		return nil, errors.New("the place could not be kept: that was not asked for with the turn")
	}
	l := lease.Unkept(c, d)
	if err := l.Grant(ctx); err != nil {
		return nil, fmt.Errorf("the place could not be kept: %w", err)
	}
	ops := []clientv3.Op{clientv3.OpPut(r.Key, r.Lingering, l.With(), clientv3.WithPrevKV())}
	if r.SlotKey != "" {
		ops = append(ops, clientv3.OpPut(r.SlotKey, r.Run, l.With()))
	}
	return &keeping{l, ops}, nil
}

// errPassed means that somebody else has taken over, so that a done-marker is no
// longer ours to put.
var errPassed = errors.New("the turn has passed on")

// clear deletes the record and puts the done-marker, provided that the record is
// ours: so long, nobody has taken over. It deletes the key, or does what makes it
// stay, provided that the key exists: after an eviction it does not. Otherwise it
// makes sure only that the key is gone. The revoke comes after that, so that key
// and record go in one revision and the next in line need not wait for the
// record; where etcd is far it is sent close behind. A key that is to stay must
// have its new lease first; if there is none to stay, that is revoked, too.
func (r Remains) clear(ctx context.Context, c *etcd.Client, stay *keeping, after After) (kept bool, _ error) {
	then, orElse := r.going(stay)
	if after.Done != "" {
		then = append(then, clientv3.OpPut(after.Done, after.Value))
		orElse = append(orElse, clientv3.OpGet(after.Done))
	}
	then = append(then, clientv3.OpGet(r.Dir, clientv3.WithPrefix(), clientv3.WithCountOnly()))
	revoked := make(chan error, 1)
	far := c.RoundTrip() >= farAway && stay == nil
	if far {
		time.AfterFunc(sendApart, func() { revoked <- lease.Revoke(ctx, c, r.Lease) })
	}
	t, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		return m.KV().Txn(ctx).If(clientv3.Compare(clientv3.Value(r.RunKey), "=", r.Run)).
			Then(then...).Else(orElse...).Commit()
	})
	switch {
	case err != nil && far:
		<-revoked // where both fail they say the same
		return false, err
	case err != nil:
		return false, err
	case !t.Succeeded && after.Done != "" && rangeOf(t, len(orElse)-1).Count == 0:
		err = errPassed
	}
	if from := r.leaseOf(t); from != 0 {
		err = errors.Join(err, lease.Revoke(ctx, c, from))
	}
	if kept = stay != nil && stay.done(t); stay != nil && !kept {
		err = errors.Join(err, stay.lease.Revoke(ctx))
	}
	others := t.Succeeded && rangeOf(t, len(then)-1).Count > 0
	if far {
		err = errors.Join(err, <-revoked)
	} else {
		if others {
			makeWay(ctx)
		}
		err = errors.Join(err, lease.Revoke(ctx, c, r.Lease))
	}
	if others && err == nil && r.Runs != "" && stay == nil {
		r.entrust(ctx, c)
	}
	return kept, err
}

// leaseOf returns the lease that our record was under when it was deleted by t, or may
// have been by an attempt before; 0: none.
func (r Remains) leaseOf(t *clientv3.TxnResponse) int64 {
	switch {
	case r.Runs == "":
		return 0
	case !t.Succeeded:
		return heir(r.Lease)
	}
	return t.Responses[0].GetResponseDeleteRange().GetPrevKvs()[0].Lease
}

// entrust sees to it that the running record of the next in line does not outlive
// one who is dead, and who may be the last: it has no lease, for nothing has to be
// written when a turn begins. If nothing shows that the next one's has begun, which
// takes a moment, the record gets a lease that outlasts whatever he may do under it;
// he takes that away again when he says that he has the turn. That this fails is no
// failure of the release.
func (r Remains) entrust(ctx context.Context, c *etcd.Client) {
	t, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		return m.KV().Txn(ctx).Then(
			clientv3.OpGet(r.Dir, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend), clientv3.WithLimit(1)),
			clientv3.OpGet(r.Runs, clientv3.WithPrefix(), clientv3.WithLimit(maxSweep))).Commit()
	})
	if err != nil || len(rangeOf(t, 0).Kvs) == 0 {
		return
	}
	next := rangeOf(t, 0).Kvs[0]
	i := slices.IndexFunc(rangeOf(t, 1).Kvs, func(kv *mvccpb.KeyValue) bool {
		return string(kv.Key) == r.Runs+strings.TrimPrefix(string(next.Key), r.Dir)
	})
	if i < 0 || parse(next.Value).State != Waiting {
		return
	}
	record := rangeOf(t, 1).Kvs[i]
	l := lease.Unkept(c, 2*ttlOf(record.Value, lease.MaxTTL))
	l.ID = heir(next.Lease)
	if l.Grant(ctx) != nil {
		return
	}
	same := func(kv *mvccpb.KeyValue) clientv3.Cmp {
		return clientv3.Compare(clientv3.ModRevision(string(kv.Key)), "=", kv.ModRevision)
	}
	t, err = etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		return m.KV().Txn(ctx).If(same(next), same(record)).
			Then(clientv3.OpPut(string(record.Key), string(record.Value), l.With())).
			Else(clientv3.OpGet(string(record.Key))).Commit()
	})
	if err == nil && !t.Succeeded && !underLease(rangeOf(t, 0), l.ID) {
		_ = l.Revoke(ctx)
	}
}

// underLease reports whether what was read lies under a lease; sent again after a
// lost answer, a put finds its own.
func underLease(r *pb.RangeResponse, id int64) bool {
	return len(r.Kvs) > 0 && r.Kvs[0].Lease == id
}

// makeWay keeps us from asking more of etcd, and of this machine, while a turn
// passes from one to the next: what we would ask for can wait, and that cannot.
func makeWay(ctx context.Context) {
	select {
	case <-time.After(5 * time.Millisecond):
	case <-ctx.Done():
	}
}

// going returns what a release does if the record is ours, and else.
func (r Remains) going(stay *keeping) (then, orElse []clientv3.Op) {
	exists := []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(r.Key), ">", 0)}
	then = []clientv3.Op{clientv3.OpDelete(r.RunKey, clientv3.WithPrevKV())}
	last := clientv3.Compare(clientv3.CreateRevision(r.Dir), "=", r.Rev).WithPrefix()
	asLast := func(op clientv3.Op) clientv3.Op { // the revoke may have come first, or an eviction, and our key be gone
		return clientv3.OpTxn([]clientv3.Cmp{last}, []clientv3.Op{op}, []clientv3.Op{ifVacant(r.Dir, op)})
	}
	if stay != nil { // else this may be the second time of asking, and the key shall stay
		then = append(then, clientv3.OpTxn(exists, stay.ops, nil))
		if r.SlotKey != "" { // nobody will be there to take it away; who comes puts it again
			then = append(then, asLast(clientv3.OpDelete(r.CapKey)))
		}
		return then, []clientv3.Op{clientv3.OpGet(r.Key)}
	}
	gone := clientv3.OpDelete(r.Key)
	then = append(then, clientv3.OpTxn(exists, []clientv3.Op{gone}, nil))
	if r.Runs != "" { // of those who died ready, behind us and nobody else
		then = append(then, asLast(clientv3.OpDelete(r.Runs, clientv3.WithPrefix())))
	}
	if r.SlotKey != "" {
		ours := clientv3.Compare(clientv3.Value(r.SlotKey), "=", r.Run)
		then = append(then,
			clientv3.OpTxn([]clientv3.Cmp{ours}, []clientv3.Op{clientv3.OpDelete(r.SlotKey)}, nil),
			asLast(clientv3.OpDelete(r.CapKey)))
	}
	return then, []clientv3.Op{gone}
}

// ifVacant is op in a line where nobody is.
func ifVacant(dir string, op clientv3.Op) clientv3.Op {
	empty := clientv3.Compare(clientv3.CreateRevision(dir), "=", 0).WithPrefix()
	return clientv3.OpTxn([]clientv3.Cmp{empty}, []clientv3.Op{op}, nil)
}
