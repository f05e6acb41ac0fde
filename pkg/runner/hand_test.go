package runner

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"conch/pkg/cron"
)

// tell is a script that writes down that it was started, and by which edition of the
// job.
const tell = `echo "$CONCH_RUN $CONCH_ATTEMPT $CONCH_REV ${EDITION:-0}" >>"$WORLD/starts"; `

// alone is a script that sleeps under a lock of the kernel's, which is free when all of
// its processes are dead, and writes down that it was taken.
func alone(lock, seconds string) string {
	return `flock -n -E 99 "$WORLD/lock-` + lock + `" sleep ` + seconds + `; s=$?; [ $s != 99 ] || echo "$CONCH_RUN" >>"$WORLD/overlaps"; exit $s`
}

// trial is a job of TestFaults, as the hand makes it.
type trial struct {
	cron.Job
	edits []string // what the hand may edit beside safeEdits
	fails bool     // its command may fail
}

var (
	safeEdits = []string{"description", "env", "cmd", "keep", "retry", "splay", "schedule", "starts", "expires", "base"}
	allEdits  = []string{"on", "overlap"}
)

func trials() []*trial {
	second := cron.Duration(time.Second)
	return []*trial{
		{Job: cron.Job{Name: "every", Schedule: "@every 1s", Overlap: cron.Allow, Script: tell}, edits: allEdits},
		{Job: cron.Job{Name: "seconds", Schedule: "* * * * * *", Overlap: cron.Allow, Keep: 5, Script: tell}},
		{Job: cron.Job{Name: "slow", Schedule: "@every 2s", Script: tell + alone("slow", "3")}},
		{Job: cron.Job{Name: "retried", Schedule: "@every 3s", Retry: &cron.Retry{N: 3, Backoff: second},
			Script: tell + `[ $CONCH_ATTEMPT -gt 1 ] || [ $(($$ % 2)) = 0 ] || exit 3; ` + alone("retried", "1")}, fails: true},
		{Job: cron.Job{Name: "replaced", Schedule: "@every 4s", Overlap: cron.Replace, Script: tell + alone("replaced", "10")}},
		{Job: cron.Job{Name: "skip", Schedule: "@every 2s", Deadline: second, Script: tell}, edits: allEdits},
		{Job: cron.Job{Name: "once", Schedule: "@every 2s", Deadline: second, Misfire: cron.MisfireOnce, Script: tell}},
		{Job: cron.Job{Name: "all", Schedule: "@every 1s", Deadline: second, Misfire: cron.MisfireAll, Script: tell}},
		{Job: cron.Job{Name: "two", Schedule: "@every 4s", On: "2", Script: tell}, edits: allEdits},
		{Job: cron.Job{Name: "everywhere", Schedule: "@every 4s", On: "all", Keep: 10, Script: tell + "sleep 0.5"}, edits: allEdits},
		{Job: cron.Job{Name: "splayed", Schedule: "@every 3s", Splay: cron.Duration(10 * time.Second), Overlap: cron.Allow, Script: tell}, edits: allEdits},
		{Job: cron.Job{Name: "taken", Schedule: "@every 3s", Script: tell}},
	}
}

// hand edits, pauses, removes, submits, asks and kills, as conch-cron does.
type hand struct {
	*cluster
	rand    *rand.Rand
	trials  []*trial
	edition int
	asked   []string // ids of requests
	deeds   []deed
	now     deed
}

// nowhere is a label that no runner has.
const nowhere = " nowhere=1"

// deed is what the hand has done.
type deed struct {
	from, to  time.Time
	what, job string
	rev       int64 // 0: not told
	err       error
}

func (d deed) String() string {
	return fmt.Sprintf("%s the hand: %s %s, revision %d, %v", d.from.UTC().Format(clockTime), d.what, d.job, d.rev, d.err)
}

func newHand(c *cluster, seed uint64) *hand {
	return &hand{cluster: c, rand: rand.New(rand.NewPCG(seed, 1)), trials: trials()}
}

// begin makes the jobs.
func (h *hand) begin() {
	for _, t := range h.trials {
		h.do("add", t.Name, h.add)
	}
}

// work goes on until the context ends; what is under way then is done.
func (h *hand) work(ctx context.Context) {
	deeds := []struct {
		often int
		what  string
		do    func(name string) (int64, error)
	}{
		{24, "edit", h.edit}, {5, "apply", h.apply}, {4, "pause", h.pause}, {9, "resume", h.resume}, {1, "pause --all", h.pauseAll},
		{3, "rm and add", h.again}, {3, "take", h.take}, {3, "submit", h.submit}, {5, "run --id", h.ask}, {4, "kill", h.kill},
	}
	sum := 0
	for _, d := range deeds {
		sum += d.often
	}
	for ctx.Err() == nil {
		if h.rand.IntN(2) == 0 { // when what is due is not claimed yet
			until(time.Now().Truncate(time.Second).Add(time.Second + h.upTo(15*time.Millisecond) - 3*time.Millisecond))
		}
		i, n := 0, h.rand.IntN(sum)
		for ; n >= deeds[i].often; i++ {
			n -= deeds[i].often
		}
		h.do(deeds[i].what, h.trials[h.rand.IntN(len(h.trials))].Name, deeds[i].do)
		select {
		case <-ctx.Done():
		case <-time.After(h.upTo(600*time.Millisecond) + 50*time.Millisecond):
		}
	}
}

// end lets every job come to its end: what is due is run, and nothing is due any more.
func (h *hand) end() {
	if _, err := h.store.ResumeAll(h.Context()); err != nil {
		h.Error(err)
	}
	jobs, _, err := h.store.Jobs(h.Context())
	if err != nil {
		h.Fatal(err)
	}
	for _, j := range jobs {
		h.do("end", j.Name, func(name string) (int64, error) {
			return h.change(name, "end", func(j *cron.Job) {
				j.Paused, j.Expires = false, at(0)
				j.On = strings.TrimSuffix(j.On, nowhere)
			})
		})
	}
}

// do does something to a job, and writes it down. That somebody was faster is no error.
func (h *hand) do(what, job string, f func(name string) (int64, error)) {
	h.now = deed{from: time.Now(), what: what, job: job}
	h.now.rev, h.now.err = f(job)
	h.now.to = time.Now()
	h.deeds = append(h.deeds, h.now)
	for _, is := range []error{cron.ErrNoJob, cron.ErrExists, cron.ErrNoRun, cron.ErrNotRunning} {
		if errors.Is(h.now.err, is) {
			return
		}
	}
	if h.now.err != nil && !errors.As(h.now.err, new(*cron.Conflict)) {
		h.Errorf("%v", h.now)
	}
}

func (h *hand) upTo(d time.Duration) time.Duration { return time.Duration(h.rand.Int64N(int64(d))) }

func (h *hand) one(of ...string) string { return of[h.rand.IntN(len(of))] }

func (h *hand) trial(name string) *trial {
	i := slices.IndexFunc(h.trials, func(t *trial) bool { return t.Name == name })
	if i < 0 { // submitted
		return &trial{Job: cron.Job{Name: name, Script: tell}}
	}
	return h.trials[i]
}

// fresh is a job as it is made, of an edition of its own.
func (h *hand) fresh(name string) *cron.Job {
	j := h.trial(name).Job
	h.edition++
	j.Env = map[string]string{"EDITION": strconv.Itoa(h.edition)}
	return &j
}

func (h *hand) add(name string) (int64, error) {
	rev, err := h.store.Put(h.Context(), h.fresh(name), cron.Absent)
	return rev, err
}

func (h *hand) change(name, what string, f func(*cron.Job)) (int64, error) {
	h.now.what, h.now.job = what, name
	is, err := h.store.Job(h.Context(), name)
	if err != nil {
		return 0, err
	}
	f(&is.Job)
	rev, err := h.store.Put(h.Context(), &is.Job, is.Rev)
	return rev, err
}

func (h *hand) edit(name string) (int64, error) {
	t := h.trial(name)
	field := h.one(append(slices.Clone(safeEdits), t.edits...)...)
	return h.change(name, "edit "+field, func(j *cron.Job) { h.set(j, t, field) })
}

// set edits a field.
func (h *hand) set(j *cron.Job, t *trial, field string) {
	h.edition++
	soon := time.Now().Add(time.Second + h.upTo(3*time.Second)).UTC()
	switch field {
	case "description":
		j.Description = fmt.Sprint("edition ", h.edition)
	case "env":
		j.Env = map[string]string{"EDITION": strconv.Itoa(h.edition)}
	case "cmd":
		if script := t.Script; j.Script != "" {
			j.Script, j.Cmd = "", []string{"sh", "-c", script}
		} else {
			j.Script, j.Cmd = script, nil
		}
	case "keep":
		j.Keep = []int{3, 20, 0, cron.MaxKeep}[h.rand.IntN(4)]
	case "retry":
		j.Retry = []*cron.Retry{nil, {N: 2, Backoff: cron.Duration(time.Second)}}[h.rand.IntN(2)]
	case "on":
		j.On = h.one("", "2", "all", "host="+host(h.rand.IntN(3)), "any"+nowhere, t.On)
	case "overlap":
		j.Overlap = cron.Overlap(h.one(string(cron.Allow), string(cron.Forbid), string(cron.Replace)))
	case "splay":
		j.Splay = cron.Duration(h.rand.IntN(3)) * cron.Duration(4*time.Second)
	case "schedule":
		j.Schedule = h.one(t.Schedule, "@every 3s", "*/4 * * * * *", "@every 5s")
	case "starts":
		j.Starts = []*time.Time{nil, &soon}[h.rand.IntN(2)]
	case "expires":
		j.Expires = []*time.Time{nil, nil, &soon}[h.rand.IntN(3)]
	case "base":
		base := t.Job
		base.Env, base.Since, base.Updated, base.By, base.Paused = j.Env, j.Since, j.Updated, j.By, j.Paused
		*j = base
	}
}

// apply edits all jobs in one transaction, in what moves nothing.
func (h *hand) apply(string) (int64, error) {
	jobs, rev, err := h.store.Jobs(h.Context())
	if err != nil {
		return 0, err
	}
	h.edition++
	var changes []cron.Change
	for _, is := range jobs {
		j := is.Job
		j.Description = fmt.Sprint("edition ", h.edition)
		changes = append(changes, cron.Change{Name: j.Name, Job: &j, Old: &is})
	}
	return rev, h.store.Apply(h.Context(), rev, changes, nil)
}

func (h *hand) pause(name string) (int64, error) {
	_, err := h.store.Pause(h.Context(), true, name)
	return 0, err
}

// resume lets a job go on that is paused, or was only until some time, if there is one.
func (h *hand) resume(name string) (int64, error) {
	jobs, _, err := h.store.Jobs(h.Context())
	if err != nil {
		return 0, err
	}
	for _, j := range jobs {
		if j.Paused {
			name = j.Name
		}
		if j.Expires != nil && j.Expires.Before(time.Now()) {
			return h.change(j.Name, "edit expires", func(j *cron.Job) { j.Expires = nil })
		}
	}
	h.now.job = name
	_, err = h.store.Pause(h.Context(), false, name)
	return 0, err
}

func (h *hand) pauseAll(string) (int64, error) {
	if _, err := h.store.PauseAll(h.Context(), "hand"); err != nil {
		return 0, err
	}
	time.Sleep(h.upTo(3 * time.Second))
	_, err := h.store.ResumeAll(h.Context())
	return 0, err
}

// again removes a job and adds it again under its name.
func (h *hand) again(name string) (int64, error) {
	if rev, err := h.remove(name); err != nil {
		return rev, err
	}
	if h.rand.IntN(2) == 0 {
		time.Sleep(h.upTo(2 * time.Second))
	}
	return h.add(name)
}

func (h *hand) remove(name string) (int64, error) {
	is, err := h.store.Job(h.Context(), name)
	if err != nil {
		return 0, err
	}
	_, err = h.store.Remove(h.Context(), name, is.Rev, h.one("", "hand"))
	return 0, err
}

// take gives a name that one job has to another: one that is submitted, or one of a
// schedule.
func (h *hand) take(string) (int64, error) {
	const name = "taken"
	h.now.job = name
	if _, err := h.remove(name); err != nil && !errors.Is(err, cron.ErrNoJob) {
		return 0, err
	}
	if h.rand.IntN(2) == 0 {
		return h.add(name)
	}
	return h.submitAs(name)
}

func (h *hand) submit(string) (int64, error) { return h.submitAs("") }

func (h *hand) submitAs(name string) (int64, error) {
	j := h.fresh(name)
	j.Name, j.Schedule, j.Script = name, "", tell+h.one("", "sleep 1", "sleep 3")
	j.KeepFor = cron.Duration(time.Second + h.upTo(4*time.Second))
	_, err := h.store.Submit(h.Context(), j, "hand")
	h.now.what, h.now.job = "submit", j.Name
	return 0, err
}

// ask asks for a run, now and then by an id that was used before.
func (h *hand) ask(name string) (int64, error) {
	id := "hand" + strconv.Itoa(len(h.asked))
	if len(h.asked) > 0 && h.rand.IntN(4) == 0 {
		id = h.one(h.asked...)
	}
	h.asked = append(h.asked, id)
	_, err := h.store.RunNow(h.Context(), name, id, "hand", time.Now().Add(5*time.Second+h.upTo(20*time.Second)).UTC())
	return 0, err
}

// kill ends one of the runs in progress.
func (h *hand) kill(string) (int64, error) {
	acts, err := h.store.Acts(h.Context())
	if err != nil || len(acts) == 0 {
		return 0, err
	}
	a := acts[h.rand.IntN(len(acts))]
	return 0, h.store.Kill(h.Context(), a.RunID, "hand")
}
