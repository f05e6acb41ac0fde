package status

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"conch/pkg/cron"
	"conch/pkg/hold"
	"conch/pkg/keys"
	"conch/pkg/metricstest"
)

// kept is a Keeper of what s holds, as if Run had read it.
func (s *store) kept() *Keeper {
	k := NewKeeper(space)
	k.now, k.heard, k.rev = s.state, time.Now(), s.rev
	return k
}

func TestHandler(t *testing.T) {
	s := newStore()
	s.set(space.Office("db").Candidate(7), marshal(hold.Holder{Host: "web", PID: 3, Started: time.Unix(0, 0).UTC(), Cmd: "run me", State: hold.Held}))
	s.set(space.Office("db").Candidate(8), holder("next", hold.Waiting))
	s.set(space.Office("vacant").Candidate(9), holder("next", hold.Waiting))
	s.set(space.Pool("p").Cap(), "2")
	s.set(space.Pool("p").Candidate(7), marshal(hold.Holder{Host: "web", PID: 3, Started: time.Unix(0, 0).UTC(), Cmd: "run me", State: hold.Held}))
	web := httptest.NewServer(Handler(s.kept(), func(w io.Writer) { fmt.Fprint(w, "extra 1\n") }, nil))
	defer web.Close()
	ask := func(method, path string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequest(method, web.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r, string(b)
	}
	for path, want := range map[string]string{
		"/elect":   `[{"office":"db","leader":"web","pid":3,"started":"1970-01-01T00:00:00Z","cmd":"run me","create_revision":1}]` + "\n",
		"/sema":    `[{"name":"p","max":2,"holders":[{"host":"web","pid":3,"started":"1970-01-01T00:00:00Z","cmd":"run me","create_revision":5}],"waitlist":[]}]` + "\n",
		"/cron":    "[]\n",
		"/livez":   "ok\n",
		"/healthz": "ok\n",
		"/health":  "ok\n",
		"/readyz":  "ok\n",
		"/ready":   "ok\n",
	} {
		if r, got := ask("GET", path); r.StatusCode != 200 || got != want {
			t.Errorf("%s: %s\n%s", path, r.Status, got)
		}
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
			if r, _ := ask(method, path); r.StatusCode != 405 || r.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %s, Allow %q", method, path, r.Status, r.Header.Get("Allow"))
			}
		}
		if r, got := ask("HEAD", path); r.StatusCode != 200 || got != "" {
			t.Errorf("HEAD %s: %s %q", path, r.Status, got)
		}
	}
	if r, _ := ask("GET", "/cron"); r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("/cron is %s", r.Header.Get("Content-Type"))
	}
	for _, path := range []string{"/", "/cron/", "/nothing", "/elect/db"} {
		if r, _ := ask("GET", path); r.StatusCode != 404 {
			t.Errorf("%s: %s", path, r.Status)
		}
	}
	r, got := ask("GET", "/metrics")
	if r.Header.Get("Content-Type") != ContentType || !strings.HasSuffix(got, "\nextra 1\n") {
		t.Errorf("%s\n%s", r.Header.Get("Content-Type"), got)
	}
	if _, got := ask("GET", "/cluster/status"); !strings.Contains(got, `"offices":2,"semaphores":1,"jobs":0,"running":0,"runners":0}`) {
		t.Error(got)
	}

	// Before anything was read, nothing is told.
	empty := httptest.NewServer(Handler(NewKeeper(space), nil, nil))
	defer empty.Close()
	web = empty
	for path, want := range map[string]int{"/elect": 503, "/readyz": 503, "/livez": 200} {
		if r, _ := ask("GET", path); r.StatusCode != want {
			t.Errorf("%s: %s", path, r.Status)
		}
	}
	if _, got := ask("GET", "/metrics"); !strings.Contains(got, "\nconch_etcd_up 0\n") || strings.Contains(got, "conch_election") {
		t.Error(got)
	}
}

func TestMetrics(t *testing.T) {
	s := newStore()
	s.set(space.Office("db").Candidate(7), holder("we\"b\\\n\xff", hold.Held))
	s.set(space.Office("db").Candidate(8), holder("next", hold.Waiting))
	s.set(space.Office("free").Candidate(9), holder("next", hold.Waiting))
	s.set(space.Pool("p").Cap(), "3")
	s.set(space.Pool("p").Candidate(1), marshal(hold.Holder{Host: "a", State: hold.Held, Weight: 2}))
	s.set(space.Pool("p").Candidate(2), holder("b", hold.Waiting))
	c := space.Cron()
	tick := time.Unix(1000, 0).UTC()
	s.set(c.Job("j"), job("j", "*/5 * * * *"))
	s.set(c.Job("k"), marshal(cron.Job{Name: "k", Schedule: "@hourly", TZ: "Europe/Rome", Paused: true, On: "any role=db"}))
	s.set(c.Last("j"), marshal(cron.Last{ID: "x", State: cron.TimedOut, Began: tick, Ended: tick.Add(1500 * time.Millisecond), Tick: tick, Failures: 2,
		Tally:    cron.Tally{OK: 40, TimedOut: 2, Retries: 3, Skipped: 4, Took: [10]uint32{40, 0, 2}, Seconds: 5.5},
		Reckoned: &cron.Reckoning{Missed: cron.Stretch{Total: 60}, Unplaced: cron.Stretch{Total: 7}}}))
	s.set(c.Last("k"), marshal(cron.Last{ID: "x", State: cron.OK, Ended: tick, Tally: cron.Tally{OK: 1, Took: [10]uint32{9: 1}, Seconds: 90000}}))
	s.set(c.Job("new"), job("new", "@daily"))
	s.set(c.Job("once"), marshal(cron.Job{Name: "once", Schedule: "@manual", KeepFor: cron.Duration(time.Hour)}))
	s.set(c.Last("once"), marshal(cron.Last{ID: "x", State: cron.OK, Ended: tick, Tally: cron.Tally{OK: 1}}))
	s.set(c.Request("j", "r"), marshal(cron.Request{Action: cron.RunNow}))
	s.set(c.Request("j", "r2"), marshal(cron.Request{Action: cron.Kill}))
	s.set(c.Request("j", "r3"), marshal(cron.Request{Action: cron.RunNow}))
	s.drop(c.Request("j", "r3"))
	s.set(c.Act(keys.RunID{Job: "j", Tick: tick}), marshal(cron.Act{Node: "n"}))
	s.set(c.Node("n"), marshal(cron.Node{ID: "n", Host: "h", Slots: 4, Version: "v1"}))
	s.set(c.Node("o"), marshal(cron.Node{ID: "o", Labels: map[string]string{"role": "db"}}))
	s.set(c.Node("p"), marshal(cron.Node{ID: "p", Labels: map[string]string{"role": "db"}, Standby: "the clock is wrong"}))
	k := s.kept()
	k.answers.add(3 * time.Millisecond)
	k.answers.add(time.Minute)
	var b strings.Builder
	m := NewMetrics(&b)
	k.metrics(m, time.Unix(1001, 0))
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := metricstest.Lint(t, b.String()); n < 20 {
		t.Errorf("%d families", n)
	}
	for _, want := range []string{
		`conch_etcd_up 1`,
		`conch_etcd_request_duration_seconds_bucket{le="0.0025"} 0`,
		`conch_etcd_request_duration_seconds_bucket{le="0.005"} 1`,
		`conch_etcd_request_duration_seconds_bucket{le="+Inf"} 2`,
		`conch_election_held{election="db"} 1`,
		`conch_election_held{election="free"} 0`,
		`conch_election_leader_info{election="db",host="we\"b\\\n` + "\uFFFD" + `"} 1`,
		`conch_election_waiters{election="db"} 1`,
		`conch_election_revision{election="db"} 1`,
		`conch_election_acquired_timestamp_seconds{election="db"} 1000`,
		`conch_sema_capacity{semaphore="p"} 3`,
		`conch_sema_held{semaphore="p"} 2`,
		`conch_sema_holders{semaphore="p"} 1`,
		`conch_sema_waiters{semaphore="p"} 1`,
		`conch_cron_job_info{job="j",schedule="*/5 * * * *",timezone="UTC"} 1`,
		`conch_cron_job_suspended{job="k"} 1`,
		`conch_cron_next_run_timestamp_seconds{job="j"} 1200`,
		`conch_cron_last_run_timestamp_seconds{job="j"} 1001.5`,
		`conch_cron_last_exit_code{job="j"} 124`,
		`conch_cron_last_duration_seconds{job="j"} 1.5`,
		`conch_cron_running{job="j"} 1`,
		`conch_cron_running{job="k"} 0`,
		`conch_runner_slots{runner="n"} 4`,
		`conch_cron_runs_total{job="j",state="ok"} 40`,
		`conch_cron_runs_total{job="j",state="timeout"} 2`,
		`conch_cron_runs_total{job="j",state="lost"} 0`,
		`conch_cron_runs_total{job="new",state="failed"} 0`, // or its first failure would be no increase
		`conch_cron_run_duration_seconds_count{job="new"} 0`,
		`conch_cron_retries_total{job="j"} 3`,
		`conch_cron_skipped_total{job="j"} 4`,
		`conch_cron_run_duration_seconds_bucket{job="j",le="0.1"} 40`,
		`conch_cron_run_duration_seconds_bucket{job="j",le="5"} 42`,
		`conch_cron_run_duration_seconds_bucket{job="k",le="21600"} 0`,
		`conch_cron_run_duration_seconds_bucket{job="k",le="+Inf"} 1`,
		`conch_cron_run_duration_seconds_sum{job="j"} 5.5`,
		`conch_cron_run_duration_seconds_count{job="j"} 42`,
		`conch_cron_eligible_runners{job="j"} 2`,
		`conch_cron_eligible_runners{job="k"} 1`,
		`conch_cron_waiting 1`,
		`conch_cron_missed_total{job="j"} 60`,
		`conch_cron_unplaced_total{job="j"} 7`,
		`conch_cron_missed_total{job="k"} 0`,
		`conch_runner_running{runner="n"} 1`,
	} {
		if !strings.Contains(b.String(), "\n"+want+"\n") {
			t.Errorf("lacks %s", want)
		}
	}
	if strings.Contains(b.String(), `job="once"`) {
		t.Error("what was submitted is a label")
	}
	if t.Failed() {
		t.Log(b.String())
	}
}
