package main

import (
	"strconv"
	"strings"
	"time"

	"conch/pkg/cron"
	"conch/pkg/plan"
)

// execution is a run of a command, and of all that it has started.
type execution struct {
	*session
	name    string
	run     *cron.Run
	spec    *cron.Job
	began   time.Duration // 0: not yet
	dead    bool
	asked   int           // how often it was asked to end, ...
	askedAt time.Duration // ... the last time then
	by      string        // who did
	losing  bool          // it is stopped for the lease
	exempt  bool          // etcd has forgotten it

	end     *time.Duration // when it ends by itself, if nothing comes between
	outcome func()         // and how
	paused  bool
	plan    int // which end counts
	behaves behaviour
}

// behaviour is what a command does, as its words in a job say.
type behaviour struct {
	takes, spread        time.Duration
	fails, hangs, clings float64
	says                 int // bytes of the cause that it fails with
}

// behaviourOf reads a command: sim VERSION takes=5s spread=2s fail=0.1 hang=0.01
// cling=0.1 says=1000.
func behaviourOf(j *cron.Job) behaviour {
	b := behaviour{takes: 2 * time.Second}
	for _, word := range j.Cmd {
		key, value, ok := strings.Cut(word, "=")
		if !ok {
			continue
		}
		switch key {
		case "takes":
			b.takes = mustDuration(value)
		case "spread":
			b.spread = mustDuration(value)
		case "fail":
			b.fails, _ = strconv.ParseFloat(value, 64)
		case "hang":
			b.hangs, _ = strconv.ParseFloat(value, 64)
		case "says":
			b.says, _ = strconv.Atoi(value)
		case "cling": // it ignores TERM, and leaves behind what does
			b.clings, _ = strconv.ParseFloat(value, 64)
		}
	}
	return b
}

func (x *execution) draw(what string) float64 {
	return x.w.draw(what + " " + x.name + " " + strconv.Itoa(x.run.Attempt))
}

// begin starts the command.
func (x *execution) begin() {
	if x.dead {
		return
	}
	if x.deadline != 0 && x.w.now >= x.deadline-killAfter {
		x.finish(cron.Lost, nil, "the runner's lease was lost before the command was started", false)
		return
	}
	if x.host.lacks.is {
		seventy := 70
		x.w.books.lacked(x)
		x.finish(cron.Failed, &seventy, "the host has too little of something", !(x.w.broken != nil && x.w.broken.noGivingBack))
		return
	}
	x.began = max(x.w.now, 1)
	x.lackWait = 0
	x.run.Began = x.host.wall().UTC()
	x.w.books.began(x)
	x.behaves = behaviourOf(x.spec)
	takes := max(x.behaves.takes+time.Duration((x.draw("takes")*2-1)*float64(x.behaves.spread)), time.Millisecond)
	switch {
	case x.draw("hang") < x.behaves.hangs || takes >= x.spec.MaxRun():
		x.endAt(x.spec.MaxRun()+x.dies(), func() {
			x.finish(cron.TimedOut, nil, "stopped after its run-ttl of "+x.spec.MaxRun().String(), false)
		})
	case x.draw("fail") < x.behaves.fails:
		one := 1
		x.endAt(takes+x.clears(), func() { x.finish(cron.Failed, &one, strings.Repeat("x", x.behaves.says), false) })
	default:
		zero := 0
		x.endAt(takes+x.clears(), func() { x.finish(cron.OK, &zero, "", false) })
	}
}

// dies is how long it takes until all is dead that was asked to end.
func (x *execution) dies() time.Duration {
	if x.draw("cling") < x.behaves.clings {
		return killAfter + time.Millisecond
	}
	return time.Duration(x.draw("dies") * float64(time.Second))
}

// clears is how long it takes until what the command has left behind is dead.
func (x *execution) clears() time.Duration {
	if x.draw("cling") < x.behaves.clings {
		return killAfter
	}
	return time.Millisecond
}

// endAt says how it ends, if nothing comes between.
func (x *execution) endAt(d time.Duration, how func()) {
	at := x.w.now + d
	x.end, x.outcome = &at, how
	x.schedule()
}

func (x *execution) schedule() {
	x.plan++
	mine := x.plan
	x.w.at(*x.end, func() {
		if x.plan == mine && !x.dead && !x.paused {
			x.outcome()
		}
	})
}

// stop asks the command to end; asked twice, it is killed.
func (x *execution) stop(by string) {
	if by != "" {
		x.by = by
	}
	if x.asked > 0 && x.w.now-x.askedAt < time.Second {
		return // that one again: guard.Insist
	}
	x.asked, x.askedAt = x.asked+1, x.w.now
	if x.dead {
		return
	}
	state, cause := cron.Lost, "its runner was stopped before it had ended"
	if x.by != "" {
		state, cause = cron.Killed, "by "+x.by
	}
	if x.began == 0 {
		x.finish(state, nil, cause, false)
		return
	}
	d := x.dies()
	if x.asked > 1 {
		d = time.Millisecond
	}
	if *x.end-x.w.now > d {
		x.endAt(d, func() { x.finish(state, nil, cause, false) })
	}
}

// lose ends it before the lease can.
func (x *execution) lose() {
	if x.dead || x.began == 0 || x.losing {
		return
	}
	x.losing = true
	d := x.dies()
	if *x.end-x.w.now > d {
		x.endAt(d, func() {
			x.finish(cron.Lost, nil, "etcd did not answer for too long: the command was stopped before the runner's lease could end", false)
		})
	}
}

// die ends it at once, and nobody tells how.
func (x *execution) die() {
	if !x.dead {
		x.dead = true
		x.w.books.over(x)
	}
}

// finish says how it has ended. Its process may hear of that later.
func (x *execution) finish(state cron.State, exit *int, cause string, unstarted bool) {
	if x.dead {
		return
	}
	x.dead = true
	x.w.books.over(x)
	run := x.run
	x.runner.after(0, func() {
		if x.session.over {
			return
		}
		run.Ended = x.host.wall().UTC()
		run.State, run.Exit, run.Cause = state, exit, cause
		if x.w.broken != nil && x.w.broken.noBounds {
			run.Trace = cause // which is not cut
		}
		delete(x.running, x.name)
		kept := *run
		x.host.spool(&kept).unstarted = unstarted
		if unstarted {
			x.w.books.unbegun(x)
			x.lacks()
		} else {
			x.w.books.result(x, &kept)
		}
		told := *run
		x.tell(plan.Ended{Run: &told, Unstarted: unstarted})
	})
}

// pauseRuns and resumeRuns are a suspend of the machine: what runs stands still.
func (r *runner) pauseRuns() {
	for _, x := range r.executions() {
		if !x.dead && x.end != nil && !x.paused {
			x.paused = true
			*x.end -= r.w.now
		}
	}
}

func (r *runner) resumeRuns() {
	for _, x := range r.executions() {
		if !x.paused {
			continue
		}
		x.paused = false
		if x.session.deadline != 0 && r.w.now >= x.session.deadline {
			x.die()
			continue
		}
		*x.end += r.w.now
		if !x.dead {
			x.schedule()
		}
	}
}
