package conch_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The budgets of the multi-call binary. Raising one is a decision: something
// that was linked in costs every start of every tool.
type budget struct {
	size   int // bytes of the file
	bytes  int // that package initialisation allocates
	allocs int // in how many pieces
}

// allowed returns the budget of the binary under test.
func allowed(t *testing.T) budget {
	t.Helper()
	if raceEnabled {
		t.Skip("the race detector is not in the budget")
	}
	// Cron has taken 2.7 MB, 0.5 of it time zones, 0.35 YAML; writing that waits for
	// no reader, the identity of the cluster and the fenced files 0.1 each, and no new
	// dependency; what cron tells of runs, and of why there is none, may take 0.7. A
	// quarter of what is allocated is etcd's protobuf messages.
	b := budget{size: 16_500_000, bytes: 420_000, allocs: 2_600}
	if strings.Contains(os.Getenv("GOFLAGS"), "-mod=vendor") { // built without dev/lean
		b.size, b.bytes, b.allocs = b.size+400_000, b.bytes+300_000, b.allocs+1_200
	}
	return b
}

func TestSize(t *testing.T) {
	limit := allowed(t)
	info, err := os.Stat(filepath.Join(binaries(t), "conch"))
	if err != nil {
		t.Fatal(err)
	}
	size := int(info.Size())
	t.Logf("conch is %.2f MB; the budget is %.2f", float64(size)/1e6, float64(limit.size)/1e6)
	if size > limit.size {
		t.Errorf("conch is %d bytes, %d more than its budget: what has been linked in?", size, size-limit.size)
	}
}

// TestStart adds up what package initialisation allocates, which every start of
// every tool pays for. It is counted and not timed, for a count is the same on a
// machine that is busy; what computes and allocates nothing, or comes after it, is
// seen by `make bench` alone.
func TestStart(t *testing.T) {
	limit := allowed(t)
	cmd := exec.Command(traceable(t, filepath.Join(binaries(t), "conch")), "--version")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var trace strings.Builder
	cmd.Stderr = &trace
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	var size, allocs int
	for line := range strings.Lines(trace.String()) {
		// init unicode @2.9 ms, 0.029 ms clock, 11400 bytes, 16 allocs
		_, counts, ok := strings.Cut(line, " clock, ")
		if !ok {
			continue
		}
		var b, a int
		if _, err := fmt.Sscanf(counts, "%d bytes, %d allocs", &b, &a); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		size, allocs = size+b, allocs+a
	}
	if allocs == 0 {
		t.Fatalf("no package initialisation in the trace:\n%s", trace.String())
	}
	t.Logf("package initialisation allocates %d bytes in %d pieces; the budget is %d in %d", size, allocs, limit.bytes, limit.allocs)
	if size > limit.bytes || allocs > limit.allocs {
		t.Errorf("package initialisation is above its budget: what has been linked in?\n%s", trace.String())
	}
}

// traceable copies a program and returns the copy, whose runtime finds GODEBUG: the
// entry point hides it under another name (see pkg/proc/entry).
func traceable(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	hidden := []byte("GODEBUG=\x00")
	if n := bytes.Count(b, hidden); n != 1 {
		t.Fatalf("%s names %q %d times", file, hidden, n)
	}
	traced := filepath.Join(t.TempDir(), "conch")
	if err := os.WriteFile(traced, bytes.Replace(b, hidden, []byte("GODEBUG-\x00"), 1), 0o755); err != nil {
		t.Fatal(err)
	}
	return traced
}
