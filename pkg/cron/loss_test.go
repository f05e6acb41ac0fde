package cron

import (
	"context"
	"testing"

	"conch/pkg/etcd"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A loss is taken once, by one runner; and what is forgotten is that loss alone.
func TestLoss(t *testing.T) {
	d := newDesk(t, 2)
	rev := d.add("job")
	run := d.must(0, d.wish(0, tickOf("job", 1), rev))
	key := d.Keys.Lost(run.RunID)
	lost := *run
	lost.State, lost.Cause = Lost, "killed"
	s := Settlement{Run: &lost, Rev: run.Rev, Memory: &Memory{Rev: -1}, Untold: true}
	if err := Settle(d.ctx, d.C, d.Keys, s); err != nil {
		t.Fatal(err)
	}
	read := func() *Loss {
		r, err := d.admin.Get(d.ctx, key)
		if err != nil || len(r.Kvs) != 1 {
			t.Fatalf("%v, %v", r, err)
		}
		l, err := DecodeLoss(run.RunID, r.Kvs[0].Value, r.Kvs[0].CreateRevision, r.Kvs[0].ModRevision)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := read()
	if is, err := d.RunOf(d.ctx, run.RunID); err != nil || l.Run.Rev != is.Rev || l.Run.Cause != "killed" || l.Teller != "" {
		t.Fatalf("%+v of %+v, %v", l.Run, is, err)
	}
	for range 2 { // the first answer may have been lost
		if !d.takes(l, "n0") {
			t.Error("it is not taken")
		}
	}
	if d.takes(l, "n1") {
		t.Error("it is taken twice")
	}
	if is := read(); is.Teller != "n0" || is.Run.Claim != run.Claim {
		t.Errorf("%+v", is)
	}
	if l := read(); !d.takes(l, "n1") {
		t.Error("it is not taken by who knows of the one before")
	}
	d.commit(l.Forget(d.Keys, "n0"))
	read() // it is another's
	d.commit(l.Forget(d.Keys, "n1"))
	d.gone(key)
}

// The true end of a run that was lost takes the place of that, and of what was to be
// told of it.
func TestLossIsReplaced(t *testing.T) {
	for _, state := range []State{Lost, Retrying} {
		d := newDesk(t, 1)
		run := d.must(0, d.wish(0, tickOf("job", 1), d.add("job")))
		lost, end := *run, *run
		lost.State, end.State = state, OK
		d.end(Settlement{Run: &lost, Rev: run.Rev, Untold: true})
		if r, err := d.admin.Get(d.ctx, d.Keys.Lost(run.RunID)); err != nil || len(r.Kvs) != 1 {
			t.Fatalf("%v, %v", r, err)
		}
		d.end(Settlement{Run: &end, Rev: run.Rev, Memory: &Memory{Rev: -1}})
		d.gone(d.Keys.Lost(run.RunID))
	}
}

func (d *desk) commit(op clientv3.Op) *clientv3.TxnResponse {
	d.t.Helper()
	r, err := etcd.Do(d.ctx, d.C, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		is, then, otherwise := op.Txn()
		return m.KV().Txn(ctx).If(is...).Then(then...).Else(otherwise...).Commit()
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

func (d *desk) takes(l *Loss, teller string) bool {
	return l.Taken(d.commit(l.Take(d.Keys, teller)), teller)
}
