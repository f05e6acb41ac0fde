package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"conch/pkg/etcdtest"
	"conch/proof/report"
)

// start measures whole processes: from before the fork to after the wait.
func (w *world) start(context.Context) (report.Table, error) {
	all := []contender{w.conch(), w.lock(), w.bare(), w.flock(), w.sema()}
	took := make([]sample, len(all))
	const warm = 3 // of each, not counted: pages of files, and etcd's first keys
	for i := range w.pairs + warm {
		for _, k := range rand.Perm(len(all)) { // nobody always comes after the same one
			began := now()
			cmd := all[k].command(w.srv.Endpoint(), "start", "true")
			if err := cmd.Start(); err != nil {
				return nil, err
			}
			if err := finish(cmd); err != nil {
				return nil, err
			}
			if i >= warm {
				took[k] = append(took[k], ms(now()-began))
			}
		}
	}
	conch, lock, bare := took[0].median(), took[1].median(), took[2].median()
	bound := max(0.70*lock, 1.10*bare)
	return report.Table{{
		Figure: "conch-elect x true",
		Conch:  took[0].in(" ms"),
		Peers:  fmt.Sprintf("etcdctl lock %s, bare %s, flock %s", took[1].in(" ms"), took[2].in(" ms"), took[3].in(" ms")),
		Ratio:  fmt.Sprintf("%.2f of etcdctl's, %.2f of bare's", conch/lock, conch/bare),
		Bound:  fmt.Sprintf("0.70 of etcdctl's or 1.10 of bare's: %.2f ms", bound),
		OK:     conch <= bound,
	}, {
		Figure: "conch-sema x --max 1 true",
		Conch:  took[4].in(" ms"),
		Ratio:  fmt.Sprintf("%.2f of conch-elect's", took[4].median()/conch),
		Bound:  "1.05 of conch-elect's",
		OK:     took[4].median() <= 1.05*conch,
	}}, nil
}

// trip is a round trip of the road in trips: so long that what the machine
// itself takes never adds up to one.
const trip = 100 * time.Millisecond

// trips counts round trips to the child, and to the end, by the clock, through a
// proxy that delays each direction. The proxy answers the TCP connect itself.
func (w *world) trips(context.Context) (report.Table, error) {
	road, err := etcdtest.NewProxy(w.srv.Addr())
	if err != nil {
		return nil, err
	}
	defer road.Close()
	road.Delay(trip / 2)
	conch, whole, err := w.count(w.conch(), "http://"+road.Addr(), 25)
	if err != nil {
		return nil, err
	}
	lock, lockWhole, err := w.count(w.lock(), "http://"+road.Addr(), 10)
	if err != nil {
		return nil, err
	}
	return report.Table{{
		Figure: "round trips to the child",
		Conch:  conch.in(""),
		Peers:  "etcdctl lock " + lock.in(""),
		Bound:  "median 2, never over 3",
		OK:     conch.median() <= 2 && conch.max() <= 3,
	}, {
		Figure: "round trips in all",
		Conch:  whole.in(""),
		Peers:  "etcdctl lock " + lockWhole.in(""),
		Bound:  "never over 4",
		OK:     whole.max() <= 4,
	}}, nil
}

// count runs c so often over a long road, and counts to the child and to the end.
func (w *world) count(c contender, endpoint string, runs int) (child, whole sample, _ error) {
	for range runs {
		command, log := w.stamp(0)
		began := now()
		cmd := c.command(endpoint, "trips", command...)
		if err := cmd.Start(); err != nil {
			return nil, nil, err
		}
		if err := finish(cmd); err != nil {
			return nil, nil, err
		}
		ended := now()
		s, err := spans(log, 1)
		if err != nil {
			return nil, nil, err
		}
		child = append(child, float64((s[0].began-began)/int64(trip)))
		whole = append(whole, float64((ended-began)/int64(trip)))
	}
	return child, whole, nil
}
