package status

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unique"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"conch/pkg/cron"
	"conch/pkg/etcd"
	"conch/pkg/hold"
	"conch/pkg/keys"
)

// ranges are what is read of space: all but the history of runs, their low water
// and what is done once and for ever.
func ranges(space keys.Space) []etcd.Range {
	c := space.Cron()
	all := []etcd.Range{{From: c.From, To: c.LowWater("")}, {From: c.Nodes(), To: c.To}}
	for _, r := range space.Turns() {
		all = append(all, etcd.Range{From: r[0], To: r[1]})
	}
	return all
}

// state is what the keys say, ready to be changed by the next.
type state struct {
	space keys.Space
	cron  keys.Cron

	turns  rows[turn] // candidates and running records, by key
	caps   map[string]int
	jobs   rows[Job] // Spec is nil for one that was removed
	acts   rows[cron.Act]
	nodes  rows[cron.Node]
	reqs   map[string]bool // keys of requests for a run
	paused bool
}

// turn is a candidate, or a running record of an office.
type turn struct {
	key string
	keys.Place
	*hold.Candidate // nil: a record
}

func newState(space keys.Space) *state {
	return &state{
		space: space, cron: space.Cron(), caps: map[string]int{}, reqs: map[string]bool{},
		turns: rows[turn]{cmp: func(a, b *turn) int { return strings.Compare(a.key, b.key) }},
		jobs:  rows[Job]{cmp: func(a, b *Job) int { return strings.Compare(a.Name, b.Name) }},
		acts:  rows[cron.Act]{cmp: compareActs},
		nodes: rows[cron.Node]{cmp: func(a, b *cron.Node) int { return strings.Compare(a.ID, b.ID) }},
	}
}

func compareActs(a, b *cron.Act) int {
	waits := func(a *cron.Act) int {
		if a.Waits {
			return 1
		}
		return 0
	}
	return cmp.Or(strings.Compare(a.Job, b.Job), a.Tick.Compare(b.Tick), strings.Compare(a.Place, b.Place), waits(a)-waits(b))
}

// intern keeps one copy of what many have in common.
func intern(s string) string { return unique.Make(strings.Clone(s)).Value() }

// put takes a key that was put. What cannot be read is nothing of ours, or of a
// newer conch: it is left out, but for a job, which is shown as a bad one.
func (s *state) put(kv *mvccpb.KeyValue) {
	key := string(kv.Key)
	if p, ok := s.space.Place(key); ok {
		s.putTurn(key, p, kv)
		return
	}
	e, ok := s.cron.Entry(key)
	if !ok {
		return
	}
	switch e.Kind {
	case "paused":
		s.paused = true
	case "job":
		s.putJob(strings.Clone(e.Name), func(j *Job) { j.Spec = readSpec(kv.Value) })
	case "last":
		s.putJob(strings.Clone(e.Name), func(j *Job) { j.Last, j.Missed, j.Unplaced = readLast(kv.Value) })
	case "act":
		if a, err := cron.DecodeAct(e.Run, e.Waits, kv.Value, kv.ModRevision); err == nil {
			s.acts.put(a)
		}
	case "req":
		r := cron.Request{}
		if err := json.Unmarshal(kv.Value, &r); err == nil && r.Action == cron.RunNow {
			s.reqs[key] = true
		}
	case "node":
		n := &cron.Node{}
		if err := json.Unmarshal(kv.Value, n); err == nil {
			n.ID, n.Rev, n.Lease = e.Name, kv.CreateRevision, kv.Lease
			s.nodes.put(n)
		}
	}
}

func (s *state) putTurn(key string, p keys.Place, kv *mvccpb.KeyValue) {
	switch p.Kind {
	case keys.PoolCap:
		s.caps[p.Name], _ = strconv.Atoi(string(kv.Value)) // what is no number is no capacity
	case keys.OfficeRecord:
		s.turns.put(&turn{key: key, Place: p})
	default:
		c := hold.CandidateOf(kv)
		s.turns.put(&turn{key: key, Place: p, Candidate: &c})
	}
}

// putJob changes a job. The one before is not changed: a Snapshot may have it.
func (s *state) putJob(name string, change func(*Job)) {
	now := Job{Name: name}
	if was := s.jobs.get(&now); was != nil {
		now = *was
	}
	change(&now)
	if now.Spec == nil && now.Last == nil && now.Missed+now.Unplaced == 0 {
		s.jobs.drop(&now)
	} else {
		s.jobs.put(&now)
	}
}

// drop takes a key that was deleted.
func (s *state) drop(key string) {
	if p, ok := s.space.Place(key); ok {
		if p.Kind == keys.PoolCap {
			delete(s.caps, p.Name)
		} else {
			s.turns.drop(&turn{key: key})
		}
		return
	}
	e, ok := s.cron.Entry(key)
	if !ok {
		return
	}
	switch e.Kind {
	case "paused":
		s.paused = false
	case "job":
		s.putJob(e.Name, func(j *Job) { j.Spec = nil })
	case "last":
		s.putJob(e.Name, func(j *Job) { j.Last, j.Missed, j.Unplaced = nil, 0, 0 })
	case "act":
		s.acts.drop(&cron.Act{RunID: e.Run, Waits: e.Waits})
	case "req":
		delete(s.reqs, key)
	case "node":
		s.nodes.drop(&cron.Node{ID: e.Name})
	}
}

func readSpec(value []byte) *Spec {
	j, err := cron.DecodeJob(value)
	if err != nil {
		return &Spec{Bad: err.Error()}
	}
	return &Spec{
		Schedule: intern(j.Schedule), TZ: intern(j.TZ), On: intern(j.On), Paused: j.Paused, Once: j.KeepFor > 0,
		dst: j.DST, anchor: j.Anchor, starts: j.Starts, expires: j.Expires,
	}
}

// readLast reads how the latest run has ended, nil for none, and how many ticks were
// missed and unplaced.
func readLast(value []byte) (l *Last, missed, unplaced int) {
	l = &Last{}
	if err := json.Unmarshal(value, l); err != nil {
		return nil, 0, 0
	}
	missed, unplaced = l.Last.Missed(), l.Last.Unplaced()
	l.Reckoned = nil // there may be very many
	if l.ID == "" {
		return nil, missed, unplaced
	}
	l.State, l.Host = cron.State(intern(string(l.State))), intern(l.Host)
	return l, missed, unplaced
}

// snapshot is s for whoever wants to see it.
func (s *state) snapshot() Snapshot {
	snap := Snapshot{Paused: s.paused, Waiting: len(s.reqs), Running: slices.Clone(s.acts.all)}
	snap.Offices, snap.Semaphores = s.held()
	snap.Jobs = make([]*Job, 0, len(s.jobs.all))
	for _, j := range s.jobs.all {
		if j.Spec != nil {
			snap.Jobs = append(snap.Jobs, j)
		}
	}
	load := map[string]int{}
	for _, a := range s.acts.all {
		if !a.Waits {
			load[a.Node]++
		}
	}
	for _, n := range s.nodes.all {
		snap.Runners = append(snap.Runners, &Runner{n, load[n.ID]})
	}
	return snap
}

// held are the offices and the semaphores.
func (s *state) held() ([]*Office, []*Semaphore) {
	lines := map[keys.Place][]*hold.Candidate{}
	records := map[string][]string{} // of an office, by its name
	for _, t := range s.turns.all {
		if t.Candidate == nil {
			records[t.Name] = append(records[t.Name], t.key)
		} else {
			lines[t.Place] = append(lines[t.Place], t.Candidate)
		}
	}
	var offices []*Office
	semaphores := map[string]*Semaphore{}
	for p, line := range lines {
		slices.SortFunc(line, func(a, b *hold.Candidate) int { return cmp.Compare(a.Rev, b.Rev) })
		if p.Kind == keys.OfficeCandidate {
			offices = append(offices, office(s.space.Office(p.Name), line, records[p.Name]))
			continue
		}
		sem := semaphores[p.Name]
		if sem == nil {
			sem = &Semaphore{Name: p.Name, Max: s.caps[p.Name]}
			semaphores[p.Name] = sem
		}
		sem.add(p, line)
	}
	var all []*Semaphore
	for _, sem := range semaphores {
		slices.SortFunc(sem.Spread, func(a, b Spread) int { return cmp.Compare(a.Rev, b.Rev) })
		if len(sem.Holders)+sem.Waiting() > 0 {
			all = append(all, sem)
		}
	}
	slices.SortFunc(offices, func(a, b *Office) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(all, func(a, b *Semaphore) int { return strings.Compare(a.Name, b.Name) })
	return offices, all
}

// office is an office by its line, oldest first, which is not empty.
func office(l keys.Line, line []*hold.Candidate, records []string) *Office {
	head := *line[0]
	head.NoteTurn(l, records)
	if head.State == hold.Waiting {
		return &Office{Name: l.Name, Waiters: line}
	}
	return &Office{Name: l.Name, Holder: &head, Waiters: line[1:]}
}

// add adds those of a line.
func (s *Semaphore) add(p keys.Place, line []*hold.Candidate) {
	for _, c := range line {
		switch waits := c.State == hold.Waiting; {
		case p.Kind == keys.PoolHostCandidate && waits:
			s.Spread = append(s.Spread, Spread{p.Host, c})
		case p.Kind == keys.PoolHostCandidate: // it stands in the line too
		case waits:
			s.Waiters = append(s.Waiters, c)
		default:
			s.Holders = append(s.Holders, c)
		}
	}
}
