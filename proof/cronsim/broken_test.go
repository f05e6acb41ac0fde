package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// Each behaviour that was once is found.
func TestBrokenIsFound(t *testing.T) {
	for i := range once {
		b := &once[i]
		t.Run(b.name, func(t *testing.T) {
			f, seed := find(b, 20, allKinds)
			if f == nil {
				t.Fatalf("nobody has noticed, in %d worlds", seed)
			}
			if b.facts != nil || b.verbs != nil || b.job != nil { // and it is that, and nothing else
				if f, _ := find(&broken{name: b.name, kinds: b.kinds, script: b.script}, seed, allKinds); f != nil {
					t.Logf("IT IS SEEN WITHOUT THAT: %v", f) // TODO: an error once the planner is mended
				}
			}
			t.Logf("| %s | %d | %d | %s |", b.name, seed, f.step, f)
		})
	}
}

// allKinds are all failures that can be known.
var allKinds = strings.Split("claims while draining,claims while standing by,a lie,another's command,claim,claimed twice,contradicted,failed for its host,history grows,job removed,job written,last,last.tick in the future,"+
	"last.tick went back,left over,made up for a pause,misplaced,no tick,overlap,ran while paused,request not met,request withdrawn,result lost,"+
	"result replaced,result thrown away,retried too often,retried while paused,retry not made,runs,runs went back,started twice,too early,unaccounted,unmarked,vanished", ",")

// find looks for a seed that shows what is broken.
func find(b *broken, seeds uint64, kinds []string) (*failure, uint64) {
	write := b.script
	if write == nil {
		write = func(seed uint64) *script { return generate(seed, 3*time.Hour) }
	}
	for seed := uint64(1); seed <= seeds; seed++ {
		w := newWorld(write(seed), b)
		w.known = map[string]bool{}
		for _, k := range kinds {
			w.known[k] = !slices.Contains(strings.Split(b.kinds, ","), k)
		}
		if f := w.run(); f != nil && slices.Contains(strings.Split(b.kinds, ","), f.kind) {
			return f, seed
		}
	}
	return nil, seeds
}
