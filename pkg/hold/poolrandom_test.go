package hold

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcdtest"
)

// patience is how long who waits for as long as it takes may wait. Nobody is to be
// saved by looking again, after a TTL, so a TTL is more.
const patience = time.Minute

// Whoever comes and goes, and however the capacity changes: what step and admission
// check holds at each revision, whoever got a turn was admitted there, and who goes
// on waiting is admitted in the end, although nobody looks but when there is news.
func TestPoolAtRandom(t *testing.T) {
	w := newPoolWorld(t)
	const clients, rounds = 12, 8
	seed := uint64(time.Now().UnixNano())
	delay := time.Duration(seed%7) * time.Millisecond // things happen between a look and what comes of it
	t.Logf("seed %d, over a road of %v", seed, delay)
	road := etcdtest.Road(t, etcdtest.Shared(t))
	road.Delay(delay)
	w.c = connect(t, "http://"+road.Addr())
	before := w.revision()
	var mu sync.Mutex
	turns := map[int64]int{} // the slots, by the token
	var visits, resizes sync.WaitGroup
	over := make(chan struct{})
	resizes.Go(func() { w.resizeAtRandom(rand.New(rand.NewPCG(seed, clients)), over) })
	for i := range clients {
		draw := rand.New(rand.NewPCG(seed, uint64(i)))
		visits.Go(func() {
			for range rounds {
				err := w.visit(draw, func(turn *Turn) {
					mu.Lock()
					defer mu.Unlock()
					turns[turn.Token().Rev] = slotOf(turn)
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	visits.Wait()
	close(over)
	resizes.Wait()
	admitted := w.replay(before)
	for token, slot := range turns {
		if n, ok := admitted[token]; !ok || n != slot {
			t.Errorf("token %d in slot %d: in etcd it was %d, %v", token, slot, n, ok)
		}
	}
	w.release(w.take(w.share(5, 5))) // sweeps up after who died last
	w.empty()
}

// resizeAtRandom changes the capacity now and then. That somebody waits for more is
// a good reason not to, and so is that nobody is there.
func (w *poolWorld) resizeAtRandom(draw *rand.Rand, over <-chan struct{}) {
	for {
		select {
		case <-over:
			return
		case <-time.After(time.Duration(draw.IntN(20)) * time.Millisecond):
		}
		_, err := Resize(within(w.t, patience), w.c, w.pool, 1+draw.IntN(5))
		if err != nil && !errors.Is(err, ErrVacant) && !errors.As(err, new(*TooHeavy)) {
			w.t.Error(err)
		}
	}
}

// visit is one arrival: it waits for its turn, or loses patience, and leaves or
// dies.
func (w *poolWorld) visit(draw *rand.Rand, had func(*Turn)) error {
	weight := 1 + draw.IntN(3)*draw.IntN(2)
	impatient := draw.IntN(4) == 0
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if impatient {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, time.Duration(draw.IntN(80))*time.Millisecond)
		defer stop()
	}
	r := w.request()
	r.TTL = 2 * patience
	r.LockDelay = 50 * time.Millisecond
	r.NonBlock = draw.IntN(5) == 0
	r.Holder.PID = int(draw.Uint32())
	s := w.share(weight+draw.IntN(3), weight)
	s.Adopt = true
	turn, err := JoinPool(ctx, w.c, r, s)
	var use *InUse
	switch {
	case errors.As(err, new(*Busy)), errors.As(err, &use) && use.Cap < weight, impatient && err != nil && ctx.Err() != nil:
		return w.bury(r.Holder.PID)
	case err != nil:
		return fmt.Errorf("weight %d: %w", weight, err)
	}
	had(turn)
	time.Sleep(time.Duration(draw.IntN(10)) * time.Millisecond) // its work
	if draw.IntN(6) == 0 {
		turn.Abandon()
		return w.bury(r.Holder.PID)
	}
	return turn.Release(context.Background(), After{})
}

// bury ends the lease of who has gone, if it has one still: what could not be given
// back on a busy machine would stand in the way of others for a whole TTL.
func (w *poolWorld) bury(pid int) error {
	p, err := ReadPool(within(w.t, patience), w.c, w.pool)
	for _, c := range p.Candidates {
		if c.PID == pid {
			_, err = w.admin.Revoke(within(w.t, patience), clientv3.LeaseID(c.Lease))
		}
	}
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		err = nil
	}
	return err
}

// poolHistory is a semaphore as etcd tells of it afterwards, one revision after the
// other.
type poolHistory struct {
	*poolWorld
	poolState
	line     map[string]Candidate // by the key
	last     int64                // the latest token
	admitted map[int64]int        // the slots of all who were, by the token
}

// replay checks what has happened after a revision, in a semaphore that was new
// then, and returns who was admitted.
func (w *poolWorld) replay(after int64) map[int64]int {
	w.t.Helper()
	end, err := w.admin.Put(within(w.t, 10*time.Second), w.pool.State+"end", "")
	if err == nil {
		_, err = w.admin.Delete(within(w.t, 10*time.Second), w.pool.State+"end")
	}
	if err != nil {
		w.t.Fatal(err)
	}
	nothing := poolState{slots: map[int]string{}, runs: map[int]string{}}
	h := &poolHistory{w, nothing, map[string]Candidate{}, 0, map[int64]int{}}
	for _, events := range w.changes(after, end.Header.Revision) {
		h.step(events)
	}
	if n := len(h.line) + len(h.slots); n > 0 {
		w.t.Errorf("%d are left over", n)
	}
	w.t.Logf("%d were admitted, up to token %d", len(h.admitted), h.last)
	return h.admitted
}

func (s poolState) clone() poolState {
	return poolState{s.capacity, maps.Clone(s.slots), maps.Clone(s.runs)}
}

// step is one revision. Whoever has a slot is in line, and whoever is in line waits
// or has a slot: they come and go in one.
func (h *poolHistory) step(events []*clientv3.Event) {
	before := h.clone()
	line := maps.Clone(h.line)
	parser := &poolCandidacy{Share: Share{Pool: h.pool}}
	for _, ev := range events {
		key := string(ev.Kv.Key)
		switch inLine := strings.HasPrefix(key, h.pool.Dir); {
		case inLine && ev.Type == mvccpb.Event_DELETE:
			delete(h.line, key)
		case inLine:
			h.line[key] = candidate(ev.Kv)
		case ev.Type == mvccpb.Event_DELETE:
			parser.drop(&h.poolState, key)
		default:
			parser.put(&h.poolState, ev.Kv)
		}
	}
	rev, holders := events[0].Kv.ModRevision, 0
	for _, c := range h.line {
		if c.State != Waiting {
			holders++
		}
	}
	if holders != len(h.slots) {
		h.t.Errorf("revision %d: %d hold %d slots", rev, holders, len(h.slots))
	}
	for n, record := range h.slots {
		if before.slots[n] == record {
			continue
		}
		if err := h.admission(n, before, line); err != nil {
			h.t.Errorf("revision %d: slot %d: %v", rev, n, err)
		}
	}
}

// admission is that somebody has taken slot n, of what was before. Nobody passes:
// so tokens, which say when somebody came, rise from one to the next in all of the
// semaphore, also where one had its turn as it came. That all hold no more than
// there is need be so only then: with a capacity that shrinks holders finish. The
// slot is the lowest that was free.
func (h *poolHistory) admission(n int, before poolState, line map[string]Candidate) error {
	record := h.slots[n]
	who := h.line[h.pool.Dir+parseRunning([]byte(record)).Owner]
	used := 0
	for _, r := range h.slots {
		used += weight(parseRunning([]byte(r)).Weight)
	}
	for _, c := range line {
		if c.State == Waiting && c.Rev < who.Rev {
			return fmt.Errorf("token %d has passed %d", who.Rev, c.Rev)
		}
	}
	for m := range n {
		if before.slots[m] == "" && before.runs[m] == "" {
			return fmt.Errorf("%d is free", m)
		}
	}
	switch {
	case who.State != Held, h.runs[n] != record:
		return fmt.Errorf("it is %q in line, and the record is %q", who.State, h.runs[n])
	case before.slots[n] != "":
		return fmt.Errorf("it is taken by %s", before.slots[n])
	case used > h.capacity:
		return fmt.Errorf("%d of %d are held", used, h.capacity)
	case n >= h.capacity:
		return fmt.Errorf("the capacity is %d", h.capacity)
	case who.Rev <= h.last:
		return fmt.Errorf("token %d after %d", who.Rev, h.last)
	}
	h.last, h.admitted[who.Rev] = who.Rev, n
	return nil
}
