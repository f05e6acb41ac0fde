package main

import (
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// seeable is by how many revisions etcd has to go back for each runner to see it: while
// they stand by nearly nothing is written, but for what people do.
const seeable = 300

// forever has not come yet.
const forever = time.Duration(math.MaxInt64)

// client asks etcd. Its errors are the definite ones.
type client struct{ *world }

func (c client) txn(is []clientv3.Cmp, then, otherwise []clientv3.Op) (*clientv3.TxnResponse, error) {
	return c.db.Txn(is, then, otherwise)
}

// event is a change of a key.
type event struct {
	kv      *mvccpb.KeyValue
	deleted bool
}

// committed lets the books, and then the runners, know of what is new in etcd.
func (w *world) committed() {
	if w.seen == w.db.rev {
		return
	}
	changes, ok := w.db.Since(w.seen)
	if !ok {
		w.fail("simulator", "what is new is compacted")
	}
	w.seen = w.db.rev
	all := make([]event, len(changes))
	for i, c := range changes {
		all[i] = event{c.Kv, c.Type == clientv3.EventTypeDelete}
	}
	w.books.saw(all)
	for _, h := range w.hosts {
		if h.runner != nil {
			h.runner.session.follow()
		}
	}
}

// etcd lets a fault strike etcd.
func (w *world) etcd(verb, args string) {
	word := strings.Fields(args)
	lasts := func(undo func()) {
		if len(word) > 0 {
			w.after(mustDuration(word[0]), undo)
		}
	}
	switch verb {
	case "down":
		w.etcdUp = false
		w.allAway()
		lasts(w.etcdBack)
	case "nospace":
		w.db.SetNoSpace(true)
		lasts(func() { w.db.SetNoSpace(false) })
	case "refuse": // all may read, and not write
		w.db.SetRefused(true)
		lasts(func() { w.db.SetRefused(false) })
	case "compact":
		w.committed()
		w.db.Compact()
	case "backup":
		w.back = append(w.back, w.db.Save())
	case "restore": // the last backup; as another cluster
		if len(w.back) == 0 {
			return
		}
		back := w.back[len(w.back)-1]
		// One that others soon write past cannot be seen.
		hidden := w.db.rev-back.(*etcdModel).rev < seeable && !slices.Contains(word, "hidden")
		w.restore(back, hidden || slices.Contains(word, "other"))
	case "evict": // an operator deletes a runner's key
		for _, h := range w.hosts {
			if h.spec.name == args && h.runner != nil {
				w.author = "hand"
				for _, x := range h.runner.executions() { // who does that stops it himself, if the host is cut off
					x.exempt = x.exempt || !h.reaches() || h.slow.is
				}
				_, _ = w.db.Do(clientv3.OpDelete(w.keys.Node(h.runner.session.node.ID)))
				w.committed()
			}
		}
	case "heal":
		w.db.SetNoSpace(false)
		w.db.SetRefused(false)
		w.etcdBack()
	default:
		panic("no such fault of etcd: " + verb)
	}
}

func (w *world) allAway() {
	for _, h := range w.hosts {
		h.away()
	}
}

// etcdBack lets etcd go on, with a new leader, who begins all leases anew.
func (w *world) etcdBack() {
	if w.etcdUp {
		return
	}
	w.etcdUp = true
	w.elected()
}

// elected follows an election: a lease that somebody renews is renewed.
func (w *world) elected() {
	for _, h := range w.hosts {
		h.back()
	}
	w.after(ttl, w.sweep)
}

// restore takes etcd back to a backup. It was away for that.
func (w *world) restore(b any, other bool) {
	w.committed()
	w.etcdUp = false
	w.allAway()
	w.books.restored(b.(*etcdModel).rev)
	w.db.Restore(b, other)
	w.books.reload()
	w.seen = w.db.rev
	w.mark++
	w.etcdUp = true
	w.elected()
	for _, h := range w.hosts { // its watch has broken
		if r := h.runner; r != nil && !r.session.over && r.session.planner != nil && !r.session.feeding {
			r.session.feeding = true
			r.session.after(h.between(reconnect/10, reconnect), r.session.hear)
		}
	}
}

// revoke ends a lease, if it is there.
func (w *world) revoke(lease int64) {
	if w.etcdUp {
		w.author = "a lease"
		w.db.Revoke(lease)
		w.committed()
	}
}

// followed returns what the runners follow: all but the runs.
func (w *world) followed() []*mvccpb.KeyValue {
	return slices.Clone(within(w.db.keys, []byte(w.keys.From), []byte(w.keys.To)))
}

// sweep ends the leases that nobody renews.
func (w *world) sweep() {
	kept := map[int64]bool{}
	for _, h := range w.hosts {
		if r := h.runner; r != nil && !r.session.over && r.session.deadline == 0 {
			kept[r.session.node.Lease] = true
		}
	}
	for _, lease := range slices.Sorted(maps.Keys(w.db.leases)) {
		if !kept[lease] {
			w.revoke(lease)
		}
	}
}
