package wrap

import (
	"net"
	"net/http"
	"sync"

	"conch/pkg/cli"
	"conch/pkg/clock"
	"conch/pkg/guard"
	"conch/pkg/hold"
)

// heldState is what --listen answers.
type heldState struct {
	mu   sync.Mutex
	turn guard.Hold // nil: not ours, or not any more
	last Event
}

// set notes the turn, or with nil that there is none.
func (s *heldState) set(turn guard.Hold) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn = turn
}

func (s *heldState) take(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.Event {
	case "kill-sent", "child-exit", "lost":
		s.turn = nil
	}
	s.last = e
}

// now reports whether the turn is ours at this moment: what was said last may be
// older than the deadline.
func (s *heldState) now() (held bool, last Event) {
	s.mu.Lock()
	turn, last := s.turn, s.last
	s.mu.Unlock()
	if turn == nil {
		return false, last
	}
	select {
	case <-turn.Lost():
		return false, last
	default:
	}
	deadline, _ := turn.Deadline()
	return clock.System{}.Now().Before(deadline), last
}

// took says that the turn has come.
func (r *Reporter) took(t *hold.Turn) {
	r.held.set(t)
	r.Say(acquired(t))
}

// leave says no from now on: the next holder may be there before we are told
// that we have released.
func (r *Reporter) leave() { r.held.set(nil) }

// ServeHTTP answers /leader: 200 while the hold is ours, 503 otherwise.
func (s *heldState) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	held, last := s.now()
	w.Header().Set("Content-Type", "application/json")
	if !held {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if r.Method != http.MethodHead {
		_, _ = w.Write(last.json())
	}
}

// listen serves /leader on addr until the returned function is called.
func (r *Reporter) listen(addr string) (stop func(), _ error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, cli.Errorf(cli.Config, "--listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/leader", &r.held)
	srv := &http.Server{Handler: mux}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(l) }) // ends by Close
	return func() { srv.Close(); wg.Wait() }, nil
}
