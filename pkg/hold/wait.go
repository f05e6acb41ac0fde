package hold

import (
	"context"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/clock"
	"conch/pkg/etcd"
	"conch/pkg/lease"
)

// wait waits in line from what the join found, until nobody is in front, and
// then becomes the holder.
func (me *candidacy) wait(ctx context.Context, e entry) (*Turn, error) {
	for {
		if !e.known {
			var err error
			if e, err = me.look(ctx); err != nil {
				return nil, err
			}
		}
		if e.ahead.Key == "" {
			return me.claim(ctx, e)
		}
		me.tell(Place{Ahead: e.ahead, Joined: me.token})
		head, err := me.follow(ctx, e)
		if err != nil {
			return nil, err
		}
		e = entry{known: head} // who was behind the holder need not look
	}
}

// tell reports a place in line, if it is another than before.
func (me *candidacy) tell(p Place) {
	if me.req.OnWait == nil || (me.told && p.Ahead.Rev == me.last.Ahead.Rev) {
		return
	}
	me.told, me.last = true, p
	me.req.OnWait(p)
}

// look reads who is directly in front, and that we are still in line.
func (me *candidacy) look(ctx context.Context) (entry, error) {
	return etcd.Do(ctx, me.c, func(ctx context.Context, m *etcd.Member) (entry, error) {
		r, err := m.KV().Txn(ctx).If(me.token.Compare()).Then(
			clientv3.OpGet(me.req.Line.Dir, clientv3.WithPrefix(), clientv3.WithMaxCreateRev(me.token.Rev-1),
				clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend), clientv3.WithLimit(1)),
			clientv3.OpGet(me.req.Line.Run)).Commit()
		if err != nil {
			return entry{}, err
		}
		if !r.Succeeded {
			return entry{}, &etcd.Final{Err: errOusted}
		}
		e := entry{rev: r.Header.Revision, known: true}
		if ahead := rangeOf(r, 0); len(ahead.Kvs) > 0 {
			e.ahead = candidate(ahead.Kvs[0])
		}
		_, e.run = me.recordIn(rangeOf(r, 1))
		return e, nil
	})
}

// follow watches the key in front until it goes, and reports whether it had the
// turn, so that we are the head now; in the line of a semaphore it does so as soon
// as that has its turn. False means: look again. That is also what
// it returns after a TTL, in case the deletion was missed: old servers lose
// events.
func (me *candidacy) follow(ctx context.Context, e entry) (head bool, _ error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m, moved := me.c.Preferred()
	front := m.Watch(ctx, e.ahead.Key, clientv3.WithRev(e.rev+1))
	again := time.NewTimer(me.lease.TTL())
	defer again.Stop()
	held := e.ahead.State == Held
	for {
		select {
		case r, ok := <-front:
			if !ok || r.Err() != nil {
				return false, pause(ctx)
			}
			gone, marked := scan(r)
			held = held || marked
			if gone || held && me.pool != nil {
				return held, nil
			}
		case <-moved:
			return false, nil
		case <-again.C:
			return false, nil
		case <-me.lease.Lost():
			return false, errOusted
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// scan reports whether the watched key was deleted, and whether before that it
// was marked as held.
func scan(r clientv3.WatchResponse) (deleted, held bool) {
	for _, e := range r.Events {
		if e.Type == mvccpb.Event_DELETE {
			return true, held
		}
		held = held || parse(e.Kv.Value).State == Held
	}
	return false, held
}

// pause keeps what failed from being tried again in a tight loop.
func pause(ctx context.Context) error {
	t := time.NewTimer(100 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// claim becomes the holder with nobody in front: one transaction, which is also
// the proof that our own key is still there. If there is a foreign running
// record, the lock-delay comes first. Nobody acts before the record is written,
// so that whoever comes next can tell by it that somebody did.
func (me *candidacy) claim(ctx context.Context, e entry) (*Turn, error) {
	seen := clock.Least{}.Now()
	for {
		guard := me.idle()
		if e.run != nil {
			cleared, err := me.delay(ctx, e, seen)
			if err != nil {
				return nil, err
			}
			if !cleared {
				guard = clientv3.Compare(clientv3.Value(me.req.Line.Run), "=", string(e.run))
			}
		}
		var err error
		if e, err = me.mark(ctx, guard); err != nil {
			return nil, err
		}
		if e.acquired {
			return me.begin()
		}
	}
}

// begin makes a turn of a claim that has succeeded. The deadline must not have
// passed while this process slept.
func (me *candidacy) begin() (*Turn, error) {
	if d, _ := me.lease.Deadline(); !(clock.System{}).Now().Before(d) {
		return nil, errOusted
	}
	return newTurn(me), nil
}

// idle is the comparison that no running record exists.
func (me *candidacy) idle() clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(me.req.Line.Run), "=", 0)
}

// delay waits until the foreign running record may have been cleared, or the
// lock-delay is over, counted from seen on the clock that does not run ahead.
func (me *candidacy) delay(ctx context.Context, e entry, seen clock.Instant) (cleared bool, _ error) {
	d := me.req.LockDelay
	if d == LockDelayTTL {
		ttl := ttlOf(e.run, lease.MaxTTL)
		d = ttl + ttl/100
	}
	left := func() time.Duration { return seen.Add(d).Sub(clock.Least{}.Now()) }
	if left() <= 0 {
		return false, nil
	}
	me.tell(Place{Delay: left(), Joined: me.token})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m, moved := me.c.Preferred()
	run := m.Watch(ctx, me.req.Line.Run, clientv3.WithRev(e.rev+1))
	for left() > 0 {
		t := time.NewTimer(left())
		select {
		case r, ok := <-run:
			t.Stop()
			if !ok || r.Err() != nil {
				return true, pause(ctx) // it may have been; the claim finds out
			}
			if gone, _ := scan(r); gone {
				return true, nil
			}
		case <-moved:
			t.Stop()
			return true, nil
		case <-t.C:
		case <-me.lease.Lost():
			t.Stop()
			return false, errOusted
		case <-ctx.Done():
			t.Stop()
			return false, ctx.Err()
		}
	}
	return false, nil
}

// mark writes the running record and marks our key as held, if our key exists
// and guard holds. Sent again after a lost answer, it finds the record ours.
func (me *candidacy) mark(ctx context.Context, guard clientv3.Cmp) (entry, error) {
	return etcd.Do(ctx, me.c, func(ctx context.Context, m *etcd.Member) (entry, error) {
		r, err := m.KV().Txn(ctx).If(me.token.Compare(), guard).Then(
			clientv3.OpPut(me.req.Line.Run, me.run),
			clientv3.OpPut(me.key, me.holder(Held).line(), me.lease.With()),
		).Else(clientv3.OpGet(me.key), clientv3.OpGet(me.req.Line.Run)).Commit()
		if err != nil {
			return entry{}, err
		}
		e := entry{rev: r.Header.Revision, acquired: r.Succeeded, known: true}
		if r.Succeeded {
			return e, nil
		}
		if own := rangeOf(r, 0); len(own.Kvs) == 0 || own.Kvs[0].CreateRevision != me.token.Rev {
			return e, &etcd.Final{Err: errOusted}
		}
		e.acquired, e.run = me.recordIn(rangeOf(r, 1))
		return e, nil
	})
}
