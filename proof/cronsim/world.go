package main

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"conch/pkg/keys"
	"conch/pkg/schedule"
)

// origin is when a world begins. Clocks in Europe go forward five hours later.
var origin = time.Date(2026, 3, 28, 20, 0, 0, 0, time.UTC)

// quiet is how long a world goes on after its script, with everything healed, before
// the books are closed.
const quiet = 20 * time.Minute

// balanceEvery is how often the ticks are gone through that must be over.
const balanceEvery = 10 * time.Minute

// world is everything, on one goroutine. True time is what it counts; nobody in it can
// read that.
type world struct {
	script *script
	broken *broken         // what is done as it was; nil: nothing
	known  map[string]bool // failures that do not end the world

	now   time.Duration
	queue moments
	seq   int
	rng   *rand.Rand

	keys   keys.Cron
	db     *etcdModel
	etcdUp bool
	back   []any // backups of etcd, the newest last
	mark   int   // counts restores
	seen   int64 // the revision up to which the books have it
	hosts  []*host
	hand   *editor
	author string // of what is committed: a host, or "hand"
	books  *books
	counts counts
	trace  *trace
}

// counts is what a world has seen.
type counts struct {
	Faults  map[string]int // by kind
	Edits   map[string]int
	Ticks   map[string]int // by what became of them
	Steps   int            // of planners
	Events  int
	Runs    int // that were claimed
	Entries int // in Raft's log, without those of faults and the hand
}

func (c *counts) add(o counts) {
	for k, n := range o.Faults {
		c.Faults[k] += n
	}
	for k, n := range o.Edits {
		c.Edits[k] += n
	}
	for k, n := range o.Ticks {
		c.Ticks[k] += n
	}
	c.Steps += o.Steps
	c.Events += o.Events
	c.Runs += o.Runs
	c.Entries += o.Entries
}

func newCounts() counts {
	return counts{Faults: map[string]int{}, Edits: map[string]int{}, Ticks: map[string]int{}}
}

func newWorld(s *script, b *broken) *world {
	w := &world{script: s, broken: b, rng: rand.New(rand.NewPCG(s.seed, 1)), keys: keys.Space("/conch/v1").Cron(), etcdUp: true,
		counts: newCounts(), trace: &trace{}}
	w.db = newEtcdModel(1)
	w.seen = w.db.rev
	w.books = newBooks(w)
	for _, spec := range s.hosts {
		w.hosts = append(w.hosts, newHost(w, spec))
	}
	w.hand = newEditor(w)
	return w
}

// failure is a promise that was broken.
type failure struct {
	kind string // what is compared when a script is shrunk
	text string
	at   time.Duration
	step int
}

func (f *failure) Error() string {
	return fmt.Sprintf("%s at %s (step %d): %s", f.kind, spell(f.at), f.step, f.text)
}

// fail ends the world, unless such failures are known.
func (w *world) fail(kind, format string, a ...any) {
	if w.known[kind] {
		w.trace.note(w, "%s: "+format, append([]any{kind}, a...)...)
		return
	}
	panic(&failure{kind: kind, text: fmt.Sprintf(format, a...), at: w.now, step: w.counts.Events})
}

// run lets everything happen, and returns the first promise that was broken.
func (w *world) run() (f *failure) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *failure:
			f = r
		default:
			f = &failure{kind: fmt.Sprintf("panic: %v", r), text: string(debug.Stack()), at: w.now, step: w.counts.Events}
		}
	}()
	for _, a := range w.script.actions {
		w.at(a.at, func() { w.act(a) })
	}
	for _, h := range w.hosts {
		w.after(w.between(0, 3*time.Second), h.start)
	}
	for t := balanceEvery; t < w.script.length+quiet; t += balanceEvery {
		w.at(t, func() { w.books.balance(false) })
	}
	w.at(w.script.length, w.heal)
	w.runUntil(w.script.length + quiet)
	w.books.balance(true)
	return nil
}

func (w *world) runUntil(end time.Duration) {
	for len(w.queue) > 0 && w.queue[0].at <= end {
		e := heap.Pop(&w.queue).(moment)
		w.now = e.at
		w.counts.Events++
		e.do()
		w.books.watch()
	}
	w.now = end
}

// heal ends all faults.
func (w *world) heal() {
	w.trace.note(w, "all is healed")
	w.etcd("heal", "")
	for _, h := range w.hosts {
		h.heal()
	}
	w.after(2*time.Minute, w.hand.settle) // who stands by for a restore is told to go on
}

// act does what a line of the script says.
func (w *world) act(a action) {
	w.trace.note(w, "* %s %s %s", a.who, a.verb, a.args)
	switch a.who {
	case "hand":
		w.counts.Edits[a.verb]++
		w.hand.do(a.verb, a.args)
	case "etcd":
		w.counts.Faults["etcd "+a.verb]++
		w.etcd(a.verb, a.args)
	default:
		for _, h := range w.hosts {
			if h.spec.name == a.who {
				w.counts.Faults[a.verb]++
				h.suffer(a.verb, a.args)
			}
		}
	}
}

// moment is something that happens at a time; of two at the same time the one that was
// foreseen first goes first.
type moment struct {
	at  time.Duration
	seq int
	do  func()
}

type moments []moment

func (q moments) Len() int { return len(q) }
func (q moments) Less(a, b int) bool {
	return q[a].at < q[b].at || q[a].at == q[b].at && q[a].seq < q[b].seq
}
func (q moments) Swap(a, b int) { q[a], q[b] = q[b], q[a] }

// Push is heap.Interface's.
func (q *moments) Push(x any) { *q = append(*q, x.(moment)) }

// Pop is heap.Interface's.
func (q *moments) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = moment{}
	*q = (*q)[:last]
	return e
}

func (w *world) at(t time.Duration, do func()) {
	w.seq++
	heap.Push(&w.queue, moment{max(t, w.now), w.seq, do})
}

func (w *world) after(d time.Duration, do func()) { w.at(w.now+d, do) }

// between draws a duration.
func (w *world) between(low, high time.Duration) time.Duration {
	return low + time.Duration(w.rng.Int64N(int64(high-low)+1))
}

// draw is a number from 0 to 1 that depends on the seed and what it is about alone.
func (w *world) draw(what string) float64 {
	return float64(schedule.Hash(strconv.FormatUint(w.script.seed, 10)+"\x00"+what)>>11) / (1 << 53)
}

// time is true time as a wall clock that is right shows it.
func (w *world) time() time.Time { return origin.Add(w.now) }

// since is how long after the beginning an instant is.
func since(t time.Time) time.Duration { return t.Sub(origin) }

// trace is what has happened, for people.
type trace struct {
	on    bool
	lines []string
}

func (t *trace) note(w *world, format string, a ...any) {
	if t.on {
		t.lines = append(t.lines, spell(w.now)+" "+fmt.Sprintf(format, a...))
	}
}

func (t *trace) String() string { return strings.Join(t.lines, "\n") + "\n" }
