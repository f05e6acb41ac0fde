package runner

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"conch/pkg/cron"
	"conch/pkg/plan"
	"conch/pkg/proc"
)

// A command that cannot be started for what the host lacks is not to blame: the claim is
// given back, and the attempt is made when there is enough again.
func TestScarcity(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.touch("scarce")
	p := w.start(func(s *settings) { s.Scarce, s.TTL = w.path("scarce"), 20*time.Second }).ready()
	w.add(tickAt("job", "exit 0"))
	w.wait("it to stand by", func() bool { return p.says("standby", "this host has too little of something to start a command: ") })
	w.wait("the claim to be given back", func() bool {
		runs := w.runs("job")
		return len(runs) == 1 && runs[0].State == cron.Retrying && runs[0].Attempt == 0 && runs[0].RetryAt.Before(time.Now().Add(time.Minute))
	})
	w.wait("it to say so in its key", func() bool {
		nodes, err := w.store.Nodes(t.Context())
		return err == nil && len(nodes) == 1 && strings.Contains(nodes[0].Standby, "too many open files")
	})
	if n := w.starts(); len(n) != 0 {
		t.Errorf("started: %v", n)
	}
	if err := os.Remove(w.path("scarce")); err != nil {
		t.Fatal(err)
	}
	w.want(w.one("job"), cron.OK, "host1", 1, 1)
	if n := w.starts()[0].attempt; n != 1 {
		t.Errorf("it was told that this was attempt %d", n)
	}
	w.wait("it to go on", func() bool { return len(p.events("resumed")) == len(p.events("standby")) })
}

// A standby for what the host lacks lasts longer each time, until something was started.
func TestLack(t *testing.T) {
	d := &daemon{poked: make(chan struct{}, 1)}
	want := func(wait time.Duration) {
		t.Helper()
		if d.lack.wait != wait || d.standby() != "this host has too little of something to start a command: fork: resource temporarily unavailable" {
			t.Errorf("%v, not %v: %q", d.lack.wait, wait, d.standby())
		}
	}
	err := fmt.Errorf("fork: %w", unix.EAGAIN)
	for _, wait := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		d.lacks(err)
		d.lacks(err) // of another run, which was being started too
		want(wait * time.Second)
		d.lack.until = 0
		if why := d.standby(); why != "" {
			t.Errorf("it is over, and: %q", why)
		}
	}
	d.suffices()
	d.lacks(err)
	want(time.Second)
	d.setSkew("the clock is wrong")
	if why := d.standby(); why != "the clock is wrong" {
		t.Errorf("%q", why)
	}
}

func TestLacking(t *testing.T) {
	for err, want := range map[error]bool{
		nil:              false,
		proc.ErrNotFound: false,
		unix.ENOENT:      false,
		os.ErrPermission: false,
		unix.ENOMEM:      true,
		&proc.Scarcity{Err: unix.EMFILE, Limit: "of open files"}:         true,
		fmt.Errorf("x: %w", &os.PathError{Op: "open", Err: unix.ENOSPC}): true,
	} {
		if lacking(err) != want {
			t.Errorf("%v: %v", err, !want)
		}
	}
}

// The clock was set: the planner takes nothing on until it is told that it may, though
// all that is heard is what was told before.
func TestToldAfterAStep(t *testing.T) {
	s := spooling(t, "")
	s.poked, s.recheck = make(chan struct{}, 1), make(chan struct{}, 1)
	s.cfg.Now = time.Now
	s.sayAll(plan.Event{Event: clockStep})
	if why := s.standby(); why != notChecked || len(s.recheck) != 1 {
		t.Errorf("it goes on: %q", why)
	}
	s.setSkew("") // it has been compared, before anybody has asked
	if s.standing() == s.planned {
		t.Error("the planner is not told")
	}
}
