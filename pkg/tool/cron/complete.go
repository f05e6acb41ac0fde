package cron

import (
	"context"
	"maps"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/cli"
	"conch/pkg/cron"
	"conch/pkg/etcd"
	"conch/pkg/schedule"
)

// What is proposed to the shell's completion. What cannot be had in time is not.

// jobNames proposes jobs to the shell's completion.
func (s *session) jobNames(ctx context.Context, _ *cli.Stdio, _ []string, prefix string) (found []string) {
	dir := s.Space.Cron().Jobs()
	_ = s.Ask(ctx, func(ctx context.Context, c *etcd.Client) error {
		r, err := etcd.Do(ctx, c, func(ctx context.Context, m *etcd.Member) (*clientv3.GetResponse, error) {
			return m.KV().Get(ctx, dir+prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(1000))
		})
		if err == nil {
			for _, kv := range r.Kvs {
				found = append(found, strings.TrimPrefix(string(kv.Key), dir))
			}
		}
		return err
	})
	return found
}

// firstJobName proposes one job, and nothing after it.
func (s *session) firstJobName(ctx context.Context, stdio *cli.Stdio, words []string, prefix string) []string {
	if len(words) > 0 {
		return nil
	}
	return s.jobNames(ctx, stdio, words, prefix)
}

// anyJob proposes jobs for the value of a flag.
func (s *session) anyJob(ctx context.Context, prefix string) []string {
	return s.jobNames(ctx, nil, nil, prefix)
}

// zones proposes time zones.
func zones(_ context.Context, prefix string) (found []string) {
	for _, zone := range schedule.Zones() {
		if strings.HasPrefix(zone, prefix) {
			found = append(found, zone)
		}
	}
	return found
}

// where proposes what --on can be: how many runners, and labels that runners have.
func (s *session) where(ctx context.Context, prefix string) (found []string) {
	before := prefix[:strings.LastIndexByte(prefix, ' ')+1]
	if before == "" {
		found = append(found, "any", "all")
	}
	labels := map[string]bool{}
	s.see(ctx, func(ctx context.Context, store cron.Store) {
		nodes, _ := store.Nodes(ctx)
		for _, n := range nodes {
			for key, value := range n.Labels {
				labels[key+"="+value] = true
			}
		}
	})
	for _, label := range slices.Sorted(maps.Keys(labels)) {
		found = append(found, before+label)
	}
	return found
}

// liveRun proposes a run that is in progress, and its job; and with asked those that were
// asked for and have not begun.
func (s *session) liveRun(asked bool) func(context.Context, *cli.Stdio, []string, string) []string {
	return func(ctx context.Context, _ *cli.Stdio, words []string, _ string) []string {
		if len(words) > 0 {
			return nil
		}
		found := map[string]bool{}
		s.see(ctx, func(ctx context.Context, store cron.Store) {
			acts, _ := store.Acts(ctx)
			for _, a := range acts {
				found[a.Job], found[a.String()] = true, true
			}
			if !asked {
				return
			}
			requests, _ := store.Requests(ctx)
			for _, r := range requests {
				if r.Action == cron.RunNow {
					found[r.Job], found[r.RunID().String()] = true, true
				}
			}
		})
		return slices.Sorted(maps.Keys(found))
	}
}

// pastRuns is how many runs of a job are proposed.
const pastRuns = 20

// jobOrRun proposes a job; after its name and a slash, or as a word of its own if
// apart, as for what is asked for its output, one of its runs.
func (s *session) jobOrRun(apart bool) func(context.Context, *cli.Stdio, []string, string) []string {
	return func(ctx context.Context, stdio *cli.Stdio, words []string, prefix string) (found []string) {
		job, _, isRun := strings.Cut(prefix, "/")
		switch {
		case len(words) == 0 && !isRun:
			return s.jobNames(ctx, stdio, nil, prefix)
		case len(words) == 1 && apart:
			job = words[0]
		case len(words) > 0:
			return nil
		}
		s.see(ctx, func(ctx context.Context, store cron.Store) {
			runs, _ := store.History(ctx, job, pastRuns)
			for _, r := range runs {
				switch {
				case apart && r.Ticks(): // without output
				case isRun:
					found = append(found, r.String())
				default:
					found = append(found, r.ID())
				}
			}
		})
		return found
	}
}

// see asks the store, and takes no answer for one.
func (s *session) see(ctx context.Context, question func(context.Context, cron.Store)) {
	_ = s.open(ctx, func(ctx context.Context, store cron.Store) error {
		question(ctx, store)
		return nil
	})
}
