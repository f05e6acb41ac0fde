package runner

import (
	"container/heap"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
)

// jobHeap has the jobs that have a next tick, by when that is due.
type jobHeap []*job

func (h jobHeap) Len() int           { return len(h) }
func (h jobHeap) Less(a, b int) bool { return h[a].due() < h[b].due() }
func (h jobHeap) Swap(a, b int) {
	h[a], h[b] = h[b], h[a]
	h[a].at, h[b].at = a+1, b+1
}

// Push is heap.Interface's.
func (h *jobHeap) Push(x any) {
	j := x.(*job)
	*h = append(*h, j)
	j.at = len(*h)
}

// Pop is heap.Interface's.
func (h *jobHeap) Pop() any {
	last := len(*h) - 1
	j := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	j.at = 0
	return j
}

// place puts j where its next tick belongs, or takes it out if it has none.
func (h *jobHeap) place(j *job) {
	switch {
	case j.next == 0 && j.at != 0:
		heap.Remove(h, j.at-1)
	case j.next == 0:
	case j.at != 0:
		heap.Fix(h, j.at-1)
	default:
		heap.Push(h, j)
	}
}

// kind is what a duty is.
type kind int

const (
	byTick    kind = iota // claim a tick
	byRequest             // claim what somebody asked for
	byRetry               // claim the next attempt
	lost                  // record that a runner died over a run
	orphan                // record that nobody is at work for a claim of ours
	killWait              // end a run that waits for its retry
	nobody                // likewise, if nobody can make that
	expire                // withdraw a request that is too late, or has nothing to be about
	forget                // remove a submitted job
)

// duty is something that this runner does at a time, unless another has done it
// before.
type duty struct {
	kind  kind
	key   string // what it is known by: of two with the same key the newer counts
	id    keys.RunID
	at    time.Time // on the wall clock
	until time.Time // not later than this; zero: no end
	due   time.Time // when the run was due

	moves   uint64 // byTick: of the job that the tick was computed from, ...
	on      uint64 // ... and placed by
	born    int64  // forget: of the job
	forAll  bool   // byTick: it is run for all that were missed
	patient bool   // byTick: it was missed, and waits for a run in progress
	after   string // byTick: the key of a duty that goes first, as long as it is wanted
	act     *cron.Act
	request *cron.Request
}

// dutyHeap has the duties by time.
type dutyHeap []*duty

func (h dutyHeap) Len() int           { return len(h) }
func (h dutyHeap) Less(a, b int) bool { return h[a].at.Before(h[b].at) }
func (h dutyHeap) Swap(a, b int)      { h[a], h[b] = h[b], h[a] }

// Push is heap.Interface's.
func (h *dutyHeap) Push(x any) { *h = append(*h, x.(*duty)) }

// Pop is heap.Interface's.
func (h *dutyHeap) Pop() any {
	last := len(*h) - 1
	d := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return d
}
