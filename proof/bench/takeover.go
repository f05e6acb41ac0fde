package main

import (
	"context"
	"fmt"
	"os/exec"
	"time"

	"conch/proof/report"
)

// takeOver measures from the SIGKILL of a supervisor to the start of the next
// command, and of it how long the kill takes: until the old command is dead.
func (w *world) takeOver(ctx context.Context) (report.Table, error) {
	stop := w.puts(ctx)
	var took, kill sample
	for range 30 {
		t, k, err := w.killed(ctx, w.conch())
		if err != nil {
			return nil, err
		}
		took, kill = append(took, t), append(kill, k)
	}
	put, err := stop()
	if err != nil {
		return nil, err
	}
	lock, err := w.lapsed(ctx)
	if err != nil {
		return nil, err
	}
	n := (took.median() - kill.median()) / put.median()
	return report.Table{
		{Figure: "SIGKILL to a dead tree", Conch: kill.in(" ms"), Peers: "etcdctl lock: the command lives on"},
		{
			Figure: "take-over after SIGKILL",
			Conch:  took.in(" ms"),
			Peers:  fmt.Sprintf("etcdctl lock --ttl 2 %s, a put %s", lock.in(" ms"), put.in(" ms")),
			Ratio:  fmt.Sprintf("%.2f puts and the kill", n),
			Bound:  "10 puts and the kill",
			OK:     n <= 10,
		},
	}, nil
}

// killed kills the first of two.
func (w *world) killed(ctx context.Context, c contender) (took, kill float64, _ error) {
	gate, err := w.gate()
	if err != nil {
		return 0, 0, err
	}
	defer gate.close()
	first, second, log, err := w.two(ctx, c, gate)
	if err != nil {
		return 0, 0, err
	}
	time.Sleep(work) // so that the second is at rest
	struck := now()
	if err := first.Process.Kill(); err != nil {
		return 0, 0, err
	}
	dead, err := gate.dead()
	if err != nil {
		return 0, 0, err
	}
	_ = first.Wait() // killed
	if err := finish(second); err != nil {
		return 0, 0, err
	}
	s, err := spans(log, 1)
	if err != nil {
		return 0, 0, err
	}
	return ms(s[0].began - struck), ms(dead - struck), nil
}

// lapsed is the same for etcdctl, whose lease has to lapse and whose command
// lives on.
func (w *world) lapsed(ctx context.Context) (sample, error) {
	var all sample
	for range 3 {
		gate, err := w.gate()
		if err != nil {
			return nil, err
		}
		defer gate.close()
		first, second, log, err := w.two(ctx, w.lock("--ttl", "2"), gate)
		if err != nil {
			return nil, err
		}
		struck := now()
		if err := first.Process.Kill(); err != nil {
			return nil, err
		}
		_ = first.Wait() // killed
		if err := finish(second); err != nil {
			return nil, err
		}
		s, err := spans(log, 1)
		if err != nil {
			return nil, err
		}
		all = append(all, ms(s[0].began-struck))
	}
	return all, nil
}

// two starts one that holds while the gate is shut, and one behind it that
// stamps the log.
func (w *world) two(ctx context.Context, c contender, g *gate) (first, second *exec.Cmd, log string, _ error) {
	const name = "two"
	dir := c.dir(name)
	command, log := w.stamp(0)
	first = c.command(w.srv.Endpoint(), name, g.command()...)
	second = c.command(w.srv.Endpoint(), name, command...)
	for i, cmd := range []*exec.Cmd{first, second} {
		if err := cmd.Start(); err != nil {
			return nil, nil, "", err
		}
		if err := w.await(ctx, dir, i+1); err != nil {
			return nil, nil, "", err
		}
	}
	return first, second, log, nil
}
