// Command bare is the shortest client that does what a lock has to: connect,
// grant a lease, put a key under it, run a command, revoke. Nobody waits in line
// for it, nothing renews it, and its command outlives it: it is the floor that
// conch is measured against, with the same client library and build.
package main

import (
	"context"
	"os"
	"os/exec"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// bare ENDPOINT KEY COMMAND [ARG]...
func main() {
	ctx := context.Background()
	c, err := clientv3.New(clientv3.Config{Endpoints: os.Args[1:2], Logger: zap.NewNop()})
	must(err)
	lease, err := c.Grant(ctx, 10)
	must(err)
	_, err = c.Put(ctx, os.Args[2], "", clientv3.WithLease(lease.ID))
	must(err)
	cmd := exec.Command(os.Args[3], os.Args[4:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	must(cmd.Run())
	_, err = c.Revoke(ctx, lease.ID)
	must(err)
	must(c.Close())
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
