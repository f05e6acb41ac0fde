package runner

import (
	"context"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/etcdtest"
	"conch/pkg/keys"
)

const clockTime = "15:04:05.000"

// line is one change of one key, as etcd remembers it.
type line struct {
	keys.Entry
	key   string
	value []byte // nil: it was deleted
	rev   int64
	at    time.Time // when somebody first heard of it
}

func (l line) String() string {
	what := "deleted"
	if l.value != nil {
		what = string(l.value)
	}
	return fmt.Sprintf("%s etcd: %d %s %s", l.at.UTC().Format(clockTime), l.rev, l.key, what)
}

// recorder hears from every member when a revision is made. etcd does not remember
// that: it remembers what was made.
type recorder struct {
	mu    sync.Mutex
	heard map[int64]time.Time
}

func (c *cluster) record() *recorder {
	r := &recorder{heard: map[int64]time.Time{}}
	for _, m := range c.members {
		watch := etcdtest.Client(c, m).Watch(c.Context(), string(c.space), clientv3.WithPrefix(), clientv3.WithRev(1))
		go func() {
			for w := range watch {
				r.hear(w.Events)
			}
		}()
	}
	return r
}

func (r *recorder) hear(events []*clientv3.Event) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range events {
		if _, ok := r.heard[e.Kv.ModRevision]; !ok {
			r.heard[e.Kv.ModRevision] = now
		}
	}
}

func (r *recorder) at(rev int64) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.heard[rev]
	return at, ok
}

// history reads all that has ever been written below cron/, from etcd, which has not
// been compacted. heard says when.
func (c *cluster) history(heard *recorder) (lines []line) {
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	end, err := c.admin.Put(ctx, string(c.space)+"/end", "")
	if err != nil {
		c.Fatal(err)
	}
	c.wait("the end to be heard", func() bool { _, ok := heard.at(end.Header.Revision); return ok })
	for w := range c.admin.Watch(ctx, string(c.space), clientv3.WithPrefix(), clientv3.WithRev(1)) {
		if err := w.Err(); err != nil {
			c.Fatal(err)
		}
		for _, ev := range w.Events {
			if ev.Kv.ModRevision == end.Header.Revision {
				return lines
			}
			l := line{key: string(ev.Kv.Key), rev: ev.Kv.ModRevision}
			l.at, _ = heard.at(l.rev)
			if ev.Type == clientv3.EventTypePut {
				l.value = ev.Kv.Value
			}
			var ok bool
			if l.Entry, ok = c.keys.Entry(l.key); !ok {
				c.Errorf("this is none of cron's keys: %v", l)
				continue
			}
			lines = append(lines, l)
		}
	}
	c.Fatal("the history has no end")
	return nil
}
