package conch_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// A command of script_test.go that cannot fail proves nothing: each of these
// scripts must fail, at its last line.
func TestScriptCommandsFail(t *testing.T) {
	for name, text := range map[string]string{
		"status":              "exits 0 sh -c 'exit 1'",
		"status of a signal":  "exits 143 sh -c 'kill $$'",
		"signal of a status":  "exits sig:TERM sh -c 'exit 143'",
		"hanging":             "exits -t 50ms 0 sleep 60",
		"no such program":     "exits 0 no-such-program",
		"reap":                "spawn a sh -c 'exit 2'\nreap a 3",
		"reap hanging":        "spawn a sleep 60\nreap -t 50ms a any",
		"alive":               "spawn a true\nreap a 0\nalive a.pid",
		"not alive":           "spawn a sleep 60\n! alive a",
		"alive without pid":   "exec touch pid\n! alive pid",
		"gone":                "spawn a sleep 60\nawait -t 50ms -gone a.pid",
		"await":               "exec touch f\nawait -t 50ms f x",
		"await a command":     "await -t 50ms -cmd false",
		"await no command":    "await -t 50ms ! -cmd true",
		"late":                "within 1ms exits 0 sleep 0.1",
		"early":               "! within 10s exits 0 true",
		"within a failure":    "! within 1ms exits 0 sh -c 'sleep 0.1; exit 1'",
		"key left":            "etcd put a 1\netcd empty",
		"count":               "etcd count a 1",
		"no key":              "etcd get a",
		"compact shared":      "etcd compact",
		"alarm shared":        "etcd alarm on",
		"allow shared":        "etcd allow read",
		"kill shared":         "server kill",
		"lease left":          "etcd lease 7 a\netcd del a\netcd empty",
		"overlap":             "overlap log\n-- log --\nbeat 1 10 5\nbeat 2 20 6\nbeat 1 30 5",
		"falling tokens":      "overlap log\n-- log --\nbeat 2 10 5\nbeat 1 20 6",
		"three where two may": "overlap -max 2 log\n-- log --\nbeat 1 10 5\nbeat 2 20 6\nbeat 3 30 6\nbeat 2 40 6\nbeat 1 40 5",
		"clock of nobody":     "clock a 1h",
		"clock shared":        "clock server 1h",
		"nothing at work":     "overlap log\n-- log --\n",
	} {
		t.Run(name, func(t *testing.T) {
			log := runScript(t, text, true)
			script, _, _ := strings.Cut(text, "\n--")
			at := fmt.Sprintf("%d: ", 1+strings.Count(script, "\n"))
			if !strings.Contains(log, "script.txtar:"+at) {
				t.Errorf("did not fail at line %s\n%s", at, log)
			}
		})
	}
}

// What a script leaves running is killed, daemons too.
func TestScriptKillsLeftovers(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	runScript(t, strings.ReplaceAll(`
spawn a sh -c 'echo $$ >>PIDS; setsid sh -c "echo \$\$ >>PIDS; exec sleep 300" & exec sleep 300'
exits 0 sh -c 'setsid sleep 300 & echo $! >>PIDS'
await PIDS '\n.*\n.*\n'
`, "PIDS", pids), false)
	b, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(string(b))
	if len(words) != 3 {
		t.Fatalf("%d processes, not 3: %s", len(words), b)
	}
	for _, w := range words {
		pid, err := strconv.Atoi(w)
		if err == nil { // what is dying has no environment any more to be found by
			err = poll(limit, func() error {
				if running(pid) {
					return fmt.Errorf("pid %s still runs", w)
				}
				return nil
			})
		}
		if err != nil {
			t.Error(err)
		}
	}
}

func TestSpans(t *testing.T) {
	all, err := spans("beat 4 30 1\nbeat 3 10 1\nbeat 3 25 9\nbeat 4 31 1\n")
	if err != nil || fmt.Sprint(all) != "[{3 10 25} {4 30 31}]" {
		t.Errorf("%v %v", all, err)
	}
}

// runScript runs one script and returns its log. It checks that the script
// fails, or does not.
func runScript(t *testing.T, text string, fails bool) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "script.txtar")
	if err := os.WriteFile(file, []byte(text+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	p := params(t, "/nonexistent")
	p.Files = []string{file}
	p.Deadline = time.Now().Add(time.Minute)
	rec := &recorder{}
	func() {
		defer func() {
			if r := recover(); r != nil && r != any(rec) {
				panic(r)
			}
		}()
		testscript.RunT(rec, p)
	}()
	if rec.failed != fails {
		t.Fatalf("failed: %v, expected %v\n%s", rec.failed, fails, rec.log.String())
	}
	return rec.log.String()
}

// recorder is a testscript.T that survives a failing script.
type recorder struct {
	log    strings.Builder
	failed bool
}

func (r *recorder) Skip(a ...any)  { r.Fatal(append([]any{"skipped:"}, a...)...) }
func (r *recorder) Log(a ...any)   { fmt.Fprintln(&r.log, a...) }
func (r *recorder) Parallel()      {}
func (r *recorder) Verbose() bool  { return true }
func (r *recorder) FailNow()       { r.failed = true; panic(r) }
func (r *recorder) Fatal(a ...any) { r.Log(a...); r.FailNow() }
func (r *recorder) Run(_ string, f func(testscript.T)) {
	defer func() {
		if e := recover(); e != nil && e != any(r) {
			panic(e)
		}
	}()
	f(r)
}
