package hold

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/clock"
	"conch/pkg/etcd"
	"conch/pkg/fence"
	"conch/pkg/keys"
	"conch/pkg/lease"
)

// Share says how much of which semaphore is wanted. The Line of the Request and
// the weight of its Holder are set from it.
type Share struct {
	Pool   keys.Pool
	Max    int // the capacity that the caller takes it to have, at least 1
	Weight int // how much of it the turn takes, 1 to Max

	// Adopt takes the capacity as it is where the semaphore is in use: for who has
	// stood in its line before, and may find it resized.
	Adopt bool
}

// Exclusive is the weight of who excludes everybody else, and the capacity of a
// semaphore of such and of those who share, who weigh 1 each: flock(1)'s -x and -s.
// No other capacity is larger than MaxCapacity, so that this one tells that kind.
const (
	MaxCapacity = 10000
	Exclusive   = MaxCapacity + 1
)

// Mode is the kind of a part of a semaphore of that capacity: "shared" or
// "exclusive", or empty where the capacity is a number of somebody's choosing.
func Mode(capacity, weight int) string {
	switch {
	case capacity != Exclusive:
		return ""
	case weight == Exclusive:
		return "exclusive"
	}
	return "shared"
}

// InUse is the refusal of a Share whose Max is not that of those who use the
// semaphore.
type InUse struct {
	Cap, Max int
	By       Candidate // the oldest of them
}

func (e *InUse) Error() string {
	s := fmt.Sprintf("in use with %s, and not %s", use(e.Cap), use(e.Max))
	if e.Cap != Exclusive && e.Max != Exclusive {
		s = fmt.Sprintf("in use with %s, and not %d", use(e.Cap), e.Max)
	}
	if e.By.Key != "" {
		s += ", by " + e.By.String()
	}
	return s
}

// use says how a semaphore of that capacity is used.
func use(capacity int) string {
	if capacity == Exclusive {
		return "--shared and --exclusive"
	}
	return fmt.Sprintf("a capacity of %d", capacity)
}

// JoinPool takes a place in line for a share of a semaphore and waits for it. The
// line is strictly first come first served: whoever is in front waits for its
// whole share, and nobody passes. Only the first who waits watches what is given
// back, everybody else whoever is in front of him.
//
// Errors: those of Join, and *InUse.
func JoinPool(ctx context.Context, c *etcd.Client, req Request, s Share) (*Turn, error) {
	req.Line = s.Pool.Line
	req.Holder.Weight = s.Weight
	return again(ctx, req, func(req Request) (*Turn, error) {
		t, err := joinPool(ctx, c, req, s)
		s.Adopt = true
		return t, err
	})
}

// poolCandidacy is one place in the line of a semaphore.
type poolCandidacy struct {
	*candidacy
	Share
	dirt map[string]clock.Instant // when a record without a holder was first seen, by its key and value
}

func newPoolCandidacy(c *etcd.Client, req Request, s Share) (*poolCandidacy, error) {
	l, err := lease.New(c, req.TTL)
	if err != nil {
		return nil, err
	}
	me := &poolCandidacy{candidacy: newCandidacy(c, req, l), Share: s, dirt: map[string]clock.Instant{}}
	me.pool = &me.Pool
	return me, nil
}

func joinPool(ctx context.Context, c *etcd.Client, req Request, s Share) (_ *Turn, err error) {
	me, err := newPoolCandidacy(c, req, s)
	if err != nil {
		return nil, err
	}
	if err := me.standBy(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			me.abandon(ctx, err)
		}
	}()
	first, err := contact(ctx, me.candidacy, me.enter)
	if err != nil {
		return nil, err
	}
	me.keep(first.token)
	if first.acquired {
		return newTurn(me.candidacy), nil
	}
	if !first.known { // the answer that would have said who is in front was lost
		if first, err = me.look(ctx); err == nil {
			err = me.agreed(ctx, first)
		}
		if err != nil {
			return nil, err
		}
	}
	return me.waiting(ctx, func(ctx context.Context) (*Turn, error) { return me.wait(ctx, first) })
}

// poolEntry is what a transaction found: who is directly in front, and how the
// semaphore stood.
type poolEntry struct {
	entry
	poolState
	slot int // ours, if it is acquired
}

// enter grants the lease, reads how things stand at the same time, and joins,
// with the turn if there is room and nobody waits.
func (me *poolCandidacy) enter(ctx context.Context) (poolEntry, error) {
	granted := make(chan error, 1)
	go func() { granted <- me.grant(ctx) }()
	e, err := me.peek(ctx)
	if gerr := <-granted; gerr != nil {
		return e, gerr
	}
	for err == nil && e.token.Rev == 0 {
		if err = me.agreed(ctx, e); err != nil {
			return e, err
		}
		slot, room := me.room(e)
		switch {
		case room && e.ahead.State != Waiting:
		case !me.req.NonBlock:
			slot = inLine
		case e.ahead.State != Waiting && me.fits(e, false):
			slot = behindDirt
		default:
			return e, &Busy{}
		}
		e, err = me.join(ctx, e, slot) // without success if a lower slot was given back, or if we may not wait and somebody was faster
	}
	if err == nil {
		err = me.agreed(ctx, e)
	}
	if e.acquired {
		me.settle(e.slot)
	}
	return e, err
}

// In the place of a slot: stand in line; or only if nothing happens meanwhile, so
// that nothing but a lock-delay is waited for.
const inLine, behindDirt = -1, -2

// settle notes which slot is ours, or will be if an attempt succeeds.
func (me *poolCandidacy) settle(slot int) {
	me.slot = slot
	me.runAt = me.Pool.RunIn(slot)
}

// peek reads the newest in line and the state of the semaphore.
func (me *poolCandidacy) peek(ctx context.Context) (poolEntry, error) {
	return etcd.Do(ctx, me.c, func(ctx context.Context, m *etcd.Member) (poolEntry, error) {
		r, err := m.KV().Txn(ctx).Then(me.newest(), me.state()).Commit()
		if err != nil {
			return poolEntry{}, err
		}
		e := poolEntry{entry: entry{rev: r.Header.Revision, known: true}, poolState: me.parse(rangeOf(r, 1))}
		if ahead := rangeOf(r, 0); len(ahead.Kvs) > 0 {
			e.ahead = candidate(ahead.Kvs[0])
		}
		return e, nil
	})
}

func (me *poolCandidacy) newest() clientv3.Op {
	return clientv3.OpGet(me.Pool.Dir, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend), clientv3.WithLimit(1))
}

func (me *poolCandidacy) state() clientv3.Op {
	return clientv3.OpGet(me.Pool.State, clientv3.WithPrefix())
}

// unchanged is the comparison that nothing has been put below a prefix since a
// revision. That something was deleted it does not notice.
func unchanged(prefix string, since int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(prefix), "<", since+1).WithPrefix()
}

// maxCompare keeps a transaction below what etcd takes: 128 comparisons, of which
// those around it take a few, or operations. Who takes a slot above that may miss a
// lower one that is given back meanwhile.
const maxCompare = 100

// lowest are the comparisons that n, which was the lowest free slot in s, still is,
// if nothing has been put since.
func (me *poolCandidacy) lowest(s poolState, n int) []clientv3.Cmp {
	var taken []clientv3.Cmp
	for m := range min(n, maxCompare) {
		key := me.Pool.RunIn(m)
		if _, held := s.slots[m]; held {
			key = me.Pool.Slot(m)
		}
		taken = append(taken, clientv3.Compare(clientv3.CreateRevision(key), ">", 0))
	}
	return taken
}

// agreed returns *InUse if others use the semaphore with another capacity. In a
// line that is empty the newest caller's counts.
func (me *poolCandidacy) agreed(ctx context.Context, e poolEntry) error {
	if e.acquired || e.ahead.Key == "" || e.capacity == 0 || e.capacity == me.Max || me.Adopt && e.capacity >= me.Weight {
		return nil
	}
	busy := &InUse{Cap: e.capacity, Max: me.Max}
	if line, err := List(ctx, me.c, me.req.Line); err == nil && len(line.Candidates) > 0 {
		busy.By = line.Candidates[0]
	}
	return busy
}

// join puts our key, unless an earlier attempt did: with the slot if that is not
// negative, nothing was put since e was read, and no lower slot was given back;
// where only the last is not so, not at all, and otherwise to wait, if we may.
func (me *poolCandidacy) join(ctx context.Context, e poolEntry, slot int) (poolEntry, error) {
	enter := []clientv3.Op{clientv3.OpPut(me.key, me.holder(Waiting).line(), me.lease.With()), me.agree(e)}
	if me.req.NonBlock {
		enter = nil
	}
	as := []clientv3.Cmp{unchanged(me.Pool.Dir, e.rev), unchanged(me.Pool.State, e.rev)}
	if e.capacity != 0 && e.capacity != me.Max { // or it may go with its last user: ours counts then, and the slot was found in another
		as = append(as, clientv3.Compare(clientv3.Value(me.Pool.Cap()), "=", strconv.Itoa(e.capacity)))
	}
	switch {
	case slot >= 0:
		me.settle(slot)
		take := clientv3.OpTxn(me.lowest(e.poolState, slot), append(me.take(e), me.agree(e)), nil)
		enter = []clientv3.Op{clientv3.OpTxn(as, []clientv3.Op{take}, enter)}
	case slot == behindDirt:
		wait := clientv3.OpPut(me.key, me.holder(Waiting).line(), me.lease.With())
		enter = []clientv3.Op{clientv3.OpTxn(as, []clientv3.Op{wait, me.agree(e)}, nil)}
	}
	then := append([]clientv3.Op{me.newest(), me.state()}, enter...)
	return etcd.Do(ctx, me.c, func(ctx context.Context, m *etcd.Member) (poolEntry, error) {
		r, err := m.KV().Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(me.key), "=", 0)).
			Then(then...).
			Else(clientv3.OpGet(me.key), me.state()).Commit()
		if err != nil {
			return poolEntry{}, err
		}
		return me.read(r, slot)
	})
}

// agree is the operation that puts our capacity where there is none or, in a line
// that is empty, where nothing has happened since e was read.
func (me *poolCandidacy) agree(e poolEntry) clientv3.Op {
	as := []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(me.Pool.Cap()), "=", 0)}
	if e.capacity != 0 && e.capacity != me.Max && e.ahead.Key == "" {
		as = []clientv3.Cmp{unchanged(me.Pool.Dir, e.rev), unchanged(me.Pool.State, e.rev)}
	}
	return clientv3.OpTxn(as, []clientv3.Op{clientv3.OpPut(me.Pool.Cap(), strconv.Itoa(me.Max))}, nil)
}

// read makes sense of the join's answer. What it read it read before it put.
func (me *poolCandidacy) read(r *clientv3.TxnResponse, tried int) (poolEntry, error) {
	e := poolEntry{entry: entry{rev: r.Header.Revision}, poolState: me.parse(rangeOf(r, 1))}
	slot, ours := me.ourSlot(e.poolState)
	if !r.Succeeded { // sent before, and answered now
		e.token = fence.Of(r.Header, me.key, rangeOf(r, 0).Kvs[0].CreateRevision, me.lease.ID)
		e.acquired, e.slot = ours, slot
		return e, nil
	}
	if ours { // an earlier attempt acquired, and its key was deleted
		return e, &etcd.Final{Err: errOusted}
	}
	if ahead := rangeOf(r, 0); len(ahead.Kvs) > 0 {
		e.ahead = candidate(ahead.Kvs[0])
	}
	// Whoever joins an empty line changes the capacity that was read.
	e.known = e.ahead.Key != "" || e.capacity == me.Max
	entered := !me.req.NonBlock
	if tried != inLine {
		if txn := r.Responses[2].GetResponseTxn(); txn.Succeeded {
			entered = tried == behindDirt || txn.Responses[0].GetResponseTxn().Succeeded
			e.acquired, e.slot = entered && tried >= 0, tried
		}
	}
	if entered {
		e.token = fence.Of(r.Header, me.key, r.Header.Revision, me.lease.ID)
	}
	return e, nil
}

// ourSlot returns the slot that is ours in s.
func (me *poolCandidacy) ourSlot(s poolState) (int, bool) {
	for n, record := range s.runs {
		if record == me.run {
			return n, true
		}
	}
	return 0, false
}

// maxSweep keeps a transaction well below what etcd takes, 128 operations.
const maxSweep = 64

// take are the operations that make us a holder, in me.slot.
func (me *poolCandidacy) take(e poolEntry) []clientv3.Op {
	ops := []clientv3.Op{
		clientv3.OpPut(me.key, me.holder(Held).line(), me.lease.With()),
		clientv3.OpPut(me.Pool.Slot(me.slot), me.run, me.lease.With()),
		clientv3.OpPut(me.runAt, me.run),
	}
	for n := range e.runs {
		if len(ops) == maxSweep { // whoever comes next sweeps on
			break
		}
		if _, held := e.slots[n]; !held && n != me.slot && me.swept(e.poolState, n) {
			ops = append(ops, clientv3.OpDelete(me.Pool.RunIn(n)))
		}
	}
	return ops
}

// TooHeavy is the refusal of a capacity with which somebody could never have the
// turn that he waits for, and nobody behind him either.
type TooHeavy struct {
	Cap int
	By  Candidate
}

func (e *TooHeavy) Error() string {
	return fmt.Sprintf("%s waits for %d: a capacity of %d would never be enough", e.By, e.By.Weight, e.Cap)
}

// Resize changes the capacity of a semaphore that is in use, and returns what it
// was; one of shared and exclusive holds it leaves as it is. More admits whoever
// waits at once; with less, holders finish. ErrVacant
// means that nobody uses it; *TooHeavy that somebody waits for more than that.
func Resize(ctx context.Context, c *etcd.Client, pool keys.Pool, capacity int) (was int, _ error) {
	text := strconv.Itoa(capacity)
	for {
		now, err := ReadPool(ctx, c, pool)
		if err == nil && now.Cap == 0 {
			err = ErrVacant
		}
		if err != nil || now.Cap == capacity || now.Cap == Exclusive {
			return now.Cap, err
		}
		for _, who := range now.waiters() {
			if weight(who.Weight) > capacity {
				return now.Cap, &TooHeavy{capacity, who}
			}
		}
		// An attempt that comes late changes nothing: the revision is another then.
		as := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(pool.Cap()), "=", now.capRev)}
		if capacity < now.Cap { // else nobody can have become too heavy meanwhile
			as = append(as, unchanged(pool.Dir, now.Rev), unchanged(pool.Hosts, now.Rev))
		}
		r, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.TxnResponse, error) {
			return m.KV().Txn(ctx).If(as...).
				Then(clientv3.OpPut(pool.Cap(), text)).Commit()
		})
		if err != nil || r.Succeeded {
			return now.Cap, err
		}
	}
}

// PoolLine is a semaphore as it stood at one revision.
type PoolLine struct {
	Line
	Cap   int             // the capacity; 0: not in use
	Hosts map[string]Line // who stands in line for a host, or another label, or has its turn, by that; most of them in the semaphore's line too

	capRev int64
}

// Entered reports whether c, of the line for a host, is in the semaphore's line too.
// Nobody can be but the first of each.
func (p PoolLine) Entered(host Line, c Candidate) bool {
	return c.Key == host.Candidates[0].Key && slices.ContainsFunc(p.Candidates, c.same)
}

// same reports whether c and d are one process in two lines.
func (c Candidate) same(d Candidate) bool {
	return d.Host == c.Host && d.PID == c.PID && d.Started.Equal(c.Started)
}

// waiters are those who wait in line, and those who wait to stand there, for a
// host's turn or with it.
func (p PoolLine) waiters() (all []Candidate) {
	for _, who := range p.Candidates {
		if who.State == Waiting {
			all = append(all, who)
		}
	}
	for _, host := range p.outside() {
		for _, who := range host.Candidates {
			if who.State != Lingering {
				all = append(all, who)
			}
		}
	}
	return all
}

// outside are the lines for hosts, without those who are in the semaphore's as well.
func (p PoolLine) outside() (all []Line) {
	for _, host := range p.Hosts {
		if p.Entered(host, host.Candidates[0]) {
			host.Candidates = host.Candidates[1:]
		}
		all = append(all, host)
	}
	return all
}

// ReadPool reads a semaphore.
func ReadPool(ctx context.Context, c *etcd.Client, pool keys.Pool) (PoolLine, error) {
	return readPoolAt(ctx, c, pool, 0)
}

// readPoolAt reads a semaphore as it was at revision rev; 0: as it is.
func readPoolAt(ctx context.Context, c *etcd.Client, pool keys.Pool, rev int64) (PoolLine, error) {
	return etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (PoolLine, error) {
		r, err := m.KV().Txn(ctx).Then(inOrder(pool.Dir, rev), clientv3.OpGet(pool.Cap(), clientv3.WithRev(rev)), inOrder(pool.Hosts, rev)).Commit()
		if err != nil {
			return PoolLine{}, err
		}
		p := PoolLine{Line: lineOf(r, 0, rev), Hosts: make(map[string]Line)}
		if kvs := rangeOf(r, 1).Kvs; len(kvs) > 0 && len(p.Candidates) > 0 {
			p.capRev = kvs[0].ModRevision
			p.Cap, _ = strconv.Atoi(string(kvs[0].Value)) // what is no number is no capacity
		}
		for _, kv := range rangeOf(r, 2).Kvs {
			host, ok := pool.HostOf(string(kv.Key))
			if !ok {
				continue
			}
			l := p.Hosts[host]
			l.Rev, l.Cluster = p.Rev, p.Cluster
			l.Candidates = append(l.Candidates, candidate(kv))
			p.Hosts[host] = l
		}
		return p, nil
	})
}
