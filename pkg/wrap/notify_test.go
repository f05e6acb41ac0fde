package wrap

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"conch/pkg/clock"
)

// fake is a hold whose deadline and loss a test decides.
type fake struct {
	deadline clock.Instant
	lost     chan struct{}
}

func (f *fake) Lost() <-chan struct{}                      { return f.lost }
func (f *fake) Deadline() (clock.Instant, <-chan struct{}) { return f.deadline, nil }

// /leader asks the clock at each request, and does not rely on having been told.
func TestLeaderIsHeldNow(t *testing.T) {
	now := clock.System{}.Now()
	var s heldState
	expect := func(what string, status int) {
		t.Helper()
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/leader", nil))
		if w.Code != status {
			t.Errorf("%s: %d, not %d", what, w.Code, status)
		}
	}
	expect("before there is a turn", 503)
	turn := &fake{deadline: now.Add(time.Hour), lost: make(chan struct{})}
	s.set(turn)
	s.take(Event{Event: "acquired"})
	expect("held", 200)
	turn.deadline = now
	expect("past the deadline", 503)
	turn.deadline = now.Add(time.Hour)
	expect("renewed after all", 200)
	close(turn.lost)
	expect("lost, and nobody has been told", 503)
	s.set(&fake{deadline: now.Add(time.Hour)})
	expect("the next turn", 200)
	for _, end := range []string{"kill-sent", "child-exit", "lost"} {
		s.set(&fake{deadline: now.Add(time.Hour)})
		s.take(Event{Event: end})
		expect(end, 503)
	}
}
