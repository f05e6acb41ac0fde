package runner

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"conch/pkg/cron"
	"conch/pkg/keys"
	"conch/pkg/plan"
)

// spooling is a session with a spool, which runs nothing.
func spooling(t *testing.T, dir string) *session {
	t.Helper()
	sp, err := openSpool(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sp.close)
	s := &session{daemon: &daemon{spool: sp}, cron: keys.Space("/test").Cron(), node: cron.Node{ID: "h-1"}, lease: testLease(t),
		runs: map[string]*running{}, settling: map[string]bool{}}
	s.cluster.Store(5)
	return s
}

// The first state that is kept names the cluster, lest a start that follows at once
// takes another for it.
func TestFirstStateNamesCluster(t *testing.T) {
	if is := spooling(t, "").state(); is.Cluster != 5 {
		t.Errorf("%+v", is)
	}
}

// What is kept is told until etcd has it, but not while somebody is at work for it, nor
// where it has no place.
func TestWhatIsLeft(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		s := spooling(t, dir)
		told := func(want int, what string) {
			t.Helper()
			if facts := s.left(); len(facts) != want {
				t.Errorf("spool %q: %s: %d are told, not %d: %v", dir, what, len(facts), want, facts)
			}
		}
		run := &cron.Run{RunID: keys.RunID{Job: "j", Tick: noon, Place: "@h"}, Claim: "c", State: cron.Failed, Rev: 7}
		s.spool.put(run, true, s.home())
		told(1, "kept")
		is := s.left()[0].(plan.Ended)
		if !is.Kept || !is.Unstarted || is.Run.RunID != run.RunID || is.Run.Claim != "c" || is.Run.Rev != 7 || is.Run.State != cron.Failed {
			t.Errorf("spool %q: %+v, %+v", dir, is, is.Run)
		}
		s.runs[run.RunID.String()] = &running{claim: "c"}
		told(0, "it is ours, and not settled")
		s.runs[run.RunID.String()].claim = "d"
		told(1, "another attempt is ours")
		s.settling[entryName(run.RunID, "c")] = true
		told(0, "it is on its way")
		clear(s.settling)
		s.cluster.Store(6)
		told(1, "it belongs to another cluster, from which this one may have been restored")
		if !s.left()[0].(plan.Ended).Foreign || is.Foreign {
			t.Errorf("spool %q: what is of another cluster is not told from what is of this one", dir)
		}
		s.cluster.Store(5)
		s.cron = keys.Space("/other").Cron()
		told(0, "it belongs below another prefix")
		s.cron = keys.Space("/test").Cron()
		s.trust = plan.Trust{Rev: 100, Cluster: 5}
		s.trust.Reread()
		s.trust.Whole(50, 5)
		told(0, "etcd may have forgotten")
		s.trust.GoOn(51)
		told(1, "an operator lets it go on")
		s.spool.remove(entryName(run.RunID, "c"))
		told(0, "etcd has it")
	}
}

// What is of no use disturbs nothing; what an earlier conch has kept is told as the end
// that it was, and what is to follow is decided anew.
func TestForeignSpool(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"run-torn.json":        `{"job":"j","id":"000`,
		"run-empty.json":       ``,
		"run-null.json":        `{"job":"j","id":"0001000000000"}`,
		"run-id.json":          `{"job":"j","id":"x","run":{}}`,
		"run-job.json":         `{"job":"a/b","id":"0001000000000","run":{}}`,
		"run-half.json" + half: `{"job":"j"`,
		"run-other.txt":        `{"job":"j","id":"0001000000000","run":{}}`,
		"run-old.json": `{"job":"j","id":"0001000000000","rev":3,"run":{"state":"retrying","claim":"c","attempt":1,"retry_at":"2026-01-01T12:00:00Z"},` +
			`"over":"2026-01-01T12:00:00Z","kept":"2026-01-01T12:00:00Z"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	facts := spooling(t, dir).left()
	if len(facts) != 1 {
		t.Fatalf("%d are told", len(facts))
	}
	if _, err := os.Stat(filepath.Join(dir, "run-half.json"+half)); err == nil {
		t.Error("half a file is left")
	}
	run := facts[0].(plan.Ended).Run
	if run.State != cron.Failed || !run.RetryAt.IsZero() || run.Rev != 3 || run.RunID != (keys.RunID{Job: "j", Tick: time.Unix(1e9, 0).UTC()}) {
		t.Errorf("%+v", run)
	}
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
