package hold

import (
	"context"
	"slices"
	"strings"
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
			clientv3.OpGet(me.req.Line.Runs, clientv3.WithPrefix()),
			clientv3.OpGet(me.key)).Commit()
		if err != nil {
			return entry{}, err
		}
		if !r.Succeeded {
			return entry{}, &etcd.Final{Err: errOusted}
		}
		own, err := me.unasked(rangeOf(r, 2))
		if err != nil {
			return entry{}, &etcd.Final{Err: err}
		}
		e := entry{rev: r.Header.Revision, known: true, own: own}
		if ahead := rangeOf(r, 0); len(ahead.Kvs) > 0 {
			e.ahead = candidate(ahead.Kvs[0])
		}
		ours, dirty := me.recordIn(rangeOf(r, 1))
		me.recorded, e.dirty = me.recorded && ours, dirty
		return e, nil
	})
}

// follow watches the key in front until it goes, and reports whether there is
// nobody in front any more; in the line of a semaphore it does so as soon as the one
// in front has its turn. False means: look again. That is also what it returns after
// a TTL, in case the deletion was missed: old servers lose events.
//
// Behind a holder our running record is written at once, so that nothing has to be
// written when the turn comes, and nothing read: nobody was in front but that
// holder, and that its record has gone says that it has released the turn. Should
// ours have been deleted before, by somebody who found us without a key, or put
// again, by who asks for our place or takes it away, the same watch says that first.
func (me *candidacy) follow(ctx context.Context, e entry) (head bool, _ error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m, moved := me.c.Preferred()
	front := watchFromNow(ctx, m, e.ahead.Key)
	var runs clientv3.WatchChan // of the running records, behind a holder
	again := time.NewTimer(me.lease.TTL())
	defer again.Stop()
	held, gone, ready, put := false, false, false, int64(0)
	for {
		switch {
		case me.pool != nil && (gone || held):
			return held, nil
		case gone && !ready:
			return held && !me.recorded, nil
		case held && me.pool == nil && runs == nil:
			runs = watchFromNow(ctx, m, me.req.Line.Runs, clientv3.WithPrefix())
		}
		select {
		case r, ok := <-front:
			switch {
			case !ok || r.Err() != nil:
				return false, pause(ctx)
			case r.Created:
				now, err := me.glance(ctx, e.ahead.Key) // from here on nothing is missed
				if err != nil || now.Rev != e.ahead.Rev {
					return false, err
				}
				held = held || me.hasTurn(now.Holder)
			}
			for _, ev := range r.Events {
				gone = gone || ev.Type == mvccpb.Event_DELETE
				held = held || ev.Type != mvccpb.Event_DELETE && me.hasTurn(parse(ev.Kv.Value))
			}
			if gone { // what comes with it has come by then, or will not
				again.Reset(strayTimeout)
			}
		case r, ok := <-runs:
			switch {
			case !ok || r.Err() != nil:
				return false, pause(ctx)
			case r.Created:
				var err error
				if ready, put, err = me.record(ctx, e.ahead); err != nil {
					return false, err
				}
			case changes(r, me.runAt, put):
				return false, nil
			case ready && deletes(r, me.req.Line.RecordOf(e.ahead.Key)):
				return true, nil
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

// hasTurn reports whether a candidate in front has its turn. That of an office is
// over when its place is kept.
func (me *candidacy) hasTurn(h Holder) bool {
	return h.State == Held || me.pool != nil && h.State != Waiting
}

// deletes reports whether key is deleted in r.
func deletes(r clientv3.WatchResponse, key string) bool {
	return slices.ContainsFunc(r.Events, func(ev *clientv3.Event) bool {
		return ev.Type == mvccpb.Event_DELETE && string(ev.Kv.Key) == key
	})
}

// changes reports whether something happens to key in r after a revision.
func changes(r clientv3.WatchResponse, key string, after int64) bool {
	return slices.ContainsFunc(r.Events, func(ev *clientv3.Event) bool {
		return string(ev.Kv.Key) == key && ev.Kv.ModRevision > after
	})
}

// watchFromNow watches what happens from when etcd has taken the watch on, which
// the first response says. What is read after that, and the events of later
// revisions, is everything. A watch from a revision in the past would do as well,
// but the first events of that come when etcd has caught up with it, which it tries
// ten times a second. Where others write just then, old servers make one of this.
func watchFromNow(ctx context.Context, m *etcd.Member, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	return m.Watch(ctx, key, append(opts, clientv3.WithCreatedNotify())...)
}

// glance reads one candidate, the zero one if it has gone, and that we are still in
// line. Unlike look it does not have etcd read all of the line.
func (me *candidacy) glance(ctx context.Context, key string) (Candidate, error) {
	return etcd.Do(ctx, me.c, func(ctx context.Context, m *etcd.Member) (Candidate, error) {
		r, err := m.KV().Txn(ctx).If(me.token.Compare()).Then(clientv3.OpGet(key)).Commit()
		switch {
		case err != nil:
			return Candidate{}, err
		case !r.Succeeded:
			return Candidate{}, &etcd.Final{Err: errOusted}
		case rangeOf(r, 0).Count == 0:
			return Candidate{}, nil
		}
		return candidate(rangeOf(r, 0).Kvs[0]), nil
	})
}

// strayTimeout is how long two events of one revision may come apart.
const strayTimeout = 20 * time.Millisecond

// record writes our running record while ahead has the turn, and clears those of
// the dead: whoever stood between us and ahead has had no turn, or has lost its
// place and will see that its record has gone; and whoever had one before was seen
// off by ahead. It reports whether the turn is ours when ahead's record goes: not so
// if ahead may stay in line after its turn, if the record may go by itself, or if
// something could not be done. And it returns the revision in which ours was put.
func (me *candidacy) record(ctx context.Context, ahead Candidate) (ready bool, put int64, _ error) {
	front := clientv3.Compare(clientv3.CreateRevision(ahead.Key), "=", ahead.Rev)
	r, err := etcd.Do(ctx, me.c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		return m.KV().Txn(ctx).If(me.token.Compare(), front).Then(
			clientv3.OpPut(me.runAt, me.run),
			clientv3.OpGet(me.req.Line.Runs, clientv3.WithPrefix()),
			clientv3.OpGet(me.key),
		).Else(clientv3.OpGet(me.key)).Commit()
	})
	switch {
	case err != nil: // what it is good for is not worth the place in line
		return false, 0, ctx.Err()
	case !r.Succeeded && rangeOf(r, 0).Count == 0:
		return false, 0, errOusted
	case !r.Succeeded: // the one in front has gone just now
		return false, 0, nil
	}
	me.recorded, put = true, r.Header.Revision
	if _, err := me.unasked(rangeOf(r, 2)); err != nil {
		return false, put, err
	}
	cond, then := []clientv3.Cmp{front}, []clientv3.Op(nil)
	for _, kv := range rangeOf(r, 1).Kvs {
		owner := me.req.Line.Dir + strings.TrimPrefix(string(kv.Key), me.req.Line.Runs)
		switch {
		case owner == me.key:
		case owner == ahead.Key:
			ready = kv.Lease == 0 && !parseRunning(kv.Value).Stays
		case len(then) < maxSweep:
			cond = append(cond, clientv3.Compare(clientv3.CreateRevision(owner), "=", 0))
			then = append(then, clientv3.OpDelete(string(kv.Key)))
		}
	}
	if len(then) == 0 {
		return ready, put, nil
	}
	r, err = etcd.Do(ctx, me.c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		return m.KV().Txn(ctx).If(cond...).Then(then...).Commit()
	})
	return ready && err == nil && r.Succeeded, put, ctx.Err()
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

// claim becomes the holder with nobody in front. Nobody acts before its record is
// written, so that whoever comes next can tell by it that somebody did: with the
// record written before, what was read is enough; else it takes a transaction,
// which is also the proof that our own key is still there. If there is a record of
// another's, the lock-delay comes first.
func (me *candidacy) claim(ctx context.Context, e entry) (*Turn, error) {
	seen := clock.Least{}.Now()
	for {
		if me.recorded && len(e.dirty) == 0 {
			return me.begin()
		}
		over := e.dirty
		if len(over) > 0 {
			cleared, err := me.delay(ctx, e, seen)
			if err != nil {
				return nil, err
			}
			if cleared && me.recorded {
				if e, err = me.look(ctx); err != nil {
					return nil, err
				}
				continue
			}
			if cleared {
				over = nil
			}
		}
		var err error
		if e, err = me.mark(ctx, e, over); err != nil {
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
	return clientv3.Compare(clientv3.CreateRevision(me.req.Line.Runs), "=", 0).WithPrefix()
}

// delay waits until one of the others' running records has been cleared, or the
// lock-delay is over, counted from seen on the clock that does not run ahead.
func (me *candidacy) delay(ctx context.Context, e entry, seen clock.Instant) (cleared bool, _ error) {
	d := me.req.LockDelay
	if d == LockDelayTTL {
		for _, kv := range e.dirty {
			ttl := ttlOf(kv.Value, lease.MaxTTL)
			d = max(d, ttl+ttl/100)
		}
	}
	left := func() time.Duration { return seen.Add(d).Sub(clock.Least{}.Now()) }
	if left() <= 0 {
		return false, nil
	}
	me.tell(Place{Delay: left(), Joined: me.token})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m, moved := me.c.Preferred()
	run := m.Watch(ctx, me.req.Line.Runs, clientv3.WithPrefix(), clientv3.WithRev(e.rev+1))
	for left() > 0 {
		t := time.NewTimer(left())
		select {
		case r, ok := <-run:
			t.Stop()
			if !ok || r.Err() != nil {
				return true, pause(ctx) // it may have been; the claim finds out
			}
			if slices.ContainsFunc(r.Events, func(ev *clientv3.Event) bool { return ev.Type == mvccpb.Event_DELETE }) {
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

// mark writes our running record in the place of others', and marks our key as held,
// if our key exists, nobody asks for our place, and those have not changed; without
// any, if there are none. Sent again after a lost answer, it finds the record ours.
func (me *candidacy) mark(ctx context.Context, e entry, over records) (entry, error) {
	cond := []clientv3.Cmp{me.untouched(e)}
	var then []clientv3.Op
	for _, kv := range over {
		cond = append(cond, clientv3.Compare(clientv3.ModRevision(string(kv.Key)), "=", kv.ModRevision))
		then = append(then, clientv3.OpDelete(string(kv.Key)))
	}
	if len(over) == 0 {
		cond = append(cond, me.idle())
	}
	if me.recorded { // the put takes it from under that
		me.doubt = heir(me.lease.ID)
	}
	then = append(then, clientv3.OpPut(me.runAt, me.run), clientv3.OpPut(me.key, me.holder(Held).line(), me.lease.With()))
	return etcd.Do(ctx, me.c, func(ctx context.Context, m *etcd.Member) (entry, error) {
		r, err := m.KV().Txn(ctx).If(cond...).Then(then...).
			Else(clientv3.OpGet(me.key), clientv3.OpGet(me.req.Line.Runs, clientv3.WithPrefix())).Commit()
		if err != nil {
			return entry{}, err
		}
		e := entry{rev: r.Header.Revision, acquired: r.Succeeded, known: true}
		if r.Succeeded {
			return e, nil
		}
		if e.own, err = me.unasked(rangeOf(r, 0)); err != nil {
			return e, &etcd.Final{Err: err}
		}
		ours, dirty := me.recordIn(rangeOf(r, 1))
		marked := parse(rangeOf(r, 0).Kvs[0].Value).State == Held // by an attempt before: whoever is recorded now is the next
		e.acquired, e.dirty = ours && (marked || len(dirty) == 0), dirty
		me.recorded = me.recorded || e.acquired && !marked
		return e, nil
	})
}
