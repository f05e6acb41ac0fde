package runner

import (
	"encoding/json"
	"math"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"conch/pkg/cron"
	"conch/pkg/keys"
	"conch/pkg/schedule"
)

// job is what the planner keeps of a job: there may be very many.
type job struct {
	name    string
	raw     string // what is kept of its specification: read again when it is due
	rev     int64
	born    int64              // the revision that it was made at: another job of its name has another
	sched   *schedule.Schedule // nil: unusable, or never due by itself
	next    int64              // the next tick, seconds of UTC; 0: none
	splay   int64              // nanoseconds that each tick is delayed by
	last    int64              // the latest tick that is known to be over
	keepFor int64              // of a submitted job, nanoseconds
	from    int64              // ticks up to this are not the job's, as it says
	since   int64              // likewise, as it is held to be
	at      int                // index in the heap of jobs + 1; 0: not there
	runs    int32              // in progress, the waiting ones too
	total   int32              // runs that there have been
	fails   int32              // since it last ended well
	placed  bool               // it runs in several places
	paused  bool
	moves   uint64 // a hash of what moves its ticks
	on      uint64 // likewise of where they are run, and until when
	seen    uint32 // the reading that it was last seen in
	bound   bool   // it starts or expires some time
	ok      int64  // when it last ended well, nanoseconds of UTC
	ended   int64  // when a run of it last ended, likewise
	lastRev int64  // of what says so
}

// has reports whether a run is of this job, and not of one that had its name before.
func (j *job) has(a *cron.Act) bool { return a.JobRev == 0 || j.born == 0 || a.JobRev == j.born }

// where reads what j is, and where it may run.
func (j *job) where() (*cron.Job, cron.Placement, error) {
	spec, err := j.spec()
	if err != nil {
		return nil, cron.Placement{}, err
	}
	place, err := cron.ParsePlacement(spec.On)
	return spec, place, err
}

// due is when the next tick is to be claimed, in nanoseconds of UTC.
func (j *job) due() int64 {
	if j.next > (math.MaxInt64-j.splay)/int64(time.Second) { // after the year 2262
		return math.MaxInt64
	}
	return j.next*int64(time.Second) + j.splay
}

// spec is what keep has kept.
func (j *job) spec() (*cron.Job, error) {
	spec, err := cron.DecodeJob([]byte(j.raw))
	if err == nil {
		spec.Name = j.name
	}
	return spec, err
}

// bounds is spec in so far as it bounds the ticks. Most jobs have no bounds, and
// to read a hundred thousand again for that takes a second.
func (j *job) bounds() (*cron.Job, error) {
	if !j.bound && !j.placed {
		return &cron.Job{}, nil
	}
	return j.spec()
}

// keep keeps what is needed to claim and run the job: not what is for people, nor
// what has become a field of j. That is half of what each job takes.
func (j *job) keep(spec cron.Job) error {
	spec.Name, spec.Description, spec.Owners = "", "", nil
	spec.Schedule, spec.TZ, spec.DST, spec.Anchor = "", "", "", nil
	spec.Splay, spec.Paused, spec.Updated, spec.Since = 0, false, time.Time{}, time.Time{}
	j.bound = spec.Starts != nil || spec.Expires != nil
	var err error
	j.raw, err = spec.Encode()
	return err
}

// change is one thing that the feed tells the planner.
type change struct {
	entry   keys.Entry
	kv      *mvccpb.KeyValue // nil: deleted, ...
	rev     int64            // ... at this revision
	reset   bool             // rev is the highest that was heard of before
	synced  int64
	stopped error
}

// table is everything under cron/ but the runs, as it was at revision rev.
type table struct {
	rev     int64
	reading uint32 // counts resets
	jobs    map[string]*job
	acts    map[string]*cron.Act // by the run's name
	nodes   map[string]*cron.Node
	reqs    map[string]*cron.Request // by job/id
	load    map[string]int           // runs in progress, by runner
	paused  bool

	schedules map[string]*schedule.Schedule // those that do not depend on a name
}

func newTable() *table {
	return &table{jobs: map[string]*job{}, acts: map[string]*cron.Act{}, nodes: map[string]*cron.Node{},
		reqs: map[string]*cron.Request{}, load: map[string]int{}, schedules: map[string]*schedule.Schedule{}}
}

// parse reads a job and its schedule. Jobs with the same schedule share it,
// unless their names are hashed into it.
func (t *table) parse(raw []byte) (spec *cron.Job, s *schedule.Schedule, err error) {
	if spec, err = cron.DecodeJob(raw); err != nil {
		return nil, nil, err
	}
	if strings.Contains(spec.Schedule, "H") {
		s, err = spec.Schedules()
		return spec, s, err
	}
	what := strings.Join([]string{spec.Schedule, spec.TZ, string(spec.DST), anchorOf(spec)}, "\x00")
	s, ok := t.schedules[what]
	if !ok {
		if s, err = spec.Schedules(); err == nil && len(t.schedules) < 10000 {
			t.schedules[what] = s
		}
	}
	return spec, s, err
}

func anchorOf(j *cron.Job) string {
	if j.Anchor == nil {
		return ""
	}
	return j.Anchor.String()
}

// setAct notes that a run is in progress.
func (t *table) setAct(a *cron.Act) {
	t.dropAct(a.RunID)
	t.acts[a.RunID.String()] = a
	if !a.Waits {
		t.load[a.Node]++
	}
	if j := t.jobs[a.Job]; j != nil {
		j.runs++
		j.claimed(a)
	}
}

// claimed notes that a tick need not be planned any more.
func (j *job) claimed(a *cron.Act) {
	if a.Place == "" {
		j.last = max(j.last, a.Tick.Unix())
	}
}

// dropAct forgets the marker of a run, if there is one.
func (t *table) dropAct(id keys.RunID) {
	name := id.String()
	a := t.acts[name]
	if a == nil {
		return
	}
	delete(t.acts, name)
	if !a.Waits {
		if t.load[a.Node]--; t.load[a.Node] == 0 {
			delete(t.load, a.Node)
		}
	}
	if j := t.jobs[a.Job]; j != nil {
		j.runs--
	}
}

// inProgress returns the runs of a job that one in this place must not overlap.
func (t *table) inProgress(id keys.RunID) []*cron.Act {
	j := t.jobs[id.Job]
	if j == nil || j.runs == 0 {
		return nil
	}
	_, manual := id.Request()
	var all []*cron.Act
	for _, a := range t.acts {
		if a.Job == id.Job && (manual || id.Place == "" || a.Place == id.Place || a.Place == "" || isManual(a.RunID)) {
			all = append(all, a)
		}
	}
	return all
}

func isManual(id keys.RunID) bool { _, manual := id.Request(); return manual }

// eligible returns the runners that may claim a run of a job that is to be
// placed so.
func (t *table) eligible(p cron.Placement) []*cron.Node {
	var nodes []*cron.Node
	for _, n := range t.nodes {
		if !n.Draining && p.Matches(n.Labels) {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

func decodeNode(id string, kv *mvccpb.KeyValue) (*cron.Node, error) {
	n := &cron.Node{}
	err := json.Unmarshal(kv.Value, n)
	n.ID, n.Rev, n.Lease = id, kv.CreateRevision, kv.Lease
	return n, err
}

func decodeRequest(e keys.Entry, kv *mvccpb.KeyValue) (*cron.Request, error) {
	r := &cron.Request{Job: e.Name, ID: e.ID, Rev: kv.CreateRevision}
	return r, json.Unmarshal(kv.Value, r)
}

func decodeLast(kv *mvccpb.KeyValue) (cron.Memory, error) {
	m := cron.Memory{Rev: kv.ModRevision}
	return m, json.Unmarshal(kv.Value, &m.Last)
}

// epoch is t in seconds; 0 for none.
func epoch(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// nanos is t in nanoseconds; 0 for none.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
