package etcd

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// apart is how long the survey lets the first connection go ahead, which may
	// need the processor for itself, or only time.
	apart = 1500 * time.Microsecond

	// An endpoint that has taken a connection is given a part of a round trip more
	// to answer, when the start is ready and it is not.
	graceMin = 2 * time.Millisecond
	graceMax = 20 * time.Millisecond
)

// survey is the question who is behind each endpoint, put beside the start of
// something, and what it has found.
type survey struct {
	connected chan struct{} // closed when the first connection is up
	found     chan struct{} // closed with err

	mu       sync.Mutex
	starting int              // how many want to know, ...
	begun    bool             // ... of whom the first does so from the begin on
	seen     map[*Member]bool // that are looked at
	asked    map[*Member]bool // that owe an answer, ...
	settled  chan struct{}    // ... closed when there are none any more
	err      *Unfit
}

func newSurvey() *survey {
	return &survey{connected: make(chan struct{}), found: make(chan struct{}), seen: map[*Member]bool{}, asked: map[*Member]bool{}, settled: make(chan struct{})}
}

// begin looks at each endpoint but the first, beside the first connection.
func (s *survey) begin(c *Client) {
	s.starting = 1
	c.wg.Go(func() {
		t := time.NewTimer(apart)
		defer t.Stop()
		select {
		case <-s.connected:
		case <-t.C:
		}
		s.lookAtOthers(c)
	})
}

// lookAtOthers looks at each endpoint that is not asked anyway, once.
func (s *survey) lookAtOthers(c *Client) {
	first, _ := c.Preferred()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range c.list().members {
		if m != first && !s.seen[m] {
			s.seen[m] = true
			c.wg.Go(func() { s.inspect(c, m) })
		}
	}
}

// inspect asks an endpoint who it is, over a connection of its own and without a
// user, and compares that with the first answer of all.
func (s *survey) inspect(c *Client, m *Member) {
	ctx, cancel := context.WithTimeout(c.ctx, c.cfg.DialTimeout)
	defer cancel()
	defer s.owes(m, false)
	h, err := m.greet(ctx, func() { s.owes(m, true) })
	switch {
	case err != nil:
		return
	case h.GetMemberId() == 0:
		c.unfit(&Unfit{m.Endpoint, ErrProxy})
		return
	}
	select {
	case <-c.pin.set:
		_ = m.compare(h) // which reports it
	case <-ctx.Done():
	}
}

// owes notes whether an endpoint owes an answer.
func (s *survey) owes(m *Member, does bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case does:
		s.asked[m] = true
	case s.asked[m]:
		if delete(s.asked, m); len(s.asked) == 0 {
			close(s.settled)
			s.settled = make(chan struct{})
		}
	}
}

// await gives those that are connected the grace to answer.
func (s *survey) await(grace time.Duration) {
	s.mu.Lock()
	settled, none := s.settled, len(s.asked) == 0
	s.mu.Unlock()
	if none {
		return
	}
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-settled:
	case <-s.found:
	case <-t.C:
	}
}

// Surveyed returns a context for the start of something that must not run if one of
// the endpoints is unfit: it ends when one turns out to be. With Config.Survey each
// is asked, beside the start. over ends the context, and returns what was found up
// to then; what is found later is noted.
func (c *Client) Surveyed(ctx context.Context) (_ context.Context, over func() error) {
	s := c.survey
	s.mu.Lock()
	if s.begun || !c.cfg.Survey {
		s.starting++
	}
	s.begun = true
	s.mu.Unlock()
	if c.cfg.Survey {
		s.lookAtOthers(c)
	}
	ctx, cancel := context.WithCancel(ctx)
	stopped := make(chan struct{})
	c.wg.Go(func() {
		select {
		case <-s.found:
			cancel()
		case <-stopped:
		}
	})
	return ctx, func() error {
		defer cancel()
		s.await(min(max(c.RoundTrip()/2, graceMin), graceMax))
		close(stopped)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.starting--
		if s.err == nil {
			return nil
		}
		return s.err
	}
}

// unfit says once of an endpoint that it is: by ending what is being started, or as a
// note. One that has only now become so ends nothing.
func (c *Client) unfit(err *Unfit) {
	if !c.pin.first(err.Endpoint) {
		return
	}
	var other *OtherCluster
	s := c.survey
	s.mu.Lock()
	refuse := s.starting > 0 && s.err == nil && !(errors.As(err, &other) && other.Before)
	if refuse {
		s.err = err
		close(s.found)
	}
	s.mu.Unlock()
	if !refuse && len(c.list().members) > 1 { // of the only one the error says it
		c.note("%v; its answers do not count", err)
	}
}
