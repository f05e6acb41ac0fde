package hold

import (
	"context"
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
			clientv3.OpGet(me.req.Line.Runs, clientv3.WithPrefix())).Commit()
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
		_, e.dirty = me.recordIn(rangeOf(r, 1))
		return e, nil
	})
}

// follow watches the key in front until it goes, and reports whether the turn was
// released to us, so that we are the head now; in the line of a semaphore it does
// so as soon as the one in front has its turn. False means: look again. That is
// also what it returns after a TTL, in case the deletion was missed: old servers
// lose events.
//
// Behind a holder our running record is written at once, so that nothing has to be
// written when the turn comes, and nothing read: nobody was in front but that
// holder, and that its record has gone says that it has released the turn.
func (me *candidacy) follow(ctx context.Context, e entry) (head bool, _ error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m, moved := me.c.Preferred()
	front := watchFromNow(ctx, m, e.ahead.Key)
	unborn := 1 // watches that etcd has not taken on yet
	var record clientv3.WatchChan
	if me.pool == nil {
		record = watchFromNow(ctx, m, me.recordOf(e.ahead))
		unborn++
	}
	again := time.NewTimer(me.lease.TTL())
	defer again.Stop()
	held, gone, released := false, false, false
	stays := true // its key may stay although its record goes
	for {
		if held && !gone && me.pool == nil && !me.recorded {
			var err error
			if stays, err = me.record(ctx, e.ahead); err != nil {
				return false, err
			}
		}
		switch {
		case me.pool != nil && (gone || held), gone && !me.recorded:
			return held, nil
		case released && (gone || me.recorded && !stays):
			return true, nil
		}
		var r clientv3.WatchResponse
		var ok, ofRecord bool
		select {
		case r, ok = <-front:
		case r, ok = <-record:
			ofRecord = true
		case <-moved:
			return false, nil
		case <-again.C:
			return false, nil
		case <-me.lease.Lost():
			return false, errOusted
		case <-ctx.Done():
			return false, ctx.Err()
		}
		deleted, marked := scan(r)
		switch {
		case !ok || r.Err() != nil:
			return false, pause(ctx)
		case r.Created:
			if unborn--; unborn > 0 {
				break
			}
			now, err := me.glance(ctx, e.ahead.Key) // from here on nothing is missed
			if err != nil || now.Rev != e.ahead.Rev {
				return false, err
			}
			held = held || now.State == Held
		case ofRecord:
			released = deleted
		default:
			gone, held = gone || deleted, held || marked
			if gone { // what comes with it has come by then, or will not
				again.Reset(strayTimeout)
			}
		}
	}
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

// watchFromNow watches what happens from when etcd has taken the watch on, which
// the first response says. What is read after that, and the events of later
// revisions, is everything. A watch from a revision in the past would do as well,
// but the first events of that come when etcd has caught up with it, which it tries
// ten times a second.
func watchFromNow(ctx context.Context, m *etcd.Member, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	return m.Watch(ctx, key, append(opts, clientv3.WithCreatedNotify())...)
}

// strayTimeout is how long two events of one revision may come apart.
const strayTimeout = 20 * time.Millisecond

// recordOf returns where the running record of another candidate lies.
func (me *candidacy) recordOf(c Candidate) string {
	return me.req.Line.Runs + strings.TrimPrefix(c.Key, me.req.Line.Dir)
}

// record writes our running record while ahead has the turn, and clears those of
// the dead: whoever stood between us and ahead has not had a turn, and whoever had
// one before was seen off by ahead. It reports whether ahead may stay in line after
// its turn.
func (me *candidacy) record(ctx context.Context, ahead Candidate) (stays bool, _ error) {
	front := clientv3.Compare(clientv3.CreateRevision(ahead.Key), "=", ahead.Rev)
	r, err := etcd.Do(ctx, me.c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
		return m.KV().Txn(ctx).If(me.token.Compare(), front).Then(
			clientv3.OpPut(me.runAt, me.run),
			clientv3.OpGet(me.req.Line.Runs, clientv3.WithPrefix()),
		).Else(clientv3.OpGet(me.key)).Commit()
	})
	switch {
	case err != nil:
		return true, err
	case !r.Succeeded && rangeOf(r, 0).Count == 0:
		return true, errOusted
	case !r.Succeeded: // the one in front has gone just now
		return true, nil
	}
	me.recorded, stays = true, true
	for _, kv := range rangeOf(r, 1).Kvs {
		owner := me.req.Line.Dir + strings.TrimPrefix(string(kv.Key), me.req.Line.Runs)
		switch owner {
		case me.key:
			continue
		case ahead.Key:
			stays = parseRunning(kv.Value).Stays
			continue
		}
		dead := clientv3.Compare(clientv3.CreateRevision(owner), "=", 0)
		if _, err := etcd.Do(ctx, me.c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
			return m.KV().Txn(ctx).If(front, dead).Then(clientv3.OpDelete(string(kv.Key))).Commit()
		}); err != nil {
			return true, err
		}
	}
	return stays, nil
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
		if e, err = me.mark(ctx, over); err != nil {
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

// mark writes our running record in the place of others' and marks our key as
// held, if our key exists and there are no records but those. Sent again after a
// lost answer, it finds the record ours.
func (me *candidacy) mark(ctx context.Context, over records) (entry, error) {
	cond := []clientv3.Cmp{me.token.Compare()}
	var then []clientv3.Op
	for _, kv := range over {
		cond = append(cond, clientv3.Compare(clientv3.ModRevision(string(kv.Key)), "=", kv.ModRevision))
		then = append(then, clientv3.OpDelete(string(kv.Key)))
	}
	if len(over) == 0 {
		cond = append(cond, me.idle())
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
		if own := rangeOf(r, 0); len(own.Kvs) == 0 || own.Kvs[0].CreateRevision != me.token.Rev {
			return e, &etcd.Final{Err: errOusted}
		}
		ours, dirty := me.recordIn(rangeOf(r, 1))
		e.acquired, e.dirty = ours && len(dirty) == 0, dirty
		return e, nil
	})
}
