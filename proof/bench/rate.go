package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/v3/concurrency"

	"conch/pkg/etcd"
	"conch/pkg/hold"
	"conch/proof/report"
)

// rateFor is how long acquisitions are counted.
const rateFor = 4 * time.Second

// rate counts how often a second a semaphore with one slot changes hands while so
// many want it, and how many events etcd sends for each time. They are goroutines
// of this process, and join again at once. The peer is the mutex of etcd's client
// library, which has one lease for all its turns: conch has a new one for each.
func (w *world) rate(ctx context.Context) (report.Table, error) {
	var t report.Table
	var events20 float64
	for _, n := range []int{1, 20, 200, 1000} {
		conch, events, err := w.turns(ctx, n, w.semaphore)
		if err != nil {
			return nil, err
		}
		peer, theirs, err := w.turns(ctx, n, w.mutex)
		if err != nil {
			return nil, err
		}
		t = append(t, report.Row{
			Figure: fmt.Sprintf("turns a second, %d want one", n),
			Conch:  number(conch),
			Peers:  "etcd's concurrency.Mutex " + number(peer),
			Ratio:  fmt.Sprintf("%.2f of the mutex's", conch/peer),
		})
		if n == 20 {
			events20 = events
		}
		if n > 20 {
			t = append(t, report.Row{
				Figure: fmt.Sprintf("events sent for a turn, %d want one", n),
				Conch:  number(events),
				Peers:  "the mutex " + number(theirs),
				Ratio:  fmt.Sprintf("%.2f of 20", events/events20),
				Bound:  "flat: 1.25",
				OK:     events <= 1.25*events20,
			})
		}
	}
	return t, nil
}

// once takes a turn and gives it up.
type once func(ctx context.Context) error

// semaphore opens a way to take turns of a semaphore.
func (w *world) semaphore(ctx context.Context, name string) (once, func(), error) {
	c, err := etcd.Open(ctx, etcd.Config{Endpoints: []string{w.srv.Endpoint()}, DialTimeout: limit})
	if err != nil {
		return nil, nil, err
	}
	join := w.sema().join
	return func(ctx context.Context) error {
		turn, err := join(ctx, c, name)
		if err != nil {
			return err
		}
		return turn.Release(context.WithoutCancel(ctx), hold.After{})
	}, c.Close, nil
}

// mutex does the same by the client library. Each of its callers needs a session.
func (w *world) mutex(_ context.Context, name string) (once, func(), error) {
	c, err := w.srv.Client("", "")
	if err != nil {
		return nil, nil, err
	}
	idle := make(chan *concurrency.Session, 1000) // as many as ever want it
	return func(ctx context.Context) error {
		var s *concurrency.Session
		select {
		case s = <-idle:
		default:
			var err error
			if s, err = concurrency.NewSession(c, concurrency.WithTTL(300)); err != nil {
				return err
			}
		}
		defer func() { idle <- s }()
		m := concurrency.NewMutex(s, string(space)+"/mutex/"+name)
		if err := m.Lock(ctx); err != nil {
			return err
		}
		return m.Unlock(context.WithoutCancel(ctx))
	}, func() { _ = c.Close() }, nil
}

// turns has n want turns all the time, and returns how many there were a second,
// and how many events etcd has sent for each.
func (w *world) turns(ctx context.Context, n int, open func(context.Context, string) (once, func(), error)) (rate, events float64, _ error) {
	take, shut, err := open(ctx, fmt.Sprintf("rate-%d", n))
	if err != nil {
		return 0, 0, err
	}
	defer shut()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var had atomic.Int64
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for ctx.Err() == nil && take(ctx) == nil {
				had.Add(1)
			}
		})
	}
	time.Sleep(time.Second + time.Duration(n)*5*time.Millisecond) // until all are in line
	sent, err := w.sent()
	if err != nil {
		return 0, 0, err
	}
	before, began := had.Load(), time.Now()
	time.Sleep(rateFor)
	count, took := float64(had.Load()-before), time.Since(began).Seconds()
	now, err := w.sent()
	cancel()
	wg.Wait()
	if count == 0 {
		return 0, 0, fmt.Errorf("no turn in %v", rateFor)
	}
	return count / took, (now - sent) / count, err
}

// sent is how many events etcd has sent to those who watch.
func (w *world) sent() (float64, error) {
	r, err := http.Get(w.srv.Endpoint() + "/metrics")
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	const metric = "etcd_debugging_mvcc_events_total "
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), metric); ok {
			return strconv.ParseFloat(v, 64)
		}
	}
	return 0, fmt.Errorf("etcd counts no %s: %w", metric, io.ErrUnexpectedEOF)
}
