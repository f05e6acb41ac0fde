package hold_test

import (
	"context"
	"fmt"
	"time"

	"conch/pkg/etcd"
	"conch/pkg/hold"
	"conch/pkg/keys"
)

// A lock for a program's own work. What is done under it must end by the
// deadline, and at once when the turn is lost; for a command package guard sees
// to both.
func ExampleJoin() {
	ctx := context.Background()
	c, err := etcd.Open(ctx, etcd.Config{Endpoints: []string{"127.0.0.1:2379"}, DialTimeout: 5 * time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	turn, err := hold.Join(ctx, c, hold.Request{
		Line:      keys.Space(keys.DefaultPrefix).Office("reindex"),
		Holder:    hold.Self([]string{"reindex"}),
		TTL:       10 * time.Second,
		LockDelay: time.Second,
		Contact:   5 * time.Second,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer turn.Release(ctx, hold.After{})

	work, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-turn.Lost():
			stop() // somebody else may have the turn now
		case <-work.Done():
		}
	}()
	reindex(work, turn.Token().Rev) // writes carry the token; the store refuses older ones
}

func reindex(context.Context, int64) {}
