package runner

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"conch/pkg/cron"
	"conch/pkg/etcdtest"
)

// tickAt is a job of one tick, soon, that writes down its start.
func tickAt(name, rest string, tweak ...func(*cron.Job)) cron.Job {
	j := cron.Job{Name: name, Schedule: soon(3 * time.Second), Script: note + rest}
	for _, f := range tweak {
		f(&j)
	}
	return j
}

func retries(n int) func(*cron.Job) {
	return func(j *cron.Job) { j.Retry = &cron.Retry{N: n, Backoff: cron.Duration(time.Second)} }
}

// crashes is a runner that kills itself at a point, and comes first: it has all
// the slots, and the other has the next turn.
func (w *world) crashes(point string, tweak ...func(*settings)) (first, other *process) {
	first = w.start(append(tweak, func(s *settings) { s.Crash, s.Placement, s.Slots = point, Capacity, 100000 })...).ready()
	// Its hedge is longer than the other may stall.
	other = w.start(func(s *settings) { s.Placement, s.Slots, s.Hedge = Capacity, 1, 5*time.Second }).ready()
	w.wait("both to know of each other", func() bool {
		nodes, err := w.store.Nodes(w.Context())
		return err == nil && len(nodes) == 2
	})
	return first, other
}

func (w *world) one(job string) *cron.Run {
	w.Helper()
	runs := w.over(job, 1)
	if len(runs) != 1 {
		w.Fatalf("%d runs, not one", len(runs))
	}
	return runs[0]
}

func (w *world) want(r *cron.Run, state cron.State, host string, attempt, starts int) {
	w.Helper()
	if r.State != state || r.Host != host || r.Attempt != attempt {
		w.Errorf("the run is %s, attempt %d, on %s (%s); want %s, %d, %s", r.State, r.Attempt, r.Host, r.Cause, state, attempt, host)
	}
	if n := w.starts(); len(n) != starts {
		w.Errorf("started %d times, not %d: %v", len(n), starts, n)
	}
	if acts, err := w.store.Acts(w.Context()); err != nil || len(acts) != 0 {
		w.Errorf("left in progress: %v, %v", acts, err)
	}
}

// dies before the claim: the next one claims after the hedge.
func TestDiesBeforeClaim(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, _ := w.crashes(BeforeClaim)
	w.add(tickAt("job", "exit 0"))
	w.want(w.one("job"), cron.OK, "host2", 1, 1)
	first.ends()
}

// dies with the claim sent: it is in etcd, and nobody starts it.
func TestDiesWithClaimSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, _ := w.crashes(ClaimSent)
	w.add(tickAt("job", "exit 0"))
	first.ends()
	if r := w.runs("job"); len(r) != 1 || r[0].State != cron.Running {
		t.Fatalf("the claim is not in etcd: %v", r)
	}
	w.want(w.one("job"), cron.Lost, "host1", 1, 0)
}

// dies after the claim: likewise.
func TestDiesAfterClaim(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, _ := w.crashes(Claimed)
	w.add(tickAt("job", "exit 0"))
	first.ends()
	w.want(w.one("job"), cron.Lost, "host1", 1, 0)
}

// ... and with a retry, the other one makes a second attempt.
func TestDiesAfterClaimRetried(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, _ := w.crashes(Claimed)
	w.add(tickAt("job", "exit 0", retries(1)))
	first.ends()
	w.want(w.one("job"), cron.OK, "host2", 2, 1)
}

// dies in mid-run: the whole tree is dead at once, and the run is recorded as
// lost at once, not when the lease has ended.
func TestDiesInMidRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.start(func(s *settings) { s.TTL = 300 * time.Second }).ready()
	w.add(tickAt("job", "(setsid sh -c 'echo $$ >\"$WORLD/daemon\"; sleep 1000' &); sleep 1000"))
	daemon := 0
	w.wait("the daemon", func() bool { daemon = w.number("daemon"); return daemon != 0 })
	first.kill()
	w.want(w.one("job"), cron.Lost, "host1", 1, 1)
	for _, pid := range []int{daemon, w.starts()[0].pid} {
		w.wait("the tree to be dead", func() bool { return !alive(pid) })
	}
}

// ... and is retried with a growing attempt and token.
func TestDiesInMidRunRetried(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, _ := w.crashes(Started)
	w.add(tickAt("job", `[ "$CONCH_ATTEMPT" = 2 ] || sleep 1000`, retries(1)))
	first.ends()
	r := w.one("job")
	if r.State != cron.OK || r.Attempt != 2 || r.Host != "host2" {
		t.Errorf("%s, attempt %d on %s", r.State, r.Attempt, r.Host)
	}
	n := w.starts() // the first may have been killed before its first line
	if last := n[len(n)-1]; last.attempt != 2 || len(n) > 2 || len(n) == 2 && (n[0].attempt != 1 || n[0].rev >= last.rev) {
		t.Errorf("started: %v", n)
	}
}

// a partition in mid-run: the tree is dead before the others may say that the run
// is lost.
func TestCutOffInMidRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	road := etcdtest.Road(t, w.srv)
	w.start(func(s *settings) { s.Endpoints = []string{road.Addr()}; s.Slots, s.Placement = 100000, Capacity }).ready()
	w.start(func(s *settings) { s.Slots, s.Placement, s.Hedge = 1, Capacity, 5*time.Second }).ready()
	w.add(cron.Job{Name: "job", Schedule: soon(3 * time.Second), Script: note + "trap '' TERM; while :; do date +%s%N >\"$WORLD/beat.$$\"; sleep 0.02; done"})
	w.wait("the command", func() bool { return len(w.starts()) == 1 })
	pid := w.starts()[0].pid
	road.Cut()
	r := w.one("job")
	if alive(pid) {
		t.Error("the run is recorded as lost, and its command lives")
	}
	if beat := int64(w.number("beat." + strconv.Itoa(pid))); time.Unix(0, beat).After(r.Ended) {
		t.Errorf("recorded as lost at %v, and alive at %v", r.Ended, time.Unix(0, beat))
	}
	w.want(r, cron.Lost, "host1", 1, 1)
	road.Heal()
}

// a claim whose answer comes late is ours all the same, and is started once.
func TestClaimAnsweredLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	road := etcdtest.Road(t, w.srv)
	w.start(func(s *settings) { s.Endpoints = []string{road.Addr()}; s.TTL = 20 * time.Second }).ready()
	w.add(tickAt("job", "exit 0"))
	tick := w.tick("job")
	time.Sleep(time.Until(tick.Add(-100 * time.Millisecond))) // to the instant: there is no condition to wait for
	road.CutIn()
	w.wait("the claim", func() bool { return len(w.runs("job")) == 1 })
	road.Heal()
	w.want(w.one("job"), cron.OK, "host1", 1, 1)
}

// ... and past the deadline it is not started, and is recorded as unknown.
func TestClaimAnsweredTooLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	road := etcdtest.Road(t, w.srv)
	p := w.start(func(s *settings) { s.Endpoints = []string{road.Addr()}; s.TTL = 30 * time.Second }).ready()
	w.add(tickAt("job", "exit 0", func(j *cron.Job) { j.Deadline = cron.Duration(5 * time.Second) }))
	tick := w.tick("job")
	w.wait("it to know the job", func() bool { return len(p.events("job")) > 0 })
	road.CutIn()
	w.wait("the claim", func() bool { return len(w.runs("job")) == 1 })
	until(tick.Add(5500 * time.Millisecond))
	road.Heal()
	w.want(w.one("job"), cron.Unknown, "host1", 1, 0)
}

// killed with the tree dead and nothing written: lost.
func TestDiesBeforeResult(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, _ := w.crashes(Exited)
	w.add(tickAt("job", "exit 0"))
	first.ends()
	w.want(w.one("job"), cron.Lost, "host1", 1, 1)
}

// killed with the result in etcd, before anybody was told: nobody is, not by the
// next start either, and the run stays what it was.
func TestDiesBeforeTelling(t *testing.T) {
	t.Parallel()
	for script, state := range map[string]cron.State{"exit 0": cron.OK, "exit 3": cron.Failed} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			spool := func(s *settings) { s.Spool = w.path("spool") }
			first, _ := w.crashes(Settled, spool)
			tell := `echo "$CONCH_STATE" >>"$WORLD/told"`
			w.add(tickAt("job", script, func(j *cron.Job) { j.OnFailure, j.OnSuccess = tell, tell }))
			first.ends()
			w.start(spool, func(s *settings) { s.Host = "host1" }).ready()
			w.goesOn()
			w.want(w.one("job"), state, "host1", 1, 1)
			if b, err := os.ReadFile(w.path("told")); err == nil {
				t.Errorf("docs/promises.md says that nobody is told, and somebody was: %s", b)
			}
		})
	}
}

// killed with the result in the spool: the next start writes it, though it was
// recorded as lost meanwhile. What belongs to another etcd stays where it is.
func TestResultInSpool(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.path("spool[1")
	spool := func(s *settings) { s.Spool = dir }
	first := w.start(spool, func(s *settings) { s.Crash = Spooled }).ready()
	w.add(tickAt("job", "exit 0"))
	first.ends()
	w.want(w.one("job"), cron.Lost, "host1", 1, 1)
	ours := keptIn(t, dir)
	if len(ours) != 1 {
		t.Fatalf("%d results are kept", len(ours))
	}
	here := ours[0].Home
	for i, elsewhere := range []home{{here.Cluster + 1, here.Dir}, {here.Cluster, "/other/cron/"}} {
		ours[0].Home = elsewhere
		keepIn(t, dir, fmt.Sprint(entryStem, i, entryTail), ours[0])
	}
	w.start(spool, func(s *settings) { s.Host = "host1" }).ready()
	w.wait("the true result", func() bool { return w.runs("job")[0].State == cron.OK })
	w.want(w.one("job"), cron.OK, "host1", 1, 1)
	w.wait("its file to go", func() bool { return len(keptIn(t, dir)) == 2 })
}

// killed with the result in the spool: people are told of that, unless they have been told
// that it was lost, and once.
func TestResultInSpoolIsTold(t *testing.T) {
	t.Parallel()
	for want, others := range map[string]int{"ok\n": 0, "lost\n": 1} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			spool := func(s *settings) { s.Spool = w.path("spool") }
			var first *process
			if others == 0 {
				first = w.start(spool, func(s *settings) { s.Crash = Spooled }).ready()
			} else {
				first, _ = w.crashes(Spooled, spool)
			}
			tell := `echo "$CONCH_STATE" >>"$WORLD/told"`
			w.add(tickAt("job", "exit 0", func(j *cron.Job) { j.OnFailure, j.OnSuccess = tell, tell }))
			first.ends()
			w.want(w.one("job"), cron.Lost, "host1", 1, 1)
			told := func() bool { b, _ := os.ReadFile(w.path("told")); return string(b) == want }
			if others > 0 {
				w.wait("its loss to be told", told)
			}
			w.start(spool, func(s *settings) { s.Host = "host1" }).ready()
			w.wait("the true result", func() bool { return w.runs("job")[0].State == cron.OK })
			w.wait("people to be told", told)
			w.goesOn()
			if !told() {
				b, _ := os.ReadFile(w.path("told"))
				t.Errorf("told %q, not %q", b, want)
			}
		})
	}
}

// keptIn are the results in a spool.
func keptIn(t *testing.T, dir string) []spooled {
	t.Helper()
	s := spool{dir: dir}
	return s.all()
}

func keepIn(t *testing.T, dir, name string, e spooled) {
	t.Helper()
	b, err := json.Marshal(e)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// a file of the spool that cannot be written leaves nothing of itself.
func TestSpoolIsFull(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "run-x.json")
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(path, []byte("{}")); err == nil {
		t.Fatal("it was written")
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("%v is left", files)
	}
}

// etcd is away when the result is there: it is written when etcd is back.
func TestResultWhileEtcdIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	road := etcdtest.Road(t, w.srv)
	w.start(func(s *settings) { s.Endpoints = []string{road.Addr()}; s.TTL = 20 * time.Second }).ready()
	w.add(tickAt("job", `until [ -e "$WORLD/go" ]; do sleep 0.02; done; exit 3`))
	w.wait("the command", func() bool { return len(w.starts()) == 1 })
	road.Cut()
	w.touch("go")
	w.wait("its end", func() bool { return !alive(w.starts()[0].pid) })
	road.Heal()
	w.want(w.one("job"), cron.Failed, "host1", 1, 1)
}

// etcd has no room when the result is there: it is written when there is some again,
// however long that takes, and not recorded as unknown.
func TestResultWithoutRoom(t *testing.T) {
	t.Parallel()
	srv := server(t)
	w := worldOn(t, srv, srv.Endpoint())
	p := w.start(func(s *settings) { s.Spool, s.Replay = w.path("spool"), 200*time.Millisecond }).ready()
	w.add(tickAt("job", `until [ -e "$WORLD/go" ]; do sleep 0.02; done; exit 3`, func(j *cron.Job) { j.OnFailure = `echo "$CONCH_STATE" >>"$WORLD/told"` }))
	w.wait("the command", func() bool { return len(w.starts()) == 1 })
	alarm := func(a pb.AlarmRequest_AlarmAction) {
		t.Helper()
		status, err := w.admin.Status(t.Context(), srv.Endpoint())
		if err == nil {
			_, err = pb.NewMaintenanceClient(w.admin.ActiveConnection()).Alarm(t.Context(),
				&pb.AlarmRequest{Action: a, Alarm: pb.AlarmType_NOSPACE, MemberID: status.Header.MemberId})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	alarm(pb.AlarmRequest_ACTIVATE)
	w.touch("go")
	// etcd 3.4 does not look for what a transaction within another writes.
	w.wait("it to be refused for long, or taken", func() bool {
		runs := w.runs("job")
		return len(p.events("unwritten")) > 20 || len(runs) == 1 && runs[0].State.Final()
	})
	alarm(pb.AlarmRequest_DEACTIVATE)
	w.want(w.one("job"), cron.Failed, "host1", 1, 1)
	w.wait("the result to leave the spool", func() bool { return len(keptIn(t, w.path("spool"))) == 0 })
	w.goesOn()
	if b, err := os.ReadFile(w.path("told")); string(b) != "failed\n" {
		t.Errorf("told %q, %v", b, err)
	}
}

// a runner that restarts is another: it ends the lease of the one before, of
// which nothing is left, and its runs were recorded by their sentinels.
func TestRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	set := func(s *settings) { s.Spool, s.TTL, s.Host = w.path("spool"), 300*time.Second, "host1" }
	first := w.start(set).ready()
	w.add(tickAt("job", "sleep 1000"))
	w.wait("the command", func() bool { return len(w.starts()) == 1 })
	before, _ := w.store.Nodes(t.Context())
	first.kill()
	w.want(w.one("job"), cron.Lost, "host1", 1, 1)
	w.start(set).ready()
	w.wait("the earlier start to be forgotten", func() bool {
		nodes, err := w.store.Nodes(t.Context())
		return err == nil && len(nodes) == 1 && nodes[0].ID != before[0].ID
	})
}

// two runners cannot share a spool.
func TestSpoolIsOnes(t *testing.T) {
	dir := t.TempDir()
	s, err := openSpool(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if _, err := openSpool(dir); err == nil {
		t.Error("two have opened the same spool")
	}
}

// etcd's revision has gone back: nothing is claimed until an operator has said
// so.
func TestRestored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	set := func(s *settings) { s.Spool = w.path("spool") }
	first := w.start(set).ready()
	w.wait("the state to be kept", func() bool { return w.rewrite("spool/state.json") })
	first.kill()
	w.rewrite("spool/state.json")
	p := w.start(set)
	w.wait("it to stand by", func() bool { return len(p.events("standby")) > 0 })
	w.add(tickAt("job", "exit 0"))
	time.Sleep(time.Until(w.tick("job").Add(2 * time.Second)))
	if n := w.starts(); len(n) != 0 {
		t.Fatalf("started although etcd may have forgotten: %v", n)
	}
	if err := w.store.Restored(t.Context(), "somebody"); err != nil {
		t.Fatal(err)
	}
	w.want(w.one("job"), cron.OK, "host2", 1, 1)
}

// a runner whose key is deleted has lost its lease: what it runs dies, and it
// goes on with another.
func TestNodeDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start().ready()
	w.add(tickAt("job", "sleep 1000"))
	w.wait("the command", func() bool { return len(w.starts()) == 1 })
	nodes, err := w.store.Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.admin.Delete(t.Context(), w.keys.Node(nodes[0].ID)); err != nil {
		t.Fatal(err)
	}
	w.want(w.one("job"), cron.Lost, "host1", 1, 1)
	if alive(w.starts()[0].pid) {
		t.Error("the command lives")
	}
	if len(p.events("lost")) == 0 {
		t.Error("the runner has not said that it lost its lease")
	}
}

// a runner that is asked to end lets its runs end, and takes nothing on.
func TestDrain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(func(s *settings) { s.Drain = time.Minute }).ready()
	w.add(tickAt("job", `until [ -e "$WORLD/go" ]; do sleep 0.02; done`))
	w.wait("the command", func() bool { return len(w.starts()) == 1 })
	p.signal(syscall.SIGTERM)
	w.wait("it to drain", func() bool { return len(p.events("draining")) == 1 })
	w.touch("go")
	p.ends()
	w.want(w.one("job"), cron.OK, "host1", 1, 1)
	if nodes, err := w.store.Nodes(t.Context()); err != nil || len(nodes) != 0 {
		t.Errorf("%v, %v: the runner has left its key behind", nodes, err)
	}
}

// ... and stops them when that takes too long.
func TestDrainEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(func(s *settings) { s.Drain = time.Second }).ready()
	w.add(tickAt("job", "trap '' TERM; while :; do sleep 1; done"))
	w.wait("the command", func() bool { return len(w.starts()) == 1 })
	p.signal(syscall.SIGTERM)
	p.ends()
	w.want(w.one("job"), cron.Lost, "host1", 1, 1)
}

// ... and whoever is to be told of it is, by another runner.
func TestDiesInMidRunNotified(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, _ := w.crashes(Started, func(s *settings) { s.TTL = 300 * time.Second })
	w.add(tickAt("job", "sleep 1000", func(j *cron.Job) { j.OnFailure = `echo "$CONCH_STATE" >"$WORLD/told"` }))
	first.ends()
	r := w.one("job")
	if r.State != cron.Lost || r.Host != "host1" || r.Cause != "its runner was killed; so was the command" {
		t.Errorf("%+v", r)
	}
	w.wait("the notification", func() bool { b, err := os.ReadFile(w.path("told")); return err == nil && string(b) == "lost\n" })
}

// The clock is set far ahead: what would be due is not taken for due.
func TestClockSetAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(w.withClock).ready()
	w.add(cron.Job{Name: "job", Schedule: "@at " + at(time.Hour).Format(time.RFC3339), Script: note})
	w.setClock("clock", time.Hour+2*time.Second)
	w.wait("it to stand by", func() bool { return len(p.events("standby")) > 0 })
	w.wait("it to have compared its clock", func() bool {
		nodes, err := w.store.Nodes(t.Context())
		return err == nil && len(nodes) == 1 && strings.Contains(nodes[0].Standby, "ahead")
	})
	if n := w.runs("job"); len(n) != 0 {
		t.Errorf("%v: claimed an hour before its time", n)
	}
	os.Remove(w.path("clock"))
	w.wait("it to go on", func() bool { return len(p.events("resumed")) > 0 })
}

// Asked to end while etcd is away, a runner ends all the same; the result is in
// the spool.
func TestDrainWithoutEtcd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	road := etcdtest.Road(t, w.srv)
	set := func(s *settings) {
		s.Spool, s.TTL, s.Drain, s.Host = w.path("spool"), 60*time.Second, time.Second, "host1"
	}
	p := w.start(set, func(s *settings) { s.Endpoints = []string{road.Addr()} }).ready()
	w.add(tickAt("job", `until [ -e "$WORLD/go" ]; do sleep 0.02; done; exit 3`))
	w.wait("the command", func() bool { return len(w.starts()) == 1 })
	road.Cut()
	w.touch("go")
	p.signal(syscall.SIGTERM)
	p.ends()
	w.start(set).ready()
	w.want(w.one("job"), cron.Failed, "host1", 1, 1)
}

// TERM is heard while the runner waits for etcd, and is not forgotten when the
// lease is lost during the drain.
func TestTermWithoutEtcd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	road := etcdtest.Road(t, w.srv)
	p := w.start(func(s *settings) { s.Endpoints = []string{road.Addr()}; s.Drain = time.Minute }).ready()
	// A command that ignored TERM would be killed at the deadline, and on a machine
	// that stalls the runner with it.
	w.add(tickAt("job", "while :; do sleep 1; done"))
	w.wait("the command", func() bool { return len(w.starts()) == 1 })
	p.signal(syscall.SIGTERM)
	w.wait("it to drain", func() bool { return len(p.events("draining")) == 1 })
	road.Cut()
	w.wait("the lease to be lost", func() bool { return len(p.events("lost")) == 1 })
	p.ends()
	other := w.start(func(s *settings) { s.Endpoints = []string{road.Addr()} })
	road.Heal()
	other.ready()
	road.Cut()
	w.wait("the lease to be lost", func() bool { return len(other.events("lost")) == 1 })
	other.signal(syscall.SIGTERM) // now it waits for etcd
	other.ends()
}

// etcd is another cluster: nothing is claimed until an operator has said so, though
// the runner is started again meanwhile.
func TestOtherCluster(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	set := func(s *settings) { s.Spool = w.path("spool") }
	if err := os.MkdirAll(w.path("spool"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(w.path("spool/state.json"), []byte(`{"node":"x","lease":1,"cluster":123,"rev":5}`)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		p := w.start(set)
		w.wait("it to stand by", func() bool { return p.says("standby", "needs another --spool") })
		if len(p.events("ready")) > 0 {
			t.Error("it stands by and is ready")
		}
		p.kill()
	}
	p := w.start(set)
	w.wait("it to stand by", func() bool { return len(p.events("standby")) > 0 })
	if err := w.store.Restored(t.Context(), "somebody"); err != nil {
		t.Fatal(err)
	}
	w.add(tickAt("job", "exit 0"))
	w.want(w.one("job"), cron.OK, "host3", 1, 1)
	if all := p.events("ready"); len(all) != 1 {
		t.Errorf("it was ready %d times", len(all))
	}
}
