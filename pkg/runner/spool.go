package runner

import (
	"cmp"
	"context"
	"encoding/json"
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
	"conch/pkg/plan"
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
	Job       string    `json:"job"`
	ID        string    `json:"id"`
	Rev       int64     `json:"rev"`
	Run       *cron.Run `json:"run"`
	Unstarted bool      `json:"unstarted,omitempty"`
	Home      home      `json:"home,omitzero"`
	Told      bool      `json:"told,omitempty"` // people know of it

	name string
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
		return nil, fmt.Errorf("--spool: %w", err)
	}
	var err error
	if s.lock, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, fmt.Errorf("--spool: %w", err)
	}
	if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		s.lock.Close()
		return nil, fmt.Errorf("--spool %s: another runner uses it: each needs one of its own", dir)
	}
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		if strings.HasSuffix(f.Name(), half) { // a crash has cut a write short
			os.Remove(filepath.Join(dir, f.Name()))
		}
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

// half is the end of the name of a file that is being written.
const half = ".new"

// writeFile replaces a file in one step, or leaves it as it is.
func writeFile(path string, b []byte) error {
	tmp := path + half
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

// put keeps the result of a run until it is removed.
func (s *spool) put(run *cron.Run, unstarted bool, belongs home) {
	kept := *run
	e := spooled{Job: run.Job, ID: run.ID(), Rev: run.Rev, Run: &kept, Unstarted: unstarted, Home: belongs, name: entryName(run.RunID, run.Claim)}
	if s.dir != "" {
		if b, err := json.Marshal(e); err == nil && writeFile(filepath.Join(s.dir, e.name), b) == nil {
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left[e.name] = e
}

// tell notes of a result that stays that people are told of it.
func (s *spool) tell(name string) {
	e, ok := s.entry(name)
	if !ok {
		return
	}
	e.Told = true
	s.mu.Lock()
	_, here := s.left[name]
	if here {
		s.left[name] = e
	}
	s.mu.Unlock()
	if b, err := json.Marshal(e); !here && err == nil {
		_ = writeFile(filepath.Join(s.dir, name), b) // else they may be told twice
	}
}

// entry is what is kept by that name.
func (s *spool) entry(name string) (spooled, bool) {
	s.mu.Lock()
	e, ok := s.left[name]
	s.mu.Unlock()
	if ok || s.dir == "" {
		return e, ok
	}
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	e = spooled{name: name}
	return e, err == nil && e.read(b)
}

// remove forgets a result that etcd has.
func (s *spool) remove(name string) {
	s.mu.Lock()
	_, here := s.left[name]
	delete(s.left, name)
	s.mu.Unlock()
	if !here && s.dir != "" {
		os.Remove(filepath.Join(s.dir, name))
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
		if b, err := os.ReadFile(filepath.Join(s.dir, name)); err == nil {
			if e := (spooled{name: name}); e.read(b) {
				all = append(all, e)
			}
		}
	}
	return all
}

// read reads what put has written, and reports whether it is of use.
func (e *spooled) read(b []byte) bool {
	if json.Unmarshal(b, e) != nil || e.Run == nil {
		return false
	}
	id, ok := keys.RunOfID(e.Job, e.ID)
	e.Run.RunID, e.Run.Rev = id, e.Rev
	if !e.Run.State.Final() { // it was written by a conch that has said here what is to follow
		e.Run.State, e.Run.RetryAt = cron.Failed, time.Time{}
	}
	return ok && !strings.Contains(e.Job, "/")
}

// state is what the next start needs to know. Until the table has been read, who
// knows of no cluster is told of the one that has answered.
func (s *session) state() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return state{Node: s.node.ID, Lease: s.lease.ID, Cluster: cmp.Or(s.trust.Cluster, s.cluster.Load()), Rev: s.trust.Rev}
}

// home is where the results of this session belong.
func (s *session) home() home { return home{s.cluster.Load(), s.cron.Dir} }

// left are the results that are kept and that nobody is at work for. In an etcd that
// may have forgotten none has its place, nor below another prefix.
func (s *session) left() (facts []plan.Fact) {
	if s.forgetful() {
		return nil
	}
	for _, e := range s.spool.all() {
		r := s.runs[e.Run.RunID.String()]
		if r != nil && r.claim == e.Run.Claim || s.settling[e.name] || e.Home != (home{}) && e.Home.Dir != s.cron.Dir {
			continue
		}
		facts = append(facts, plan.Ended{Run: e.Run, Kept: true, Foreign: e.Home != (home{}) && e.Home != s.home(), Unstarted: e.Unstarted})
	}
	return facts
}

// last is the state that was kept.
func (s *spool) last() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
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
