package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
)

var ctx = context.Background() // a Store wants one; nothing here is waited for

// editor is who edits jobs, at a machine with a clock of its own.
type editor struct {
	w       *world
	store   cron.Store
	offset  time.Duration // of its clock
	refused int           // edits that were refused, mostly for what others had done
}

// maxWrong is how wrong an editor's clock may be: with more cron.Store refuses.
const maxWrong = 5 * time.Second

func newEditor(w *world) *editor {
	e := &editor{w: w}
	h := &etcdHand{e: w.db, clock: func() time.Time { return w.time().Add(e.offset) }}
	e.store = h.store(w.keys)
	return e
}

// do does what a line of a script says, if it can be done.
func (e *editor) do(verb, args string) {
	if verb == "clock" {
		e.offset = max(-maxWrong, min(maxWrong, parseOffset(args)))
		return
	}
	if !e.w.etcdUp {
		return
	}
	e.w.author = "hand"
	if err := e.edit(verb, args); err != nil {
		e.refused++
		e.w.trace.note(e.w, "hand: %s %s: %v", verb, args, err)
		var conflict *cron.Conflict
		switch {
		case errors.Is(err, cron.ErrNoJob), errors.Is(err, cron.ErrExists), errors.Is(err, cron.ErrNotRunning), errors.Is(err, cron.ErrNoRun),
			errors.As(err, &conflict):
		default:
			e.w.trace.note(e.w, "hand: UNEXPECTED: %v", err)
		}
	}
	e.w.committed()
}

func (e *editor) edit(verb, args string) error {
	name, rest, _ := strings.Cut(args, " ")
	switch verb {
	case "add":
		_, j, err := jobArgs(args)
		if err == nil {
			_, err = e.store.Put(ctx, j, cron.Absent)
		}
		return err
	case "edit":
		_, j, err := jobArgs(args)
		if err == nil {
			_, err = e.store.Job(ctx, name)
		}
		if err == nil {
			_, err = e.store.Put(ctx, j, cron.Whatever)
		}
		return err
	case "rm":
		return e.remove(name, "")
	case "rm-kill":
		return e.remove(name, "hand")
	case "rename": // as an apply does: one goes, another comes
		is, err := e.store.Table(ctx)
		if err != nil {
			return err
		}
		for _, j := range is.Jobs {
			if j.Name == name {
				renamed := j.Job
				renamed.Name = rest
				return e.store.Apply(ctx, is.Rev, []cron.Change{{Name: name, Old: &j}, {Name: rest, Job: &renamed}}, nil)
			}
		}
		return cron.ErrNoJob
	case "apply": // the same job once more, with another description
		is, err := e.store.Table(ctx)
		if err != nil {
			return err
		}
		var all []cron.Change
		for _, j := range is.Jobs {
			if j.KeepFor == 0 {
				next := j.Job
				next.Description = rest
				all = append(all, cron.Change{Name: j.Name, Job: &next, Old: &j})
			}
		}
		return e.store.Apply(ctx, is.Rev, all, nil)
	case "pause", "resume":
		_, err := e.store.Pause(ctx, verb == "pause", name)
		return err
	case "pause-all":
		_, err := e.store.PauseAll(ctx, "hand")
		return err
	case "resume-all":
		_, err := e.store.ResumeAll(ctx)
		return err
	case "submit":
		_, j, err := jobArgs(args)
		if err == nil {
			_, err = e.store.Submit(ctx, j, "hand")
		}
		return err
	case "run":
		id, err := e.store.RunNow(ctx, name, rest, "hand", time.Time{})
		if err == nil {
			e.w.committed()
			e.w.books.promised(id)
		}
		return err
	case "kill": // all that is in progress of the job
		acts, err := e.store.Acts(ctx)
		if err != nil {
			return err
		}
		err = cron.ErrNotRunning
		for _, a := range acts {
			if a.Job == name {
				err = e.store.Kill(ctx, a.RunID, "hand")
			}
		}
		return err
	case "restored":
		e.w.books.word()
		return e.store.Restored(ctx, "hand")
	}
	panic("the hand cannot " + verb)
}

func (e *editor) remove(name, kill string) error {
	j, err := e.store.Job(ctx, name)
	if err == nil {
		_, err = e.store.Remove(ctx, name, j.Rev, kill)
	}
	return err
}

// settle ends what the hand has begun: whoever stands by goes on.
func (e *editor) settle() {
	e.offset = 0
	stands := false
	for _, h := range e.w.hosts {
		stands = stands || h.runner != nil && h.runner.trust.Why() != ""
	}
	if stands {
		e.do("restored", "")
	}
	e.do("resume-all", "")
	for _, j := range e.w.books.jobs() {
		e.do("resume", j)
	}
}

// entry says what a key is about.
func (w *world) entry(key []byte) (keys.Entry, bool) { return w.keys.Entry(string(key)) }
