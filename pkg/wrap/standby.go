package wrap

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"conch/pkg/cli"
	"conch/pkg/clock"
	"conch/pkg/etcd"
	"conch/pkg/hold"
	"conch/pkg/proc"
)

// Whatever this process has in etcd, there is a sentinel that clears it up if this
// process is killed, from before it is asked for until it is gone: the one that
// waits for the next command (or, with --hold, for nothing), then that of a hook or
// of the command, which first empties its tree.

// remainsVar hands the remains to the helper that a sentinel becomes. Like the
// password that may be in it, it can be read by the user's own processes only.
const remainsVar = "CONCH_REMAINS"

type remains struct {
	Etcd    etcd.Config    `json:"etcd"`
	Remains []hold.Remains `json:"remains"`
}

// epilogue is the helper that clears all.
func (s *Session) epilogue(all []hold.Remains) (*proc.Epilogue, error) {
	b, err := json.Marshal(remains{s.Client.Config(), all})
	if err != nil {
		return nil, err
	}
	return &proc.Epilogue{
		Args: []string{Release.Name},
		Env:  append(without(s.stdio.Env, remainsVar), proc.Pieces(remainsVar, string(b))...),
		Stay: true,
	}, nil
}

// kept is what a turn leaves behind once its command has begun: then --hold-for
// holds, however the command ends.
func (s *Session) kept(t *hold.Turn) []hold.Remains {
	all := t.Remains()
	if s.HoldFor > 0 {
		for i := range all {
			all[i].Until = clock.System{}.Now().Add(s.HoldFor)
		}
	}
	return all
}

// standBy is a Request's Standby.
func (s *Session) standBy(all []hold.Remains) error {
	if all == nil {
		return s.warden.arm(nil)
	}
	e, err := s.epilogue(all)
	if err != nil {
		return err
	}
	return s.warden.arm(e)
}

// relieve makes tree's sentinel the one that stands by, and lets the one go that
// did before.
func (s *Session) relieve(tree *proc.Tree) {
	old := s.standing
	s.standing = tree
	if old != nil {
		old.Dismiss()
	} else {
		_ = s.warden.arm(nil)
	}
}

// stand makes the warden the one that stands by, with what a turn leaves behind
// whose command has not begun.
func (s *Session) stand(t *hold.Turn) error {
	if s.standing == nil {
		return nil
	}
	if err := s.standBy(t.Remains()); err != nil {
		return err
	}
	s.standing.Dismiss()
	s.standing = nil
	return nil
}

// standDown lets whoever stands by go: there is nothing left to clear up.
func (s *Session) standDown() {
	old := s.standing
	s.standing = nil
	if old != nil {
		s.leaving.Go(old.Dismiss)
	}
	_ = s.warden.arm(nil)
}

// warden is a sentinel that waits for a command, or for nothing. One that somebody
// kills is replaced.
type warden struct {
	make func() (*proc.Prepared, error)

	mu    sync.Mutex
	now   *proc.Prepared
	armed *proc.Epilogue
}

// arm sets what the sentinel becomes should this process be killed, nil: nothing.
func (w *warden) arm(e *proc.Epilogue) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.armed = e; w.now == nil && e == nil {
		return nil
	}
	return w.renew()
}

// prepare has the sentinel forked, which takes a moment.
func (w *warden) prepare() {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.renew() // whoever needs it tries again
}

// renew makes a sentinel if there is none, and arms it. The caller holds the lock.
func (w *warden) renew() error {
	if w.now == nil {
		p, err := w.make()
		if err != nil {
			return err
		}
		w.now = p
		go w.watch(p) // until it has ended
	}
	return w.now.Arm(w.armed)
}

// watch replaces p if it ends before it was taken or dropped.
func (w *warden) watch(p *proc.Prepared) {
	<-p.Gone()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now == p {
		w.now = nil
		p.Drop()
		_ = w.renew()
	}
}

// take hands the sentinel over for its command; nil if there is none: proc.Start
// makes one then.
func (w *warden) take() *proc.Prepared {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.now
	w.now = nil
	return p
}

// Release is the one-shot mode in which a sentinel ends that has emptied the
// tree of a supervisor that was killed: it clears what that left in etcd.
var Release = cli.Tool{
	Name:  proc.SentinelName + "-release", // it is spared where the sentinel was
	Brief: "clear up after a conch that was killed; conch starts this itself",
	Setup: func(*cli.Flags) cli.Run {
		return func(ctx context.Context, stdio *cli.Stdio, _ cli.Args) error { return release(ctx, stdio) }
	},
}

// release clears what CONCH_REMAINS names.
func release(ctx context.Context, stdio *cli.Stdio) error {
	var r remains
	if err := json.Unmarshal([]byte(proc.Joined(remainsVar, stdio.Lookup)), &r); err != nil {
		return cli.Usagef("%s is not set: this is started by conch itself", remainsVar)
	}
	// The leases lapse anyway; the helper need not outlive them for long.
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := etcd.Open(ctx, r.Etcd)
	if err != nil {
		return err
	}
	defer c.Close()
	return hold.Clear(ctx, c, r.Remains)
}

// without is env less a variable, and those whose names go on with _ and a number
// behind it.
func without(env []string, name string) []string {
	var kept []string
	for _, entry := range env {
		rest, same := strings.CutPrefix(entry, name)
		if !same || !(strings.HasPrefix(rest, "=") || strings.HasPrefix(rest, "_")) {
			kept = append(kept, entry)
		}
	}
	return kept
}
