package main

import (
	"fmt"
	"strings"

	"conch/pkg/plan"
)

// facts notes what a planner is told.
func (t *trace) facts(s *session, facts []plan.Fact) {
	if !t.on {
		return
	}
	for _, f := range facts {
		switch f := f.(type) {
		case plan.Put, plan.Deleted, plan.Whole, plan.Reread: // the keys are in the trace already
		case plan.Answer:
			t.note(s.w, "%s < answer %s ours=%v %v", s.node.ID, f.ID, f.Ours, f.Err)
		case plan.Ended:
			t.note(s.w, "%s < ended %s attempt %d: %s %s kept=%v unstarted=%v", s.node.ID, f.Run.RunID, f.Run.Attempt, f.Run.State, f.Run.Cause, f.Kept, f.Unstarted)
		case plan.Settled:
			t.note(s.w, "%s < settled %s %v", s.node.ID, f.ID, f.Err)
		default:
			t.note(s.w, "%s < %s %+v", s.node.ID, strings.TrimPrefix(fmt.Sprintf("%T", f), "plan."), f)
		}
	}
}

// verb notes what a planner wants.
func (t *trace) verb(s *session, v plan.Verb) {
	if !t.on {
		return
	}
	switch v := v.(type) {
	case plan.Say: // see said
	case plan.Claim:
		t.note(s.w, "%s > claim %s attempt %d", s.node.ID, v.Claim.Run.RunID, v.Claim.Run.Attempt)
	case plan.Start:
		t.note(s.w, "%s > start %s", s.node.ID, v.ID)
	case plan.Note:
		t.note(s.w, "%s > note %s %+v", s.node.ID, v.Job, v.Gaps)
	case plan.Settle:
		t.note(s.w, "%s > settle %s attempt %d: %s %s ours=%v rev=%d", s.node.ID, v.Run.RunID, v.Run.Attempt, v.Run.State, v.Run.Cause, v.Ours, v.Rev)
	default:
		t.note(s.w, "%s > %s %+v", s.node.ID, strings.TrimPrefix(fmt.Sprintf("%T", v), "plan."), v)
	}
}

// said notes what a planner tells people.
func (t *trace) said(s *session, e plan.Event) {
	if t.on {
		t.note(s.w, "%s: %q %s%s %s count=%d %s", s.node.ID, e.Event, e.Job, strings.TrimPrefix(e.Run, e.Job), e.Tick.Format("15:04:05"), e.Count, e.Reason)
	}
}

// key notes a change of a key.
func (t *trace) key(w *world, c event) {
	if !t.on {
		return
	}
	key := strings.TrimPrefix(string(c.kv.Key), w.keys.Dir)
	if c.deleted {
		t.note(w, "etcd %d: - %s", c.kv.ModRevision, key)
		return
	}
	t.note(w, "etcd %d: %s = %.200s", c.kv.ModRevision, key, c.kv.Value)
}
