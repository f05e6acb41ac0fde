package guard_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"conch/pkg/etcd"
	"conch/pkg/guard"
	"conch/pkg/hold"
	"conch/pkg/keys"
	"conch/pkg/proc"
)

// A command that runs only while this process holds the office "reports".
func Example() {
	ctx := context.Background()
	c, err := etcd.Open(ctx, etcd.Config{Endpoints: []string{endpoint()}, DialTimeout: 5 * time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	const killAfter = 5 * time.Second
	turn, err := hold.Join(ctx, c, hold.Request{
		Line:      keys.Space("/test/example").Office("reports"),
		Holder:    hold.Self([]string{"echo"}),
		TTL:       10 * time.Second,
		Renew:     func(usable time.Duration) time.Duration { return guard.Renew(usable, killAfter) },
		LockDelay: time.Second,
		Contact:   5 * time.Second,
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	paths, err := proc.Look("echo", os.Getenv("PATH"))
	if err != nil {
		fmt.Println(err)
		return
	}
	g := guard.Guard{KillAfter: killAfter, LossGrace: guard.Grace(turn.Usable(), killAfter)}
	outcome, err := g.Run(turn, proc.Cmd{
		Args:  []string{"echo", "I hold it"},
		Paths: paths,
		Env:   append(os.Environ(), turn.Token().Env()...),
		Stdio: [3]*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		fmt.Println(err)
	}
	if err := turn.Release(ctx, hold.After{}); err != nil {
		fmt.Println(err)
	}
	outcome.Dismiss()
	fmt.Println("exit status", outcome.Status.ExitStatus())
	// Output:
	// I hold it
	// exit status 0
}
