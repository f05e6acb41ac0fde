package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"conch/pkg/etcdtest"
)

// edit replaces what a pattern matches, which must be in one place.
type edit struct{ file, pattern, by string }

// A broken guard is conch with a mistake that somebody could make, and the
// fault that must show it. If the suite does not see it, it proves nothing when
// it sees nothing wrong with conch.
type brokenGuard struct {
	name  string
	edits []edit
	fault string
	ttl   time.Duration // long enough for the overlap to be longer than a stall
	seen  func(*report) bool
}

// beside is what most of them show.
func beside(r *report) bool { return r.overlaps()+r.survivors() > 0 }

var brokenGuards = []brokenGuard{
	{"never kills", []edit{
		{"pkg/lease/lease.go", `return s\.Add\(ttl - ttl/100 - KillLatency\)`, "return s.Add(ttl + time.Hour)"},
		{"pkg/guard/run.go", `(?s)(func \(r \*run\) lose\(\) \{\n).*?\n\}`, "$1}"},
	}, "host cut off", 4 * time.Second, beside},
	// What the client library does: the keepalive alone, and the deadline counts
	// from when its answer is read.
	{"counts from the receipt", []edit{
		{"pkg/lease/keep.go", `m\.Verifies\(ctx\)`, "etcd.Verdict{Verifies: true}, error(nil)"},
		{"pkg/lease/keep.go", `(?s)\tget, err := m\.KV\(\)\.Get\(ctx, key\)\n.*?l\.heed\([^\n]*\n`, ""},
		{"pkg/lease/keep.go", `(?s)\tcase ka\.GetHeader\(\).*?errMixed\n`, ""},
		{"pkg/lease/keep.go", `\treturn renewal\{sent, Deadline`, "\tsent = l.clk.Now()\n$0"},
	}, "answers late, then cut off", 8 * time.Second, beside},
	// The turn is given up when the command has ended, and what it left behind
	// is cleared away afterwards.
	{"releases before the tree is empty", []edit{
		{"pkg/guard/run.go", `Done\(\):\n\t\t\treturn r\.tree\.Result\(\)`, "Exited():\n\t\t\treturn proc.Result{Status: r.tree.Status(), Empty: true}"},
		{"pkg/wrap/standby.go", `s\.leaving\.Go\(old\.Dismiss\)`, "s.leaving.Go(func() { time.Sleep(time.Second); old.Kill(); old.Dismiss() })"},
		{"pkg/wrap/run.go", `WaitTree: s\.WaitTree`, "WaitTree: true"},
	}, "command ends", 4 * time.Second, beside},
	// What asks twice is taken to be out of patience.
	{"insists on nothing", []edit{
		{"pkg/guard/signals.go", `const Insist = time\.Second`, "const Insist = time.Duration(0)"},
	}, "TERM, twice", 4 * time.Second, func(r *report) bool { return r.total(func(w *row) int { return w.hasty }) > 0 }},
	// Who is killed in line, or while it holds without a command, is not cleared up
	// after.
	{"stands in line alone", []edit{
		{"pkg/wrap/standby.go", `(?s)(\) standBy\(all \[\]hold\.Remains\) error \{\n).*?\n\}`, "${1}\treturn nil\n}"},
	}, "waiter killed, first", 4 * time.Second, func(r *report) bool { return len(r.stuck) > 0 }},
	{"holds alone", []edit{
		{"pkg/wrap/standby.go", `(?s)(\) standBy\(all \[\]hold\.Remains\) error \{\n).*?\n\}`, "${1}\treturn nil\n}"},
	}, "--hold killed", 4 * time.Second, func(r *report) bool { return len(r.left) > 0 && len(r.stuck) > 0 }},
}

func TestBrokenGuardsAreCaught(t *testing.T) {
	for _, g := range brokenGuards {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			bin := build(t, g.edits)
			for seed := range 3 { // on a busy machine a strike may come between two renewals
				r, err := run(t.Context(), config{
					bin: bin, offices: 2, contenders: 2, max: 1, ttl: g.ttl, seed: uint64(seed + 1),
					length: time.Minute, strikes: 1, only: regexp.MustCompile("^" + g.fault + "$"), rootless: true, patience: 10 * time.Second, soonest: 2 * soonest, discard: true,
				})
				if err != nil {
					t.Fatal(err)
				}
				if g.seen(r) {
					return
				}
				r.print(t.Output())
			}
			t.Error("nobody has noticed")
		})
	}
}

// The unbroken one passes what the broken ones do not, and more.
func TestPromises(t *testing.T) {
	t.Parallel()
	r, err := run(t.Context(), config{
		bin: build(t, nil), offices: 3, contenders: 3, max: 1, ttl: 3 * time.Second,
		seed: uint64(time.Now().UnixNano()), length: 25 * time.Second, rootless: true, patience: time.Minute, soonest: 2 * soonest, // beside other tests
	})
	if err != nil {
		t.Fatal(err)
	}
	r.print(t.Output())
	if !r.kept() {
		t.Error("promises were broken")
	}
}

// build builds the tools as make does, with the sources edited, and returns
// their directory.
func build(t *testing.T, edits []edit) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("NO GO HERE TO BUILD BROKEN GUARDS WITH")
	}
	root, err := etcdtest.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command("make", "-s", "-C", root, "build", "BIN="+dir, "RACE=")
	cmd.Env = append(os.Environ(), "GOFLAGS="+os.Getenv("GOFLAGS")+" -overlay="+overlay(t, root, edits))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	return dir
}

// overlay writes the edited files and says to the go command which ones they
// are to stand in for.
func overlay(t *testing.T, root string, edits []edit) string {
	t.Helper()
	dir := t.TempDir()
	replace := map[string]string{}
	for _, e := range edits {
		path := filepath.Join(root, e.file)
		if replace[path] == "" {
			replace[path] = filepath.Join(dir, fmt.Sprintf("%d.go", len(replace)))
			copyFile(t, path, replace[path])
		}
		b, err := os.ReadFile(replace[path])
		if err != nil {
			t.Fatal(err)
		}
		re := regexp.MustCompile(e.pattern)
		if n := len(re.FindAllIndex(b, -1)); n != 1 {
			t.Fatalf("%s has %d places that match %s", e.file, n, e.pattern)
		}
		if err := os.WriteFile(replace[path], re.ReplaceAll(b, []byte(e.by)), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
}
