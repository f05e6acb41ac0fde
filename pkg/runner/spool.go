package runner

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"conch/pkg/cron"
	"conch/pkg/keys"
	"conch/pkg/lease"
)

// spool is a directory with the results that etcd does not have yet, and with
// what the next start of the runner needs to know of this one. Without a
// directory it keeps the results in memory.
type spool struct {
	dir  string
	lock *os.File

	mu    sync.Mutex
	state state
	left  map[string]spooled // without a directory
}

// state is what the runner was, for its next start.
type state struct {
	Node    string `json:"node"`
	Lease   int64  `json:"lease"`
	Cluster uint64 `json:"cluster"`
	Rev     int64  `json:"rev"` // the highest of etcd's revisions that was seen
}

// spooled is a result on its way.
type spooled struct {
	Job  string    `json:"job"`
	ID   string    `json:"id"`
	Rev  int64     `json:"rev"`
	Run  *cron.Run `json:"run"`
	Over time.Time `json:"over,omitzero"`
	Reqs []string  `json:"requests,omitempty"`
	Kept time.Time `json:"kept"`
	Home home      `json:"home,omitzero"`

	name string
	from *spool
}

// home is where a result belongs: in another etcd, or below another prefix, it is
// nothing.
type home struct {
	Cluster uint64 `json:"cluster"`
	Dir     string `json:"dir"`
}

const stateFile = "state.json"

// openSpool opens the directory, which no other runner may use.
func openSpool(dir string) (*spool, error) {
	s := &spool{dir: dir, left: map[string]spooled{}}
	if dir == "" {
		return s, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	if s.lock, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, err
	}
	if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		s.lock.Close()
		return nil, fmt.Errorf("spool %s: another runner uses it: each has one of its own", dir)
	}
	if b, err := os.ReadFile(filepath.Join(dir, stateFile)); err == nil {
		_ = json.Unmarshal(b, &s.state) // one that is torn says nothing
	}
	return s, nil
}

func (s *spool) close() {
	if s.lock != nil {
		s.lock.Close()
	}
}

// keep remembers what the runner is.
func (s *spool) keep(now state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == now {
		return
	}
	s.state = now
	if s.dir == "" {
		return
	}
	if b, err := json.Marshal(now); err == nil {
		_ = writeFile(filepath.Join(s.dir, stateFile), b) // the next time will do
	}
}

// writeFile replaces a file in one step, or leaves it as it is.
func writeFile(path string, b []byte) error {
	tmp := path + ".new"
	err := os.WriteFile(tmp, b, 0o600)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil { // the disk may be full
		os.Remove(tmp)
	}
	return err
}

const (
	entryStem = "run-"
	entryTail = ".json"
)

func entryName(id keys.RunID, claim string) string {
	return entryStem + id.ID() + "-" + claim + entryTail
}

// has reports whether the result of a claim is kept.
func (s *spool) has(id keys.RunID, claim string) bool {
	name := entryName(id, claim)
	s.mu.Lock()
	_, here := s.left[name]
	s.mu.Unlock()
	if here || s.dir == "" {
		return here
	}
	_, err := os.Lstat(filepath.Join(s.dir, name))
	return err == nil
}

// put keeps a result until it is removed.
func (s *spool) put(r cron.Settlement, belongs home) spooled {
	run := *r.Run
	e := spooled{Job: r.Run.Job, ID: r.Run.ID(), Rev: r.Rev, Run: &run, Over: r.Over, Reqs: r.Requests, Kept: time.Now(), Home: belongs, from: s,
		name: entryName(r.Run.RunID, r.Run.Claim)}
	if s.dir != "" {
		if b, err := json.Marshal(e); err == nil {
			if err = writeFile(filepath.Join(s.dir, e.name), b); err == nil {
				return e
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left[e.name] = e
	return e
}

// remove forgets a result that etcd has.
func (e spooled) remove() {
	s := e.from
	s.mu.Lock()
	_, here := s.left[e.name]
	delete(s.left, e.name)
	s.mu.Unlock()
	if !here && s.dir != "" {
		os.Remove(filepath.Join(s.dir, e.name))
	}
}

// all returns what is kept.
func (s *spool) all() []spooled {
	var all []spooled
	s.mu.Lock()
	for _, e := range s.left {
		all = append(all, e)
	}
	s.mu.Unlock()
	if s.dir == "" {
		return all
	}
	files, _ := os.ReadDir(s.dir)
	for _, file := range files {
		name := file.Name()
		if !strings.HasPrefix(name, entryStem) || !strings.HasSuffix(name, entryTail) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(s.dir, name))
		e := spooled{name: name, from: s}
		if err == nil {
			err = json.Unmarshal(b, &e)
		}
		if err == nil && e.Run != nil {
			all = append(all, e)
		}
	}
	return all
}

// state is what the next start needs to know. Until the table has been read, who
// knows of no cluster is told of the one that has answered.
func (s *session) state() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return state{Node: s.node.ID, Lease: s.lease.ID, Cluster: cmp.Or(s.identity, s.cluster.Load()), Rev: s.seen}
}

// home is where the results of this session belong.
func (s *session) home() home { return home{s.cluster.Load(), s.cron.Dir} }

// replayAll writes what an earlier session, or an earlier start, could not write,
// ends the lease of an earlier start of which nothing is left, and goes on
// writing what etcd refuses for a while. It begins when it is known whether this is
// the etcd that was left.
func (s *session) replayAll(ctx context.Context, before state) {
	s.spool.keep(s.state())
	select {
	case <-s.judged:
	case <-ctx.Done():
		return
	}
	s.replay(ctx, 0)
	if before.Lease != 0 && before.Node != s.node.ID && before.Cluster == s.cluster.Load() {
		s.endOf(ctx, before)
	}
	tick := time.NewTicker(s.cfg.Replay)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.replay(ctx, s.cfg.Replay)
		case <-ctx.Done():
			return
		}
	}
}

// replay writes what has been in the spool for so long. In an etcd that may have
// forgotten, or that is another, no result has its place: it is kept.
func (s *session) replay(ctx context.Context, age time.Duration) {
	if s.forgetful() {
		return
	}
	for _, e := range s.spool.all() {
		if since := time.Since(e.Kept); since >= 0 && since < age { // else the clock was ahead
			continue // it is on its way
		}
		if e.Home != (home{}) && e.Home != s.home() {
			continue
		}
		err := s.rewrite(ctx, e)
		switch {
		case errors.Is(err, cron.ErrSuperseded):
			s.say(Event{Event: "superseded", Level: Warning, Job: e.Job, Run: e.Job + "/" + e.ID, Reason: err.Error()})
		case err != nil && ctx.Err() == nil:
			s.say(Event{Event: "unwritten", Level: Warning, Job: e.Job, Run: e.Job + "/" + e.ID, Reason: err.Error() + "; it is in the spool"})
			continue
		case err != nil:
			return
		}
		e.remove()
	}
}

// last is the state that was kept.
func (s *spool) last() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// rewrite settles a run late. Where it has been recorded as lost meanwhile, and
// nobody has tried again, its true end takes the place of that.
func (s *session) rewrite(ctx context.Context, e spooled) error {
	id, ok := keys.RunOfID(e.Job, e.ID)
	if !ok || strings.Contains(e.Job, "/") {
		return nil
	}
	e.Run.RunID = id
	r := cron.Settlement{Run: e.Run, Rev: e.Rev, Over: e.Over, Requests: e.Reqs}
	if e.Run.State.Final() {
		r.Memory = &cron.Memory{Rev: -1} // what there is is found out
	}
	err := cron.Settle(ctx, s.cfg.Etcd, s.cron, r)
	if !errors.Is(err, cron.ErrSuperseded) {
		return err
	}
	is, rerr := cron.Store{C: s.cfg.Etcd, Keys: s.cron}.RunOf(ctx, id)
	if rerr != nil || is.Claim != e.Run.Claim || is.State != cron.Lost {
		return err
	}
	r.Rev, r.Counted = is.Rev, true
	return cron.Settle(ctx, s.cfg.Etcd, s.cron, r)
}

// endOf ends the lease of an earlier start of this runner, if that has nothing
// in progress any more: each run's sentinel has seen to that when it was killed.
// Then the others need not wait for the lease to lapse.
func (s *session) endOf(ctx context.Context, before state) {
	acts, err := cron.Store{C: s.cfg.Etcd, Keys: s.cron}.Acts(ctx)
	if err != nil {
		return
	}
	for _, a := range acts {
		if a.Node == before.Node && !a.Waits {
			return
		}
	}
	_ = lease.Revoke(ctx, s.cfg.Etcd, before.Lease) // it lapses anyway
}
