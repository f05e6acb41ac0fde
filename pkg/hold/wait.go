package hold

import (
	"context"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/clock"
	"conch/pkg/etcd"
)

// wait waits in line from what the join found.
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
		handed, err := me.follow(ctx, e)
		if err != nil {
			return nil, err
		}
		if handed {
			return me.handed(ctx)
		}
		e = entry{}
	}
}

func (me *candidacy) tell(p Place) {
	if me.req.OnWait != nil {
		me.req.OnWait(p)
	}
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
		e.acquired, e.run = me.recordIn(rangeOf(r, 1))
		return e, nil
	})
}

// follow watches the key in front until it goes, and reports whether that was a
// clean hand-over to us: it had the turn, and its running record went in the
// same revision. False means: look again. It also returns false after a TTL, in
// case the deletion was missed (old servers lose events).
func (me *candidacy) follow(ctx context.Context, e entry) (handed bool, _ error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m, moved := me.c.Preferred()
	front := m.Watch(ctx, e.ahead.Key, clientv3.WithRev(e.rev+1))
	var run clientv3.WatchChan
	if e.ahead.State == Held {
		run = m.Watch(ctx, me.req.Line.Run, clientv3.WithRev(e.rev+1))
	}
	again := time.NewTimer(me.lease.TTL())
	defer again.Stop()
	var gone, cleared int64 // revisions of the two deletions
	for {
		var r clientv3.WatchResponse
		var ok bool
		select {
		case r, ok = <-front:
			if at, held := scan(r); at != 0 {
				gone = at
			} else if held && run == nil {
				run = m.Watch(ctx, me.req.Line.Run, clientv3.WithRev(r.Header.Revision+1))
			}
		case r, ok = <-run:
			if at, _ := scan(r); at != 0 {
				cleared = at
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
		switch {
		case !ok || r.Err() != nil:
			return false, pause(ctx)
		case gone != 0 && gone == cleared:
			return true, nil
		case gone != 0 && (run == nil || !me.soon(ctx, run, gone)):
			return false, nil
		case gone != 0:
			return true, nil
		}
	}
}

// soon waits a moment for the deletion of the running record in revision at:
// events of one revision reach two watches one after the other.
func (me *candidacy) soon(ctx context.Context, run clientv3.WatchChan, at int64) bool {
	t := time.NewTimer(2 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case r, ok := <-run:
			if !ok || r.Err() != nil {
				return false
			}
			if cleared, _ := scan(r); cleared != 0 {
				return cleared == at
			}
		case <-t.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// scan returns the revision in which the watched key was deleted, if it was,
// and whether it was marked as held.
func scan(r clientv3.WatchResponse) (deleted int64, held bool) {
	for _, e := range r.Events {
		if e.Type == mvccpb.Event_DELETE {
			return e.Kv.ModRevision, held
		}
		held = parse(e.Kv.Value).State == Held
	}
	return 0, held
}

// pause keeps a broken watch from being made again in a tight loop.
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

// handed takes over from a holder that released: nobody is in front, and no
// command is alive. The record is written off the critical path; a Turn whose
// record is not confirmed by the deadline is lost.
func (me *candidacy) handed(ctx context.Context) (*Turn, error) {
	if err := me.alive(); err != nil {
		return nil, err
	}
	return newTurn(me, func(ctx context.Context) error {
		e, err := me.mark(ctx, me.idle())
		if err == nil && !e.acquired {
			err = errOusted
		}
		return err
	}), nil
}

// alive is the check before acting on a turn that came by an event: the
// deadline must not have passed while this process slept.
func (me *candidacy) alive() error {
	d, _ := me.lease.Deadline()
	if (clock.System{}).Now().Before(d) {
		return nil
	}
	return errOusted
}

// idle is the comparison that no running record exists.
func (me *candidacy) idle() clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(me.req.Line.Run), "=", 0)
}

// claim becomes the holder with nobody in front, waiting first for the
// lock-delay if a running record is there.
func (me *candidacy) claim(ctx context.Context, e entry) (*Turn, error) {
	seen := clock.System{}.Now()
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
			if err := me.alive(); err != nil {
				return nil, err
			}
			return newTurn(me, nil), nil
		}
	}
}

// delay waits until the foreign running record is cleared or the lock-delay is
// over, counted from seen.
func (me *candidacy) delay(ctx context.Context, e entry, seen clock.Instant) (cleared bool, _ error) {
	d := me.req.LockDelay
	if d == LockDelayTTL {
		ttl := ttlOf(e.run, 2*me.lease.TTL())
		d = ttl + ttl/100
	}
	left := seen.Add(d).Sub(clock.System{}.Now())
	if left <= 0 {
		return false, nil
	}
	me.tell(Place{Delay: left, Joined: me.token})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m, _ := me.c.Preferred()
	run := m.Watch(ctx, me.req.Line.Run, clientv3.WithRev(e.rev+1))
	t := time.NewTimer(left)
	defer t.Stop()
	for {
		select {
		case r, ok := <-run:
			if !ok || r.Err() != nil {
				run = nil // the timer remains
			} else if at, _ := scan(r); at != 0 {
				return true, nil
			}
		case <-t.C:
			return false, nil
		case <-me.lease.Lost():
			return false, errOusted
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// mark writes the running record and marks our key as held, if our key exists
// and guard holds. Sent again after a lost answer, it finds the record ours.
func (me *candidacy) mark(ctx context.Context, guard clientv3.Cmp) (entry, error) {
	return etcd.Do(ctx, me.c, func(ctx context.Context, m *etcd.Member) (entry, error) {
		r, err := m.KV().Txn(ctx).If(me.token.Compare(), guard).Then(
			clientv3.OpPut(me.req.Line.Run, me.run),
			clientv3.OpPut(me.key, me.req.Holder.held().line(), me.lease.With()),
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
