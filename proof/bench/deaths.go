package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/proof/report"
)

const (
	// youth is the time in which a conch starts, connects and joins.
	youth = 30 * time.Millisecond
	// enough is how long whatever clears up after the dead may take.
	enough = time.Second
	// soon is what is promised of the next start, as a median.
	soon = 100.0 // ms
)

// death is a way to be killed.
type death struct {
	who    string
	c      contender
	hold   bool // without a command
	behind int  // how many stand in front of the one that is killed
	young  bool // ... in its first milliseconds, alone
}

func (w *world) allDeaths() []death {
	elect, sema := w.conch(), w.sema()
	spread := w.semaWith("--max", "2", "--spread")
	spread.dir = func(lock string) string { return space.Pool(lock).Hosts } // where the next one waits
	return []death{
		{who: "the holder", c: elect},
		{who: "the first who waits", c: elect, behind: 1},
		{who: "the second", c: elect, behind: 2},
		{who: "the third", c: elect, behind: 3},
		{who: "--hold", c: elect, hold: true},
		{who: "conch-sema", c: sema},
		{who: "conch-sema --spread", c: spread},
		{who: "conch-sema --weight", c: w.semaWith("--max", "3", "--weight", "2")},
		{who: "conch-elect in its first 30 ms", c: elect, young: true},
		{who: "conch-sema in its first 30 ms", c: sema, young: true},
	}
}

// semaWith is conch-sema with these flags.
func (w *world) semaWith(flags ...string) contender {
	c := w.sema()
	c.argv = func(endpoint, lock string) []string {
		return append([]string{filepath.Join(w.bin, "conch-sema"), "--endpoints", endpoint, "--prefix", string(space), lock}, flags...)
	}
	return c
}

// deaths measures, for each way to be killed, from the SIGKILL to the start of the
// next command, and to when nothing is left in etcd, where everybody else has ended as
// well. Who is killed in line is not the next: there it counts from when the turn was
// free of those in front.
func (w *world) deaths(ctx context.Context) (report.Table, error) {
	var t report.Table
	for _, d := range w.allDeaths() {
		var next, gone sample
		left := 0
		for i := range w.kills {
			one := w.dies
			if d.young {
				one = w.diesYoung
			}
			r, err := one(ctx, d, i)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", d.who, err)
			}
			next, gone, left = append(next, r.next), append(gone, r.gone), left+r.left
		}
		t = append(t, report.Row{
			Figure: fmt.Sprintf("next start after SIGKILL of %s, %d times", d.who, w.kills),
			Conch:  next.in(" ms"),
			Ratio:  fmt.Sprintf("nothing in etcd after %s, %d left", gone.in(" ms"), left),
			Bound:  fmt.Sprintf("median %.0f ms, nothing left after %v", soon, enough),
			OK:     next.median() <= soon && left == 0,
		})
	}
	return t, nil
}

// dying is what came of one death.
type dying struct {
	next, gone float64 // milliseconds
	left       int     // keys and leases
}

// scene is what a death is measured by.
type scene struct {
	before  []clientv3.LeaseID // that are no concern of it
	gate    *gate              // that ends the first command
	command []string           // of the others, which writes to ...
	log     string
}

func (w *world) scene(ctx context.Context) (s scene, err error) {
	if s.before, err = w.leases(ctx); err != nil {
		return s, err
	}
	s.command, s.log = w.stamp(0)
	s.gate, err = w.gate()
	return s, err
}

// dies kills one of a line in which one more stands behind it.
func (w *world) dies(ctx context.Context, d death, _ int) (dying, error) {
	const name = "death"
	s, err := w.scene(ctx)
	if err != nil {
		return dying{}, err
	}
	defer s.gate.close()
	line := []*exec.Cmd{d.c.command(w.srv.Endpoint(), name, s.gate.command()...)}
	if d.hold {
		line[0] = d.c.command(w.srv.Endpoint(), name, "--hold")
		line[0].Stdin = s.gate.fifo // which does not end
	}
	for range d.behind + 1 {
		line = append(line, d.c.command(w.srv.Endpoint(), name, s.command...))
	}
	for i, cmd := range line {
		if err := cmd.Start(); err != nil {
			return dying{}, err
		}
		if err := w.await(ctx, d.c.dir(name), i+1); err != nil {
			return dying{}, err
		}
	}
	time.Sleep(rand.N(youth))
	struck, err := kill(line[d.behind])
	if err != nil {
		return dying{}, err
	}
	free := struck
	if d.behind > 0 {
		s.gate.open()
		free = now()
	}
	for _, cmd := range slices.Delete(line, d.behind, d.behind+1) {
		if err := finish(cmd); err != nil {
			return dying{}, err
		}
	}
	r := dying{}
	if r.gone, r.left, err = w.nothing(ctx, s.before, struck); err != nil {
		return dying{}, err
	}
	all, err := spans(s.log, max(1, d.behind)) // of those who were not killed, but for the first, which has no stamp
	if err != nil {
		return dying{}, err
	}
	if d.behind > 1 {
		free = all[d.behind-2].ended
	}
	r.next = ms(all[len(all)-1].began - max(struck, free))
	return r, nil
}

// diesYoung kills one that has just been started, and starts another at once.
func (w *world) diesYoung(ctx context.Context, d death, i int) (dying, error) {
	const name = "young"
	s, err := w.scene(ctx)
	if err != nil {
		return dying{}, err
	}
	defer s.gate.close()
	first := d.c.command(w.srv.Endpoint(), name, s.gate.command()...)
	second := d.c.command(w.srv.Endpoint(), name, s.command...)
	if err := first.Start(); err != nil {
		return dying{}, err
	}
	time.Sleep(youth * time.Duration(i) / time.Duration(w.kills))
	struck, err := kill(first)
	if err != nil {
		return dying{}, err
	}
	if err := second.Run(); err != nil {
		return dying{}, err
	}
	r := dying{}
	if r.gone, r.left, err = w.nothing(ctx, s.before, struck); err != nil {
		return dying{}, err
	}
	all, err := spans(s.log, 1)
	if err != nil {
		return dying{}, err
	}
	r.next = ms(all[0].began - struck)
	return r, nil
}

// kill kills cmd and buries it.
func kill(cmd *exec.Cmd) (struck int64, _ error) {
	struck = now()
	if err := cmd.Process.Kill(); err != nil {
		return 0, err
	}
	_ = cmd.Wait() // killed
	return struck, nil
}

// nothing waits until there are no keys of locks in etcd, and no leases but those of
// before, and returns how long that took from when somebody was struck. What is left
// all the same is counted and taken away, and has taken as long as is waited for.
func (w *world) nothing(ctx context.Context, before []clientv3.LeaseID, struck int64) (took float64, left int, _ error) {
	for {
		keys, leases, err := w.left(ctx, before)
		if err != nil {
			return 0, 0, err
		}
		took = ms(now() - struck)
		left = len(keys) + len(leases)
		if left == 0 {
			return took, 0, nil
		}
		if took < ms(int64(enough)) {
			time.Sleep(2 * time.Millisecond)
			continue
		}
		for _, key := range keys {
			if _, err := w.client.Delete(ctx, key); err != nil {
				return 0, 0, err
			}
		}
		for _, id := range leases {
			_, _ = w.client.Revoke(ctx, id) // or it has ended just now
		}
		return took, left, nil
	}
}

// left lists keys of locks, and the leases that were not there before.
func (w *world) left(ctx context.Context, before []clientv3.LeaseID) (keys []string, leases []clientv3.LeaseID, _ error) {
	for _, part := range []string{"/elect", "/sema"} {
		r, err := w.client.Get(ctx, string(space)+part, clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil {
			return nil, nil, err
		}
		for _, kv := range r.Kvs {
			keys = append(keys, string(kv.Key))
		}
	}
	all, err := w.leases(ctx)
	for _, id := range all {
		if !slices.Contains(before, id) {
			leases = append(leases, id)
		}
	}
	return keys, leases, err
}

func (w *world) leases(ctx context.Context) (all []clientv3.LeaseID, _ error) {
	r, err := w.client.Leases(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range r.Leases {
		all = append(all, l.ID)
	}
	return all, nil
}
