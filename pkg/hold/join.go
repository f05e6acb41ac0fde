package hold

import (
	"cmp"
	"context"
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcd"
	"conch/pkg/fence"
	"conch/pkg/keys"
	"conch/pkg/lease"
)

// LockDelayTTL as a Request's LockDelay stands for the old holder's whole TTL.
const LockDelayTTL time.Duration = -1

// Request says who wants a turn, and how.
type Request struct {
	Line     keys.Line
	Holder   Holder
	TTL      time.Duration // of the lease, lease.MinTTL to lease.MaxTTL
	NonBlock bool          // refuse with *Busy rather than wait in line
	Linger   bool          // the turn may be released with After.Linger

	// Renew returns the interval of renewals, given for how long after each the
	// turn can be used: its TTL, or less (see Turn.Usable). Nil: a quarter.
	Renew func(usable time.Duration) time.Duration

	// LockDelay is how long the head waits when the turn before it was not
	// released but lost, counted from when it saw that. A connected old holder
	// has killed its command by then. LockDelayTTL waits as long as the old
	// lease was, which excludes overlap whatever etcd did to that lease.
	LockDelay time.Duration

	// Contact is how long etcd may take to take the request in, the first
	// time; once in line, a lost connection is waited out.
	Contact time.Duration

	// Standby, if not nil, is told of all that the request may have in etcd,
	// before anything of it is asked for, and again when that changes: it is to be
	// cleared if this process is killed (see Clear). An error ends the request.
	Standby func([]Remains) error

	// OnWait, if not nil, is told of the place in line, from one goroutine,
	// when it first waits and when who is in front changes.
	OnWait func(Place)

	asks *asks // where it is heard that somebody asks for the place; nil: one of its own
}

// Place is a place in line.
type Place struct {
	Ahead  Candidate // who is directly in front; zero while only the lock-delay is waited for
	Delay  time.Duration
	Joined fence.Token
}

// Busy is the refusal of a Request that must not wait.
type Busy struct{ Holder Candidate }

func (b *Busy) Error() string {
	if b.Holder.Key == "" {
		return "was taken a moment ago"
	}
	return "taken by " + b.Holder.String()
}

// errOusted means that our own key went while we waited in line.
var errOusted = errors.New("lost the place in line")

// farAway is the round trip from which on it pays to send the join without
// waiting for the grant; nearer, the join too often comes first and must be
// sent again.
const (
	farAway   = 5 * time.Millisecond
	sendApart = 1500 * time.Microsecond
)

// Join takes a place in line and waits for the turn, until ctx ends. A
// candidate whose lease dies while it waits joins again at the end of the line.
//
// When it returns an error, nothing of the request is left in etcd, except
// where etcd could not be reached for that; then the lease lapses.
//
// Errors: *Busy, *Asked, *lease.TooShort, ctx's, and those of etcd.Do.
func Join(ctx context.Context, c *etcd.Client, req Request) (*Turn, error) {
	return again(ctx, req, func(req Request) (*Turn, error) { return join(ctx, c, req) })
}

// again joins until that does not fail for a place that was lost in line.
func again(ctx context.Context, req Request, join func(Request) (*Turn, error)) (*Turn, error) {
	t, err := join(req)
	req.Contact = 0
	for errors.Is(err, errOusted) || errors.Is(err, rpctypes.ErrLeaseNotFound) { // it had lapsed before the join came
		if err := pause(ctx); err != nil {
			return nil, err
		}
		t, err = join(req)
	}
	return t, err
}

// candidacy is one place in line: a lease, and a key under it.
type candidacy struct {
	c     *etcd.Client
	req   Request
	lease *lease.Lease
	asks  *asks
	key   string
	token fence.Token
	run   string     // our running record, ...
	runAt string     // ... and where it lies, or will if an attempt succeeds
	pool  *keys.Pool // of a semaphore
	slot  int        // its slot, from the turn on

	recorded bool // the running record is written, while we are still in line
	turned   bool // we have the turn

	doubt int64 // a lease that may be there with nothing under it, which our record was, or may have been, put under; see entrust

	told bool // OnWait has been, ...
	last Place
}

func newCandidacy(c *etcd.Client, req Request, l *lease.Lease) *candidacy {
	me := &candidacy{c: c, req: req, lease: l, asks: cmp.Or(req.asks, newAsks()), key: req.Line.Candidate(l.ID)}
	me.run = running{keys.Hex(l.ID), req.Holder.Host, req.Holder.PID, int64(l.Asked() / time.Second), req.Holder.Weight, req.Linger}.line()
	return me
}

func join(ctx context.Context, c *etcd.Client, req Request) (_ *Turn, err error) {
	l, err := lease.New(c, req.TTL)
	if err != nil {
		return nil, err
	}
	me := newCandidacy(c, req, l)
	me.runAt = req.Line.Record(l.ID)
	if err := me.standBy(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			me.abandon(ctx, err)
		}
	}()
	first, err := contact(ctx, me, me.enter)
	if err != nil {
		return nil, err
	}
	me.keep(first.token)
	if first.acquired {
		return newTurn(me), nil
	}
	return me.waiting(ctx, func(ctx context.Context) (*Turn, error) { return me.wait(ctx, first) })
}

// waiting waits in line, as long as nobody asks for the place. It may take long, so
// whoever stands by is told once more, now that etcd has answered.
func (me *candidacy) waiting(ctx context.Context, wait func(context.Context) (*Turn, error)) (*Turn, error) {
	if err := me.standBy(); err != nil {
		return nil, err
	}
	ctx, stop := me.asks.during(ctx)
	defer stop()
	t, err := wait(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx) // not that etcd did not answer: it was not given the time
	}
	return t, err
}

// keep begins to keep the lease for our key.
func (me *candidacy) keep(t fence.Token) {
	me.token = t
	interval := me.lease.Usable() / 4
	if me.req.Renew != nil {
		interval = me.req.Renew(me.lease.Usable())
	}
	me.lease.Heed(me.asks.hear)
	me.lease.Keep(me.key, t.Rev, interval)
}

// contact enters within the time that the request gives etcd, and completes a
// refusal with who is in the way.
func contact[E any](ctx context.Context, me *candidacy, enter func(context.Context) (E, error)) (E, error) {
	if me.req.Contact > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, me.req.Contact)
		defer cancel()
	}
	e, err := enter(ctx)
	var busy *Busy
	if errors.As(err, &busy) {
		if line, qerr := List(ctx, me.c, me.req.Line); qerr == nil && len(line.Candidates) > 0 {
			busy.Holder = line.Candidates[0]
		}
	}
	return e, err
}

// standBy has somebody clear up should this process be killed.
func (me *candidacy) standBy() error {
	if me.req.Standby == nil {
		return nil
	}
	return me.req.Standby([]Remains{me.remains()})
}

// abandon gives up whatever was asked for.
func (me *candidacy) abandon(ctx context.Context, why error) {
	// The caller's context has likely ended; this must be tried all the same,
	// but not for long.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lateTimeout)
	defer cancel()
	if me.req.Standby != nil {
		defer func() { _ = me.req.Standby(nil) }()
	}
	me.lease.Stop()
	if errors.As(why, new(*Busy)) { // it has put nothing; at a semaphore it may have tried to
		err := lease.Revoke(ctx, me.c, me.lease.ID) // else it lapses
		if err == nil && me.pool != nil {
			_ = me.remains().leave(ctx, me.c)
		}
		return
	}
	err := me.remains().withdraw(ctx, me.c)
	if err == nil && me.pool == nil { // somebody may have taken us for dead
		me.doubt = heir(me.lease.ID)
	}
	me.undoubt(ctx)
}

// entry is what the join's transaction found.
type entry struct {
	token    fence.Token
	acquired bool
	rev      int64     // of the transaction
	ahead    Candidate // directly in front; zero: nobody, or not known yet
	known    bool      // whether ahead is
	dirty    records   // others' running records: of a holder, of the next in line, of the dead
	own      int64     // the revision of our key's value, in which nobody asks for our place; 0: that we put it in
}

// records are running records as they were read.
type records []*mvccpb.KeyValue

// enter grants the lease and joins the line.
func (me *candidacy) enter(ctx context.Context) (entry, error) {
	if me.c.RoundTrip() < farAway {
		if err := me.grant(ctx); err != nil {
			return entry{}, err
		}
		return me.ask(ctx)
	}
	granted := make(chan error, 1)
	go func() { granted <- me.grant(ctx) }()
	time.Sleep(sendApart)
	e, err := me.ask(ctx)
	if gerr := <-granted; gerr != nil {
		return entry{}, gerr
	}
	if errors.Is(err, rpctypes.ErrLeaseNotFound) { // the join came first
		return me.ask(ctx)
	}
	return e, err
}

// grant grants the lease and, in the same round trip, learns whether it is long
// enough for this etcd.
func (me *candidacy) grant(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	judged := make(chan error, 1)
	go func() { judged <- me.lease.Judge(ctx) }()
	err := me.lease.Grant(ctx)
	if err != nil {
		cancel()
		<-judged
		return err
	}
	defer cancel()
	return <-judged
}

// ask sends the join until the answer is definite.
func (me *candidacy) ask(ctx context.Context) (entry, error) {
	return etcd.Do(ctx, me.c, func(ctx context.Context, m *etcd.Member) (entry, error) {
		r, err := me.joinTxn(m.KV().Txn(ctx)).Commit()
		if err != nil {
			return entry{}, err
		}
		return me.read(r)
	})
}

// joinTxn puts our key, unless an earlier attempt did, and with it our running
// record if there is nobody in front and no record of anybody's. Nested comparisons see the
// state before the transaction.
func (me *candidacy) joinTxn(t clientv3.Txn) clientv3.Txn {
	line := me.req.Line
	empty := clientv3.Compare(clientv3.CreateRevision(line.Dir), "=", 0).WithPrefix()
	enter := clientv3.OpPut(me.key, me.holder(Waiting).line(), me.lease.With())
	orElse := []clientv3.Op{enter}
	if me.req.NonBlock { // a record alone is a dead holder's: its delay is short
		orElse = []clientv3.Op{clientv3.OpTxn([]clientv3.Cmp{empty}, []clientv3.Op{enter}, nil)}
	}
	acquire := clientv3.OpTxn([]clientv3.Cmp{empty, me.idle()}, []clientv3.Op{
		clientv3.OpPut(me.key, me.holder(Held).line(), me.lease.With()),
		clientv3.OpPut(me.runAt, me.run),
	}, orElse)
	newest := clientv3.OpGet(line.Dir, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend), clientv3.WithLimit(2))
	run := clientv3.OpGet(line.Runs, clientv3.WithPrefix())
	return t.If(clientv3.Compare(clientv3.CreateRevision(me.key), "=", 0)).
		Then(acquire, newest, run).
		Else(clientv3.OpGet(me.key), run)
}

// read makes sense of the join's answer.
func (me *candidacy) read(r *clientv3.TxnResponse) (entry, error) {
	e := entry{rev: r.Header.Revision}
	if !r.Succeeded { // sent before, and answered now
		own, run := rangeOf(r, 0), rangeOf(r, 1)
		e.token = fence.Of(r.Header, me.key, own.Kvs[0].CreateRevision, me.lease.ID)
		e.acquired, e.dirty = me.recordIn(run)
		return e, nil
	}
	newest, run := rangeOf(r, 1), rangeOf(r, 2)
	if len(newest.Kvs) == 0 || string(newest.Kvs[0].Key) != me.key {
		return e, &etcd.Final{Err: &Busy{}}
	}
	e.token = fence.Of(r.Header, me.key, newest.Kvs[0].CreateRevision, me.lease.ID)
	ours, foreign := me.recordIn(run)
	e.acquired, e.dirty, e.known = r.Responses[0].GetResponseTxn().Succeeded, foreign, true
	if ours && !e.acquired {
		// An earlier attempt acquired, its key was deleted, and this one has put
		// it again, perhaps behind somebody.
		return e, &etcd.Final{Err: errOusted}
	}
	if len(newest.Kvs) > 1 {
		e.ahead = candidate(newest.Kvs[1])
	}
	return e, nil
}

// recordIn reports whether ours is among the running records read, and returns
// the others.
func (me *candidacy) recordIn(r *pb.RangeResponse) (ours bool, foreign records) {
	for _, kv := range r.Kvs {
		if string(kv.Key) == me.runAt {
			ours = true
		} else {
			foreign = append(foreign, kv)
		}
	}
	return ours, foreign
}

func rangeOf(r *clientv3.TxnResponse, i int) *pb.RangeResponse {
	return rangeIn((*pb.TxnResponse)(r), i)
}

func rangeIn(r *pb.TxnResponse, i int) *pb.RangeResponse {
	return r.Responses[i].GetResponseRange()
}

// holder is who we are, in that state.
func (me *candidacy) holder(state string) Holder {
	h := me.req.Holder.in(state)
	if state == Held {
		h = me.req.Holder.held()
	}
	if me.pool != nil && state != Waiting {
		h.Slot = &me.slot
	}
	return h
}
