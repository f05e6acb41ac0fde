package cron

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/keys"
)

// oneInstant is how many more runs are read than are wanted: those of one instant
// lie by their places, or by ids that say nothing, and not by when they came.
const oneInstant = 100

// History returns the latest runs of a job, and stretches of its ticks that nobody has
// run, newest first, at most limit of them; 0: all. One whose runner is gone is Adrift. A job that does not exist has none.
func (s Store) History(ctx context.Context, name string, limit int) ([]*Run, error) {
	read := 0
	if limit > 0 {
		read = limit + oneInstant
	}
	r, alive, err := s.withNodes(ctx, clientv3.OpGet(s.Keys.Runs(name), clientv3.WithPrefix(), clientv3.WithLimit(int64(read)),
		clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend)))
	if err != nil {
		return nil, err
	}
	var runs []*Run
	claimed := map[*Run]int64{}
	for _, kv := range r {
		if run, ok := s.run(kv); ok {
			run.State = run.State.with(alive[run.Node])
			runs = append(runs, run)
			claimed[run] = kv.CreateRevision
		}
	}
	slices.SortFunc(runs, func(a, b *Run) int { return cmp.Or(b.Tick.Compare(a.Tick), cmp.Compare(claimed[b], claimed[a])) })
	if limit > 0 && len(runs) > limit {
		runs = runs[:limit]
	}
	return runs, nil
}

// Latest returns the latest run of a job; nil: there is none.
func (s Store) Latest(ctx context.Context, name string) (*Run, error) {
	runs, err := s.History(ctx, name, 0)
	if i := slices.IndexFunc(runs, func(r *Run) bool { return !r.Ticks() }); err == nil && i >= 0 {
		return runs[i], nil
	}
	return nil, err
}

// RunOf reads the record of a run. Errors: ErrNoRun.
func (s Store) RunOf(ctx context.Context, id keys.RunID) (*Run, error) {
	r, alive, err := s.withNodes(ctx, clientv3.OpGet(s.Keys.Run(id)))
	if err != nil {
		return nil, err
	}
	if len(r) == 0 {
		return nil, fmt.Errorf("%s: %w", id, ErrNoRun)
	}
	run, err := DecodeRun(id, r[0].Value, r[0].ModRevision)
	if err == nil {
		run.State = run.State.with(alive[run.Node])
	}
	return run, err
}

// withNodes reads something, and at the same revision which runners there are.
func (s Store) withNodes(ctx context.Context, get clientv3.Op) ([]*mvccpb.KeyValue, map[string]bool, error) {
	r, err := s.txn(ctx, nil, []clientv3.Op{get, clientv3.OpGet(s.Keys.Nodes(), clientv3.WithPrefix(), clientv3.WithKeysOnly())}, nil)
	if err != nil {
		return nil, nil, err
	}
	alive := map[string]bool{}
	for _, kv := range found(r, 1) {
		if e, ok := s.Keys.Entry(string(kv.Key)); ok {
			alive[e.Name] = true
		}
	}
	return found(r, 0), alive, nil
}

// Ambiguous means that a text is of several runs of a job.
type Ambiguous struct {
	Job, Text string
	Runs      []keys.RunID
}

func (e *Ambiguous) Error() string {
	return fmt.Sprintf("%s: %q is of %d runs", e.Job, e.Text, len(e.Runs))
}

// Find returns the run of a job that text means: its id, or that of the request for it,
// or its tick (in seconds, or as RFC 3339 has it), or the beginning of either id, if that
// is of one run alone. An id of none that is remembered, or was asked for, is itself:
// who wants that run is told. Errors: ErrNoRun, *Ambiguous.
func (s Store) Find(ctx context.Context, job, text string) (keys.RunID, error) {
	r, err := s.txn(ctx, nil, []clientv3.Op{
		clientv3.OpGet(s.Keys.RequestsOf(job), clientv3.WithPrefix()),
		clientv3.OpGet(s.Keys.Runs(job), clientv3.WithPrefix(), clientv3.WithKeysOnly()),
	}, nil)
	if err != nil {
		return keys.RunID{}, err
	}
	var all []keys.RunID
	for _, kv := range found(r, 0) {
		if q, ok := s.request(kv); ok && q.Action == RunNow {
			all = append(all, q.RunID())
		}
	}
	for _, kv := range found(r, 1) {
		if e, ok := s.Keys.Entry(string(kv.Key)); ok && !e.Run.Ticks() {
			all = append(all, e.Run)
		}
	}
	for _, means := range readings(job, text) {
		runs := slices.DeleteFunc(slices.Clone(all), func(id keys.RunID) bool { return !means(id) })
		switch len(runs) {
		case 0:
		case 1:
			return runs[0], nil
		default:
			return keys.RunID{}, &Ambiguous{job, text, runs}
		}
	}
	if id, ok := keys.RunOfID(job, text); ok {
		return id, nil
	}
	return keys.RunID{}, fmt.Errorf("%s/%s: %w", job, text, ErrNoRun)
}

// readings are what a text can say of a run, the surest first.
func readings(job, text string) []func(keys.RunID) bool {
	whole, isID := keys.RunOfID(job, text)
	tick, err := time.Parse(time.RFC3339, text)
	if n, bad := strconv.ParseInt(text, 10, 64); bad == nil {
		tick, err = time.Unix(n, 0), nil
	}
	return []func(keys.RunID) bool{
		func(id keys.RunID) bool { return isID && id.Is(whole) },
		func(id keys.RunID) bool { request, manual := id.Request(); return manual && request == text },
		func(id keys.RunID) bool { return err == nil && id.Tick.Equal(tick) },
		func(id keys.RunID) bool {
			request, _ := id.Request()
			return strings.HasPrefix(id.ID(), text) || strings.HasPrefix(request, text)
		},
	}
}

func (s Store) run(kv *mvccpb.KeyValue) (*Run, bool) {
	e, ok := s.Keys.Entry(string(kv.Key))
	if !ok {
		return nil, false
	}
	r, err := DecodeRun(e.Run, kv.Value, kv.ModRevision)
	return r, err == nil
}

const (
	// lookAgain is after how long Wait reads again what it watches.
	lookAgain = 10 * time.Second
	// grace is how much later than it may be started a run may be seen to have
	// been: another clock says when that is.
	grace = 2 * time.Second
)

// Wait waits until a run is over, and returns its record. Errors: ErrNoJob,
// ErrNoRun, ErrRemoved; and ErrNotStarted when no runner has claimed it in time,
// after which none will.
func (s Store) Wait(ctx context.Context, id keys.RunID) (*Run, error) {
	for seen := false; ; seen = true {
		w, err := s.look(ctx, id)
		if err != nil {
			return nil, err
		}
		if w.run != nil && w.run.State.Final() {
			return w.run, nil
		}
		if w.run == nil {
			late, err := w.unstarted(seen)
			if err != nil {
				return nil, err
			}
			if late <= 0 { // if it cannot be withdrawn, it has been claimed just now
				if ok, err := s.Withdraw(ctx, id); err != nil || ok {
					return nil, orNotStarted(err, id)
				}
				continue
			}
		}
		s.watch(ctx, id, w)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

func orNotStarted(err error, id keys.RunID) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", id, ErrNotStarted)
}

// awaited is what is known at one revision of a run that somebody waits for.
type awaited struct {
	id      keys.RunID
	rev     int64
	run     *Run     // nil: not claimed, or gone
	request *Request // nil: none, or claimed
	job     bool     // it exists
}

func (s Store) look(ctx context.Context, id keys.RunID) (awaited, error) {
	request, manual := id.Request()
	r, err := s.txn(ctx, nil, []clientv3.Op{
		clientv3.OpGet(s.Keys.Run(id)), clientv3.OpGet(s.Keys.Job(id.Job), clientv3.WithKeysOnly()),
		clientv3.OpGet(s.Keys.Request(id.Job, request)),
	}, nil)
	if err != nil {
		return awaited{}, err
	}
	w := awaited{id: id, rev: r.Header.Revision, job: len(found(r, 1)) > 0}
	for _, kv := range found(r, 0) {
		if w.run, err = DecodeRun(id, kv.Value, kv.ModRevision); err != nil {
			return awaited{}, err
		}
	}
	for _, kv := range found(r, 2) {
		if q, ok := s.request(kv); ok && manual {
			w.request = &q
		}
	}
	return w, nil
}

// unstarted returns for how long a run that is not claimed may yet be, or why it
// cannot be waited for. seen: it was there before.
func (w awaited) unstarted(seen bool) (time.Duration, error) {
	_, manual := w.id.Request()
	switch {
	case !w.job && !seen:
		return 0, fmt.Errorf("%s: %w", w.id.Job, ErrNoJob)
	case !w.job:
		return 0, fmt.Errorf("%s: %w", w.id, ErrRemoved)
	case manual && w.request == nil && seen:
		return 0, fmt.Errorf("%s: %w", w.id, ErrNotStarted)
	case manual && w.request == nil:
		return 0, fmt.Errorf("%s: %w", w.id, ErrNoRun)
	case !manual && seen:
		return 0, fmt.Errorf("%s: %w", w.id, ErrRemoved)
	case !manual:
		return 0, fmt.Errorf("%s: %w", w.id, ErrNoRun)
	case w.request.Expires.IsZero():
		return lookAgain, nil
	}
	return time.Until(w.request.Expires.Add(grace)), nil
}

// watch returns when the run's record or its request changes, and at the latest
// when it is time to look again.
func (s Store) watch(ctx context.Context, id keys.RunID, w awaited) {
	until := lookAgain
	if w.run == nil && w.request != nil && !w.request.Expires.IsZero() {
		until = min(until, time.Until(w.request.Expires.Add(grace)))
	}
	ctx, cancel := context.WithTimeout(ctx, until)
	defer cancel()
	m, moved := s.C.Preferred()
	record := m.Watch(ctx, s.Keys.Run(id), clientv3.WithRev(w.rev+1))
	var asked clientv3.WatchChan
	if w.request != nil {
		asked = m.Watch(ctx, s.Keys.Request(id.Job, w.request.ID), clientv3.WithRev(w.rev+1))
	}
	ok := true
	select {
	case _, ok = <-record:
	case _, ok = <-asked:
	case <-moved:
	}
	if !ok { // it broke: not at once again
		pause := time.NewTimer(min(until, 100*time.Millisecond))
		defer pause.Stop()
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
}
