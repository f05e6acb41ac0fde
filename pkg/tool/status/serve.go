package status

import (
	"context"
	"fmt"
	"net"
	"sync"

	"conch/pkg/cli"
	"conch/pkg/etcd"
	"conch/pkg/status"
)

// serve answers HTTP until a signal ends it, or etcd refuses us.
func (o *options) serve(ctx context.Context, stdio *cli.Stdio) error {
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		return cli.Errorf(cli.Config, "--listen: %w", err)
	}
	defer l.Close()
	return o.Ask(ctx, func(ctx context.Context, c *etcd.Client) error {
		if o.verbose {
			fmt.Fprintf(stdio.Err, "%s: /elect /sema /cron /livez /readyz /metrics of %s at http://%s, for reading\n", name, o.Space, l.Addr())
		}
		k := status.NewKeeper(o.Space)
		return both(ctx,
			func(ctx context.Context) error { return k.Run(ctx, c) },
			func(ctx context.Context) error { return status.Serve(ctx, l, status.Handler(k, nil, nil)) })
	})
}

// both runs two things until one of them ends, ends the other, and returns what
// the first said.
func both(ctx context.Context, one, other func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, f := range []func(context.Context) error{one, other} {
		wg.Go(func() { cancel(f(ctx)) })
	}
	wg.Wait()
	return context.Cause(ctx)
}
