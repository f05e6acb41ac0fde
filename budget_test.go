package conch_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The budgets of the multi-call binary. Raising one is a decision: something
// that was linked in costs every start of every tool.
const (
	maxSize  = 15_200_000 // bytes: cron has taken 2.7 MB, 0.5 of it time zones, 0.35 YAML
	lean     = 400_000    // what dev/lean saves; a vendored tree is built without
	maxStart = 3.2        // times the start of an empty Go program
)

func TestSize(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector is not in the budget")
	}
	info, err := os.Stat(filepath.Join(binaries(t), "conch"))
	if err != nil {
		t.Fatal(err)
	}
	budget := int64(maxSize)
	if strings.Contains(os.Getenv("GOFLAGS"), "-mod=vendor") {
		budget += lean
	}
	t.Logf("conch is %.2f MB; the budget is %.2f", float64(info.Size())/1e6, float64(budget)/1e6)
	if info.Size() > budget {
		t.Errorf("conch is %d bytes, %d more than its budget: what has been linked in?", info.Size(), info.Size()-budget)
	}
}

// TestStart compares `conch-elect --version` with a Go program that says hello:
// what is above 1 is package initialisation, which every start pays.
func TestStart(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector is not in the budget")
	}
	hello := buildHello(t)
	elect := filepath.Join(binaries(t), "conch-elect")
	var ratio float64
	for try := 1; try <= 5; try++ {
		ours, theirs := startTimes(t, elect, hello)
		ratio = float64(ours) / float64(theirs)
		t.Logf("conch-elect --version %v, hello %v: %.2f times; the budget is %.1f", ours, theirs, ratio, maxStart)
		if ratio <= maxStart {
			return
		}
	}
	t.Errorf("conch-elect --version takes %.2f times as long as an empty Go program, in five tries", ratio)
}

func buildHello(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("NO GO HERE TO BUILD THE PROGRAM TO COMPARE WITH")
	}
	dir := t.TempDir()
	source, program := filepath.Join(dir, "hello.go"), filepath.Join(dir, "hello")
	if err := os.WriteFile(source, []byte("package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"hello\") }\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GO111MODULE=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	return program
}

// startTimes runs both programs in turn, so that whatever slows the machine
// slows both, and returns the medians.
func startTimes(t *testing.T, ours, theirs string) (time.Duration, time.Duration) {
	t.Helper()
	took := [2][]time.Duration{}
	for range 150 {
		for i, program := range []string{ours, theirs} {
			cmd := exec.Command(program, "--version")
			begin := time.Now()
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v: %v", cmd, err)
			}
			took[i] = append(took[i], time.Since(begin))
		}
	}
	return median(took[0]), median(took[1])
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
