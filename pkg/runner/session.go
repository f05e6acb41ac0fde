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

	"conch/pkg/cron"
	"conch/pkg/etcd"
	"conch/pkg/guard"
	"conch/pkg/keys"
	"conch/pkg/lease"
	"conch/pkg/plan"
	"conch/pkg/schedule"
)

// session is the life of one lease: the runner is known by its key under it,
// and everything it runs has ended before the lease does.
type session struct {
	*daemon
	asked  context.Context // ends when the runner is to end
	ctx    context.Context // of everything that the session asks of etcd
	cancel context.CancelFunc
	cron   keys.Cron
	lease  *lease.Lease
	node   cron.Node
	ledger *cron.Ledger

	toTell  chan cron.Node   // what the runner's key is to say
	feed    chan []plan.Fact // the table
	stopped chan error       // why there is no more of it
	told    chan plan.Fact   // what came of the planner's verbs
	deaf    chan struct{}    // closed when nobody hears that any more
	wg      sync.WaitGroup   // of runs, and of what asks etcd for the planner
	cluster atomic.Uint64
	telling sync.Map      // losses that are being told of, or were, by the names that their results had in the spool
	aloud   chan struct{} // has room for as many commands as may tell at once of what is not this runner's
	off     time.Duration // of the clock, as it was last said why nothing is taken on; 0: it is right

	// Of the loop alone:
	planner  *plan.Planner
	runs     map[string]*running // of ours, by name; the claims under way too
	settling map[string]bool     // results that are on their way to etcd, by their names in the spool
	earlier  state               // of an earlier start, until its lease is ended
	planned  string              // why nothing is taken on, as the planner was told
	whole    bool                // the table has been read
	drained  bool                // nothing is taken on any more
}

// errLost ends a session whose lease is lost.
var errLost = errors.New("the lease was lost")

// serve runs one session: until the lease is lost (errLost), or the runner was
// asked to end and has nothing left to do (nil), or etcd refuses.
func (d *daemon) serve(asked context.Context) error {
	s := &session{daemon: d, asked: asked, cron: d.cfg.Space.Cron(), earlier: d.spool.last(), toTell: make(chan cron.Node, 1),
		feed: make(chan []plan.Fact), stopped: make(chan error, 1), told: make(chan plan.Fact), deaf: make(chan struct{}),
		runs: map[string]*running{}, settling: map[string]bool{}, aloud: make(chan struct{}, max(d.cfg.Slots, 1))}
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
	s.spool.keep(s.state())
	s.planner = plan.New(plan.Config{Node: s.node, Placement: s.cfg.Placement, Hedge: s.cfg.Hedge, Replay: s.cfg.Replay, SkipClock: s.cfg.SkipClock, People: s.cfg.Hooks != Hooks{} || s.cfg.Report != nil, Told: d.told})
	err := s.loop()
	d.told = s.planner.Told()
	close(s.deaf)
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
func (s *session) tellNode() {
	select {
	case <-s.toTell:
	default:
	}
	s.toTell <- s.node
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

// follow tells the loop what happens to cron's keys.
func (s *session) follow(ctx context.Context) {
	var batch []plan.Fact
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
	add := func(f plan.Fact) {
		if batch = append(batch, f); len(batch) >= atOnce {
			flush()
		}
	}
	lw := etcd.Prefix(s.cron.LowWater(""))
	err := etcd.Follow(ctx, s.cfg.Etcd, []etcd.Range{{From: s.cron.From, To: lw.From}, {From: lw.To, To: s.cron.To}}, etcd.Feed{
		Reset: func() { s.judge(func(t *plan.Trust) { t.Reread() }); add(plan.Reread{}) },
		Put: func(kv *mvccpb.KeyValue) {
			e, ok := s.cron.Entry(string(kv.Key))
			if !ok || e.Kind == "lw" {
				return
			}
			if e.Kind == "restored" {
				s.judge(func(t *plan.Trust) { t.GoOn(kv.ModRevision) })
			}
			add(plan.Put{Entry: e, Value: kv.Value, Made: kv.CreateRevision, Rev: kv.ModRevision, Lease: kv.Lease})
		},
		Delete: func(key string, rev int64) {
			if e, ok := s.cron.Entry(key); ok && e.Kind != "lw" {
				add(plan.Deleted{Entry: e, Rev: rev})
			}
		},
		Synced: func(rev int64) {
			s.judge(func(t *plan.Trust) { t.Whole(rev, s.cluster.Load()) })
			add(plan.Whole{Rev: rev})
			flush()
		},
		Heard: func(a etcd.Answer) {
			s.cluster.Store(a.Cluster)
			s.judge(func(t *plan.Trust) { t.Heard(a.Rev, a.Cluster) })
		},
	})
	if ctx.Err() == nil {
		s.stopped <- err
	}
}

// newID returns 16 random hexadecimal digits.
func newID() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// newTrace returns a TRACEPARENT as W3C's Trace Context has it.
func newTrace() string { return fmt.Sprintf("00-%s%s-%s-01", newID(), newID(), newID()) }
