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

	// When the start is ready, an endpoint that has not answered is given a moment
	// more: one that has taken a connection, a part of a round trip; one that has
	// not, until this long after it was called.
	graceMin = 2 * time.Millisecond
	graceMax = 20 * time.Millisecond
	graceNew = 5 * time.Millisecond
)

// survey is the question who is behind each endpoint, put beside the start of
// something, and what it has found.
type survey struct {
	connected chan struct{} // closed when the first connection is up
	found     chan struct{} // closed with err

	mu       sync.Mutex
	starting int  // how many want to know, ...
	begun    bool // ... of whom the first does so from the begin on
	called   map[*Member]*call
	changed  chan struct{} // closed when any call's state does
	err      *Unfit
}

// call is how far an endpoint is asked.
type call struct {
	at              time.Time
	connected, over bool
}

func newSurvey() *survey {
	return &survey{connected: make(chan struct{}), found: make(chan struct{}), called: map[*Member]*call{}, changed: make(chan struct{})}
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
		if m != first && s.called[m] == nil {
			s.called[m] = &call{at: time.Now()}
			c.wg.Go(func() {
				s.inspect(c, m)
				s.note(m, func(k *call) { k.over = true })
			})
		}
	}
}

// inspect asks an endpoint who it is, over a connection of its own and without a
// user, and compares that with the first answer of all.
func (s *survey) inspect(c *Client, m *Member) {
	ctx, cancel := context.WithTimeout(c.ctx, c.cfg.DialTimeout)
	defer cancel()
	h, err := m.greet(ctx, func() { s.note(m, func(k *call) { k.connected = true }) })
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

// note notes how far an endpoint is asked.
func (s *survey) note(m *Member, what func(*call)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	what(s.called[m])
	close(s.changed)
	s.changed = make(chan struct{})
}

// await gives those that have not answered their moment.
func (s *survey) await(grace time.Duration) {
	for since := time.Now(); ; {
		s.mu.Lock()
		changed, end := s.changed, time.Time{}
		for _, k := range s.called {
			until := k.at.Add(graceNew)
			if k.connected {
				until = since.Add(grace)
			}
			if !k.over && until.After(end) {
				end = until
			}
		}
		s.mu.Unlock()
		left := time.Until(end)
		if left <= 0 {
			return
		}
		t := time.NewTimer(left)
		select {
		case <-changed:
		case <-s.found:
			t.Stop()
			return
		case <-t.C:
		}
		t.Stop()
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
