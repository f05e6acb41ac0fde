package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// leftover is what a fault has left in etcd that is nobody's.
type leftover struct {
	fault *fault
	when  string
	what  []string
}

// enough is how long whatever clears up after a conch that was killed may take: far
// more than it needs, on a machine that stalls.
const enough = 5 * time.Second

// await waits until nothing is left in etcd of an office, whose contenders have all
// ended, and returns what is all the same.
func (e *experiment) await(ctx context.Context, a *office) (left []string) {
	err := until(ctx, enough, func() (err error) {
		if left, err = e.remains(ctx, a); err == nil && len(left) > 0 {
			err = errors.New("something is left")
		}
		return err
	})
	if err != nil && left == nil {
		left = []string{err.Error()}
	}
	return left
}

// remains lists the keys below the prefix, without that, and the leases that no key
// has: those of one office, or with nil all.
func (e *experiment) remains(ctx context.Context, a *office) (left []string, _ error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	keys, err := e.admin.Get(ctx, prefix+"/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, err
	}
	for _, kv := range keys.Kvs {
		key := strings.TrimPrefix(string(kv.Key), prefix+"/")
		if a == nil || slices.Contains(strings.Split(key, "/"), a.name) {
			left = append(left, key)
		}
	}
	leases, err := e.admin.Leases(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range leases.Leases {
		ttl, err := e.admin.TimeToLive(ctx, l.ID)
		if err != nil {
			return nil, err
		}
		if ttl.TTL >= 0 && (a == nil || ttl.GrantedTTL == int64(a.ttl/time.Second)) {
			left = append(left, fmt.Sprintf("%s %x of %ds", leaseWord, l.ID, ttl.GrantedTTL))
		}
	}
	return left, nil
}

// leaseWord begins what remains says of a lease, in the place of the kind of a key.
const leaseWord = "lease"

// kindOf returns what kind of thing is left: elect, sema-state, ..., or a lease.
func kindOf(what string) string {
	return what[:strings.IndexAny(what, "/ ")]
}

// kinds counts what is left: keys that are nobody's, and leases.
func kinds(left []string) string {
	n := map[string]int{}
	for _, what := range left {
		n[kindOf(what)]++
	}
	leases := n[leaseWord]
	delete(n, leaseWord)
	text := fmt.Sprintf("keys without a living owner %d", len(left)-leases)
	for _, kind := range slices.Sorted(maps.Keys(n)) {
		text += fmt.Sprintf(", of %s %d", kind, n[kind])
	}
	return fmt.Sprintf("%s, leases %d", text, leases)
}
