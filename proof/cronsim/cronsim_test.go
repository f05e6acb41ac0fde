package main

import (
	"testing"
	"time"
)

// TestCronsim lets some worlds happen.
func TestCronsim(t *testing.T) {
	end := time.Now().Add(5 * time.Second)
	hours := 0
	for seed := uint64(1); time.Now().Before(end); seed++ {
		s := generate(seed, 3*time.Hour)
		if f := newWorld(s, nil).run(); f != nil {
			s, f = shrink(s, f, func(s *script) *failure { return newWorld(s, nil).run() }, time.Minute)
			t.Fatalf("%v\n%s", f, s)
		}
		hours += 3
	}
	t.Logf("%d hours", hours)
}

func BenchmarkWorlds(b *testing.B) {
	for seed := uint64(1); b.Loop(); seed++ {
		newWorld(generate(seed, 3*time.Hour), nil).run()
	}
}
