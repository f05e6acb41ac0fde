package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcdtest"
)

// pair is a real etcd and a model of it that has been told the same.
type pair struct {
	t      *testing.T
	model  *etcdModel
	srv    *etcdtest.Server
	real   *clientv3.Client
	leases []int64
}

func newPair(t *testing.T) *pair {
	srv, err := etcdtest.Start(etcdtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	c, err := srv.Client("", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &pair{t: t, srv: srv, model: newEtcdModel(1), real: c}
}

// realEtcd is a doer.
type realEtcd struct {
	t *testing.T
	c *clientv3.Client
}

func (r realEtcd) Do(op clientv3.Op) (clientv3.OpResponse, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	return r.c.Do(ctx, op)
}

// same compares what both answer to op.
func (p *pair) same(op clientv3.Op) {
	p.t.Helper()
	r, rerr := realEtcd{p.t, p.real}.Do(op)
	m, merr := p.model.Do(op)
	if slices.Contains(unfit, merr) && slices.Contains(unfit, rerr) {
		return // of two reasons either will do
	}
	is, want := spellAnswer(m, merr), spellAnswer(r, rerr)
	if is != want {
		p.t.Fatalf("to %s\nthe model answers\n%s\nand etcd\n%s", spellOp(op), is, want)
	}
}

// unfit are the reasons not to carry a transaction out that are found while it is looked
// through, which releases of etcd do in different orders.
var unfit = []error{rpctypes.ErrFutureRev, rpctypes.ErrCompacted, rpctypes.ErrKeyNotFound, rpctypes.ErrLeaseNotFound}

// sameState compares all that there is, and all that has happened since a revision.
func (p *pair) sameState(since int64) {
	p.t.Helper()
	p.same(clientv3.OpGet("\x00", clientv3.WithFromKey()))
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	var is, want []string
	events, ok := p.model.Since(since)
	for _, e := range events {
		is = append(is, e.Type.String()+" "+spellKV(e.Kv))
	}
	if ok && len(is) == 0 { // a watch would wait
		return
	}
	for r := range p.real.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(since+1)) {
		if (r.CompactRevision == 0) != ok {
			p.t.Fatalf("since revision %d: the model says %v, etcd %v", since, ok, r.Err())
		}
		for _, e := range r.Events {
			want = append(want, e.Type.String()+" "+spellKV(e.Kv))
		}
		if !ok || len(want) >= len(is) {
			break
		}
	}
	if ok && strings.Join(is, "\n") != strings.Join(want, "\n") {
		p.t.Fatalf("since revision %d\nthe model tells\n%s\nand etcd\n%s", since, strings.Join(is, "\n"), strings.Join(want, "\n"))
	}
}

func spellAnswer(r clientv3.OpResponse, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case r.Get() != nil:
		return fmt.Sprint(r.Get().Header.Revision, " ") + spellRange((*pb.RangeResponse)(r.Get()))
	case r.Put() != nil:
		return fmt.Sprint(r.Put().Header.Revision, " put, was ", spellKV(r.Put().PrevKv))
	case r.Del() != nil:
		return fmt.Sprint(r.Del().Header.Revision, " deleted ", r.Del().Deleted)
	}
	return fmt.Sprint(r.Txn().Header.Revision, " ") + spellTxn((*pb.TxnResponse)(r.Txn()))
}

func spellTxn(r *pb.TxnResponse) string {
	var all []string
	for _, a := range r.Responses {
		switch {
		case a.GetResponseRange() != nil:
			all = append(all, spellRange(a.GetResponseRange()))
		case a.GetResponsePut() != nil:
			all = append(all, "put, was "+spellKV(a.GetResponsePut().PrevKv))
		case a.GetResponseDeleteRange() != nil:
			all = append(all, fmt.Sprint("deleted ", a.GetResponseDeleteRange().Deleted, len(a.GetResponseDeleteRange().PrevKvs)))
		case a.GetResponseTxn() != nil:
			all = append(all, spellTxn(a.GetResponseTxn()))
		}
	}
	return fmt.Sprint(r.Succeeded, " [", strings.Join(all, "; "), "]")
}

func spellRange(r *pb.RangeResponse) string {
	var all []string
	for _, kv := range r.Kvs {
		all = append(all, spellKV(kv))
	}
	return fmt.Sprint(r.Count, " keys, more ", r.More, " {", strings.Join(all, ", "), "}")
}

func spellKV(kv *mvccpb.KeyValue) string {
	switch {
	case kv == nil:
		return "nothing"
	case len(kv.Value) == 0: // with the key alone some releases of etcd tell the lease, and some do not
		kv = &mvccpb.KeyValue{Key: kv.Key, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Version: kv.Version}
	}
	return fmt.Sprintf("%s=%.20q c%d m%d v%d l%d", kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease)
}

func spellOp(op clientv3.Op) string {
	is, then, otherwise := op.Txn()
	if !op.IsTxn() {
		return fmt.Sprintf("get %v put %v delete %v %q to %q", op.IsGet(), op.IsPut(), op.IsDelete(), op.KeyBytes(), op.RangeBytes())
	}
	var b strings.Builder
	b.WriteString("if")
	for _, c := range is {
		fmt.Fprintf(&b, " (%v)", c.GetCompare())
	}
	for _, some := range []struct {
		word string
		ops  []clientv3.Op
	}{{" then", then}, {" else", otherwise}} {
		b.WriteString(some.word)
		for _, op := range some.ops {
			fmt.Fprintf(&b, " (%s)", spellOp(op))
		}
	}
	return b.String()
}

// Whatever is asked, the model answers as etcd does, and the same has happened.
func TestModelIsEtcd(t *testing.T) {
	p := newPair(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	g := gen{Rand: rand.New(rand.NewPCG(seed, 0)), p: p}
	p.grant()
	since := int64(0)
	for i := range 1500 {
		switch {
		case i%300 == 150:
			p.revoke(g.IntN(len(p.leases)))
			p.grant()
		case i%300 == 299:
			p.sameState(since)
			p.same(clientv3.OpPut("ka0", "")) // and no deletion, which some releases lose in this place
			p.compact()
			since = p.model.Rev() - 1
			p.sameState(since - 1) // not to be had any more
			p.sameState(since)
		}
		p.same(g.op(0))
	}
	p.sameState(since)
}

func (p *pair) grant() {
	p.t.Helper()
	r, err := p.real.Grant(p.t.Context(), 3600)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.model.Grant(int64(r.ID)); err != nil {
		p.t.Fatal(err)
	}
	p.leases = append(p.leases, int64(r.ID))
}

// revoke leaves the lease among those that are known: it may be put with.
func (p *pair) revoke(i int) {
	p.t.Helper()
	_, err := p.real.Revoke(p.t.Context(), clientv3.LeaseID(p.leases[i]))
	if (err == nil) != p.model.HasLease(p.leases[i]) {
		p.t.Fatal(err)
	}
	p.model.Revoke(p.leases[i])
}

func (p *pair) compact() {
	p.t.Helper()
	if _, err := p.real.Compact(p.t.Context(), p.model.Rev()); err != nil {
		p.t.Fatal(err)
	}
	p.model.Compact()
}

// What etcd refuses for its size, its number of operations, the NOSPACE alarm, or a
// permission that is missing, the model refuses, and nothing else.
func TestModelRefuses(t *testing.T) {
	p := newPair(t)
	txn := func(then ...clientv3.Op) clientv3.Op { return clientv3.OpTxn(nil, then, nil) }
	get, del := clientv3.OpGet("k"), clientv3.OpDelete("k")
	for _, n := range []int{0, 1, 64, 127, 128, 129} {
		p.same(txn(many(n, get)...))
		p.same(txn(append(many(max(0, n-65), get), txn(many(64, get)...))...))
		p.same(txn(txn(many(n, del)...)))
		p.same(txn(txn(txn(many(max(0, n-1), del)...))))
		p.same(clientv3.OpTxn(many(n, clientv3.Compare(clientv3.Version("k"), "=", 0)), many(2, get), many(3, get)))
		p.same(clientv3.OpTxn(many(max(0, n-1), clientv3.Compare(clientv3.Version("k"), "=", 0)), []clientv3.Op{txn(get)}, nil))
	}
	// A dozen bytes about the limit, of a header that etcd adds.
	for _, n := range []int{maxRequestBytes/3 + 1, maxRequestBytes - 100, maxRequestBytes - 1} {
		value := strings.Repeat("x", n-n/2)
		p.same(txn(clientv3.OpPut("a", value[:n/2]), txn(clientv3.OpPut("b", value))))
		p.same(clientv3.OpTxn(nil, []clientv3.Op{get}, []clientv3.Op{clientv3.OpPut("a", value[:n/2]), clientv3.OpPut("b", value)}))
	}

	ctx := t.Context()
	put := clientv3.OpPut("k", "v")
	all := []clientv3.Op{get, del, put, txn(get), txn(del), txn(txn(get)), clientv3.OpTxn(nil, nil, []clientv3.Op{put}),
		clientv3.OpTxn([]clientv3.Cmp{clientv3.Compare(clientv3.Version("k"), "=", 0)}, many(1, get), many(1, del))}
	if !strings.HasPrefix(etcdtest.Version(t, p.srv), "3.4.") { // which does not look into nested ones
		all = append(all, txn(txn(put)), txn(txn(del)), clientv3.OpTxn(nil, many(1, get), many(1, txn(put))), clientv3.OpTxn(nil, many(1, get), many(1, txn(del))))
	}
	try := func() {
		t.Helper()
		for _, op := range all {
			p.same(op)
		}
	}
	p.same(put)
	status, err := p.real.Status(ctx, p.real.Endpoints()[0])
	if err != nil {
		t.Fatal(err)
	}
	alarm := &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: status.Header.MemberId, Alarm: pb.AlarmType_NOSPACE}
	if _, err := pb.NewMaintenanceClient(p.real.ActiveConnection()).Alarm(ctx, alarm); err != nil {
		t.Fatal(err)
	}
	p.model.SetNoSpace(true)
	try()
	_, rerr := p.real.Grant(ctx, 60)
	if merr := p.model.Grant(1); merr != rpctypes.ErrNoSpace || rerr != merr {
		t.Errorf("a lease: %v; etcd: %v", merr, rerr)
	}
	if _, err := p.real.AlarmDisarm(ctx, &clientv3.AlarmMember{MemberID: status.Header.MemberId, Alarm: pb.AlarmType_NOSPACE}); err != nil {
		t.Fatal(err)
	}
	p.model.SetNoSpace(false)
	try()

	p.same(put)
	p.real = p.reader()
	p.model.SetRefused(true)
	try()
}

func many[T any](n int, v T) []T { return slices.Repeat([]T{v}, n) }

// reader is etcd as one sees it who may not write.
func (p *pair) reader() *clientv3.Client {
	ctx := p.t.Context()
	for _, step := range []func() error{
		func() error { _, err := p.real.RoleAdd(ctx, "root"); return err },
		func() error { _, err := p.real.UserAdd(ctx, "root", "root"); return err },
		func() error { _, err := p.real.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := p.real.RoleAdd(ctx, "reader"); return err },
		func() error {
			_, err := p.real.RoleGrantPermission(ctx, "reader", "a", "z", clientv3.PermissionType(clientv3.PermRead))
			return err
		},
		func() error { _, err := p.real.UserAdd(ctx, "reader", "reader"); return err },
		func() error { _, err := p.real.UserGrantRole(ctx, "reader", "reader"); return err },
		func() error { _, err := p.real.AuthEnable(ctx); return err },
	} {
		if err := step(); err != nil {
			p.t.Fatal(err)
		}
	}
	c, err := p.srv.Client("reader", "reader")
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close() })
	return c
}

// gen makes up requests.
type gen struct {
	*rand.Rand
	p *pair
}

// key is one of twelve: what is equal in a sort stays in its place up to so many.
func (g gen) key() string { return "k" + string("abc"[g.IntN(3)]) + string("/012"[g.IntN(4)]) }

func (g gen) one(n int) bool { return g.IntN(n) == 0 }

// rev is one that is near.
func (g gen) rev() int64 { return max(0, g.p.model.Rev()+3-g.Int64N(12)) }

func (g gen) op(depth int) clientv3.Op {
	n := g.IntN(10)
	if depth == 0 && !g.one(4) || depth == 3 {
		n = g.IntN(8)
		if depth == 0 {
			n = 9
		}
	}
	switch {
	case n < 3:
		return g.put()
	case n < 4:
		return g.del()
	case n < 8:
		return g.get()
	}
	var is []clientv3.Cmp
	for range g.IntN(3) {
		is = append(is, g.cmp())
	}
	return clientv3.OpTxn(is, g.ops(depth), g.ops(depth))
}

func (g gen) ops(depth int) (ops []clientv3.Op) {
	for range g.IntN(4) {
		ops = append(ops, g.op(depth+1))
	}
	return ops
}

func (g gen) put() clientv3.Op {
	var opts []clientv3.OpOption
	value := fmt.Sprint(g.IntN(5))
	switch g.IntN(8) {
	case 0, 1:
		opts = append(opts, clientv3.WithLease(clientv3.LeaseID(g.p.leases[max(0, len(g.p.leases)-1-g.IntN(3))])))
	case 2:
		opts = append(opts, clientv3.WithIgnoreLease())
	case 3:
		opts = append(opts, clientv3.WithIgnoreValue())
		value = ""
	case 4:
		opts = append(opts, clientv3.WithPrevKV())
	}
	return clientv3.OpPut(g.key(), value, opts...)
}

// within are the options that make a range of a key.
func (g gen) within() []clientv3.OpOption {
	switch g.IntN(5) {
	case 0:
		return []clientv3.OpOption{clientv3.WithPrefix()}
	case 1:
		return []clientv3.OpOption{clientv3.WithRange(g.key())}
	case 2:
		return []clientv3.OpOption{clientv3.WithFromKey()}
	}
	return nil
}

func (g gen) del() clientv3.Op {
	for { // what etcd thinks of one from a key on, beside puts, is not modelled
		if op := clientv3.OpDelete(g.key()[:2+g.IntN(2)], g.within()...); !op.IsOptsWithFromKey() && string(op.RangeBytes()) != "\x00" {
			return op
		}
	}
}

func (g gen) get() clientv3.Op {
	opts := g.within()
	if g.one(3) {
		opts = append(opts, clientv3.WithKeysOnly())
	}
	if g.one(3) {
		opts = append(opts, clientv3.WithLimit(1+g.Int64N(4)))
	}
	if g.one(3) {
		opts = append(opts, clientv3.WithSort(clientv3.SortTarget(g.IntN(5)), clientv3.SortOrder(1+g.IntN(2))))
	}
	if g.one(5) {
		opts = append(opts, clientv3.WithRev(g.rev()))
	}
	if g.one(10) {
		opts = append(opts, clientv3.WithCountOnly())
	}
	if g.one(10) {
		opts = append(opts, clientv3.WithMinModRev(g.rev()))
	}
	if g.one(10) {
		opts = append(opts, clientv3.WithMaxCreateRev(g.rev()))
	}
	return clientv3.OpGet(g.key()[:1+g.IntN(3)], opts...)
}

func (g gen) cmp() clientv3.Cmp {
	key, how := g.key(), []string{"=", "!=", "<", ">"}[g.IntN(4)]
	var c clientv3.Cmp
	switch g.IntN(5) {
	case 0:
		c = clientv3.Compare(clientv3.Value(key), how, fmt.Sprint(g.IntN(5)))
	case 1:
		c = clientv3.Compare(clientv3.Version(key), how, g.Int64N(3))
	case 2:
		c = clientv3.Compare(clientv3.CreateRevision(key), how, g.rev()*g.Int64N(2))
	case 3:
		c = clientv3.Compare(clientv3.ModRevision(key), how, g.rev()*g.Int64N(2))
	case 4:
		c = clientv3.Compare(clientv3.LeaseValue(key), how, g.p.leases[0]*g.Int64N(2))
	}
	switch g.IntN(4) {
	case 0:
		return c.WithPrefix()
	case 1:
		return c.WithRange(g.key())
	}
	return c
}

// A backup is put back as it was taken, whatever has happened to etcd since, and as
// often as is wanted.
func TestModelRestores(t *testing.T) {
	e := newEtcdModel(1)
	do := func(op clientv3.Op) {
		t.Helper()
		if _, err := e.Do(op); err != nil {
			t.Fatal(err)
		}
	}
	spell := func() string {
		all := fmt.Sprint(e.Rev(), e.HasLease(7), e.HasLease(8))
		for _, kv := range e.All("k") {
			all += "; " + spellKV(kv)
		}
		events, ok := e.Since(0)
		return fmt.Sprint(all, len(events), ok)
	}
	if err := e.Grant(7); err != nil {
		t.Fatal(err)
	}
	do(clientv3.OpPut("k1", "a", clientv3.WithLease(7)))
	do(clientv3.OpPut("k2", "a"))
	was, backup := spell(), e.Save()
	for i := range 2 {
		e.Revoke(7)
		if err := e.Grant(8); err != nil {
			t.Fatal(err)
		}
		do(clientv3.OpPut("k2", "b", clientv3.WithLease(8)))
		do(clientv3.OpDelete("k2"))
		do(clientv3.OpPut("k3", "b"))
		e.Compact()
		if e.Restore(backup, i == 1); spell() != was {
			t.Errorf("it was\n%s\nand is\n%s", was, spell())
		}
		if e.Cluster() != uint64(1+i) {
			t.Errorf("it is cluster %d", e.Cluster())
		}
	}
	if e.Revoke(7); len(e.All("k1")) != 0 {
		t.Error("a lease of the backup has no keys")
	}
}
