package plan

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
)

// BenchmarkJobs reads 100,000 jobs, of which nothing is due yet.
func BenchmarkJobs(b *testing.B) {
	const n = 100_000
	for range b.N {
		p := New(Config{Node: cron.Node{ID: "h-1", Host: "h", Slots: 1}, Placement: Spread, Hedge: time.Second, Replay: 30 * time.Second})
		now := Reading{noon, 1e9}
		p.Step(now, Reread{}, Put{Entry: keys.Entry{Kind: "node", Name: "h-1"}, Value: []byte(`{"id":"h-1","host":"h","slots":1}`), Rev: 1, Made: 1})
		var facts []Fact
		for i := range n {
			facts = append(facts, Put{Entry: keys.Entry{Kind: "job", Name: fmt.Sprintf("job-%06d", i)}, Rev: int64(i + 2), Made: int64(i + 2),
				Value: []byte(`{"name":"x","schedule":"0 0 1 1 *","cmd":["true"],"since":"2026-01-01T12:00:00Z","updated":"2026-01-01T12:00:00Z"}`)})
			if len(facts) == 1000 {
				p.Step(now, facts...)
				facts = nil
			}
		}
		p.Step(now, Whole{Rev: n + 2})
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/n, "heap-B/job")
		runtime.KeepAlive(p)
	}
}
