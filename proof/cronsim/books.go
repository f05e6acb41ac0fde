package main

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
	"conch/pkg/schedule"
)

// slack is by how much the clocks of two that act may differ, and some.
const slack = maxSkew + time.Second

// books are what has really happened, as etcd's history and the hosts tell it, and
// what the runners have said about it. They are kept without asking a planner.
type books struct {
	w    *world
	job  map[string]*jobBook
	run  map[string]*runBook
	host map[*host]*hostBook

	active    map[*execution]bool
	allPaused []span          // of all jobs
	changes   []time.Duration // when sessions have begun or ended
	saidSo    bool            // an operator has said that a restored etcd may be gone on with
	lostRev   int64           // of the last restore, the revision that was gone back to
	era       int             // counts restores
}

// maxWanted is how often a run may be tried to be claimed by all runners: each second for
// a quarter of an hour while etcd has no space, and each time when something was in the
// way.
const maxWanted = 10_000

// span is from one time up to another; forever: it lasts.
type span struct{ from, to time.Duration }

func (s span) meets(from, to time.Duration) bool { return s.from <= to && s.to >= from }

// version is a job as it was from one edit to the next.
type version struct {
	span
	rev, born int64
	spec      *cron.Job
	sched     *schedule.Schedule
	place     cron.Placement
	splay     time.Duration
}

// jobBook is all that there ever was of a name.
type jobBook struct {
	name     string
	versions []*version // the last may be gone
	gone     []goneAt
	markers  []*marker
	live     map[string]*marker // by key
	last     cron.Last
	hasLast  bool
	ends     map[string]time.Duration // of runs whose end is in etcd: when it truly was
	finals   map[string]bool          // the runs that are over, of the job that there is
	base     int                      // and so many before a restore
	splays   map[time.Duration]bool
	requests map[string]*requestBook
	losses   map[string]time.Duration // of which nobody has told yet, by run: since when
	closed   time.Duration            // ticks that were due before have been gone through

	stretches map[string]*stretch // the records of ticks that nobody has run
	told      []told
}

type goneAt struct {
	at  time.Duration
	rev int64
}

type requestBook struct {
	span
	cron.Request
	claimed bool
}

// marker is one of a run in progress.
type marker struct {
	span
	id    keys.RunID
	waits bool
}

// runBook is all that there ever was of a run, or of a tick that was not run.
type runBook struct {
	id       keys.RunID
	claims   []claimBook
	starts   map[int]startBook // by attempt
	record   *cron.Run         // as it lies in etcd; nil: not there
	results  map[string]*cron.Run
	ends     map[string]time.Duration // when they were
	waited   map[string]bool          // claims that were to be tried again
	taken    map[string]int           // results that etcd has taken, and in which era
	lost     map[string]bool          // results that went with a runner's memory
	lacked   map[string]bool          // claims of which nothing could be started, for what the host lacks
	unbegun  map[string]bool          // claims of which nothing could be started
	accounts []account
	told     map[string]tellBook // by claim
	wanted   int                 // how often a runner has tried to claim it
	killed   bool                // somebody has asked for its end
}

type claimBook struct {
	at      time.Duration
	claim   string
	attempt int
	node    string
	era     int
	jobRev  int64
}

// tellBook is who has told of the end of a run that its sentinel has written.
type tellBook struct {
	node string
	era  int
}

type startBook struct {
	at    time.Duration
	claim string
	era   int
}

// account is what a runner has said about a tick.
type account struct {
	at     time.Duration
	what   string
	by     string
	reason string
}

// hostBook is when a host was well, and when it could have run something.
type hostBook struct {
	sound, able []span
}

func newBooks(w *world) *books {
	return &books{w: w, job: map[string]*jobBook{}, run: map[string]*runBook{}, host: map[*host]*hostBook{}, active: map[*execution]bool{}}
}

func (b *books) jobOf(name string) *jobBook {
	j := b.job[name]
	if j == nil {
		j = &jobBook{name: name, live: map[string]*marker{}, ends: map[string]time.Duration{}, finals: map[string]bool{}, splays: map[time.Duration]bool{}, requests: map[string]*requestBook{}, losses: map[string]time.Duration{},
			stretches: map[string]*stretch{}}
		b.job[name] = j
	}
	return j
}

func (b *books) runOf(id keys.RunID) *runBook {
	name := id.String()
	r := b.run[name]
	if r == nil {
		r = &runBook{id: id, starts: map[int]startBook{}, results: map[string]*cron.Run{}, ends: map[string]time.Duration{}, taken: map[string]int{}, lost: map[string]bool{}, waited: map[string]bool{}, lacked: map[string]bool{}, unbegun: map[string]bool{}, told: map[string]tellBook{}}
		b.run[name] = r
	}
	return r
}

// jobs returns the names of the jobs that there are.
func (b *books) jobs() (names []string) {
	for name, j := range b.job {
		if j.now() != nil {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

// now is the job as it is; nil: there is none.
func (j *jobBook) now() *version {
	if n := len(j.versions); n > 0 && j.versions[n-1].to == forever {
		return j.versions[n-1]
	}
	return nil
}

// bornAt is since when there is the job that there is.
func (j *jobBook) bornAt() time.Duration {
	at := forever
	for i := len(j.versions) - 1; i >= 0 && j.versions[i].born == j.now().born; i-- {
		at = j.versions[i].from
	}
	return at
}

// watch notes who is well, and who could run something.
func (b *books) watch() {
	for _, h := range b.w.hosts {
		hb := b.host[h]
		if hb == nil {
			hb = &hostBook{}
			b.host[h] = hb
		}
		sound, able := h.sound()
		hb.sound = note(hb.sound, sound, b.w.now)
		hb.able = note(hb.able, able, b.w.now)
	}
}

func note(all []span, is bool, now time.Duration) []span {
	n := len(all)
	was := n > 0 && all[n-1].to == forever
	switch {
	case is && !was:
		return append(all, span{now, forever})
	case !is && was:
		all[n-1].to = now
	}
	return all
}

// sound reports whether nothing ails the host, and whether it could run something.
func (h *host) sound() (sound, able bool) {
	r := h.runner
	if r == nil || !h.reaches() || h.slow.is || h.lossy.is || h.w.db.full || h.w.db.refused {
		return false, false
	}
	s := r.session
	if s.over || !s.ready || s.drained || s.standby != "" || s.deadline != 0 || h.skew().Abs() > time.Second {
		return false, false
	}
	return true, !h.lacks.is && len(s.running)+len(s.claimed)+s.pending < h.spec.slots
}

func (h *host) labels() map[string]string {
	l := map[string]string{"host": h.spec.name}
	if h.spec.role != "" {
		l["role"] = h.spec.role
	}
	return l
}

func (r *runBook) String() string {
	var b strings.Builder
	for _, c := range r.claims {
		fmt.Fprintf(&b, " claimed %s by %s (attempt %d)", spell(c.at), c.node, c.attempt)
	}
	for _, a := range r.accounts {
		fmt.Fprintf(&b, " %s said at %s by %s (%s)", a.what, spell(a.at), a.by, a.reason)
	}
	if b.Len() == 0 {
		return " nothing is known of it"
	}
	return b.String()
}
