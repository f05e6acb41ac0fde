package runner

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/clock"
	"conch/pkg/cron"
	"conch/pkg/etcd"
	"conch/pkg/guard"
	"conch/pkg/keys"
	"conch/pkg/lease"
	"conch/pkg/schedule"
)

// session is the life of one lease: the runner is known by its key under it,
// and everything it runs has ended before the lease does.
type session struct {
	*daemon
	asked  context.Context // ends when the runner is to end
	ctx    context.Context // of everything that the session asks of etcd
	cancel context.CancelFunc
	before int64 // the highest revision of etcd's that was seen before this session
	cron   keys.Cron
	lease  *lease.Lease
	node   cron.Node
	ledger *cron.Ledger

	toTell  chan cron.Node // what the runner's key is to say
	feed    chan []change
	claims  chan claimAnswer
	over    chan *running
	wg      sync.WaitGroup // of runs, and of what asks etcd for the planner
	cluster atomic.Uint64
	busy    atomic.Int32 // runs

	judged chan struct{} // closed when it is known whether etcd has forgotten anything
}

type claimAnswer struct {
	r   *running
	c   cron.Claim
	got *cron.Run
	err error
}

// errLost ends a session whose lease is lost.
var errLost = errors.New("the lease was lost")

// serve runs one session: until the lease is lost (errLost), or the runner was
// asked to end and has nothing left to do (nil), or etcd refuses.
func (d *daemon) serve(asked context.Context) error {
	s := &session{daemon: d, asked: asked, before: d.highest(), cron: d.cfg.Space.Cron(), toTell: make(chan cron.Node, 1), feed: make(chan []change), claims: make(chan claimAnswer), over: make(chan *running), judged: make(chan struct{})}
	if err := s.openFit(asked); err != nil {
		return err
	}
	// What runs is to end in good order, and its results are to be written, after
	// the runner was asked to end.
	ctx, cancel := context.WithCancel(context.WithoutCancel(asked))
	defer cancel()
	s.ctx, s.cancel = ctx, cancel
	if !d.cfg.SkipClock {
		s.setSkew(notChecked)
		s.lookAtClock(ctx)
	}
	s.ledger = cron.NewLedger(ctx, d.cfg.Etcd, s.cron, s.node)
	s.wg.Go(func() { s.keepNode(ctx) })
	s.wg.Go(func() { s.follow(ctx) })
	s.wg.Go(func() { s.watchClock(ctx) })
	before := s.spool.last() // the planner may replace it
	s.wg.Go(func() { s.replayAll(ctx, before) })
	err := newPlanner(s).loop()
	cancel()
	s.wg.Wait()
	s.ledger.Close()
	s.close(err)
	return err
}

// openFit opens a session, the first one only if no endpoint is found to be unfit
// meanwhile.
func (s *session) openFit(ctx context.Context) error {
	if s.begun {
		return s.open(ctx)
	}
	within, over := s.cfg.Etcd.Surveyed(ctx)
	err := s.open(within)
	if unfit := over(); unfit != nil {
		if s.lease != nil { // it may have been granted
			s.ctx = ctx
			s.close(unfit)
		}
		return unfit
	}
	s.begun = err == nil
	return err
}

// open gets a lease, and puts the runner's key under it.
func (s *session) open(ctx context.Context) error {
	l, err := lease.New(s.cfg.Etcd, s.cfg.TTL)
	if err != nil {
		return err
	}
	s.lease = l
	judged := make(chan error, 1)
	go func() { judged <- l.Judge(ctx) }()
	err = l.Grant(ctx)
	if jerr := <-judged; err == nil {
		err = jerr
	}
	if err != nil {
		return err
	}
	labels := map[string]string{"host": s.cfg.Host}
	for k, v := range s.cfg.Labels {
		labels[k] = v
	}
	s.node = cron.Node{ID: s.cfg.Host + "-" + newID()[:8], Host: s.cfg.Host, PID: os.Getpid(), Labels: labels, Slots: s.cfg.Slots,
		Policy: s.cfg.Placement, Started: s.now().UTC().Truncate(time.Second), TZData: schedule.TZData(), Version: s.cfg.Version, Lease: l.ID,
		Standby: s.standby()}
	if s.node.Rev, err = s.putNode(ctx, s.node); err != nil {
		return err
	}
	l.Keep(s.cron.Node(s.node.ID), s.node.Rev, guard.Renew(l.Usable(), s.cfg.KillAfter))
	return nil
}

// putNode writes the runner's key, anew or again, and returns its
// create-revision.
func (s *session) putNode(ctx context.Context, n cron.Node) (int64, error) {
	key := s.cron.Node(n.ID)
	n.Clock = s.now().UTC()
	put := clientv3.OpPut(key, n.Encode(), s.lease.With())
	return etcd.Do(ctx, s.cfg.Etcd, func(ctx context.Context, m *etcd.Member) (int64, error) {
		r, err := m.KV().Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", n.Rev)).
			Then(put).Else(clientv3.OpGet(key)).Commit()
		if err != nil {
			return 0, err
		}
		s.cluster.Store(r.Header.ClusterId)
		if r.Succeeded && n.Rev == 0 {
			return r.Header.Revision, nil
		}
		if r.Succeeded {
			return n.Rev, nil
		}
		if kvs := r.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 && kvs[0].Lease == s.lease.ID {
			return kvs[0].CreateRevision, nil // an attempt whose answer was lost
		}
		return 0, &etcd.Final{Err: errLost}
	})
}

// tellNode lets the others know what has changed about this runner: what it was
// to tell before and has not is told no more.
func (p *planner) tellNode() {
	p.node.Draining, p.node.Standby = p.drained, p.standby()
	select {
	case <-p.toTell:
	default:
	}
	p.toTell <- p.node
}

// keepNode writes the runner's key as often as tellNode wants, each time until
// that is done.
func (s *session) keepNode(ctx context.Context) {
	for {
		select {
		case n := <-s.toTell:
			if _, err := s.putNode(ctx, n); err != nil && ctx.Err() == nil {
				s.say(Event{Event: "unwritten", Level: Warning, Reason: err.Error()})
			}
		case <-ctx.Done():
			return
		}
	}
}

// close gives the lease up, unless something that was started may be alive: then
// it lapses.
func (s *session) close(err error) {
	if errors.Is(err, errLost) || s.unsure.Load() > 0 {
		s.lease.Stop()
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), 5*time.Second) // s.ctx has been cancelled
	defer cancel()
	if err := s.lease.Revoke(ctx); err != nil {
		s.say(Event{Event: "unreleased", Level: Warning, Reason: err.Error()})
	}
}

// follow tells the planner what happens to cron's keys.
func (s *session) follow(ctx context.Context) {
	var batch []change
	flush := func() {
		if len(batch) == 0 {
			return
		}
		select {
		case s.feed <- batch:
		case <-ctx.Done():
		}
		batch = nil
	}
	add := func(c change) {
		if batch = append(batch, c); len(batch) >= 1000 {
			flush()
		}
	}
	lw := etcd.Prefix(s.cron.LowWater(""))
	err := etcd.Follow(ctx, s.cfg.Etcd, []etcd.Range{{From: s.cron.From, To: lw.From}, {From: lw.To, To: s.cron.To}}, etcd.Feed{
		Reset: func() { add(change{reset: true, rev: s.highest()}) },
		Put: func(kv *mvccpb.KeyValue) {
			if e, ok := s.cron.Entry(string(kv.Key)); ok && e.Kind != "lw" {
				add(change{entry: e, kv: kv})
			}
		},
		Delete: func(key string, rev int64) {
			if e, ok := s.cron.Entry(key); ok && e.Kind != "lw" {
				add(change{entry: e, rev: rev})
			}
		},
		Synced: func(rev int64) { add(change{synced: rev}); flush() },
		Heard:  func(a etcd.Answer) { s.cluster.Store(a.Cluster); s.noteRevision(a.Rev, a.Cluster) },
	})
	if ctx.Err() == nil {
		batch = []change{{stopped: err}}
		flush()
	}
}

// loop is the planner's life.
func (p *planner) loop() error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var overdue, hopeless <-chan time.Time
	stopping := p.asked.Done()
	defer p.beat.Store(0)
	for {
		p.beat.Store(int64(clock.System{}.Now()))
		select {
		case changes := <-p.feed:
			if last := changes[len(changes)-1]; last.stopped != nil {
				return p.end(last.stopped)
			}
			p.take(changes)
		case a := <-p.claims:
			p.claimAnswered(a.r, a.c, a.got, a.err)
		case r := <-p.over:
			p.ended(r)
		case <-timer.C:
		case <-p.lease.Lost():
			p.say(Event{Event: "lost", Level: Error, Count: len(p.running), Reason: p.lease.Loss().Error()})
			return p.end(errLost)
		case <-p.more:
			overdue, hopeless = p.askedToEnd(hopeless)
		case <-stopping:
			stopping = nil
			overdue, hopeless = p.askedToEnd(hopeless)
		case <-overdue:
			hopeless = p.stopAll()
		case <-hopeless: // etcd is away; the spool has the results
			p.cancel()
		case <-p.skewed:
			p.restand()
		}
		if p.drained && len(p.running) == 0 {
			return nil
		}
		if p.synced {
			timer.Reset(p.wake())
		}
		p.tellStats()
	}
}

// end waits for what still runs: it is being killed, or ends by itself.
func (p *planner) end(err error) error {
	p.drained = true
	p.duties = map[string]*duty{}
	if !errors.Is(err, errLost) {
		p.stopAll()
	}
	p.cancel() // what etcd has not been told is told in the next session
	for len(p.running) > 0 {
		select {
		case a := <-p.claims:
			p.claimAnswered(a.r, a.c, a.got, a.err)
		case r := <-p.over:
			p.ended(r)
		case <-p.feed:
		case <-p.skewed:
		}
	}
	return err
}

// lastChance is how long etcd may take for the results of runs that were stopped
// at the end of a drain.
const lastChance = 5 * time.Second

// askedToEnd drains and, asked again, stops everything. It returns when runs will
// have had their time, and when there is no more hope of their ends.
func (p *planner) askedToEnd(before <-chan time.Time) (overdue, hopeless <-chan time.Time) {
	if p.drained {
		return nil, p.stopAll()
	}
	return p.drain(), before
}

// drain takes nothing on any more, and gives what runs its time to end.
func (p *planner) drain() <-chan time.Time {
	p.drained = true
	p.duties, p.queue = map[string]*duty{}, nil
	p.say(Event{Event: "draining", Level: Notice, Count: len(p.running)})
	p.tellNode()
	return time.After(p.cfg.Drain)
}

// stopAll asks every run to end; asked twice, it kills them. It returns when all
// that can be done has been.
func (p *planner) stopAll() (hopeless <-chan time.Time) {
	for _, r := range p.running {
		r.stop()
		ask(r.telling)
	}
	return time.After(p.cfg.KillAfter + lastChance)
}

// ask asks etcd something on the side, of which nothing but a warning comes.
func (p *planner) ask(f func(ctx context.Context) error) {
	p.wg.Go(func() {
		ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
		defer cancel()
		if err := f(ctx); err != nil && p.ctx.Err() == nil && !errors.Is(err, cron.ErrSuperseded) {
			p.say(Event{Event: "unwritten", Level: Warning, Reason: err.Error()})
		}
	})
}

// newID returns 16 random hexadecimal digits.
func newID() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// newTrace returns a TRACEPARENT as W3C's Trace Context has it.
func newTrace() string { return fmt.Sprintf("00-%s%s-%s-01", newID(), newID(), newID()) }
