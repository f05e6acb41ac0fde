package main

import (
	"context"
	"fmt"
	"os/exec"
	"sync"
	"time"

	"conch/pkg/etcd"
	"conch/pkg/hold"
	"conch/proof/report"
)

// work is how long each command of a line takes, so that hand-overs come singly.
const work = 100 * time.Millisecond

// handOver measures from the end of one command to the start of the next, with
// two and with two hundred waiters.
func (w *world) handOver(ctx context.Context) (report.Table, error) {
	stop := w.puts(ctx)
	exec, err := w.execs(40)
	if err != nil {
		return nil, err
	}
	few, lock, err := w.fewWait(ctx, w.conch())
	if err != nil {
		return nil, err
	}
	many, err := w.manyWait(ctx, w.conch())
	if err != nil {
		return nil, err
	}
	semaFew, _, err := w.fewWait(ctx, w.sema())
	if err != nil {
		return nil, err
	}
	semaMany, err := w.manyWait(ctx, w.sema())
	if err != nil {
		return nil, err
	}
	put, err := stop()
	if err != nil {
		return nil, err
	}
	two := inPuts("hand-over, 2 waiters", few, put, exec)
	two.Peers = "etcdctl lock " + lock.in(" ms")
	return report.Table{
		{Figure: "an etcd put", Peers: put.in(" ms")},
		{Figure: "fork and exec of the command", Peers: exec.in(" ms")},
		two,
		inPuts("hand-over, 200 waiters", many, put, exec),
		flat("hand-over, 200 waiters to 2", few, many),
		{Figure: "conch-sema: hand-over, 2 waiters", Conch: semaFew.in(" ms")},
		{Figure: "conch-sema: hand-over, 200 waiters", Conch: semaMany.in(" ms")},
		flat("conch-sema: 200 waiters to 2", semaFew, semaMany),
	}, nil
}

// flat is how much of a thing grows with the number of those who wait.
func flat(figure string, few, many sample) report.Row {
	return report.Row{
		Figure: figure,
		Ratio:  fmt.Sprintf("%.2f", many.median()/few.median()),
		Bound:  "flat: 1.25",
		OK:     many.median() <= 1.25*few.median(),
	}
}

// inPuts is a hand-over in units of puts. What it takes any parent to start the
// command is in the time, but not in the count: it has nothing to do with etcd,
// and a row of its own.
func inPuts(figure string, took, put, exec sample) report.Row {
	n := (took.median() - exec.median()) / put.median()
	return report.Row{
		Figure: figure,
		Conch:  took.in(" ms"),
		Ratio:  fmt.Sprintf("%.2f puts and the exec", n),
		Bound:  "3 puts and the exec",
		OK:     n <= 3,
	}
}

// execs measures from before the fork of a command to its first look at the
// clock, for a parent that does nothing else.
func (w *world) execs(n int) (sample, error) {
	command, log := w.stamp(0)
	var began []int64
	for range n {
		cmd := exec.Command(command[0], command[1:]...)
		time.Sleep(work)
		began = append(began, now())
		if err := cmd.Run(); err != nil {
			return nil, err
		}
	}
	all, err := spans(log, n)
	if err != nil {
		return nil, err
	}
	var s sample
	for i := range all {
		s = append(s, ms(all[i].began-began[i]))
	}
	return s, nil
}

// fewWait measures the first hand-over of lines of three, c's and etcdctl's in
// turns.
func (w *world) fewWait(ctx context.Context, c contender) (conch, lock sample, _ error) {
	for i := range 30 {
		took, err := w.line(ctx, c, 3, 0)
		if err != nil {
			return nil, nil, err
		}
		conch = append(conch, took[0])
		if i%2 == 1 {
			continue
		}
		if took, err = w.line(ctx, w.lock(), 3, 0); err != nil {
			return nil, nil, err
		}
		lock = append(lock, took[0])
	}
	return conch, lock, nil
}

// manyWait measures hand-overs with two hundred or a few more waiting.
func (w *world) manyWait(ctx context.Context, c contender) (sample, error) {
	var all sample
	for range 3 {
		took, err := w.line(ctx, c, 11, 200)
		if err != nil {
			return nil, err
		}
		all = append(all, took...)
	}
	return all, nil
}

// line lets the command pass through n processes of c's with a crowd behind
// them, and returns how long each hand-over took.
func (w *world) line(ctx context.Context, c contender, n, behind int) (sample, error) {
	const name = "line"
	dir := c.dir(name)
	gate, err := w.gate()
	if err != nil {
		return nil, err
	}
	defer gate.close()
	first := c.command(w.srv.Endpoint(), name, gate.command()...)
	command, log := w.stamp(work)
	running := []*exec.Cmd{first}
	for range n {
		running = append(running, c.command(w.srv.Endpoint(), name, command...))
	}
	for i, cmd := range running {
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		if err := w.await(ctx, dir, i+1); err != nil {
			return nil, err
		}
	}
	disperse, err := w.crowd(ctx, c, name, behind)
	if err != nil {
		return nil, err
	}
	defer disperse()
	if err := w.await(ctx, dir, 1+n+behind); err != nil {
		return nil, err
	}
	gate.open()
	for _, cmd := range running {
		if err := finish(cmd); err != nil {
			return nil, err
		}
	}
	return gaps(log, n)
}

// gaps are the times between the end of one of n commands and the beginning of
// the next.
func gaps(log string, n int) (sample, error) {
	all, err := spans(log, n)
	if err != nil {
		return nil, err
	}
	var s sample
	for i := range all[1:] {
		s = append(s, ms(all[i+1].began-all[i].ended))
	}
	return s, nil
}

// crowd puts n candidates in line, and returns what takes them away again. They
// are conch's own, but all in this process and seldom renewed: on two hundred
// machines they would not share one processor with the hand-over, which two
// hundred processes here would. What they cost etcd is the same.
func (w *world) crowd(ctx context.Context, who contender, name string, n int) (disperse func(), _ error) {
	c, err := etcd.Open(ctx, etcd.Config{Endpoints: []string{w.srv.Endpoint()}, DialTimeout: limit})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			turn, err := who.join(ctx, c, name)
			if err == nil { // all that stood in front have gone
				_ = turn.Release(context.WithoutCancel(ctx), hold.After{})
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
		c.Close()
	}, nil
}
