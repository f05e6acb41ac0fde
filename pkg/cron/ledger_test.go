package cron

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"conch/pkg/etcd"
	"conch/pkg/keys"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// desk is a shop with runners: ledgers, each with a key of its own.
type desk struct {
	*shop
	nodes []Node
	books []*Ledger
}

func newDesk(t *testing.T, runners int) *desk {
	d := &desk{shop: newShop(t)}
	for i := range runners {
		n := Node{ID: fmt.Sprint("n", i), Slots: 1}
		r, err := d.admin.Put(d.ctx, d.Keys.Node(n.ID), n.Encode())
		if err != nil {
			t.Fatal(err)
		}
		n.Rev = r.Header.Revision
		d.nodes = append(d.nodes, n)
		l := NewLedger(d.ctx, d.C, d.Keys, n)
		t.Cleanup(l.Close)
		d.books = append(d.books, l)
	}
	return d
}

// wish is a claim of a tick by runner i.
func (d *desk) wish(i int, id keys.RunID, rev int64) Claim {
	return Claim{JobRev: rev, Run: &Run{RunID: id, State: Running, Claim: newID(), Attempt: 1, Node: d.nodes[i].ID, Claimed: time.Now()}}
}

func tickOf(job string, n int64) keys.RunID {
	return keys.RunID{Job: job, Tick: time.Unix(4e9+n, 0).UTC()} // after the low water, which is now
}

// must claims, and fails the test if that is refused.
func (d *desk) must(i int, c Claim) *Run {
	d.t.Helper()
	r, err := d.books[i].Claim(c)
	if err != nil || r.Claim != c.Run.Claim {
		d.t.Fatalf("%+v, %v", r, err)
	}
	return r
}

func (d *desk) settle(r *Run, s State) {
	d.t.Helper()
	run := *r
	run.State = s
	if err := d.books[0].Settle(Settlement{Run: &run, Rev: r.Rev}); err != nil {
		d.t.Fatal(err)
	}
}

// Of many that claim a tick one has it, and the others are told who.
func TestClaimedOnce(t *testing.T) {
	d := newDesk(t, 3)
	rev := d.add("job")
	var wg sync.WaitGroup
	got := make([]*Run, 30)
	for i := range got {
		c := d.wish(i%3, tickOf("job", 1), rev)
		wg.Go(func() {
			r, err := d.books[i%3].Claim(c)
			if err != nil {
				t.Error(err)
			}
			got[i] = r
			if r != nil && r.Claim == c.Run.Claim && r.Rev == 0 {
				t.Error("no token")
			}
		})
	}
	wg.Wait()
	for _, r := range got[1:] {
		if r == nil || r.Claim != got[0].Claim || r.Rev != got[0].Rev {
			t.Fatalf("%+v and %+v have it", got[0], r)
		}
	}
}

// A claim that is sent again, its first answer lost, is ours.
func TestClaimSentTwice(t *testing.T) {
	d := newDesk(t, 1)
	c := d.wish(0, tickOf("job", 1), d.add("job"))
	c.Forbid = true
	first := d.must(0, c)
	again, err := d.books[0].Claim(c)
	if err != nil || again.Claim != first.Claim || again.Rev != first.Rev {
		t.Errorf("%+v, %v; was %+v", again, err, first)
	}
}

// Each comparison of a claim refuses alone.
func TestClaimRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*desk, *Claim)
		want  error
	}{
		{"the job was edited", func(d *desk, c *Claim) { d.put(d.Keys.Job("job"), job("job").Name) }, ErrChanged},
		{"the job was removed", func(d *desk, c *Claim) {
			if _, err := d.Remove(d.ctx, "job", c.JobRev, ""); err != nil {
				d.t.Fatal(err)
			}
		}, ErrChanged},
		{"the low water is above it", func(d *desk, c *Claim) { d.put(d.Keys.LowWater("job"), keys.Tick(c.Run.Tick)) }, ErrPruned},
		{"there is no low water", func(d *desk, c *Claim) { d.delete(d.Keys.LowWater("job")) }, ErrPruned},
		{"another run is in progress", func(d *desk, c *Claim) { d.must(0, d.wish(0, tickOf("job", 9), c.JobRev)) }, ErrOverlap},
		{"one that somebody asked for is", func(d *desk, c *Claim) {
			d.put(d.Keys.Act(keys.RunID{Job: "job", Tick: time.Unix(1e9, 0), Place: keys.ManualPlace("x")}), "{}")
		}, ErrOverlap},
		{"one that waits for a retry is", func(d *desk, c *Claim) { d.put(d.Keys.Retry(tickOf("job", 9)), "{}") }, ErrOverlap},
		{"our key is gone", func(d *desk, c *Claim) { d.delete(d.Keys.Node("n0")) }, ErrNode},
		{"our key is another's", func(d *desk, c *Claim) { d.delete(d.Keys.Node("n0")); d.put(d.Keys.Node("n0"), "{}") }, ErrNode},
		{"all is paused", func(d *desk, c *Claim) { d.put(d.Keys.Paused(), "{}") }, ErrPaused},
		{"the request was withdrawn", func(d *desk, c *Claim) {
			c.Run.Place, c.Request = keys.ManualPlace("r1"), 1
		}, ErrChanged},
		{"the attempt before is another", func(d *desk, c *Claim) { c.After = 1 }, ErrChanged},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t, 1)
			w := d.wish(0, tickOf("job", 1), d.add("job"))
			w.Forbid = true
			c.spoil(d, &w)
			if r, err := d.books[0].Claim(w); !errors.Is(err, c.want) {
				t.Errorf("%+v, %v; want %v", r, err, c.want)
			}
			if w.After == 0 {
				d.gone(d.Keys.Run(w.Run.RunID), d.Keys.Act(w.Run.RunID))
			}
		})
	}
}

func (d *desk) delete(key string) {
	d.t.Helper()
	if _, err := d.admin.Delete(d.ctx, key); err != nil {
		d.t.Fatal(err)
	}
}

// gone fails the test if one of the keys exists.
func (d *desk) gone(all ...string) {
	d.t.Helper()
	for _, key := range all {
		if r, err := d.admin.Get(d.ctx, key); err != nil || r.Count != 0 {
			d.t.Errorf("%s: %v, %v", key, r.Kvs, err)
		}
	}
}

// Where a job runs in several places, a run excludes the others of its place.
func TestOverlapByPlace(t *testing.T) {
	d := newDesk(t, 1)
	rev := d.add("job")
	at := func(n int64, place string) Claim {
		id := tickOf("job", n)
		id.Place = place
		c := d.wish(0, id, rev)
		c.Forbid = true
		return c
	}
	d.must(0, at(1, "@a"))
	d.must(0, at(1, "@b"))
	if _, err := d.books[0].Claim(at(2, "@a")); !errors.Is(err, ErrOverlap) {
		t.Error(err)
	}
	d.must(0, at(2, "@c"))
	// One that was asked for is in no place: it excludes all, and they it.
	d.put(d.Keys.Act(keys.RunID{Job: "job", Tick: time.Unix(1e9, 0), Place: keys.ManualPlace("x")}), "{}")
	if _, err := d.books[0].Claim(at(3, "@d")); !errors.Is(err, ErrOverlap) {
		t.Error(err)
	}
	// A job's name is no prefix of another's.
	rev = d.add("jo")
	d.must(0, Claim{Run: &Run{RunID: tickOf("jo", 1), State: Running, Claim: newID()}, JobRev: rev, Forbid: true})
}

// An attempt follows another, with a greater token, and has a marker of its own.
func TestAttempts(t *testing.T) {
	d := newDesk(t, 2)
	rev := d.add("job")
	c := d.wish(0, tickOf("job", 1), rev)
	c.Forbid = true
	first := d.must(0, c)
	d.settle(first, Retrying)
	d.gone(d.Keys.Act(first.RunID))
	acts, err := d.Acts(d.ctx)
	if err != nil || len(acts) != 1 || !acts[0].Waits {
		t.Fatalf("%+v, %v", acts, err)
	}
	next := d.wish(1, first.RunID, rev)
	next.After, next.Run.Attempt, next.Forbid = acts[0].Rev, 2, true
	second := d.must(1, next)
	d.gone(d.Keys.Retry(first.RunID))
	r, err := d.admin.Get(d.ctx, d.Keys.Act(first.RunID))
	if err != nil || len(r.Kvs) != 1 || r.Kvs[0].CreateRevision != second.Rev || second.Rev <= first.Rev {
		t.Errorf("%+v, %v: tokens %d, %d", r, err, first.Rev, second.Rev)
	}
	d.settle(second, OK)
	d.gone(d.Keys.Act(first.RunID), d.Keys.Retry(first.RunID))
}

// A result that follows a record which is not there any more is not written, and
// leaves no marker.
func TestSettle(t *testing.T) {
	d := newDesk(t, 1)
	rev := d.add("job")
	run := d.must(0, d.wish(0, tickOf("job", 1), rev))
	done := *run
	done.State = OK
	for range 2 { // the second time it has been written
		if err := d.books[0].Settle(Settlement{Run: &done, Rev: run.Rev, Memory: &Memory{}}); err != nil {
			t.Fatal(err)
		}
	}
	if l := d.last("job"); l.Runs != 1 {
		t.Errorf("it is counted %d times", l.Runs)
	}
	late := done
	late.State = Lost
	if err := d.books[0].Settle(Settlement{Run: &late, Rev: run.Rev}); !errors.Is(err, ErrSuperseded) {
		t.Error(err)
	}
	other := d.must(0, d.wish(0, tickOf("job", 2), rev))
	d.delete(d.Keys.Run(other.RunID))
	d.delete(d.Keys.Job("job"))
	d.delete(d.Keys.Last("job"))
	if err := d.books[0].Settle(Settlement{Run: other, Rev: other.Rev, Memory: &Memory{}}); !errors.Is(err, ErrSuperseded) {
		t.Error(err)
	}
	d.gone(d.Keys.Run(other.RunID), d.Keys.Act(other.RunID), d.Keys.Last("job"))
}

// last is what a job is remembered by.
func (d *desk) last(name string) (l Last) {
	d.t.Helper()
	if err := json.Unmarshal([]byte(d.value(d.Keys.Last(name))), &l); err != nil {
		d.t.Fatal(err)
	}
	return l
}

// Whoever ends a run and knows an old memory of the job adds to the one there is:
// runs that end beside each other are all counted.
func TestMemoryMoves(t *testing.T) {
	d := newDesk(t, 2)
	rev := d.add("job")
	const n = 16
	var wg sync.WaitGroup
	for i := range n {
		run := d.must(i%2, d.wish(i%2, tickOf("job", int64(i)), rev))
		run.State, run.Ended = Failed, time.Now()
		wg.Go(func() {
			if err := d.books[i%2].Settle(Settlement{Run: run, Rev: run.Rev, Memory: &Memory{}, Over: run.Tick}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if l := d.last("job"); l.Runs != n || l.Failures != n || !l.Tick.Equal(tickOf("job", n-1).Tick) {
		t.Errorf("%+v", l)
	}
}

// The true end of a run takes the place of "lost": in its record and in what the job is
// remembered by, where it is not counted again. It does not bring back an attempt that
// was given up, nor undo one that was made.
func TestLostAndFound(t *testing.T) {
	began := time.Now().UTC().Truncate(time.Second)
	for _, c := range []struct {
		name      string
		end       State
		meanwhile func(d *desk, lost *Run, rev int64) // after it was recorded as lost
		record    State
		want      error
		last      Last
	}{
		{"well", OK, nil, OK, nil, Last{State: OK, Runs: 1, OK: began}},
		{"not well", Failed, nil, Failed, nil, Last{State: Failed, Runs: 1, Failures: 1}},
		{"to be tried again", Retrying, nil, Failed, nil, Last{State: Failed, Runs: 1, Failures: 1}},
		{"well, and a later one was not", OK, func(d *desk, _ *Run, rev int64) {
			later := d.must(0, d.wish(0, tickOf("job", 2), rev))
			later.State, later.Ended = TimedOut, began.Add(time.Hour)
			d.end(Settlement{Run: later, Rev: later.Rev, Memory: &Memory{Rev: -1}})
		}, OK, nil, Last{State: TimedOut, Runs: 2, Failures: 1, OK: began}},
		{"tried again", OK, func(d *desk, lost *Run, rev int64) {
			again := d.wish(0, lost.RunID, rev)
			again.After, again.Run.Attempt = lost.Rev, 2
			d.must(0, again)
		}, Running, ErrSuperseded, Last{State: Lost, Runs: 1, Failures: 1}},
		{"lost as well", Lost, nil, Lost, ErrSuperseded, Last{State: Lost, Runs: 1, Failures: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t, 1)
			rev := d.add("job")
			run := d.must(0, d.wish(0, tickOf("job", 1), rev))
			lost, end := *run, *run
			lost.State, lost.Ended = Lost, began.Add(time.Minute)
			d.end(Settlement{Run: &lost, Rev: run.Rev, Memory: &Memory{}})
			is, err := d.RunOf(d.ctx, run.RunID)
			if err != nil {
				t.Fatal(err)
			}
			if c.meanwhile != nil {
				c.meanwhile(d, is, rev)
			}
			end.State, end.Ended = c.end, began
			s := Settlement{Run: &end, Rev: run.Rev, Memory: &Memory{}}
			if end.State == Retrying {
				end.RetryAt, s.Memory = began.Add(time.Minute), nil
			}
			if err := d.books[0].Settle(s); !errors.Is(err, c.want) {
				t.Errorf("%v, not %v", err, c.want)
			}
			if err := Settle(d.ctx, d.C, d.Keys, s); c.end == c.record && !errors.Is(err, c.want) {
				t.Errorf("once more, as the first answer was lost: %v, not %v", err, c.want)
			}
			if is, err := d.RunOf(d.ctx, run.RunID); err != nil || is.State != c.record || !is.RetryAt.IsZero() {
				t.Errorf("%+v, %v", is, err)
			}
			if l := d.last("job"); l.State != c.last.State || l.Runs != c.last.Runs || l.Failures != c.last.Failures || !l.OK.Equal(c.last.OK) {
				t.Errorf("%+v; want %+v", l, c.last)
			}
			d.gone(d.Keys.Retry(run.RunID))
		})
	}
}

// A run that ended well is not tried again because its runner was thought to be lost.
func TestRetryingAndFound(t *testing.T) {
	d := newDesk(t, 1)
	rev := d.add("job")
	run := d.must(0, d.wish(0, tickOf("job", 1), rev))
	lost, end := *run, *run
	lost.State, lost.Ended, lost.RetryAt = Retrying, time.Now().UTC(), time.Now().Add(time.Hour).UTC()
	d.end(Settlement{Run: &lost, Rev: run.Rev})
	end.State, end.Ended = OK, time.Now().UTC()
	d.end(Settlement{Run: &end, Rev: run.Rev, Memory: &Memory{}})
	if is, err := d.RunOf(d.ctx, run.RunID); err != nil || is.State != OK {
		t.Errorf("%+v, %v", is, err)
	}
	if l := d.last("job"); l.State != OK || l.Runs != 1 || l.Failures != 0 {
		t.Errorf("%+v", l)
	}
	d.gone(d.Keys.Retry(run.RunID))
}

// end settles, and fails the test if that is refused.
func (d *desk) end(s Settlement) {
	d.t.Helper()
	if err := d.books[0].Settle(s); err != nil {
		d.t.Fatal(err)
	}
}

// A run that ends when its job was removed, and another has its name, is not what
// that is remembered by, and leaves nothing.
func TestSettleOfAnother(t *testing.T) {
	d := newDesk(t, 1)
	rev := d.add("job")
	for _, s := range []State{OK, Retrying} {
		c := d.wish(0, tickOf("job", 1), rev)
		c.Run.JobRev = rev
		run := d.must(0, c)
		if _, err := d.Remove(d.ctx, "job", rev, ""); err != nil {
			t.Fatal(err)
		}
		rev = d.add("job")
		run.State, run.Ended = s, time.Now()
		if err := d.books[0].Settle(Settlement{Run: run, Rev: run.Rev, Memory: &Memory{}}); err != nil {
			t.Fatal(err)
		}
		d.gone(d.Keys.Run(run.RunID), d.Keys.Act(run.RunID), d.Keys.Retry(run.RunID), d.Keys.Last("job"))
	}
}

// Of two that record the same end only one is told that it has: who notifies is
// one.
func TestSettledByOne(t *testing.T) {
	d := newDesk(t, 2)
	run := d.must(0, d.wish(0, tickOf("job", 1), d.add("job")))
	for i, want := range []error{nil, ErrSuperseded} {
		lost := *run
		lost.State, lost.Ended = Lost, time.Now().Add(time.Duration(i)*time.Second)
		if err := d.books[i].Settle(Settlement{Run: &lost, Rev: run.Rev}); !errors.Is(err, want) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// One that etcd refuses does not take the others of its batch with it.
func TestRefusedAlone(t *testing.T) {
	d := newDesk(t, 1)
	var wg sync.WaitGroup
	for i := range 20 {
		name := fmt.Sprint("job", i)
		c := d.wish(0, tickOf(name, 1), d.add(name))
		large := i == 7 || i == 8
		switch i {
		case 7: // more than etcd takes
			c.Run.Tail = strings.Repeat("x", 1700000)
		case 8: // more than gRPC sends
			c.Run.Tail = strings.Repeat("x", 2200000)
		}
		wg.Go(func() {
			if _, err := d.books[0].Claim(c); (err != nil) != large {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

// Results that are too much for one request together are all written.
func TestManyBytes(t *testing.T) {
	d := newDesk(t, 1)
	var runs []*Run
	for i := range 40 {
		name := fmt.Sprint("job", i)
		runs = append(runs, d.must(0, d.wish(0, tickOf(name, 1), d.add(name))))
	}
	var wg sync.WaitGroup
	for i, run := range runs {
		done := *run
		done.State, done.Tail = Failed, strings.Repeat("x", 60_000)
		done.Cause = strings.Repeat("é", 50_000)
		wg.Go(func() {
			if err := d.books[0].Settle(Settlement{Run: &done, Rev: run.Rev, Wait: 100 * time.Millisecond}); err != nil {
				t.Error(i, err)
			}
		})
	}
	wg.Wait()
	is, err := d.RunOf(d.ctx, runs[0].RunID)
	if err != nil || is.State != Failed || len(is.Cause) > MaxCause || !strings.HasSuffix(is.Cause, "é...") {
		t.Errorf("%+v, %v", is, err)
	}
}

// However many have asked for the end of a run, it can be written down, beside as
// many others as go into one request.
func TestManyKills(t *testing.T) {
	d := newDesk(t, 1)
	var wg sync.WaitGroup
	for i := range maxBatch {
		name := fmt.Sprint("job", i)
		run := d.must(0, d.wish(0, tickOf(name, 1), d.add(name)))
		done := *run
		done.State = Killed
		s := Settlement{Run: &done, Rev: run.Rev, Memory: &Memory{}, LowWater: run.Tick.Add(-time.Second), Wait: 100 * time.Millisecond}
		for n := range 200 {
			s.Requests = append(s.Requests, fmt.Sprintf("%08d", n))
		}
		wg.Go(func() {
			if err := d.books[0].Settle(s); err != nil {
				t.Error(name, err)
			}
		})
	}
	wg.Wait()
}

// A claim that has been made, and is sent again when all is paused, is ours.
func TestClaimedBeforePause(t *testing.T) {
	d := newDesk(t, 1)
	c := d.wish(0, tickOf("job", 1), d.add("job"))
	d.must(0, c)
	d.put(d.Keys.Paused(), "{}")
	d.must(0, c)
}

// A run is not recorded as lost while its runner's key exists.
func TestLostOnlyWithoutRunner(t *testing.T) {
	d := newDesk(t, 2)
	run := d.must(0, d.wish(0, tickOf("job", 1), d.add("job")))
	lost := *run
	lost.State = Lost
	s := Settlement{Run: &lost, Rev: run.Rev, Gone: "n0"}
	if err := d.books[1].Settle(s); !errors.Is(err, ErrSuperseded) {
		t.Error(err)
	}
	d.delete(d.Keys.Node("n0"))
	if err := d.books[1].Settle(s); err != nil {
		t.Error(err)
	}
}

// Pruning keeps the newest and what is in progress, and what it deletes cannot be
// claimed again.
func TestPrune(t *testing.T) {
	d := newDesk(t, 1)
	rev := d.add("job")
	var runs []*Run
	for n := range int64(6) {
		runs = append(runs, d.must(0, d.wish(0, tickOf("job", n), rev)))
		if n != 3 {
			d.settle(runs[n], OK)
		}
	}
	last := runs[5]
	low, err := LowWater(d.ctx, d.C, d.Keys, last.RunID, 2)
	if err != nil || !low.Equal(runs[2].Tick) {
		t.Fatalf("%v, %v; want %v: that after it is in progress", low, err, runs[2].Tick)
	}
	done := *last
	done.State, done.Rev = OK, 0
	r, err := d.RunOf(d.ctx, last.RunID)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.books[0].Settle(Settlement{Run: &done, Rev: r.Rev, LowWater: low}); err != nil {
		t.Fatal(err)
	}
	left, err := d.History(d.ctx, "job", 100)
	if err != nil || len(left) != 3 {
		t.Errorf("%d are left, %v", len(left), err)
	}
	if _, err := d.books[0].Claim(d.wish(0, tickOf("job", 1), rev)); !errors.Is(err, ErrPruned) {
		t.Error(err)
	}
}

// Many claims at once go in few requests, two of one job never in the same: else
// both would see that none is in progress.
func TestBatches(t *testing.T) {
	d := newDesk(t, 1)
	const jobs, ticks = 200, 3
	var revs [jobs]int64
	for i := range revs {
		revs[i] = d.add(fmt.Sprint("job", i))
	}
	before := d.revision()
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := map[string]int{}
	for i := range jobs {
		for n := range int64(ticks) {
			c := d.wish(0, tickOf(fmt.Sprint("job", i), n), revs[i])
			c.Forbid = true
			wg.Go(func() {
				_, err := d.books[0].Claim(c)
				if err != nil && !errors.Is(err, ErrOverlap) {
					t.Error(err)
				}
				if err == nil {
					mu.Lock()
					won[c.Run.Job]++
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	for job, n := range won {
		if n != 1 {
			t.Errorf("%s: %d run at once", job, n)
		}
	}
	if len(won) != jobs {
		t.Errorf("%d of %d jobs run", len(won), jobs)
	}
	if n := d.revision() - before; n > jobs/4 {
		t.Errorf("%d claims took %d writes", jobs, n)
	}
}

func (d *desk) revision() int64 {
	r, err := d.admin.Get(d.ctx, "x")
	if err != nil {
		d.t.Fatal(err)
	}
	return r.Header.Revision
}

// At random: claims and results by several runners, edits, removals, prunes.
// Whatever the order, no tick of a job is won twice, no two runs of it are in
// progress at a time, and tokens grow.
func TestAtRandom(t *testing.T) {
	d := newDesk(t, 3)
	name := "job"
	d.add(name)
	var mu sync.Mutex
	won := map[string]string{}
	running, token := 0, int64(0)
	var wg sync.WaitGroup
	for w := range 6 {
		draw := rand.New(rand.NewPCG(1, uint64(w)))
		wg.Go(func() {
			for n := range int64(60) {
				d.step(draw, w%3, tickOf(name, 2*n+draw.Int64N(20)), func(r *Run) {
					mu.Lock()
					defer mu.Unlock()
					if by, ok := won[r.ID()]; ok && by != r.Claim {
						t.Errorf("%s was won twice", r.ID())
					}
					won[r.ID()] = r.Claim
					if running++; running > 1 {
						t.Errorf("%s overlaps", r.ID())
					}
					if r.Rev <= token {
						t.Errorf("token %d after %d", r.Rev, token)
					}
					token = r.Rev
				}, func() { mu.Lock(); running--; mu.Unlock() })
			}
		})
	}
	wg.Wait()
	if len(won) < 10 {
		t.Errorf("only %d ticks were won", len(won))
	}
}

// step claims some tick and ends it, or edits the job.
func (d *desk) step(draw *rand.Rand, i int, id keys.RunID, won func(*Run), ends func()) {
	name := id.Job
	j, err := d.Job(d.ctx, name)
	if err != nil {
		d.t.Error(err)
		return
	}
	if draw.IntN(10) == 0 {
		_, err := d.admin.Txn(d.ctx).If(clientv3.Compare(clientv3.ModRevision(d.Keys.Job(name)), "=", j.Rev)).
			Then(clientv3.OpPut(d.Keys.Job(name), encode(j.Job))).Commit()
		if err != nil {
			d.t.Error(err)
		}
		return
	}
	c := d.wish(i, id, j.Rev)
	c.Forbid = true
	r, err := d.books[i].Claim(c)
	if err != nil || r.Claim != c.Run.Claim {
		return
	}
	won(r)
	time.Sleep(time.Duration(draw.IntN(3)) * time.Millisecond) // it runs
	done := *r
	done.State = OK
	s := Settlement{Run: &done, Rev: r.Rev}
	if draw.IntN(10) == 0 {
		s.LowWater = r.Tick.Add(-time.Second)
	}
	ends() // before it is written: another may claim as soon as it is
	if err := d.books[i].Settle(s); err != nil && !errors.Is(err, etcd.ErrNoSpace) {
		d.t.Error(err)
	}
}
