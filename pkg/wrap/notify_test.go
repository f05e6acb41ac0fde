package wrap

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"conch/pkg/clock"
	"conch/pkg/stream"
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

// A service manager that reads no more holds up neither an event nor the end.
func TestManagerIsStuck(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	r := &Reporter{notifies: true, standby: true, people: stream.New(io.Discard)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 3 * 10000 { // many more than a socket's queue and ours hold
			r.Say(Event{Event: "waiting", Ahead: "somebody"})
		}
		r.Close()
	}()
	select {
	case <-done:
	case <-time.After(patience + 20*time.Second):
		t.Fatal("who reports waits for the service manager")
	}
	if r.manager.Wait(0) {
		t.Error("the socket has taken everything: nothing was stuck")
	}
}
