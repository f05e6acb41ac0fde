package status

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"conch/pkg/etcd"
	"conch/pkg/keys"
)

// Keeper keeps a Snapshot in step with etcd while Run runs. It is safe for
// concurrent use.
type Keeper struct {
	space keys.Space

	mu      sync.Mutex
	now     *state // nil: not read yet
	last    etcd.Answer
	rev     int64
	heard   time.Time // when etcd last answered
	snap    *Snapshot // of now; nil: not made since it changed
	answers durations

	// Of Run's goroutine alone.
	fresh  *state  // what is being read, nil while nothing is
	events []event // since the last revision that is complete
}

// event is a key that was put, or deleted.
type event struct {
	kv  *mvccpb.KeyValue
	key string // deleted
}

// NewKeeper returns a Keeper of what lies in space.
func NewKeeper(space keys.Space) *Keeper { return &Keeper{space: space} }

// Run keeps k in step until ctx ends or etcd gives a definite error. It must not
// be called twice at the same time.
func (k *Keeper) Run(ctx context.Context, c *etcd.Client) error {
	return etcd.Follow(ctx, c, ranges(k.space), etcd.Feed{
		Reset: func() { k.fresh, k.events = newState(k.space), nil },
		Put: func(kv *mvccpb.KeyValue) {
			if k.fresh != nil {
				k.fresh.put(kv)
			} else {
				k.events = append(k.events, event{kv: kv})
			}
		},
		Delete: func(key string, _ int64) { k.events = append(k.events, event{key: key}) },
		Synced: k.synced,
		Heard:  k.hear,
	})
}

// synced shows what has happened: all of a revision at once.
func (k *Keeper) synced(rev int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fresh != nil {
		k.now, k.fresh = k.fresh, nil
	}
	for _, e := range k.events {
		if e.kv != nil {
			k.now.put(e.kv)
		} else {
			k.now.drop(e.key)
		}
	}
	clear(k.events)
	k.events = k.events[:0]
	k.rev, k.snap = rev, nil
}

func (k *Keeper) hear(a etcd.Answer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last, k.heard = a, time.Now()
	k.answers.add(a.Took)
}

// Snapshot returns what is known. It is made anew only when something has
// changed.
func (k *Keeper) Snapshot() Snapshot {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.snap == nil {
		k.snap = &Snapshot{}
		if k.now != nil {
			*k.snap = k.now.snapshot()
		}
	}
	s := *k.snap
	s.Rev, s.Cluster, s.At, s.Stale = k.rev, k.last.Cluster, k.heard.UTC().Round(0), k.stale()
	return s
}

// Ready reports whether everything was read, and etcd was heard of lately.
func (k *Keeper) Ready() bool { return k.reason() == "" }

// reason is why k is not ready, or "".
func (k *Keeper) reason() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.stale()
}

func (k *Keeper) stale() string {
	if k.now == nil {
		return "etcd was not read yet"
	}
	if silent := time.Since(k.heard); silent > etcd.SilentAfter {
		return fmt.Sprintf("etcd has not answered for %v", silent.Round(time.Second))
	}
	return ""
}

// Read reads a Snapshot once, without watching. Each answer may take as long as
// patience.
func Read(ctx context.Context, c *etcd.Client, space keys.Space, patience time.Duration) (Snapshot, error) {
	var s *state
	at, err := etcd.Read(ctx, c, ranges(space), patience, etcd.Feed{
		Reset:  func() { s = newState(space) },
		Put:    func(kv *mvccpb.KeyValue) { s.put(kv) },
		Synced: func(int64) {},
	})
	if err != nil {
		return Snapshot{}, err
	}
	snap := s.snapshot()
	snap.Rev, snap.Cluster, snap.At = at.Rev, at.Cluster, time.Now().UTC()
	return snap, nil
}
