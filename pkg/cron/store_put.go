package cron

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/keys"
)

// What may be there when a job is put, in the place of a mod-revision.
const (
	Absent   int64 = 0  // it must not exist
	Whatever int64 = -1 // it is overwritten
)

// Put writes the job, which has been checked, if what is there is of mod-revision
// rev; see also Absent and Whatever. It sets Updated, Since and By, and the low water of
// a new job. It returns the job's new mod-revision. Errors: ErrExists, *Conflict.
func (s Store) Put(ctx context.Context, j *Job, rev int64) (int64, error) {
	return s.put(ctx, j, rev, func(*Stored) {})
}

// Replace writes the job, which has been checked, over whatever is there, and returns
// that, nil if nothing was. If stay, a job that is paused stays so.
func (s Store) Replace(ctx context.Context, j *Job, stay bool) (was *Stored, _ error) {
	paused := j.Paused
	_, err := s.put(ctx, j, Whatever, func(is *Stored) {
		was = is
		j.Paused = paused || stay && is != nil && is.Paused
	})
	return was, err
}

// put is Put; over is told what there is, nil for nothing, before that is written over.
func (s Store) put(ctx context.Context, j *Job, rev int64, over func(*Stored)) (int64, error) {
	now, err := s.now(ctx)
	if err != nil {
		return 0, err
	}
	for range attempts {
		guard := rev
		var old *Job
		if rev != Absent {
			is, err := s.Job(ctx, j.Name)
			switch {
			case errors.Is(err, ErrNoJob):
				over(nil)
			case err != nil:
				return 0, err
			default:
				over(&is)
			}
			if err == nil && is.Err == nil {
				old = &is.Job
			}
			if rev == Whatever { // but not what comes later: the transaction may be sent twice
				guard = is.Rev
			}
		}
		j.stamp(old, now, s.By)
		value, err := j.Encode()
		if err != nil {
			return 0, err
		}
		put, err := s.swap(ctx, s.Keys.Job(j.Name), guard, value, s.lowWater(j.Name, now))
		switch {
		case err != nil || put > 0:
			return put, err
		case rev == Absent:
			return 0, fmt.Errorf("%s: %w", j.Name, ErrExists)
		case rev != Whatever:
			return 0, &Conflict{j.Name}
		}
	}
	return 0, &Conflict{j.Name}
}

// lowWater puts the low water of a new job, below which no tick of it can be
// claimed. One that is there stays.
func (s Store) lowWater(name string, now time.Time) clientv3.Op {
	lw := s.Keys.LowWater(name)
	return clientv3.OpTxn([]clientv3.Cmp{absent(lw)}, []clientv3.Op{clientv3.OpPut(lw, keys.Tick(now))}, nil)
}

// swap puts value, and does more with it, if key is of mod-revision rev, and
// returns the revision of that; 0: it was not.
func (s Store) swap(ctx context.Context, key string, rev int64, value string, more ...clientv3.Op) (int64, error) {
	r, err := s.txn(ctx, []clientv3.Cmp{unchanged(key, rev)},
		append([]clientv3.Op{clientv3.OpPut(key, value)}, more...), []clientv3.Op{clientv3.OpGet(key)})
	if err != nil {
		return 0, err
	}
	if r.Succeeded {
		return r.Header.Revision, nil
	}
	for _, kv := range found(r, 0) {
		if string(kv.Value) == value { // it was sent twice, and this is the second answer
			return kv.ModRevision, nil
		}
	}
	return 0, nil
}

// maxTogether is how many jobs are paused in one transaction.
const maxTogether = 100

// Pause pauses the jobs, or lets them go on: from now on, so that what they
// missed is not made up for. It returns the names of those that it changed.
// Errors: ErrNoJob, and then nothing was changed; *Conflict.
func (s Store) Pause(ctx context.Context, paused bool, names ...string) ([]string, error) {
	var changed []string
	for i := 0; i < len(names); i += maxTogether { // first: is every one of them there?
		if _, err := s.some(ctx, names[i:min(len(names), i+maxTogether)]); err != nil {
			return nil, err
		}
	}
	for i := 0; i < len(names); i += maxTogether {
		some, err := s.pause(ctx, paused, names[i:min(len(names), i+maxTogether)])
		changed = append(changed, some...)
		if err != nil && len(changed) > 0 {
			err = fmt.Errorf("after %d others: %w", len(changed), err)
		}
		if err != nil {
			return changed, err
		}
	}
	return changed, nil
}

func (s Store) pause(ctx context.Context, paused bool, names []string) ([]string, error) {
	now, err := s.now(ctx)
	if err != nil {
		return nil, err
	}
	for range attempts {
		jobs, err := s.some(ctx, names)
		if err != nil {
			return nil, err
		}
		var changed []string
		var cmps []clientv3.Cmp
		var puts []clientv3.Op
		for _, j := range jobs {
			if j.Paused == paused {
				continue
			}
			value, err := j.withPaused(paused, now, bounded(s.By))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", j.Name, err)
			}
			changed = append(changed, j.Name)
			cmps = append(cmps, unchanged(s.Keys.Job(j.Name), j.Rev))
			puts = append(puts, clientv3.OpPut(s.Keys.Job(j.Name), value))
		}
		if len(puts) == 0 {
			return nil, nil
		}
		// One that is sent twice fails the second time, and then finds the jobs
		// as it wants them.
		r, err := s.txn(ctx, cmps, puts, nil)
		if err != nil || r.Succeeded {
			return changed, err
		}
	}
	return nil, &Conflict{}
}

// some reads the named jobs at one revision.
func (s Store) some(ctx context.Context, names []string) ([]Stored, error) {
	var gets []clientv3.Op
	for _, name := range names {
		gets = append(gets, clientv3.OpGet(s.Keys.Job(name)))
	}
	r, err := s.txn(ctx, nil, gets, nil)
	if err != nil {
		return nil, err
	}
	var jobs []Stored
	for i, name := range names {
		kvs := found(r, i)
		if len(kvs) == 0 {
			return nil, fmt.Errorf("%s: %w", name, ErrNoJob)
		}
		jobs = append(jobs, s.stored(kvs[0]))
	}
	return jobs, nil
}

// withPaused is the job's JSON with the field changed, and with what a newer
// conch has added to it.
func (j *Stored) withPaused(paused bool, now time.Time, by string) (string, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(j.raw, &fields); err != nil {
		return "", err
	}
	delete(fields, "paused")
	if paused {
		fields["paused"] = json.RawMessage("true")
	}
	fields["updated"] = json.RawMessage(encode(now))
	if delete(fields, "by"); by != "" {
		fields["by"] = json.RawMessage(encode(by))
	}
	if !paused { // what it would have run meanwhile is not made up for
		fields["since"] = fields["updated"]
	}
	return encode(fields), nil
}

// PauseAll keeps every runner from starting anything. It reports whether nobody
// had done so before.
func (s Store) PauseAll(ctx context.Context, by string) (bool, error) {
	put, err := s.swap(ctx, s.Keys.Paused(), Absent, encode(Pause{By: by, At: s.etcdTime(ctx)}))
	return put > 0, err
}

// ResumeAll undoes PauseAll, and leaves word of when that was: ticks from then are not
// made up for. It reports whether there was something to undo.
func (s Store) ResumeAll(ctx context.Context) (bool, error) {
	key, word := s.Keys.Paused(), s.Keys.Resumed()
	for {
		r, err := s.txn(ctx, nil, []clientv3.Op{clientv3.OpGet(key), clientv3.OpGet(word)}, nil)
		if err != nil || len(found(r, 0)) == 0 {
			return false, err
		}
		paused, now := found(r, 0)[0], s.etcdTime(ctx)
		var all []Pausing
		rev := int64(0)
		for _, kv := range found(r, 1) {
			rev = kv.ModRevision
			_ = json.Unmarshal(kv.Value, &all) // what cannot be read is replaced
		}
		was := Pausing{From: pause(paused).At, To: now}
		if was.From.IsZero() || was.From.After(now) {
			was.From = now
		}
		all = append(all, was)
		all = all[max(0, len(all)-MaxPausings):]
		t, err := s.txn(ctx, []clientv3.Cmp{unchanged(key, paused.ModRevision), unchanged(word, rev)},
			[]clientv3.Op{clientv3.OpDelete(key), clientv3.OpPut(word, encode(all))}, nil)
		if err != nil || t.Succeeded {
			return true, err
		}
	}
}

// Restored tells the runners that stand by because etcd's revision went back
// that they may go on; by is who says so.
func (s Store) Restored(ctx context.Context, by string) error {
	_, err := s.txn(ctx, nil, []clientv3.Op{clientv3.OpPut(s.Keys.Restored(), encode(Pause{By: by, At: s.wall()}))}, nil)
	return err
}
