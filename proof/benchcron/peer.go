package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/cron"
	"conch/pkg/keys"
)

// A peer is another way to give a tick to one of several runners and to write
// down what came of it: what one runner does for one tick. What is written is as
// long as conch's.
type peer struct {
	name  string
	bound string // on conch's time to the last claim
	claim func(ctx context.Context, c *clientv3.Client, key, claim, result string) error
}

// race is the plainest way: every runner tries to create the tick's key. Of n
// runners each makes an entry in Raft's log, and the winner's result is another.
var race = peer{"race without leases", "", func(ctx context.Context, c *clientv3.Client, key, claim, result string) error {
	won, err := create(ctx, c, key, claim, clientv3.NoLease)
	if err != nil || !won {
		return err
	}
	return insist(ctx, func() error { _, err := c.Put(ctx, key, result); return err })
}}

// reference is the scheme of alien43/conch, from its description: every runner
// grants a lease of 25 hours for each tick and tries to create the tick's key
// under it; who loses revokes his; who wins writes the result under another
// lease, of 14 days. With n runners that makes 3n+1 entries.
var reference = peer{"alien43/conch's scheme", "faster to the last claim", func(ctx context.Context, c *clientv3.Client, key, claim, result string) error {
	const day = 24 * 60 * 60
	lease, err := grant(ctx, c, 25*60*60)
	if err != nil {
		return err
	}
	won, err := create(ctx, c, key, claim, lease)
	if err != nil {
		return err
	}
	if !won {
		return insist(ctx, func() error { _, err := c.Revoke(ctx, lease); return err })
	}
	if lease, err = grant(ctx, c, 14*day); err != nil {
		return err
	}
	return insist(ctx, func() error { _, err := c.Put(ctx, key+"/result", result, clientv3.WithLease(lease)); return err })
}}

func grant(ctx context.Context, c *clientv3.Client, ttl int64) (id clientv3.LeaseID, _ error) {
	err := insist(ctx, func() error {
		r, err := c.Grant(ctx, ttl)
		if err == nil {
			id = r.ID
		}
		return err
	})
	return id, err
}

func create(ctx context.Context, c *clientv3.Client, key, value string, lease clientv3.LeaseID) (won bool, _ error) {
	err := insist(ctx, func() error {
		r, err := c.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
			Then(clientv3.OpPut(key, value, clientv3.WithLease(lease))).Commit()
		won = err == nil && r.Succeeded
		return err
	})
	return won, err
}

// insist asks again what etcd has no time for.
func insist(ctx context.Context, f func() error) error {
	for {
		err := f()
		if !errors.Is(err, rpctypes.ErrTooManyRequests) && !errors.Is(err, rpctypes.ErrTimeout) {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// atOnce is how many ticks each of a peer's runners is at work for at a time.
// With more it takes as long, and etcd begins to refuse.
const atOnce = 300

// contend has n runners of a peer go for the same ticks, and measures that.
func (p peer) contend(ctx context.Context, w *world, n, ticks int) (outcome, error) {
	dir := "/peer/" + p.name + "/"
	var clients []*clientv3.Client
	for i := range n {
		c, err := w.members[i%len(w.members)].Client("", "")
		if err != nil {
			return outcome{}, err
		}
		defer c.Close()
		clients = append(clients, c)
	}
	return w.time(ctx, dir, ticks, func(ctx context.Context) error {
		var all parallel
		for _, c := range clients {
			all.Go(func() error {
				var own parallel
				own.room = make(chan struct{}, atOnce)
				for i := range ticks {
					own.Go(func() error {
						claim, result := record(i)
						return p.claim(ctx, c, fmt.Sprintf("%s%06d", dir, i), claim.Encode(), result.Encode())
					})
				}
				return own.Wait()
			})
		}
		return all.Wait()
	})
}

// record is what is written of a run: when it is claimed, and when it is over.
func record(i int) (claim, result *cron.Run) {
	now := time.Now().UTC()
	id := keys.RunID{Job: nameOf(i), Tick: now.Truncate(time.Second)}
	c := cron.Run{RunID: id, State: cron.Running, Claim: fmt.Sprintf("%016x", i), Attempt: 1, Node: "host-0-01234567", Host: "host-0", Claimed: now,
		Trace: "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"}
	r := c
	r.State, r.Began, r.Ended, r.Exit = cron.OK, now, now, new(int)
	return &c, &r
}

// parallel is a group of goroutines of which the first error is kept. With room,
// it has no more of them than fit.
type parallel struct {
	room chan struct{}
	wg   sync.WaitGroup
	mu   sync.Mutex
	err  error
}

func (p *parallel) Go(f func() error) {
	if p.room != nil {
		p.room <- struct{}{}
	}
	p.wg.Go(func() {
		err := f()
		if p.room != nil {
			<-p.room
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.err == nil {
			p.err = err
		}
	})
}

func (p *parallel) Wait() error {
	p.wg.Wait()
	return p.err
}
