package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"conch/proof/report"
)

// settled is how long a hold gets before it counts as idle.
const settled = 5 * time.Second

// idle watches one hold of conch's and one of etcdctl's at the same time.
func (w *world) idle(ctx context.Context) (report.Table, error) {
	var pids [2]int
	for i, c := range []contender{w.conch(), w.lock()} {
		gate, err := w.gate()
		if err != nil {
			return nil, err
		}
		const name = "idle"
		dir := c.dir(name)
		cmd := c.command(w.srv.Endpoint(), name, gate.command()...)
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		defer func() { // nothing is measured any more
			gate.close()
			_ = cmd.Wait()
		}()
		if err := w.await(ctx, dir, 1); err != nil {
			return nil, err
		}
		pids[i] = cmd.Process.Pid
	}
	time.Sleep(settled)
	size, woken, err := w.watch(pids)
	if err != nil {
		return nil, err
	}
	return report.Table{{
		Figure: "PSS of an idle hold",
		Conch:  size[0].in(" KiB"),
		Peers:  "etcdctl lock " + size[1].in(" KiB"),
		Ratio:  fmt.Sprintf("%.2f", size[0].median()/size[1].median()),
		Bound:  "1 of etcdctl's",
		OK:     size[0].median() <= size[1].median(),
	}, {
		Figure: "wake-ups of it a minute",
		Conch:  number(woken[0]),
		Peers:  "etcdctl lock " + number(woken[1]),
		Ratio:  fmt.Sprintf("%.2f", woken[0]/woken[1]),
	}}, nil
}

// watch returns the size of each hold, once a second, and how often a minute its
// threads went to sleep by themselves.
func (w *world) watch(pids [2]int) (size [2]sample, woken [2]float64, _ error) {
	began := time.Now()
	for time.Since(began) < w.idleFor {
		for i, pid := range pids {
			kib, err := sum(pid, pss)
			if err != nil {
				return size, woken, err
			}
			size[i] = append(size[i], float64(kib))
			n, err := sum(pid, switches)
			if err != nil {
				return size, woken, err
			}
			if len(size[i]) == 1 {
				woken[i] = -float64(n)
			}
			if time.Since(began)+time.Second >= w.idleFor {
				woken[i] = (woken[i] + float64(n)) / time.Since(began).Minutes()
			}
		}
		time.Sleep(time.Second)
	}
	return size, woken, nil
}

// sum adds up what is asked of a supervisor, and of its sentinel if it has one.
// The command is nobody's cost.
func sum(pid int, ask func(pid int) (int, error)) (int, error) {
	total, err := ask(pid)
	if err != nil {
		return 0, err
	}
	all, err := children(pid)
	if err != nil {
		return 0, err
	}
	for _, child := range all {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", child))
		if err != nil {
			return 0, err
		}
		if strings.TrimSpace(string(comm)) == gatekeeper {
			continue
		}
		n, err := ask(child)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// children lists those of every thread.
func children(pid int) ([]int, error) {
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil, err
	}
	var all []int
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil {
			return nil, err
		}
		for text := range strings.FieldsSeq(string(b)) {
			child, err := strconv.Atoi(text)
			if err != nil {
				return nil, err
			}
			all = append(all, child)
		}
	}
	return all, nil
}

func pss(pid int) (int, error) {
	return field(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss:")
}

func switches(pid int) (int, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		return 0, err
	}
	total := 0
	for _, t := range threads {
		n, err := field(t, "voluntary_ctxt_switches:")
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// field reads a number of a file of /proc.
func field(file, name string) (int, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			return strconv.Atoi(f[1])
		}
	}
	return 0, fmt.Errorf("%s: no %s", file, name)
}
