package hold

import (
	"context"
	"errors"
	"sync"

	"conch/pkg/etcd"
	"conch/pkg/keys"
)

// JoinSpread takes a share of a semaphore of which each host, or whatever the
// line stands for, may have one turn only: it first stands in that line, and in
// the semaphore's only with a turn there. So a host that already holds one does
// not stand in the way of others.
//
// Whoever waits in either stands in line: it is refused at once, or takes the
// capacity as it finds it then.
//
// Errors: those of JoinPool. A Busy may be about either line.
func JoinSpread(ctx context.Context, c *etcd.Client, req Request, s Share, line keys.Line) (*Turn, error) {
	req.asks = newAsks() // in whichever line it is
	return again(ctx, req, func(req Request) (*Turn, error) {
		t, err := joinSpread(ctx, c, req, s, line)
		s.Adopt = true
		return t, err
	})
}

func joinSpread(ctx context.Context, c *etcd.Client, req Request, s Share, line keys.Line) (_ *Turn, err error) {
	alone, err := joinHost(ctx, c, req, &s, line)
	if err != nil {
		return nil, err
	}
	req.Contact = 0 // etcd has been there; from now on the turn says how long it may be away
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := whenLost(alone, cancel)
	if tell := req.Standby; tell != nil {
		req.Standby = func(all []Remains) error { return tell(append(all, alone.Remains()...)) }
		defer func() {
			if err != nil {
				_ = tell(nil)
			}
		}()
	}
	t, err := JoinPool(waiting, c, req, s)
	stop()
	if err != nil {
		if ctx.Err() == nil && waiting.Err() != nil {
			err = errOusted
		}
		return nil, errors.Join(err, alone.giveBack(ctx))
	}
	t.also = alongside(t, alone)
	return t, nil
}

// joinHost takes the turn of a host. Only who must wait for that looks at the
// semaphore first, so that nobody waits to be refused in the end, and others start
// without the round trip. Where nobody has said a capacity yet, whoever has the
// host's turn is about to: that is taken as it is, too.
func joinHost(ctx context.Context, c *etcd.Client, req Request, s *Share, line keys.Line) (*Turn, error) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	var refused *InUse
	onWait := req.OnWait
	req.Line, req.Holder.Weight = line, s.Weight
	req.OnWait = func(p Place) {
		if refused != nil {
			return
		}
		if !s.Adopt {
			now, err := ReadPool(waiting, c, s.Pool)
			if err == nil && now.Cap != 0 && now.Cap != s.Max {
				refused = &InUse{now.Cap, s.Max, now.Candidates[0]}
				cancel()
				return
			}
			s.Adopt = err == nil
		}
		if onWait != nil {
			onWait(p)
		}
	}
	t, err := Join(waiting, c, req)
	switch {
	case refused == nil || ctx.Err() != nil:
		return t, err
	case err == nil: // the turn came just then
		return nil, errors.Join(refused, t.giveBack(ctx))
	}
	return nil, refused
}

// giveBack releases a turn that is of no use. The caller's context may have ended;
// this must be tried all the same, but not for long.
func (t *Turn) giveBack(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lateTimeout)
	defer cancel()
	return t.Release(ctx, After{})
}

// also is a second turn that another rests on.
type also struct {
	turn *Turn
	lost chan struct{} // closed when either is lost
	stop func()        // ends what waits for that
}

func alongside(t, other *Turn) *also {
	a := &also{turn: other, lost: make(chan struct{})}
	var once sync.Once
	lose := func() { once.Do(func() { close(a.lost) }) }
	one, two := whenLost(t, lose), whenLost(other, lose)
	a.stop = func() { one(); two() }
	return a
}

// whenLost calls f if t is lost, unless stop is called before, which returns when
// f will not be called any more.
func whenLost(t *Turn, f func()) (stop func()) {
	var wg sync.WaitGroup
	over := make(chan struct{})
	lost := t.me.lease.Lost()
	wg.Go(func() {
		select {
		case <-lost:
			f()
		case <-over:
		}
	})
	return func() {
		close(over)
		wg.Wait()
	}
}

// first reports whether the other turn is lost, or will be before t.
func (a *also) first(t *Turn) bool {
	select {
	case <-a.turn.Lost():
		return true
	case <-t.me.lease.Lost():
		return false
	default:
	}
	other, _ := a.turn.Deadline()
	d, _ := t.me.lease.Deadline()
	return other.Before(d)
}

func (a *also) release(ctx context.Context, after After) error {
	a.stop()
	return a.turn.Release(ctx, after)
}
