package guard

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"conch/pkg/clock"
	"conch/pkg/proc"
)

// Survivors are processes that could not be killed.
type Survivors struct {
	Count int             // at least 1, if there are any
	Found []proc.Survivor // those that are known
}

// And returns s and more.
func (s Survivors) And(more Survivors) Survivors {
	return Survivors{s.Count + more.Count, slices.Concat(s.Found, more.Found)}
}

// String names some of them.
func (s Survivors) String() string {
	const some = 3
	if len(s.Found) == 0 {
		if s.Count == 1 {
			return "1 process"
		}
		return fmt.Sprintf("%d processes", s.Count)
	}
	var b strings.Builder
	for i, p := range s.Found[:min(len(s.Found), some)] {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(p.String())
	}
	if more := s.Count - some; more > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	return b.String()
}

// lastWord is how long the supervisor may take, once it has killed and the lease may
// have ended, to say that something is left.
const lastWord = time.Second

// ends reports whether the tree, which was killed a kill latency ago at the latest,
// is empty, or will be in a moment: we may have been slow to hear of it.
func (r *run) ends() bool {
	select {
	case <-r.tree.Done():
		return true
	case <-time.After(lastWord / 10):
		return false
	}
}

// giveUp leaves a tree that could not be killed to its sentinel: others may have the
// hold now.
func (r *run) giveUp() proc.Result {
	r.cause = Lost
	result := r.tree.GiveUp()
	if result.Empty {
		return result // this very moment
	}
	result.Leftover = r.unkillable(1)
	return result
}

// unkillable says that n processes, or as many as are found, do not end, and returns
// how many.
func (r *run) unkillable(n int) int {
	e := Event{Name: "unkillable", Survivors: r.survivors(n), Gone: r.gone()}
	if e.Gone && r.mourned {
		return e.Survivors.Count
	}
	r.mourned = e.Gone
	r.say(e)
	return e.Survivors.Count
}

// survivors looks for what is left of the tree.
func (r *run) survivors(n int) Survivors {
	found := r.tree.Survivors()
	if len(found) > 0 {
		n = len(found)
	}
	return Survivors{Count: max(n, 1), Found: found}
}

// gone reports whether the hold is, or may be.
func (r *run) gone() bool {
	select {
	case <-r.hold.Lost():
		return true
	default:
	}
	deadline, _ := r.hold.Deadline()
	return !clock.System{}.Now().Before(deadline)
}
