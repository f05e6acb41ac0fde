package main

import "testing"

// Each behaviour that was once is found.
func TestBrokenIsFound(t *testing.T) {
	for i := range once {
		b := &once[i]
		t.Run(b.name, func(t *testing.T) {
			f, seed := b.find(20)
			if f == nil {
				t.Fatalf("nobody has noticed, in %d worlds", seed)
			}
			if !b.byScript { // and it is that, and nothing else
				if f, _ := b.whole().find(seed); f != nil {
					t.Errorf("it is seen without that: %v", f)
				}
			}
			t.Logf("| %s | %d | %d | %s |", b.name, seed, f.step, f)
		})
	}
}
