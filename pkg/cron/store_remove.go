package cron

import (
	"context"
	"fmt"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Remove removes a job that is of mod-revision rev, and what is known of it. Its
// runs in progress, which it returns, are left to end, and keep their records;
// or, if kill is not empty, that is who asks for them to be killed. Errors:
// ErrNoJob, *Conflict.
func (s Store) Remove(ctx context.Context, name string, rev int64, kill string) ([]Act, error) {
	job, acts := s.Keys.Job(name), s.Keys.ActsOf(name, "")
	for sent := false; ; sent = true {
		r, err := s.txn(ctx, nil, []clientv3.Op{clientv3.OpGet(job, clientv3.WithKeysOnly()), clientv3.OpGet(acts, clientv3.WithPrefix())}, nil)
		if err != nil {
			return nil, err
		}
		var live []Act
		for _, kv := range found(r, 1) {
			live = add(live, kv, s.act)
		}
		switch kvs := found(r, 0); {
		case len(kvs) == 0 && sent: // by us, or somebody else: it is gone
			return live, nil
		case len(kvs) == 0:
			return nil, fmt.Errorf("%s: %w", name, ErrNoJob)
		case kvs[0].ModRevision != rev:
			return nil, &Conflict{name}
		}
		cmps := []clientv3.Cmp{unchanged(job, rev), nothingNewer(acts, r.Header.Revision)}
		for _, kv := range found(r, 1)[:min(len(live), maxLevel-len(cmps))] { // has one ended?
			cmps = append(cmps, exists(string(kv.Key)))
		}
		ops := []clientv3.Op{clientv3.OpDelete(job), clientv3.OpDelete(s.Keys.LowWater(name)), clientv3.OpDelete(s.Keys.Last(name))}
		r, err = s.txn(ctx, cmps, nest(slices.Concat(ops, s.killAll(name, live, kill), s.deleteRuns(name, live))), nil)
		if err != nil || r.Succeeded {
			return live, err
		}
	}
}

// killAll deletes all requests about a job, and puts those to kill the runs.
func (s Store) killAll(name string, live []Act, by string) []clientv3.Op {
	var ops []clientv3.Op
	var put []string
	if by != "" {
		for _, a := range live {
			r := Request{Job: name, ID: s.newID(), Action: Kill, Run: a.ID(), By: by, At: s.wall()}
			put = append(put, s.Keys.Request(name, r.ID))
			ops = append(ops, clientv3.OpPut(s.Keys.Request(name, r.ID), r.Encode()))
		}
	}
	return append(ops, allBut(s.Keys.RequestsOf(name), put)...)
}

// deleteRuns deletes the records of a job's runs, but for those in progress.
func (s Store) deleteRuns(name string, live []Act) []clientv3.Op {
	var keep []string
	for _, a := range live {
		keep = append(keep, s.Keys.Run(a.RunID))
	}
	return allBut(s.Keys.Runs(name), keep)
}

// allBut deletes what lies under dir, but for some keys: the ranges between
// them.
func allBut(dir string, keep []string) []clientv3.Op {
	slices.Sort(keep)
	var ops []clientv3.Op
	from := dir
	for _, key := range slices.Compact(keep) {
		if from < key {
			ops = append(ops, clientv3.OpDelete(from, clientv3.WithRange(key)))
		}
		from = key + "\x00"
	}
	return append(ops, clientv3.OpDelete(from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(dir))))
}

// forget deletes what jobs that have just been removed leave behind. It is not
// worth an error that would say they were not.
func (s Store) forget(ctx context.Context, names []string) error {
	for some := range slices.Chunk(names, maxLevel) {
		var ops []clientv3.Op
		for _, name := range some {
			ops = append(ops, clientv3.OpTxn([]clientv3.Cmp{absent(s.Keys.Job(name))}, s.leftovers(name), nil))
		}
		if _, err := s.txn(ctx, nil, ops, nil); err != nil {
			return fmt.Errorf("the jobs were changed, but the history of those removed is left: %w", err)
		}
	}
	return s.forgetEnded(ctx, names)
}

// forgetEnded deletes the records of ended runs where leftovers has kept them
// all for one that is in progress.
func (s Store) forgetEnded(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	acts, err := s.Acts(ctx)
	if err != nil {
		return err
	}
	live := map[string][]Act{}
	for _, a := range acts {
		live[a.Job] = append(live[a.Job], a)
	}
	for _, name := range names {
		if len(live[name]) == 0 {
			continue
		}
		// No run of it can begin any more; so none is deleted that goes on.
		if _, err := s.txn(ctx, []clientv3.Cmp{absent(s.Keys.Job(name))}, nest(s.deleteRuns(name, live[name])), nil); err != nil {
			return err
		}
	}
	return nil
}
