package lease_test

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/clock"
	"conch/pkg/etcd"
	"conch/pkg/lease"
)

// A key that exists while this process can be sure of it.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := etcd.Open(ctx, etcd.Config{Endpoints: []string{"127.0.0.1:2379"}, DialTimeout: 5 * time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	l, err := lease.New(c, 10*time.Second)
	if err == nil {
		err = l.Grant(ctx)
	}
	if err == nil {
		err = l.Judge(ctx)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	const key = "/services/web/host-1"
	put, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.PutResponse, error) {
		return m.KV().Put(ctx, key, "10.0.0.1:80", l.With())
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	l.Keep(key, put.Header.Revision, l.Usable()/4)

	// Compare with the deadline before each act, not after.
	if deadline, _ := l.Deadline(); (clock.System{}).Now().Before(deadline) {
		fmt.Println("registered")
	}
	if err := l.Revoke(ctx); err != nil {
		fmt.Println(err)
	}
}
