package cron

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"conch/pkg/cli"
	"conch/pkg/cron"
	"conch/pkg/etcd"
	"conch/pkg/keys"
)

const (
	// drawEvery is how often a terminal is told what is waited for.
	drawEvery = time.Second
	// sayAfter is how long nothing may start until that is said where there is no
	// terminal, and how often it is looked whether there is something else to be said.
	sayAfter = 5 * time.Second
	// lookWithin is how long etcd may take to answer what is in the way.
	lookWithin = 2 * time.Second
)

// waitFor waits for the end of a run, and makes its status ours. How it ended is
// said, unless well; and meanwhile what it waits for.
func waitFor(ctx context.Context, stdio *cli.Stdio, s cron.Store, id keys.RunID) error {
	w := &waiter{stdio: stdio, store: s, id: id, began: time.Now(), terminal: cli.Terminal(stdio.Err)}
	end := w.begin(ctx)
	r, err := s.Wait(ctx, id)
	end()
	switch {
	case errors.Is(err, cron.ErrNotStarted):
		if why := w.look(ctx).why; why != "" {
			return fmt.Errorf("%w: %s", err, why)
		}
		return err
	case err != nil, r.State.Well():
		return err
	}
	return cli.Errorf(r.Status(), "%s: %s", id, endPhrase(r))
}

// waiter says what a run is waited for: on a terminal all the time, on one line that is
// wiped at the end; elsewhere only what keeps it from being started.
type waiter struct {
	stdio    *cli.Stdio
	store    cron.Store
	id       keys.RunID
	began    time.Time
	terminal bool

	drawn  bool      // there is a line to be wiped
	said   string    // elsewhere: the last thing
	silent time.Time // since when etcd has not answered
}

// begin goes on until the function that it returns is called.
func (w *waiter) begin(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { w.tell(ctx) })
	return func() {
		cancel()
		wg.Wait()
		if w.drawn {
			fmt.Fprint(w.stdio.Err, "\r\x1b[K")
		}
	}
}

func (w *waiter) tell(ctx context.Context) {
	every := sayAfter
	if w.terminal {
		every = drawEvery
	}
	for {
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return
		}
		is := w.look(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case w.terminal:
			w.draw(is)
		case is.why != "" && is.why != w.said:
			w.said = is.why
			note(w.stdio, "waiting for %s: %s", w.id, is)
		}
	}
}

// draw replaces the line. Without the terminal's wrapping one that is too long is cut,
// and can be wiped.
func (w *waiter) draw(is standing) {
	text := fmt.Sprintf("%s: waiting for %s, %v", name, w.id, time.Since(w.began).Round(time.Second))
	if is != (standing{}) {
		text += ": " + is.String()
	}
	fmt.Fprint(w.stdio.Err, "\x1b[?7l\r\x1b[K"+cli.OneLine(text)+"\x1b[?7h")
	w.drawn = true
}

// standing is where a run stands, and what keeps it from being started.
type standing struct{ what, why string }

// String is both in words.
func (is standing) String() string {
	if is.why == "" {
		return is.what
	}
	if is.what == "" {
		return is.why
	}
	return is.what + ": " + is.why
}

// look asks etcd where the run stands.
func (w *waiter) look(ctx context.Context) standing {
	asked := time.Now()
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	is, err := stands(ctx, w.store, w.id)
	if !errors.As(err, new(*etcd.Unreachable)) {
		w.silent = time.Time{}
		return is
	}
	if w.silent.IsZero() {
		w.silent = asked
	}
	return standing{why: "etcd has not answered since " + clock(w.silent)}
}

// stands says where a run stands that is not over.
func stands(ctx context.Context, s cron.Store, id keys.RunID) (standing, error) {
	t, err := s.TableOf(ctx, id.Job)
	if err != nil {
		return standing{}, err
	}
	v := viewOf(t)
	is := standing{what: "not started"}
	for _, a := range t.Acts {
		l := v.act(a)
		l.By = "" // which is who waits
		switch {
		case a.RunID != id:
		case a.Waits:
			is.what = livePhrase(l)
			if v.now.Before(a.RetryAt) {
				return is, nil
			}
		default:
			is.what = livePhrase(l)
			return is, nil
		}
	}
	is.why, err = inTheWay(ctx, s, t, id)
	return is, err
}

// inTheWay says what keeps a run from being started, "" if nothing does that can be seen.
func inTheWay(ctx context.Context, s cron.Store, t *cron.Table, id keys.RunID) (string, error) {
	j := &t.Jobs[0]
	place, err := cron.ParsePlacement(j.On)
	if j.Err != nil || err != nil {
		return "the job cannot be read", nil
	}
	if p := t.Paused; p != nil {
		return fmt.Sprintf("all jobs are paused, by %s since %s", or(p.By, "somebody"), clock(p.At)), nil
	}
	for _, a := range t.Acts {
		switch {
		case a.RunID == id && j.Paused:
			return "the job is paused", nil // which holds up another attempt
		case a.RunID == id || j.Overlaps() == cron.Allow || !cron.Rivals(a.RunID, id):
		case a.State(t.Alive) == cron.Adrift:
			return fmt.Sprintf("%s has no result, and its runner on %s is gone", a, a.Host), nil
		default:
			return fmt.Sprintf("%s is still in progress on %s, since %s", a, a.Host, clock(a.Since())), nil
		}
	}
	acts, err := s.Acts(ctx)
	return noSlot(t.Nodes, place, acts), err
}

// noSlot says why no runner has a place for a run, "" if one has.
func noSlot(nodes []cron.Node, place cron.Placement, acts []cron.Act) string {
	if len(nodes) == 0 {
		return "there is no runner"
	}
	nodes = slices.DeleteFunc(nodes, func(n cron.Node) bool { return !place.Matches(n.Labels) })
	if len(nodes) == 0 {
		return "no runner has " + place.LabelsText()
	}
	nodes = slices.DeleteFunc(nodes, func(n cron.Node) bool { return n.Draining })
	if len(nodes) == 0 {
		return "every runner that may is about to end"
	}
	var slots int
	var hosts, standby []string
	for _, n := range nodes {
		running := 0
		for _, a := range acts {
			if a.Node == n.ID && !a.Waits {
				running++
			}
		}
		switch {
		case n.Standby != "":
			standby = append(standby, n.Host+" stands by: "+n.Standby)
		case running < n.Slots:
			return ""
		default:
			slots, hosts = slots+n.Slots, append(hosts, n.Host)
		}
	}
	if len(hosts) == 0 {
		return strings.Join(standby, "; ")
	}
	return fmt.Sprintf("all slots are taken, %d on %s", slots, strings.Join(hosts, ", "))
}
