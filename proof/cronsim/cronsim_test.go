package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// The planner as it is keeps its promises in these worlds; make cronsim goes through
// more.
func TestCronsim(t *testing.T) {
	const seeds = 12
	for seed := uint64(1); seed <= seeds; seed++ {
		s := generate(seed, 3*time.Hour)
		if f := newWorld(s, nil).run(); f != nil {
			s, f = shrink(s, f, func(s *script) *failure { return newWorld(s, nil).run() }, 20*time.Second)
			t.Fatalf("%v\n%s", f, s)
		}
	}
}

func BenchmarkWorlds(b *testing.B) {
	for seed := uint64(1); b.Loop(); seed++ {
		newWorld(generate(seed, 3*time.Hour), nil).run()
	}
}

// What happens follows from the seed alone.
func TestSameSeedIsSameWorld(t *testing.T) {
	for seed := uint64(1); seed <= 6; seed++ {
		var was string
		for range 2 {
			w := newWorld(generate(seed, 90*time.Minute), nil)
			w.trace.on = true
			f := w.run()
			is := w.trace.String() + fmt.Sprint(f)
			if was != "" && was != is {
				a, b := strings.Split(was, "\n"), strings.Split(is, "\n")
				for i := range min(len(a), len(b)) {
					if a[i] != b[i] {
						t.Fatalf("seed %d, line %d:\n%s\n%s", seed, i, a[i], b[i])
					}
				}
				t.Fatalf("seed %d: %d lines and %d", seed, len(a), len(b))
			}
			was = is
		}
	}
}

// A script can be written down and read again.
func TestScript(t *testing.T) {
	for seed := range uint64(20) {
		s := generate(seed, 6*time.Hour)
		got, err := readScript(strings.NewReader(s.String()))
		if err != nil || got.String() != s.String() {
			t.Fatalf("seed %d: %v\n%s\nbecame\n%s", seed, err, s, got)
		}
	}
}
