package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/hold"
)

var errNobody = errors.New("nobody stands at that place in line")

// line returns who waits in line for an office and is alive, in order.
func (e *experiment) line(ctx context.Context, o *office) (line []*contender, _ error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	r, err := e.admin.Get(ctx, o.dir(), clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil {
		return nil, err
	}
	for _, kv := range r.Kvs {
		var h hold.Holder
		if err := json.Unmarshal(kv.Value, &h); err != nil {
			return nil, fmt.Errorf("%s: %w", kv.Key, err)
		}
		if h.State != hold.Waiting {
			continue
		}
		for _, c := range o.contenders {
			if c.is(h.PID) {
				line = append(line, c)
			}
		}
	}
	return line, nil
}

// killWaiter kills somebody who stands in line, counted from 0, and has the turn
// pass on until it has come past that place.
func (s *scene) killWaiter(place int) error {
	line, err := s.e.line(s.ctx, s.office)
	if err != nil {
		return err
	}
	if len(line) <= place {
		return errNobody
	}
	line[place].kill()
	s.wait(between(s.rand, 0, 100*time.Millisecond))
	for range place + 1 {
		if err := s.pass(); err != nil {
			return err
		}
	}
	return nil
}

// pass has the newest command end while somebody stands in line, and waits for the
// next to be at work.
func (s *scene) pass() error {
	var old turn
	err := until(s.ctx, s.patience(), func() error {
		line, err := s.e.line(s.ctx, s.office)
		if err == nil && len(line) == 0 {
			err = errors.New("nobody waits in line")
		}
		if err == nil {
			old, err = s.office.newest(s.e.max)
		}
		return err
	})
	if err != nil {
		s.e.note(s.ctx, s.office, s.blow.fault.name, err)
		return nil
	}
	at := boottime()
	endCommand(s.office, old)
	s.follows(pass{old.token, at})
	return nil
}

// newest returns the newest turn, once so many are at work and it is one of them.
func (o *office) newest(slots int) (turn, error) {
	_, t, _, err := o.holder(slots)
	if err != nil {
		return turn{}, err
	}
	turns, err := o.turns()
	if later, ok := next(turns, pass{t.token, t.from()}); err == nil && ok {
		err = fmt.Errorf("token %d is not at work yet", later.token)
	}
	return t, err
}

// patience is how long something is waited for; aside, where nothing lapses, less.
func (s *scene) patience() time.Duration {
	if s.blow.fault.aside {
		return min(s.e.patience, 2*enough)
	}
	return s.e.patience
}

// follows waits for a turn to begin after another was given up.
func (s *scene) follows(p pass) {
	s.blow.passed = append(s.blow.passed, p)
	err := until(s.ctx, s.patience(), func() error {
		turns, err := s.office.turns()
		if err != nil {
			return err
		}
		if _, ok := next(turns, p); !ok {
			err = errors.New("nobody takes the turn")
		}
		return err
	})
	if err != nil {
		s.e.note(s.ctx, s.office, "after "+s.blow.fault.name, err)
	}
}

// next returns the turn that began when one was given up.
func next(turns []turn, p pass) (turn, bool) {
	for _, t := range turns {
		if t.token > p.token && t.from() > p.at {
			return t, true
		}
	}
	return turn{}, false
}

// is reports whether the start that runs has this pid.
func (c *contender) is(pid int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.runs)
	return n > 0 && c.runs[n-1].to == 0 && c.runs[n-1].pid == pid
}

// kill kills the start that runs.
func (c *contender) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.send(syscall.SIGKILL)
}
