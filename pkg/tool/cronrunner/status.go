package cronrunner

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"conch/pkg/cli"
	"conch/pkg/etcd"
	"conch/pkg/runner"
	"conch/pkg/status"
)

// serveStatus answers what conch-status serve answers, and adds this runner's
// own counts to /metrics, until stop is called.
func (o *options) serveStatus(ctx context.Context, c *etcd.Client, r *runner.Runner, sink *runner.Sink, log *log) (stop func(), _ error) {
	l, err := net.Listen("tcp", o.statusAddr)
	if err != nil {
		return nil, cli.Errorf(cli.Config, "--status-addr: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	k := status.NewKeeper(o.Space)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := k.Run(ctx, c); err != nil && ctx.Err() == nil {
			log.warn("--status-addr: " + err.Error())
		}
	})
	wg.Go(func() {
		if err := status.Serve(ctx, l, status.Handler(k, writeMetrics(r, sink), r.Why)); err != nil {
			log.warn("--status-addr: " + err.Error())
		}
	})
	return func() { cancel(); wg.Wait() }, nil
}

// notifyManager keeps the service manager informed: that the runner is ready,
// how it is, and, where a watchdog was asked for, that it is alive.
func notifyManager(ctx context.Context, r *runner.Runner) {
	const statusEvery = 5 * time.Second
	every := time.Second
	dog, _ := daemon.SdWatchdogEnabled(false)
	if dog > 0 {
		every = min(every, dog/3)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	ready, said := false, time.Time{}
	for {
		s := r.Stats()
		message := ""
		if s.Ready && !ready {
			ready, said = true, time.Time{} // how it is now is another matter
			message = daemon.SdNotifyReady + "\n"
		}
		if dog > 0 && r.Alive() {
			message += daemon.SdNotifyWatchdog + "\n"
		}
		if time.Since(said) > statusEvery {
			said = time.Now()
			message += "STATUS=" + r.Describe() + "\n"
		}
		if message != "" {
			_, _ = daemon.SdNotify(false, message) // nobody to tell is no trouble
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
			return
		}
	}
}
