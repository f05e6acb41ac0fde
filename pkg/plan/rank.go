package plan

import (
	"cmp"
	"math"
	"slices"

	"conch/pkg/cron"
	"conch/pkg/schedule"
)

// order sorts the runners that may claim a run of a job: first who is to. It
// depends on nothing but what all runners know alike. Who is full, or stands by,
// comes last. load is how many runs each has in progress.
func order(nodes []*cron.Node, load map[string]int, what, policy string) []*cron.Node {
	type ranked struct {
		node  *cron.Node
		full  bool
		share float64
		score float64
	}
	all := make([]ranked, 0, len(nodes))
	for _, n := range nodes {
		r := ranked{node: n, full: load[n.ID] >= n.Slots || n.Standby != "", score: score(what, n, policy)}
		if policy == LeastLoaded {
			r.share = float64(load[n.ID]) / float64(max(n.Slots, 1))
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b ranked) int {
		if a.full != b.full {
			if b.full {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.share, b.share), cmp.Compare(a.score, b.score), cmp.Compare(a.node.ID, b.node.ID))
	})
	sorted := make([]*cron.Node, len(all))
	for i, r := range all {
		sorted[i] = r.node
	}
	return sorted
}

// score is the weighted rendezvous score of a runner for what: the smallest
// wins, and each runner wins in proportion to its weight (Schindelhauer and
// Schomaker, "Weighted distributed hash tables", 2005: -ln(u)/w).
func score(what string, n *cron.Node, policy string) float64 {
	u := (float64(schedule.Hash(what+"\x00"+n.ID)>>11) + 0.5) / (1 << 53)
	weight := 1.0
	if policy == Capacity {
		weight = float64(max(n.Slots, 1))
	}
	return -math.Log(u) / weight
}
