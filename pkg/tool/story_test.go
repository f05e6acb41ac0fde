package tool

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"conch/pkg/cli"
	"conch/pkg/cron"
	"conch/pkg/etcd"
	"conch/pkg/etcdtest"
	"conch/pkg/keys"
	"conch/pkg/runner"
	"conch/pkg/status"
	crontool "conch/pkg/tool/cron"
	statustool "conch/pkg/tool/status"
)

func TestMain(m *testing.M) { etcdtest.M{M: m}.Run() }

// chapters are all the states that a run can be seen in, each with what brings it about.
// Whoever adds a state adds a line here.
var chapters = []chapter{
	{state: cron.Running, status: open},
	{state: cron.Adrift, status: open, then: (*tale).nodeGoes},
	{state: cron.Retrying, status: open, run: cron.Run{Exit: number(5), Cause: "exit status 5"}},
	{state: cron.OK, status: 0, run: cron.Run{Exit: number(0)}},
	{state: cron.Failed, status: 3, run: cron.Run{Exit: number(3)}},
	{name: "signal", state: cron.Failed, status: 137, run: cron.Run{Signal: "SIGKILL"}},
	{state: cron.TimedOut, status: 124, run: cron.Run{Signal: "SIGTERM", Cause: "stopped after its run-ttl of 1s"}},
	{state: cron.Killed, status: 70, run: cron.Run{Signal: "SIGTERM", Cause: "by me"}},
	{state: cron.Lost, status: 70, run: cron.Run{Cause: "its runner was killed; so was the command"}},
	{state: cron.Unknown, status: 75, run: cron.Run{Cause: "the claim was confirmed too late to start it"}},
}

// chapter is a state, and how a run comes to it.
type chapter struct {
	name   string // the state's name without
	state  cron.State
	status int      // the exit status that stands for it, or open
	run    cron.Run // what its record has besides
	then   func(*tale)
}

// open is for a status: the run is not over. It is also what a view has that says none.
const open = -1

func number(n int) *int { return &n }

// tale is one run, and all that is known of it.
type tale struct {
	*theatre
	chapter
	job     string
	id      keys.RunID
	node    cron.Node
	one     bool // it is the run of a job that was submitted
	reports string
}

// told is what a view says of a run: "" and open is nothing.
type told struct {
	id, state string
	status    int
}

// over reports whether the run is.
func (w *tale) over() bool { return w.state.Final() }

// views are all the ways to look at a run. What one returns is what it says of it, each
// time that it does: all of that must be so. silent reports where it has to say nothing.
var views = []struct {
	name   string
	silent func(*tale) bool
	look   func(*tale) []told
}{
	{"ls --json", hidden, func(w *tale) []told {
		var jobs []jobStory
		w.read(&jobs, crontool.Tool, "ls", "--json", w.pattern())
		return each(jobs, jobStory.told)
	}},
	{"ls --last", hidden, func(w *tale) []told {
		return w.column(w.text(crontool.Tool, "ls", "--last", w.pattern()), w.job, "", "LAST")
	}},
	{"ls", func(w *tale) bool { return w.over() || hidden(w) }, func(w *tale) []told {
		if w.over() { // it is what the job is
			return nil
		}
		return w.column(w.text(crontool.Tool, "ls", w.pattern()), w.job, "", "STATE")
	}},
	{"ls --all --json", nil, func(w *tale) []told {
		var jobs []jobStory
		w.read(&jobs, crontool.Tool, "ls", "--all", "--json", w.pattern())
		return each(jobs, jobStory.told)
	}},
	{"ls JOB --json", nil, func(w *tale) []told {
		var jobs []jobStory
		w.read(&jobs, crontool.Tool, "ls", "--json", w.job)
		return each(jobs, jobStory.told)
	}},
	{"show JOB --json", nil, func(w *tale) []told {
		var j jobStory
		w.read(&j, crontool.Tool, "show", w.job, "--json")
		return j.told()
	}},
	{"show JOB", nil, func(w *tale) []told {
		m := regexp.MustCompile(`(?m)^(live|last): (\S+) ([^ ,]+)`).FindStringSubmatch(w.text(crontool.Tool, "show", w.job))
		return w.found(m, 2, 3)
	}},
	{"show JOB/RUN --json", nil, func(w *tale) []told {
		var r runStory
		w.read(&r, crontool.Tool, "show", w.id.String(), "--json")
		return r.told()
	}},
	{"show JOB/RUN", nil, func(w *tale) []told {
		return w.found(regexp.MustCompile(`^run: (\S+)\nstate: (\S+)\n`).FindStringSubmatch(w.text(crontool.Tool, "show", w.id.String())), 1, 2)
	}},
	{"history --json", nil, func(w *tale) []told {
		var runs []runStory
		w.read(&runs, crontool.Tool, "history", w.job, "--json")
		return each(runs, runStory.told)
	}},
	{"history", nil, func(w *tale) []told {
		return w.column(w.text(crontool.Tool, "history", w.job), w.id.String(), "RUN", "STATE")
	}},
	{"runs --json", ended, func(w *tale) []told {
		var runs []runStory
		w.read(&runs, crontool.Tool, "runs", "--job", w.job, "--json")
		return each(runs, runStory.told)
	}},
	{"runs", ended, func(w *tale) []told {
		return w.column(w.text(crontool.Tool, "runs", "--job", w.job), w.id.String(), "RUN", "STATE")
	}},
	{"runs --state", ended, func(w *tale) []told {
		return w.column(w.text(crontool.Tool, "runs", "--job", w.job, "--state", string(w.state)), w.id.String(), "RUN", "STATE")
	}},
	{"wait", unended, func(w *tale) []told {
		return []told{{status: w.exec(crontool.Tool, nil, "wait", w.id.String())}}
	}},
	{"conch-status --json", nil, func(w *tale) []told {
		var all struct{ Jobs []jobStory }
		w.read(&all, statustool.Tool, "--only", "jobs", "--json")
		i := slices.IndexFunc(all.Jobs, func(j jobStory) bool { return j.Name == w.job })
		return all.Jobs[i].told()
	}},
	{"conch-status", nil, func(w *tale) []told {
		text := w.text(statustool.Tool, "--only", "jobs")
		if !w.over() {
			return w.column(text, w.job, "", "RUNNING")
		}
		return w.column(text, w.job, "", "LAST")
	}},
	{"conch-status -v", (*tale).over, func(w *tale) []told {
		m := regexp.MustCompile(`(?m)^    (` + regexp.QuoteMeta(w.job) + `/\S+) `).FindStringSubmatch(w.text(statustool.Tool, "-v", "--only", "jobs"))
		if m == nil {
			return nil
		}
		return []told{{id: m[1], status: open}}
	}},
	{"/cron", unended, func(w *tale) []told {
		var jobs []struct {
			Name string
			Exit *int
		}
		w.decode(&jobs, w.get("/cron"))
		for _, j := range jobs {
			if j.Name == w.job && j.Exit != nil {
				return []told{{status: *j.Exit}}
			}
		}
		return nil
	}},
	{"metrics: how it ended", unmeasured, func(w *tale) []told {
		return w.metric("conch_cron_last_exit_code{job=%q} ", func(n int) told { return told{status: n} })
	}},
	{"metrics: counted", unmeasured, func(w *tale) (all []told) {
		for _, s := range []cron.State{cron.OK, cron.Failed, cron.TimedOut, cron.Killed, cron.Lost, cron.Unknown} {
			for _, t := range w.metric(`conch_cron_runs_total{job=%q,state="`+string(s)+`"} `, func(n int) told { return told{strings.Repeat(string(s), n), "", open} }) {
				if t.id != "" {
					all = append(all, told{state: t.id, status: open})
				}
			}
		}
		return all
	}},
	{"metrics: in progress", hidden, func(w *tale) []told {
		return w.metric("conch_cron_running{job=%q} ", func(n int) told {
			if in := w.state == cron.Running || w.state == cron.Retrying; in != (n == 1) {
				return told{state: fmt.Sprint(n, " in progress"), status: open}
			}
			return told{state: string(w.state), status: open}
		})
	}},
	{"reports", func(w *tale) bool { return w.state == cron.Running || w.state == cron.Adrift }, func(w *tale) []told {
		if w.reports == "" {
			return nil
		}
		var r runStory
		w.decode(&r, w.reports)
		return r.told()
	}},
}

// pattern matches the job, and is not its name.
func (w *tale) pattern() string { return w.job[:len(w.job)-1] + "?" }

// hidden: a job that was submitted is neither a row of ls, unless it is asked for, nor the value of a label.
func hidden(w *tale) bool { return w.one }

// ended: what is over is no business of a view of what goes on, but for what was submitted.
func ended(w *tale) bool { return w.over() && !w.one }

func unended(w *tale) bool { return !w.over() }

// unmeasured: what is not over has no end that could be measured.
func unmeasured(w *tale) bool { return !w.over() || hidden(w) }

// jobStory is what JSON says of a job's runs, be that conch-cron's or conch-status's.
type jobStory struct {
	Name    string
	State   string
	Live    []runStory
	Running []runStory
	Last    *runStory
}

func (j jobStory) told() (all []told) {
	for _, r := range append(j.Live, j.Running...) {
		all = append(all, r.told()...)
	}
	if len(all) > 0 && j.State != "" { // a job is what its run is
		all = append(all, told{state: j.State, status: open})
	}
	if len(all) == 0 && j.Last != nil {
		all = j.Last.told()
	}
	return all
}

type runStory struct {
	ID, State string
	Status    *int
}

func (r runStory) told() []told {
	t := told{r.ID, r.State, open}
	if r.Status != nil {
		t.status = *r.Status
	}
	return []told{t}
}

func each[T any](list []T, f func(T) []told) (all []told) {
	for _, v := range list {
		all = append(all, f(v)...)
	}
	return all
}

// What one run is, everybody says alike who says anything of it: its name, its state,
// and the exit status that stands for it.
func TestOneStory(t *testing.T) {
	h := newTheatre(t)
	var tales []*tale
	for _, c := range chapters {
		for _, one := range []bool{false, true} {
			tales = append(tales, h.tell(c, one))
		}
	}
	for _, w := range tales {
		if w.then != nil {
			w.then(w)
		}
	}
	h.open()
	for _, w := range tales {
		t.Run(w.job, func(t *testing.T) {
			w.T = t
			want := told{w.id.String(), string(w.state), w.status}
			for _, v := range views {
				silent := v.silent != nil && v.silent(w)
				if silent && v.name == "wait" { // it would
					continue
				}
				says := v.look(w)
				if len(says) == 0 != silent {
					t.Errorf("%s: %+v; silent: %v", v.name, says, silent)
				}
				for _, is := range says {
					if is.id != "" && is.id != want.id || is.state != "" && is.state != want.state || is.status != open && is.status != want.status {
						t.Errorf("%s: %+v, and it is %+v", v.name, is, want)
					}
				}
			}
			if ls, all := w.standing(crontool.Tool, "ls", "--all", "--json"), w.standing(statustool.Tool, "--json"); ls != all {
				t.Errorf("ls says that the job is %s, conch-status %s", ls, all)
			}
		})
	}
}

// standing is the state of the job as a tool has it.
func (w *tale) standing(tool cli.Tool, args ...string) string {
	w.Helper()
	text := w.text(tool, args...)
	m := regexp.MustCompile(`"name":"` + regexp.QuoteMeta(w.job) + `","[^\n]*?"state":"([^"]*)",("next"|"missed")`).FindStringSubmatch(text)
	if m == nil {
		w.Fatalf("%s %q says nothing of %s: %s", tool.Name, args, w.job, text)
	}
	return m[1]
}

// Where a job stands of which nothing runs everybody says alike, too.
func TestOneStoryOfJobs(t *testing.T) {
	h := newTheatre(t)
	for id, node := range map[string]string{"up": `{"id":"up","host":"h","slots":1}`, "aside": `{"id":"aside","host":"h","slots":1,"labels":{"role":"aside"},"standby":"why"}`,
		"leaves": `{"id":"leaves","host":"h","slots":1,"labels":{"role":"leaves"},"draining":true}`} {
		_, err := h.admin.Put(h.ctx, h.store.Keys.Node(id), node)
		h.must(err)
	}
	const past, tally = "2020-01-01T00:00:00Z", `{"id":"0001577836800","state":"ok","ended":"2020-01-01T00:00:00Z"}`
	jobs := []struct{ name, spec, last, want string }{
		{"ready", `"schedule":"@daily"`, "", "ready"},
		{"byhand", `"schedule":"@manual"`, tally, "ready"},
		{"paused", `"schedule":"@daily","paused":true`, "", "paused"},
		{"paused-over", `"schedule":"@at ` + past + `","paused":true`, "", "paused"},
		{"over", `"schedule":"@at ` + past + `"`, tally, "over"},
		{"over-unplaced", `"schedule":"@at ` + past + `","on":"role=none"`, "", "over"},
		{"expired", `"schedule":"@daily","expires":"` + past + `"`, "", "over"},
		{"unplaced", `"schedule":"@daily","on":"all role=none"`, "", "unplaced"},
		{"byhand-unplaced", `"schedule":"@manual","on":"role=none"`, "", "unplaced"},
		{"standby", `"schedule":"@daily","on":"role=aside"`, "", "unplaced"},
		{"drained", `"schedule":"@daily","on":"role=leaves"`, "", "unplaced"},
		{"submitted-over", `"schedule":"@manual","keep-for":"1h"`, tally, "over"},
		{"unreadable", `"schedule":7`, "", "unreadable"},
	}
	for _, j := range jobs {
		_, err := h.admin.Put(h.ctx, h.store.Keys.Job(j.name), `{"name":"`+j.name+`","cmd":["true"],`+j.spec+`}`)
		h.must(err)
		if j.last != "" {
			_, err := h.admin.Put(h.ctx, h.store.Keys.Last(j.name), j.last)
			h.must(err)
		}
	}
	for _, j := range jobs {
		w := &tale{theatre: h, job: j.name}
		for what, is := range map[string]string{
			"ls --json": w.standing(crontool.Tool, "ls", "--all", "--json"), "ls": w.column(w.text(crontool.Tool, "ls", "--all"), j.name, "", "STATE")[0].state,
			"show": w.standing(crontool.Tool, "show", j.name, "--json"), "conch-status --json": w.standing(statustool.Tool, "--json"),
		} {
			if is != j.want {
				t.Errorf("%s says that %s is %s", what, j.name, is)
			}
		}
		screen := w.column(w.text(statustool.Tool, "--only", "jobs"), j.name, "", "NEXT")
		if j.want != "ready" && (len(screen) == 0 || screen[0].state != j.want) {
			t.Errorf("conch-status: %+v, and %s is %s", screen, j.name, j.want)
		}
	}
	_, err := h.admin.Put(h.ctx, h.store.Keys.Paused(), `{"by":"me"}`)
	h.must(err)
	w := &tale{theatre: h, job: "ready"}
	for _, is := range []string{w.standing(crontool.Tool, "ls", "--json"), w.standing(statustool.Tool, "--json")} {
		if is != "all-paused" {
			t.Errorf("all are paused, and it is %s", is)
		}
	}
}

// theatre is an etcd with a runner's ledger, and all tools that look at it.
type theatre struct {
	*testing.T
	ctx    context.Context
	store  cron.Store
	space  keys.Space
	admin  *clientv3.Client
	env    []string
	client *etcd.Client
	web    *httptest.Server
}

func newTheatre(t *testing.T) *theatre {
	srv := etcdtest.Shared(t)
	h := &theatre{T: t, ctx: t.Context(), space: "/test/story", admin: etcdtest.Client(t, srv)}
	h.env = []string{"CONCH_ENDPOINTS=" + srv.Endpoint(), "CONCH_PREFIX=" + string(h.space)}
	var err error
	if h.client, err = etcd.Open(h.ctx, etcd.Config{Endpoints: []string{srv.Endpoint()}, DialTimeout: 20 * time.Second}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.client.Close)
	h.store = cron.Store{C: h.client, Keys: h.space.Cron()}
	if _, err := h.admin.Delete(h.ctx, h.store.Keys.Dir, clientv3.WithPrefix()); err != nil { // of -count=2
		t.Fatal(err)
	}
	return h
}

// tell brings a run about, as a runner does: by a claim, and by a settlement.
func (h *theatre) tell(c chapter, one bool) *tale {
	h.Helper()
	name := cmp.Or(c.name, string(c.state))
	if c.state == cron.Adrift {
		name = "adrift"
	}
	w := &tale{theatre: h, chapter: c, job: name + "-job", one: one}
	if one {
		w.job = name + "-submitted"
	}
	w.node = cron.Node{ID: "runner-" + w.job, Host: "host-" + w.job, Slots: 1}
	r, err := h.admin.Put(h.ctx, h.store.Keys.Node(w.node.ID), w.node.Encode())
	h.must(err)
	w.node.Rev = r.Header.Revision

	spec := &cron.Job{Name: w.job, Schedule: "@hourly", Cmd: []string{"true"}, Retry: &cron.Retry{N: 1}}
	claim := cron.Claim{}
	if one {
		spec.KeepFor = cron.Duration(time.Hour)
		w.id, err = h.store.Submit(h.ctx, spec, "me")
		h.must(err)
		requests, err := h.store.Requests(h.ctx)
		h.must(err)
		claim.Request = requests[slices.IndexFunc(requests, func(q cron.Request) bool { return q.Job == w.job })].Rev
	} else {
		_, err := h.store.Put(h.ctx, spec, cron.Absent)
		h.must(err)
		w.id = keys.RunID{Job: w.job, Tick: time.Now().Add(time.Hour).UTC().Truncate(time.Hour)}
	}
	is, err := h.store.Job(h.ctx, w.job)
	h.must(err)

	ledger := cron.NewLedger(h.ctx, h.client, h.store.Keys, w.node)
	defer ledger.Close()
	now := time.Now().UTC()
	claim.JobRev, claim.Run = is.Rev, &cron.Run{RunID: w.id, State: cron.Running, Claim: "claim", Attempt: 1, Node: w.node.ID, Host: w.node.Host, Claimed: now.Add(-3 * time.Second)}
	run, err := ledger.Claim(claim)
	h.must(err)
	if c.state == cron.Running || c.state == cron.Adrift {
		return w
	}
	s := cron.Settlement{Run: run, Rev: run.Rev}
	run.State, run.Began, run.Ended = c.state, now.Add(-2*time.Second), now
	run.Exit, run.Signal, run.Cause = c.run.Exit, c.run.Signal, c.run.Cause
	if c.state == cron.Retrying {
		run.RetryAt = now.Add(time.Hour)
	} else {
		s.Memory = &cron.Memory{Rev: -1}
	}
	h.must(ledger.Settle(s))
	w.reports = h.report(run, nil)
	return w
}

func (h *theatre) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// report is what a sink writes of a run.
func (h *theatre) report(run *cron.Run, spec *cron.Job) string {
	path := filepath.Join(h.TempDir(), "report")
	sink, err := runner.OpenSink(runner.SinkConfig{Target: path, Warn: func(text string) { h.Error(text) }})
	h.must(err)
	sink.Add(run, spec, false)
	sink.Close()
	b, err := os.ReadFile(path)
	h.must(err)
	return string(b)
}

// open begins to answer HTTP.
func (h *theatre) open() {
	k := status.NewKeeper(h.space)
	ctx, cancel := context.WithCancel(h.ctx)
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx, h.client) }()
	h.web = httptest.NewServer(status.Handler(k, nil, nil))
	h.Cleanup(func() { h.web.Close(); cancel(); <-done })
	for end := time.Now().Add(20 * time.Second); !k.Ready(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			h.Fatal("not ready")
		}
	}
}

// nodeGoes: the runner is not there any more.
func (w *tale) nodeGoes() {
	_, err := w.admin.Delete(w.ctx, w.store.Keys.Node(w.node.ID))
	w.must(err)
}

// exec runs a tool.
func (w *tale) exec(tool cli.Tool, out *strings.Builder, args ...string) int {
	var text, errs strings.Builder
	if out == nil {
		out = &text
	}
	return tool.Exec(w.ctx, &cli.Stdio{Out: out, Err: &errs, Env: w.env}, args...)
}

// text is what a tool prints.
func (w *tale) text(tool cli.Tool, args ...string) string {
	w.Helper()
	var out strings.Builder
	if got := w.exec(tool, &out, args...); got != 0 {
		w.Errorf("%s %q ends with status %d", tool.Name, args, got)
	}
	return out.String()
}

// read reads what a tool prints as JSON.
func (w *tale) read(v any, tool cli.Tool, args ...string) {
	w.Helper()
	w.decode(v, w.text(tool, args...))
}

func (w *tale) decode(v any, text string) {
	w.Helper()
	if text == "" {
		return
	}
	if err := json.Unmarshal([]byte(text), v); err != nil {
		w.Fatalf("%v: %s", err, text)
	}
}

// get asks by HTTP.
func (w *tale) get(path string) string {
	resp, err := w.web.Client().Get(w.web.URL + path)
	w.must(err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	w.must(err)
	return string(b)
}

// metric is what the samples that begin so say.
func (w *tale) metric(format string, says func(n int) told) (all []told) {
	for line := range strings.Lines(w.get("/metrics")) {
		if value, ok := strings.CutPrefix(line, fmt.Sprintf(format, w.job)); ok {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			w.must(err)
			all = append(all, says(n))
		}
	}
	return all
}

func (w *tale) found(m []string, id, state int) []told {
	if m == nil {
		return nil
	}
	return []told{{m[id], m[state], open}}
}

// column is what a table says in the row that begins with key: the name of the run below
// idHead, if that is not empty, and its state below stateHead.
func (w *tale) column(text, key, idHead, stateHead string) []told {
	lines := strings.Split(text, "\n")
	head := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, stateHead) })
	row := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, key+" ") })
	if head < 0 || row < 0 {
		return nil
	}
	cell := func(name string) string {
		from := strings.Index(lines[head], name)
		if from < 0 || from >= len(lines[row]) {
			return ""
		}
		words := strings.Split(lines[row][from:], "  ")
		return strings.TrimSpace(words[0])
	}
	t := told{status: open}
	if idHead != "" {
		t.id = cell(idHead)
	}
	switch is := cell(stateHead); {
	case is == "" || is == "-":
		return nil
	case is == w.node.Host: // conch-status says where
		t.state = string(cron.Running)
	case is == "(retries)":
		t.state = string(cron.Retrying)
	default:
		word, rest, _ := strings.Cut(is, " ")
		if t.state = word; word == "exit" { // as conch-status says that it failed
			n, _, _ := strings.Cut(rest, " ")
			t.state, t.status = string(cron.Failed), atoi(n)
		}
	}
	return []told{t}
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return open - 1
	}
	return n
}

// How many ticks of a job nobody has run, everybody says alike, too, and what came of the
// stretch.
func TestOneStoryOfTicks(t *testing.T) {
	h := newTheatre(t)
	node := cron.Node{ID: "n", Host: "h", Slots: 1}
	_, err := h.admin.Put(h.ctx, h.store.Keys.Node("n"), node.Encode())
	h.must(err)
	_, err = h.store.Put(h.ctx, &cron.Job{Name: "j", Schedule: "@hourly", Cmd: []string{"true"}, On: "role=db", Owners: []string{"ann"}, Description: "what it is"}, cron.Absent)
	h.must(err)
	job, err := h.store.Job(h.ctx, "j")
	h.must(err)
	ledger := cron.NewLedger(h.ctx, h.client, h.store.Keys, node)
	defer ledger.Close()
	first := time.Now().Add(time.Hour).UTC().Truncate(time.Hour)
	at := func(n int) time.Time { return first.Add(time.Duration(n) * time.Hour) }
	begun, err := ledger.Note(cron.Note{Job: "j", JobRev: job.Rev, By: "n", At: time.Now(), Gaps: []cron.Gap{
		{State: cron.Missed, From: at(0), To: at(2), Count: 3}, {State: cron.Unplaced, From: at(3), To: at(4), Count: 2}}})
	h.must(err)
	h.open()
	w := &tale{theatre: h, job: "j"}
	reports := ""
	for _, ticks := range begun {
		reports += h.report(ticks, &job.Job)
	}
	for what, text := range map[string]string{
		"ls": w.text(crontool.Tool, "ls", "j"), "ls --json": w.text(crontool.Tool, "ls", "j", "--json"), "show": w.text(crontool.Tool, "show", "j"),
		"show --json": w.text(crontool.Tool, "show", "j", "--json"), "conch-status": w.text(statustool.Tool, "--only", "jobs"),
		"conch-status --json": w.text(statustool.Tool, "--only", "jobs", "--json"), "history": w.text(crontool.Tool, "history", "j"),
		"history --json": w.text(crontool.Tool, "history", "j", "--json"), "metrics": w.get("/metrics"), "reports": reports,
	} {
		for _, want := range map[string][]string{
			"ls": {`unplaced\n`}, "ls --json": {`"state":"unplaced"`, `"last":null,"missed":3,"unplaced":2[,}]`}, "show": {`\nstate: unplaced\n`, `\nmissed: 3, the latest 3 from`, `\nunplaced: 2, the latest 2 from`},
			"show --json": {`"state":"unplaced"`, `"missed":3,"unplaced":2[,}]`}, "conch-status": {`j +@hourly +unplaced `}, "conch-status --json": {`"last":null,.*"state":"unplaced","missed":3,"unplaced":2[,}]`},
			"history":        {`j/\d+:unplaced +unplaced .* 2 ticks up to `, `j/\d+:missed +missed .* 3 ticks up to `},
			"reports":        {`"id":"j/\d+:missed",.*"state":"missed",.*"count":3,"until":"[^"]+",.*"description":"what it is","owners":\["ann"\]`, `"id":"j/\d+:unplaced",.*"state":"unplaced",.*"count":2,"until":`},
			"metrics":        {`conch_cron_missed_total{job="j"} 3\n`},
			"history --json": {`"state":"unplaced","status":75,.*"count":2,`, `"state":"missed","status":75,.*"count":3,`},
		}[what] {
			if !regexp.MustCompile(want).MatchString(text) {
				t.Errorf("%s lacks %s:\n%s", what, want, text)
			}
		}
	}
}
