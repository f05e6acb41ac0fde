package plan

import (
	"fmt"
	"math"
	"testing"

	"conch/pkg/cron"
)

func nodesOf(slots ...int) []*cron.Node {
	var all []*cron.Node
	for i, n := range slots {
		all = append(all, &cron.Node{ID: fmt.Sprintf("host%d-abcd", i), Slots: n})
	}
	return all
}

// firsts counts how often each runner comes first, for many jobs.
func firsts(nodes []*cron.Node, load map[string]int, policy string) []float64 {
	const jobs = 20000
	share := map[string]float64{}
	for i := range jobs {
		share[order(nodes, load, fmt.Sprint("job-", i), policy)[0].ID] += 1.0 / jobs
	}
	var all []float64
	for _, n := range nodes {
		all = append(all, share[n.ID])
	}
	return all
}

func TestOrderIsEven(t *testing.T) {
	for _, c := range []struct {
		policy string
		want   []float64
	}{
		{Spread, []float64{.25, .25, .25, .25}},
		{Capacity, []float64{.1, .2, .3, .4}},
	} {
		for i, got := range firsts(nodesOf(10, 20, 30, 40), nil, c.policy) {
			if math.Abs(got-c.want[i]) > 0.02 {
				t.Errorf("%s: runner %d comes first for %.3f of jobs, not %.2f", c.policy, i, got, c.want[i])
			}
		}
	}
}

// Who leaves, or comes, moves only what it had, or gets.
func TestOrderIsStable(t *testing.T) {
	four := nodesOf(1, 1, 1, 1)
	for i := range 1000 {
		job := fmt.Sprint("job-", i)
		before := order(four, nil, job, Spread)
		after := order(four[:3], nil, job, Spread)
		for len(before) > 0 && len(after) > 0 {
			if before[0] == four[3] {
				before = before[1:]
				continue
			}
			if before[0] != after[0] {
				t.Fatalf("%s: another runner than the one that left has moved", job)
			}
			before, after = before[1:], after[1:]
		}
	}
}

func TestOrderByLoad(t *testing.T) {
	nodes := nodesOf(10, 10, 100)
	load := map[string]int{nodes[0].ID: 5, nodes[1].ID: 2, nodes[2].ID: 10}
	for i := range 100 {
		if first := order(nodes, load, fmt.Sprint(i), LeastLoaded)[0]; first != nodes[2] {
			t.Fatalf("%s comes first, which is not the least loaded", first.ID)
		}
	}
	load[nodes[2].ID] = 100
	for _, policy := range []string{Spread, Capacity, LeastLoaded} {
		if last := order(nodes, load, "job", policy)[2]; last != nodes[2] {
			t.Errorf("%s: the full one does not come last", policy)
		}
	}
	nodes[1].Standby = "its clock is wrong"
	if first := order(nodes, load, "job", Spread)[0]; first != nodes[0] {
		t.Errorf("%s comes first", first.ID)
	}
}
