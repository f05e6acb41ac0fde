package cron

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/keys"
)

// RunNow asks for a run of a job, and returns what it will be called. by is who
// asks. Of requests with the same id only the first counts, as long as the record
// of its run is kept; without an id it gets one. The run is not to be started
// after expires, which without one is the job's deadline from now. Errors:
// ErrNoJob.
func (s Store) RunNow(ctx context.Context, job, id, by string, expires time.Time) (keys.RunID, error) {
	j, err := s.Job(ctx, job)
	if err != nil {
		return keys.RunID{}, err
	}
	now, err := s.now(ctx)
	if err != nil {
		return keys.RunID{}, err
	}
	r := Request{Job: job, ID: id, Action: RunNow, By: by, At: now, Expires: expires}
	if expires.IsZero() {
		r.Expires = r.At.Add(j.Lateness())
	}
	if id == "" {
		r.ID = s.newID()
		_, err := s.ask(ctx, r)
		return r.RunID(), err
	}
	for range attempts {
		before, rev, err := s.asked(ctx, job, id)
		if err != nil || before != (keys.RunID{}) {
			return before, err
		}
		// Meanwhile it may have been asked for, started, and forgotten as a request.
		if ok, err := s.ask(ctx, r, nothingNewer(s.Keys.Runs(job), rev)); err != nil || ok {
			return r.RunID(), err
		}
	}
	return keys.RunID{}, &Conflict{job}
}

// asked returns the run that was asked for with this id, if any, and as of which
// revision.
func (s Store) asked(ctx context.Context, job, id string) (keys.RunID, int64, error) {
	r, err := s.txn(ctx, nil, []clientv3.Op{
		clientv3.OpGet(s.Keys.Request(job, id)),
		clientv3.OpGet(s.Keys.Runs(job), clientv3.WithPrefix(), clientv3.WithKeysOnly()),
	}, nil)
	if err != nil {
		return keys.RunID{}, 0, err
	}
	for _, kv := range found(r, 0) {
		if before, ok := s.request(kv); ok {
			return before.RunID(), 0, nil
		}
	}
	for _, kv := range found(r, 1) {
		e, ok := s.Keys.Entry(string(kv.Key))
		if request, manual := e.Run.Request(); ok && manual && request == id {
			return e.Run, 0, nil
		}
	}
	return keys.RunID{}, r.Header.Revision, nil
}

// ask puts a request for a run, if the job exists and more holds; false: that it
// does not, or that somebody else has asked with that id. That it was put before is no
// matter.
func (s Store) ask(ctx context.Context, r Request, more ...clientv3.Cmp) (bool, error) {
	job, req, run := s.Keys.Job(r.Job), s.Keys.Request(r.Job, r.ID), s.Keys.Run(r.RunID())
	t, err := s.txn(ctx, append(more, exists(job), absent(req), absent(run)),
		[]clientv3.Op{clientv3.OpPut(req, r.Encode())},
		[]clientv3.Op{clientv3.OpGet(job, clientv3.WithKeysOnly()), clientv3.OpGet(req), clientv3.OpGet(run, clientv3.WithKeysOnly())})
	switch {
	case err != nil || t.Succeeded:
		return true, err
	case len(found(t, 0)) == 0:
		return false, fmt.Errorf("%s: %w", r.Job, ErrNoJob)
	}
	for _, kv := range found(t, 1) {
		return string(kv.Value) == r.Encode(), nil // else it is another's with that id
	}
	return len(found(t, 2)) > 0, nil
}

// Withdraw takes a request for a run back, as long as no runner has claimed it;
// false: one has, or it was not there.
func (s Store) Withdraw(ctx context.Context, id keys.RunID) (bool, error) {
	request, manual := id.Request()
	if !manual {
		return false, nil
	}
	key := s.Keys.Request(id.Job, request)
	r, err := s.txn(ctx, []clientv3.Cmp{exists(key)}, []clientv3.Op{clientv3.OpDelete(key)}, nil)
	return err == nil && r.Succeeded, err
}

// Kill asks for the end of a run that is in progress, or waits to be tried again;
// by is who asks. Errors: ErrNotRunning, ErrNoRun.
func (s Store) Kill(ctx context.Context, id keys.RunID, by string) error {
	markers := []string{s.Keys.Act(id), s.Keys.Retry(id)}
	req := Request{Job: id.Job, ID: s.newID(), Action: Kill, Run: id.ID(), By: by, At: s.wall()}
	put := clientv3.OpPut(s.Keys.Request(id.Job, req.ID), req.Encode())
	r, err := s.txn(ctx, []clientv3.Cmp{exists(markers[0])}, []clientv3.Op{put}, []clientv3.Op{
		clientv3.OpTxn([]clientv3.Cmp{exists(markers[1])}, []clientv3.Op{put}, nil),
		clientv3.OpGet(s.Keys.Run(id), clientv3.WithKeysOnly()),
	})
	switch {
	case err != nil:
		return err
	case r.Succeeded, r.Responses[0].GetResponseTxn().Succeeded:
		return nil
	case len(found(r, 1)) == 0:
		return fmt.Errorf("%s: %w", id, ErrNoRun)
	}
	return fmt.Errorf("%s: %w", id, ErrNotRunning)
}

// Submit adds a job of one run, and asks for that run, which may start whenever a
// runner is free for it, or within the job's deadline, if it has one; by is who asks. The job must have a KeepFor, and gets a
// name that sorts by time, if it has none, and the schedule @manual. Errors:
// ErrExists.
func (s Store) Submit(ctx context.Context, j *Job, by string) (keys.RunID, error) {
	now, err := s.now(ctx)
	if err != nil {
		return keys.RunID{}, err
	}
	if j.Name == "" {
		j.Name = NewName(now)
	}
	j.Schedule = "@manual"
	j.stamp(nil, now, s.By)
	value, err := j.Encode()
	if err != nil {
		return keys.RunID{}, err
	}
	r := Request{Job: j.Name, ID: s.newID(), Action: RunNow, By: by, At: now}
	if j.Deadline > 0 {
		r.Expires = now.Add(j.Lateness())
	}
	put, err := s.swap(ctx, s.Keys.Job(j.Name), Absent, value,
		s.lowWater(j.Name, now), clientv3.OpPut(s.Keys.Request(r.Job, r.ID), r.Encode()))
	if err == nil && put == 0 {
		err = fmt.Errorf("%s: %w", j.Name, ErrExists)
	}
	return r.RunID(), err
}

// NewName names a job that is submitted at t: submit- and 16 characters, which
// sort by the millisecond and are random beyond it.
func NewName(t time.Time) string {
	var b [10]byte
	binary.BigEndian.PutUint64(b[:], uint64(t.UnixMilli())<<16)
	_, _ = rand.Read(b[6:]) // which never fails
	return "submit-" + strings.ToLower(base32.HexEncoding.EncodeToString(b[:]))
}

// newID returns 8 random hexadecimal digits.
func newID() string {
	var b [4]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
