package cron

import (
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// memory is what a job is remembered by.
func (d *desk) memory(job string) (Last, int64) {
	d.t.Helper()
	t, err := d.TableOf(d.ctx, job)
	if err != nil {
		d.t.Fatal(err)
	}
	kv, err := d.admin.Get(d.ctx, d.Keys.Last(job))
	if err != nil {
		d.t.Fatal(err)
	}
	if len(kv.Kvs) == 0 {
		return Last{}, 0
	}
	return t.Lasts[job], kv.Kvs[0].ModRevision
}

// gap is so many ticks of a second from the nth on.
func gap(state State, n int64, count int) Gap {
	from := tickOf("job", n).Tick
	return Gap{State: state, From: from, To: from.Add(time.Duration(count-1) * time.Second), Count: count}
}

// note is what runner i has counted by what the job is remembered by now.
func (d *desk) note(i int, born int64, gaps ...Gap) Note {
	_, rev := d.memory("job")
	return Note{Job: "job", Rev: rev, JobRev: born, Gaps: gaps, Late: time.Minute, By: d.nodes[i].ID, At: time.Now()}
}

// stretches are the records of ticks that nobody has run, newest first.
func (d *desk) stretches() (all []*Run) {
	d.t.Helper()
	runs, err := d.History(d.ctx, "job", 0)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, r := range runs {
		if r.Ticks() {
			all = append(all, r)
		}
	}
	return all
}

// Of two that have counted the same one is taken. A stretch goes on until something is run.
func TestNoteOnce(t *testing.T) {
	d := newDesk(t, 2)
	born := d.add("job")
	one, two := d.note(0, born, gap(Missed, 1, 5), gap(Unplaced, 10, 2)), d.note(1, born, gap(Missed, 1, 5))
	begun, err := d.books[0].Note(one)
	if err != nil || len(begun) != 2 || begun[0].Count != 5 || begun[1].State != Unplaced || begun[0].Rev == 0 {
		t.Fatalf("%+v, %v", begun, err)
	}
	if begun, err := d.books[1].Note(two); !errors.Is(err, ErrCounted) || len(begun) > 0 {
		t.Errorf("%+v, %v", begun, err)
	}
	if l, _ := d.memory("job"); l.Missed() != 5 || l.Unplaced() != 2 || !l.Reckoned.Through.Equal(tickOf("job", 11).Tick) || l.ID != "" || l.Runs != 0 {
		t.Errorf("%+v, %+v", l, l.Reckoned)
	}
	if begun, err := d.books[1].Note(d.note(1, born, gap(Missed, 20, 3))); err != nil || len(begun) > 0 {
		t.Errorf("%+v, %v", begun, err)
	}
	all := d.stretches()
	if len(all) != 2 || all[0].State != Unplaced || all[1].Count != 8 || !all[1].Until.Equal(tickOf("job", 22).Tick) || all[1].Status() != 75 {
		t.Errorf("%+v", all)
	}
	n := d.note(0, born, gap(Missed, 40, 1))
	n.Over = tickOf("job", 30).Tick
	if begun, err := d.books[0].Note(n); err != nil || len(begun) != 1 || len(d.stretches()) != 3 {
		t.Errorf("%+v, %v", begun, err)
	}
	if l, _ := d.memory("job"); l.Missed() != 9 || l.Reckoned.Missed.Count != 1 {
		t.Errorf("%+v", l.Reckoned)
	}
}

// What changes between the look and the transaction refuses that.
func TestNoteMeanwhile(t *testing.T) {
	for what, spoil := range map[string]func(d *desk, rev int64){
		"another has counted": func(d *desk, rev int64) {
			if _, err := d.books[0].Note(d.note(0, rev, gap(Missed, 20, 5))); err != nil {
				d.t.Fatal(err)
			}
		},
		"one of them is claimed": func(d *desk, rev int64) { d.must(0, d.wish(0, tickOf("job", 3), rev)) },
	} {
		t.Run(what, func(t *testing.T) {
			d := newDesk(t, 1)
			rev := d.add("job")
			n := d.note(0, rev, gap(Missed, 1, 5))
			r, at := d.asked(n.Look(d.Keys))
			if err := n.Seen(d.Keys, r, at); err != nil {
				t.Fatal(err)
			}
			spoil(d, rev)
			before := len(d.stretches())
			r, at = d.asked(n.Op(d.Keys))
			if begun, err := n.Answer(r, at); !errors.Is(err, ErrCounted) || len(begun) > 0 || len(d.stretches()) != before {
				t.Errorf("%+v, %v", begun, err)
			}
		})
	}
}

// asked commits the transaction that an operation is, and returns at which revision.
func (d *desk) asked(op clientv3.Op) (*clientv3.TxnResponse, int64) {
	d.t.Helper()
	is, then, otherwise := op.Txn()
	r, err := d.admin.Txn(d.ctx).If(is...).Then(then...).Else(otherwise...).Commit()
	if err != nil {
		d.t.Fatal(err)
	}
	return r, r.Header.Revision
}

// One whose answer is lost is sent again, and is ours.
func TestNoteSentTwice(t *testing.T) {
	d := newDesk(t, 1)
	n := d.note(0, d.add("job"), gap(Missed, 1, 5))
	r, rev := d.asked(n.Look(d.Keys))
	if err := n.Seen(d.Keys, r, rev); err != nil {
		t.Fatal(err)
	}
	_, first := d.asked(n.Op(d.Keys))
	r, rev = d.asked(n.Op(d.Keys))
	if begun, err := n.Answer(r, rev); err != nil || len(begun) != 1 || begun[0].Rev != first {
		t.Errorf("%+v, %v", begun, err)
	}
	if l, _ := d.memory("job"); l.Missed() != 5 {
		t.Errorf("%+v", l.Reckoned)
	}
}

// What somebody has run in time is not counted, and what was made up for is; of a job of
// which nobody remembers each run, neither is what may have been pruned.
func TestNoteOfRuns(t *testing.T) {
	d := newDesk(t, 1)
	born := d.add("job")
	inTime, late := d.wish(0, tickOf("job", 2), born), d.wish(0, tickOf("job", 4), born)
	inTime.Run.Claimed, late.Run.Claimed = inTime.Run.Tick.Add(time.Second), late.Run.Tick.Add(time.Hour)
	d.settle(d.must(0, inTime), OK)
	d.settle(d.must(0, late), OK)
	n := d.note(0, born, gap(Missed, 1, 3), gap(Missed, 4, 3))
	if _, err := d.books[0].Note(n); err != nil {
		t.Fatal(err)
	}
	if l, _ := d.memory("job"); l.Missed() != 5 {
		t.Errorf("%+v", l.Reckoned)
	}
	d.put(d.Keys.LowWater("job"), tickOf("job", 20).ID())
	n = d.note(0, born, gap(Missed, 12, 3), gap(Missed, 21, 3))
	n.Gaps[0].Forgotten, n.Gaps[1].Forgotten = true, true
	if _, err := d.books[0].Note(n); err != nil {
		t.Fatal(err)
	}
	if l, _ := d.memory("job"); l.Missed() != 5+3 {
		t.Errorf("%+v", l.Reckoned)
	}
}

// What changes meanwhile, and what is not there any more, refuses it; nothing is left.
func TestNoteRefused(t *testing.T) {
	for what, spoil := range map[string]func(d *desk, rev int64){
		"a run of it has ended": func(d *desk, rev int64) {
			run := *d.must(0, d.wish(0, tickOf("job", 50), rev))
			run.State, run.Ended = OK, time.Now()
			if err := d.books[0].Settle(Settlement{Run: &run, Rev: run.Rev, Memory: &Memory{}}); err != nil {
				d.t.Fatal(err)
			}
		},
		"the job was removed": func(d *desk, rev int64) {
			if _, err := d.Remove(d.ctx, "job", rev, ""); err != nil {
				d.t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			d := newDesk(t, 1)
			rev := d.add("job")
			n := d.note(0, rev, gap(Missed, 1, 5))
			spoil(d, rev)
			if begun, err := d.books[0].Note(n); !errors.Is(err, ErrCounted) || len(begun) > 0 {
				t.Errorf("%+v, %v", begun, err)
			}
			if all := d.stretches(); len(all) > 0 {
				t.Errorf("%+v", all)
			}
		})
	}
}

// A stretch is pruned with the runs, and is the latest of none.
func TestNotePruned(t *testing.T) {
	d := newDesk(t, 1)
	rev := d.add("job")
	if _, err := d.books[0].Note(d.note(0, rev, gap(Missed, 1, 5))); err != nil {
		t.Fatal(err)
	}
	if r, err := d.Latest(d.ctx, "job"); r != nil || err != nil {
		t.Errorf("%+v, %v", r, err)
	}
	run := *d.must(0, d.wish(0, tickOf("job", 10), rev))
	run.State, run.Ended = OK, time.Now()
	low, err := LowWater(d.ctx, d.C, d.Keys, run.RunID, 2)
	if err != nil || !low.Equal(tickOf("job", 0).Tick) {
		t.Errorf("with two to be kept: %v, %v", low, err)
	}
	if low, err = LowWater(d.ctx, d.C, d.Keys, run.RunID, 1); err != nil {
		t.Fatal(err)
	}
	if err := d.books[0].Settle(Settlement{Run: &run, Rev: run.Rev, LowWater: low}); err != nil || len(d.stretches()) > 0 {
		t.Errorf("%v; left: %+v", err, d.stretches())
	}
	if r, err := d.Latest(d.ctx, "job"); r == nil || err != nil || r.RunID != run.RunID {
		t.Errorf("%+v, %v", r, err)
	}
	if l, _ := d.memory("job"); l.Missed() != 5 {
		t.Errorf("%+v", l.Reckoned)
	}
}
