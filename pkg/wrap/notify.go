package wrap

import (
	"net"
	"net/http"
	"sync"

	"conch/pkg/cli"
)

// heldState is what --listen answers.
type heldState struct {
	mu   sync.Mutex
	held bool
	last Event
}

func (s *heldState) take(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.Event {
	case "acquired":
		s.held = true
	case "kill-sent", "child-exit", "lost":
		s.held = false
	}
	s.last = e
}

// leave says no from now on: the next holder may be there before we are told
// that we have released.
func (r *Reporter) leave() {
	r.held.mu.Lock()
	defer r.held.mu.Unlock()
	r.held.held = false
}

// ServeHTTP answers /leader: 200 while the hold is ours, 503 otherwise.
func (s *heldState) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	held, last := s.held, s.last
	s.mu.Unlock()
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
