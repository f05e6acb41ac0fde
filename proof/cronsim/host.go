package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"conch/pkg/clock"
	"conch/pkg/cron"
	"conch/pkg/plan"
)

// What runners are told, or count on.
const (
	ttl       = 10 * time.Second // of a runner's lease
	killAfter = 5 * time.Second  // from TERM to KILL
	renew     = (ttl - killAfter) / 4
	usable    = ttl - ttl/100 - 200*time.Millisecond // of the lease, from when it was asked for
	hedge     = 2 * time.Second
	replay    = 30 * time.Second
	slice     = time.Second // that a runner sleeps at most
	maxSkew   = 5 * time.Second
	lookEvery = 10 * time.Second
	reconnect = 2 * time.Second // until what was cut is found to be there again
)

// host is a machine: a clock, a disk, and a runner that may be dead.
type host struct {
	w    *world
	spec hostSpec
	rng  *rand.Rand

	offset time.Duration // of the wall clock from true time, ...
	set    time.Duration // ... as of then, ...
	rate   float64       // ... and how much more that is each second
	slewed int           // which slew that is of

	disk disk

	runner *runner // nil: dead
	gone   bool    // and will not start again
	lives  int

	cut, full, lacks, slow, lossy faultUntil
	frozen                        faultUntil
	suspended                     bool     // if frozen: the machine is, not the process
	thawed                        []func() // what happens to its process then
}

// disk is what outlives a runner.
type disk struct {
	results []*kept
	trust   plan.Trust // that was seen
	node    string     // of the last session, ...
	lease   int64
}

// kept is a result that etcd does not have, or not yet.
type kept struct {
	run       *cron.Run
	at        time.Time // on the host's wall clock
	cluster   uint64
	flying    bool // it is on its way
	memory    bool // it is in memory alone
	unstarted bool // nothing could be started
}

// faultUntil is up to when a fault lasts.
type faultUntil struct {
	until time.Duration
	is    bool
}

func newHost(w *world, spec hostSpec) *host {
	h := &host{w: w, spec: spec, rng: rand.New(rand.NewPCG(w.script.seed, uint64(w.draw(spec.name)*(1<<53))))}
	h.offset = time.Duration((w.draw("skew "+spec.name) - 0.5) * float64(time.Second))
	return h
}

func (h *host) say(format string, a ...any) {
	if h.w.trace.on {
		h.w.trace.note(h.w, h.spec.name+": "+format, a...)
	}
}

// wall is what the host's wall clock shows.
func (h *host) wall() time.Time { return h.w.time().Add(h.skew()) }

// skew is how far that is ahead of true time.
func (h *host) skew() time.Duration {
	return h.offset + time.Duration(float64(h.w.now-h.set)*h.rate)
}

// setClock sets the wall clock, and how fast it runs from then on.
func (h *host) setClock(offset time.Duration, rate float64) {
	h.offset, h.set, h.rate = offset, h.w.now, rate
	h.slewed++
}

// reaches reports whether the runner's process can talk to etcd.
func (h *host) reaches() bool {
	return h.runner != nil && !h.frozen.is && !h.cut.is && h.w.etcdUp
}

// delay draws how long a message takes in one direction.
func (h *host) delay() time.Duration {
	d := 200*time.Microsecond + time.Duration(h.rng.ExpFloat64()*float64(time.Millisecond))
	if h.slow.is {
		d += time.Duration(h.rng.ExpFloat64() * float64(700*time.Millisecond))
	}
	return d
}

func (h *host) chance(p float64) bool { return p > 0 && h.rng.Float64() < p }

func (h *host) between(low, high time.Duration) time.Duration {
	return low + time.Duration(h.rng.Int64N(int64(high-low)+1))
}

// begin begins a fault that lasts so long, longer if it lasts already; over is called
// when it is over.
func (h *host) begin(f *faultUntil, text string, over func()) {
	d, err := time.ParseDuration(text)
	if err != nil {
		panic(fmt.Sprintf("%s: %q: %v", h.spec.name, text, err))
	}
	f.is, f.until = true, max(f.until, h.w.now+d)
	end := f.until
	h.w.at(end, func() {
		if f.is && f.until == end {
			f.is = false
			if over != nil {
				over()
			}
		}
	})
}

// suffer lets a fault strike.
func (h *host) suffer(verb, args string) {
	word := strings.Fields(args)
	arg := func(i int) string {
		if i < len(word) {
			return word[i]
		}
		return ""
	}
	switch verb {
	case "clock": // is set, by an operator or at a start of NTP
		h.setClock(h.skew()+parseOffset(arg(0)), 0)
		h.clockMoved()
	case "slew": // is adjusted slowly: by how much, in how long
		by, over := parseOffset(arg(0)), mustDuration(arg(1))
		h.setClock(h.skew(), by.Seconds()/over.Seconds())
		mine := h.slewed
		h.w.after(over, func() {
			if h.slewed == mine {
				h.setClock(h.skew(), 0)
			}
		})
	case "ntp": // sets it right
		h.setClock(h.between(-50*time.Millisecond, 50*time.Millisecond), 0)
		h.clockMoved()
	case "kill":
		h.kill(arg(0) == "epilogue")
	case "start":
		h.start()
	case "gone": // for good
		h.kill(false)
		h.gone = true
	case "restart": // in good order
		h.drain(mustDuration(arg(0)))
	case "stop":
		h.freeze(arg(0), false)
	case "suspend":
		h.freeze(arg(0), true)
	case "cut":
		h.begin(&h.cut, arg(0), h.back)
		h.away()
	case "slow":
		h.begin(&h.slow, arg(0), nil)
	case "lossy":
		h.begin(&h.lossy, arg(0), nil)
	case "disk-full":
		h.begin(&h.full, arg(0), nil)
	case "lacks":
		h.begin(&h.lacks, arg(0), nil)
	default:
		panic("no such fault: " + verb)
	}
}

func parseOffset(text string) time.Duration {
	d, err := time.ParseDuration(strings.TrimPrefix(text, "+"))
	if err != nil {
		panic(err)
	}
	return d
}

func mustDuration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		panic(err)
	}
	return d
}

// heal ends all that ails the host, and starts its runner if it is dead.
func (h *host) heal() {
	for _, f := range []*faultUntil{&h.full, &h.lacks, &h.slow, &h.lossy} {
		f.is = false
	}
	h.setClock(h.between(-50*time.Millisecond, 50*time.Millisecond), 0)
	if h.cut.is {
		h.cut.is = false
	}
	if h.frozen.is {
		h.frozen.is = false
		h.thaw()
	}
	h.back()
	h.clockMoved()
	if h.runner == nil {
		h.start()
	}
}

// freeze stops the process, or suspends the machine.
func (h *host) freeze(d string, suspended bool) {
	if !h.frozen.is {
		h.suspended = suspended
	}
	h.begin(&h.frozen, d, h.thaw)
	h.away()
	if h.suspended && h.runner != nil {
		h.runner.pauseRuns()
	}
}

// thaw lets the process go on.
func (h *host) thaw() {
	all := h.thawed
	h.thawed = nil
	h.back()
	if r := h.runner; r != nil {
		if h.suspended {
			r.resumeRuns()
		}
		if h.chance(0.5) { // what is noticed first is chance
			r.session.checkDeadline()
		}
		h.w.after(h.between(0, slice), r.alive(func() { r.session.checkDeadline(); r.session.wake() }))
	}
	for _, do := range all {
		do()
	}
}

// away is called when etcd may have been lost sight of.
func (h *host) away() {
	if r := h.runner; r != nil && !h.reaches() {
		r.session.untouched()
	}
}

// back is called when etcd may be in sight again.
func (h *host) back() {
	if r := h.runner; r != nil && h.reaches() {
		r.session.touched()
	}
}

// clockMoved lets the runner, which sleeps for a second at most, see what time it is,
// and compare.
func (h *host) clockMoved() {
	if r := h.runner; r != nil {
		h.w.after(h.between(0, slice), r.alive(r.session.wake))
	}
}

// start starts the runner, if there is none.
func (h *host) start() {
	if h.runner != nil || h.gone {
		return
	}
	h.lives++
	h.runner = &runner{host: h, w: h.w, began: h.w.now, running: map[string]*execution{}, trust: h.disk.trust, before: h.disk}
	h.say("starts")
	h.runner.open()
}

// kill kills the runner; what it runs dies with it.
func (h *host) kill(epilogue bool) {
	r := h.runner
	if r == nil {
		return
	}
	h.say("is killed")
	r.dead = true
	h.runner = nil
	r.session.untouched()
	h.thawed = nil
	r.session.end()
	for _, x := range r.executions() {
		x.die()
		if epilogue && x.spec != nil && x.began != 0 {
			r.epilogue(x)
		}
	}
	kept := h.disk.results[:0]
	for _, k := range h.disk.results {
		if k.memory {
			h.w.books.lostResult(k.run)
			continue
		}
		k.flying = false
		kept = append(kept, k)
	}
	h.disk.results = kept
}

// drain lets the runner end in good order, and starts it again.
func (h *host) drain(again time.Duration) {
	h.w.after(again, h.start)
	if h.runner != nil && !h.frozen.is {
		h.runner.drain()
	}
}

// reading is what time it is for the runner.
func (r *runner) reading() plan.Reading {
	return plan.Reading{Wall: r.host.wall(), Up: clock.Instant(r.w.now - r.began + time.Second)}
}

// newID returns hexadecimal digits.
func (h *host) newID(n int) string {
	s := strconv.FormatUint(h.rng.Uint64()|1<<63, 16)
	return s[:n]
}
