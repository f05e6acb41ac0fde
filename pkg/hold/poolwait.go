package hold

import (
	"context"
	"fmt"
	"strconv"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/clock"
	"conch/pkg/etcd"
	"conch/pkg/lease"
)

// poolState is what lies below a Pool's State.
type poolState struct {
	capacity int            // 0: not in use
	slots    map[int]string // who has which slot: as its running record, ...
	runs     map[int]string // ... which outlives a holder that died
}

func (me *poolCandidacy) parse(r *pb.RangeResponse) poolState {
	s := poolState{slots: map[int]string{}, runs: map[int]string{}}
	for _, kv := range r.Kvs {
		me.put(&s, kv)
	}
	return s
}

// put and drop apply a change of one key.
func (me *poolCandidacy) put(s *poolState, kv *mvccpb.KeyValue) {
	key, value := string(kv.Key), string(kv.Value)
	if n, ok := me.Pool.SlotOf(key); ok {
		s.slots[n] = value
	} else if n, ok := me.Pool.RunOf(key); ok {
		s.runs[n] = value
	} else if key == me.Pool.Cap() {
		s.capacity, _ = strconv.Atoi(value) // what is no number is no capacity
	}
}

func (me *poolCandidacy) drop(s *poolState, key string) {
	if n, ok := me.Pool.SlotOf(key); ok {
		delete(s.slots, n)
	} else if n, ok := me.Pool.RunOf(key); ok {
		delete(s.runs, n)
	} else if key == me.Pool.Cap() {
		s.capacity = 0
	}
}

// room returns the lowest free slot, if what is not taken is enough for us. A
// record without a holder takes its share until the lock-delay is over.
func (me *poolCandidacy) room(e poolEntry) (slot int, ok bool) {
	if !me.fits(e, true) {
		return 0, false
	}
	for {
		_, taken := e.slots[slot]
		_, dirty := e.runs[slot]
		if !taken && !(dirty && !me.swept(e.poolState, slot)) {
			return slot, true
		}
		slot++
	}
}

// fits reports whether what is not taken is enough for us. Dirt is the records
// without a holder whose lock-delay is not over.
func (me *poolCandidacy) fits(e poolEntry, withDirt bool) bool {
	s, capacity := e.poolState, e.capacity
	if capacity == 0 || me.token.Rev == 0 && e.ahead.Key == "" { // idle: ours counts
		capacity = me.Max
	}
	used := 0
	for _, holder := range s.slots {
		used += weight(parseRunning([]byte(holder)).Weight)
	}
	for n, record := range s.runs {
		if _, held := s.slots[n]; !held && withDirt && !me.swept(s, n) {
			used += weight(parseRunning([]byte(record)).Weight)
		}
	}
	return used+weight(me.Weight) <= capacity
}

// swept reports whether the lock-delay for the record of slot n, which nobody
// holds, is over.
func (me *poolCandidacy) swept(s poolState, n int) bool { return me.delayOf(s, n) <= 0 }

// delayOf returns what is left of it, counted from when we first saw it.
func (me *poolCandidacy) delayOf(s poolState, n int) time.Duration {
	record := s.runs[n]
	id := fmt.Sprintf("%d %s", n, record)
	seen, ok := me.dirt[id]
	if !ok {
		seen = clock.Least{}.Now()
		me.dirt[id] = seen
	}
	d := me.req.LockDelay
	if d == LockDelayTTL {
		ttl := ttlOf([]byte(record), lease.MaxTTL)
		d = ttl + ttl/100
	}
	return seen.Add(d).Sub(clock.Least{}.Now())
}

// nextSweep returns how long it is until a record may be swept away, if there is
// one.
func (me *poolCandidacy) nextSweep(s poolState) (next time.Duration, any bool) {
	for n := range s.runs {
		if _, held := s.slots[n]; held {
			continue
		}
		if d := me.delayOf(s, n); d > 0 && (!any || d < next) {
			next, any = d, true
		}
	}
	return next, any
}

// wait waits in line from what the join found, until all in front have their
// turns, and then for room.
func (me *poolCandidacy) wait(ctx context.Context, e poolEntry) (*Turn, error) {
	for {
		if !e.known {
			var err error
			if e, err = me.look(ctx); err != nil {
				return nil, err
			}
		}
		if e.ahead.State != Waiting {
			return me.contend(ctx, e)
		}
		me.tell(Place{Ahead: e.ahead, Joined: me.token})
		held, err := me.follow(ctx, e.entry)
		if err != nil {
			return nil, err
		}
		if e.known = false; held {
			return me.contend(ctx, e)
		}
	}
}

// look reads who is directly in front, how the semaphore stands, and that we are
// still in line.
func (me *poolCandidacy) look(ctx context.Context) (poolEntry, error) {
	return etcd.Do(ctx, me.c, func(ctx context.Context, m *etcd.Member) (poolEntry, error) {
		r, err := m.KV().Txn(ctx).If(me.token.Compare()).Then(
			clientv3.OpGet(me.Pool.Dir, clientv3.WithPrefix(), clientv3.WithMaxCreateRev(me.token.Rev-1),
				clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend), clientv3.WithLimit(1)),
			me.state()).Commit()
		if err != nil {
			return poolEntry{}, err
		}
		if !r.Succeeded {
			return poolEntry{}, &etcd.Final{Err: errOusted}
		}
		e := poolEntry{entry: entry{rev: r.Header.Revision, known: true}, poolState: me.parse(rangeOf(r, 1))}
		if ahead := rangeOf(r, 0); len(ahead.Kvs) > 0 {
			e.ahead = candidate(ahead.Kvs[0])
		}
		return e, nil
	})
}

// survey reads how the semaphore stands, and that we are still in line.
func (me *poolCandidacy) survey(ctx context.Context, e poolEntry) (poolEntry, error) {
	return etcd.Do(ctx, me.c, func(ctx context.Context, m *etcd.Member) (poolEntry, error) {
		r, err := m.KV().Txn(ctx).If(me.token.Compare()).Then(me.state()).Commit()
		if err != nil {
			return poolEntry{}, err
		}
		if !r.Succeeded {
			return poolEntry{}, &etcd.Final{Err: errOusted}
		}
		return poolEntry{entry: entry{rev: r.Header.Revision, known: true, ahead: e.ahead}, poolState: me.parse(rangeOf(r, 0))}, nil
	})
}

// contend waits for room as the first who waits, and takes it.
func (me *poolCandidacy) contend(ctx context.Context, e poolEntry) (*Turn, error) {
	for {
		var err error
		if e, err = me.try(ctx, e); err == nil && !e.acquired {
			e, err = me.await(ctx, e)
		}
		if err != nil {
			return nil, err
		}
		if e.acquired {
			me.settle(e.slot)
			return me.begin()
		}
	}
}

// try claims a slot while there seems to be room: until it has one, or somebody else
// was faster and there is none.
func (me *poolCandidacy) try(ctx context.Context, e poolEntry) (_ poolEntry, err error) {
	for e.known && !e.acquired && err == nil {
		slot, room := me.room(e)
		if !room {
			break
		}
		e, err = me.claim(ctx, e, slot)
	}
	return e, err
}

// await watches the semaphore until there is room and that is claimed. It returns
// without when it is time to begin anew.
func (me *poolCandidacy) await(ctx context.Context, e poolEntry) (poolEntry, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m, moved := me.c.Preferred()
	changes := watchFromNow(ctx, m, me.Pool.State, clientv3.WithPrefix())
	again := time.NewTimer(me.lease.TTL()) // in case an event was lost
	defer again.Stop()
	sweep := time.NewTimer(time.Hour)
	defer sweep.Stop()
	unknown := poolEntry{entry: entry{ahead: e.ahead}}
	for {
		if d, any := me.nextSweep(e.poolState); any {
			sweep.Reset(d)
		}
		select {
		case r, ok := <-changes:
			switch {
			case !ok || r.Err() != nil:
				return unknown, pause(ctx)
			case r.Created:
				var err error
				if e, err = me.survey(ctx, e); err != nil { // from here on nothing is missed
					return unknown, err
				}
			default:
				me.apply(&e, r)
			}
		case <-sweep.C:
		case <-moved:
			return unknown, nil
		case <-again.C:
			return unknown, nil
		case <-me.lease.Lost():
			return unknown, errOusted
		case <-ctx.Done():
			return unknown, ctx.Err()
		}
		var err error
		if e, err = me.try(ctx, e); err != nil || e.acquired {
			return e, err
		}
		me.tell(me.place(e))
	}
}

// place is our place as the first who waits: behind who joined before us, or, where
// there would be room without the dirt, behind a lock-delay.
func (me *poolCandidacy) place(e poolEntry) Place {
	if delay, any := me.nextSweep(e.poolState); any && me.fits(e, false) {
		return Place{Delay: delay, Joined: me.token}
	}
	return Place{Ahead: e.ahead, Joined: me.token}
}

// apply brings e to the revision of r, which may hold more than one, and some that
// e is beyond.
func (me *poolCandidacy) apply(e *poolEntry, r clientv3.WatchResponse) {
	before := e.rev
	for _, ev := range r.Events {
		if ev.Kv.ModRevision <= before {
			continue
		}
		e.rev = max(e.rev, ev.Kv.ModRevision)
		if ev.Type == mvccpb.Event_DELETE {
			me.drop(&e.poolState, string(ev.Kv.Key))
		} else {
			me.put(&e.poolState, ev.Kv)
		}
	}
}

// claim becomes a holder: one transaction, which is also the proof that our own
// key is still there, that nobody asks for our place, that nothing was taken since e
// was seen, and no lower slot given back.
func (me *poolCandidacy) claim(ctx context.Context, e poolEntry, slot int) (poolEntry, error) {
	me.settle(slot)
	take, as := me.take(e), append(me.lowest(e.poolState, slot), me.untouched(e.entry), unchanged(me.Pool.State, e.rev))
	if e.capacity == 0 {
		take = append(take, me.agree(e))
	}
	return etcd.Do(ctx, me.c, func(ctx context.Context, m *etcd.Member) (poolEntry, error) {
		r, err := m.KV().Txn(ctx).If(as...).
			Then(take...).
			Else(clientv3.OpGet(me.key), me.state()).Commit()
		if err != nil {
			return poolEntry{}, err
		}
		now := poolEntry{entry: entry{rev: r.Header.Revision, known: true, ahead: e.ahead, acquired: r.Succeeded}, slot: slot}
		if r.Succeeded {
			return now, nil
		}
		if now.own, err = me.unasked(rangeOf(r, 0)); err != nil {
			return now, &etcd.Final{Err: err}
		}
		now.poolState = me.parse(rangeOf(r, 1))
		now.slot, now.acquired = me.ourSlot(now.poolState)
		return now, nil
	})
}
