package runner

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"conch/pkg/clock"
	"conch/pkg/plan"
	"conch/pkg/proc"
)

// standby says why nothing is taken on at present; empty: it is.
func (d *daemon) standby() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.trust.Other() && d.spool.dir != "":
		return fmt.Sprintf("%s; where this runner has gone over to another cluster, it needs another --spool, for %s is of cluster %x", d.trust.Why(), d.spool.dir, d.trust.Cluster)
	case d.trust.Why() != "":
		return d.trust.Why()
	case d.skew == "" && (clock.System{}).Now().Before(d.lack.until):
		return d.lack.why
	}
	return d.skew
}

// forgetful reports whether etcd may have forgotten what it was told.
func (d *daemon) forgetful() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.trust.Why() != ""
}

// judge notes something that says whether etcd is to be believed.
func (d *daemon) judge(note func(t *plan.Trust)) {
	d.mu.Lock()
	before := d.trust.Why()
	note(&d.trust)
	changed := d.trust.Why() != before
	d.mu.Unlock()
	if changed {
		d.poke()
	}
}

// setSkew sets why the clock is not to be trusted, or that it is.
func (d *daemon) setSkew(why string) {
	d.mu.Lock()
	changed := d.skew != why
	d.skew = why
	d.mu.Unlock()
	if changed {
		d.poke()
	}
}

// poke lets the loop look at standby again.
func (d *daemon) poke() {
	select {
	case d.poked <- struct{}{}:
	default:
	}
}

const (
	leastLack = time.Second
	mostLack  = time.Minute
)

// lack is what the host has too little of to start a command. Nothing is taken on for a
// while then, which doubles until a command has been started.
type lack struct {
	why   string
	until clock.Instant
	wait  time.Duration
}

// lacking reports whether it is the host's fault that a command could not be started.
func lacking(err error) bool {
	for _, e := range []error{unix.EAGAIN, unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.ENOSPC} {
		if errors.Is(err, e) {
			return true
		}
	}
	return errors.As(err, new(*proc.Scarcity))
}

// lacks begins a standby because a command could not be started, unless there is one:
// several that fail at once are one failure.
func (d *daemon) lacks(err error) {
	now := clock.System{}.Now()
	d.mu.Lock()
	if !now.Before(d.lack.until) {
		wait := min(max(2*d.lack.wait, leastLack), mostLack)
		d.lack = lack{fmt.Sprintf("this host has too little of something to start a command: %v%s", err, hint(err)), now.Add(wait), wait}
	}
	d.mu.Unlock()
	d.poke()
}

func hint(err error) string {
	var s *proc.Scarcity
	if errors.As(err, &s) {
		return "; " + s.Hint()
	}
	return ""
}

// suffices notes that a command has been started.
func (d *daemon) suffices() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lack.wait = 0
}
