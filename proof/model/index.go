package model

import "hash/maphash"

// index is a set of states, which finds a mirror image as well as the state
// itself. A map would hold each state a second time, and most of the time goes
// into waiting for memory.
type index struct {
	states []state // in the order in which they were added
	slots  []slot  // a hash table with open addressing, at most half full
	seed   maphash.Seed
}

// slot is a position in states, counted from 1, with a part of the hash that
// spares most looks there. The zero slot is empty.
type slot struct{ hash, position uint32 }

func newIndex() index { return index{slots: make([]slot, 1<<12), seed: maphash.MakeSeed()} }

// put returns where s or its mirror image is, after adding it if there is
// neither.
func (x *index) put(s *state) (n uint32, isNew bool) {
	want := s.canonical()
	hash := maphash.Comparable(x.seed, want)
	i := x.home(uint32(hash))
	for ; x.slots[i].position != 0; i = (i + 1) & (len(x.slots) - 1) {
		if x.slots[i].hash != uint32(hash) {
			continue
		}
		if n := x.slots[i].position - 1; x.states[n].canonical() == want {
			return n, false
		}
	}
	x.states = append(x.states, *s)
	x.slots[i] = slot{uint32(hash), uint32(len(x.states))}
	if 2*len(x.states) > len(x.slots) {
		x.grow()
	}
	return uint32(len(x.states) - 1), true
}

// home is where the search for a hash begins.
func (x *index) home(hash uint32) int { return int(hash) & (len(x.slots) - 1) }

func (x *index) grow() {
	old := x.slots
	x.slots = make([]slot, 2*len(old))
	for _, s := range old {
		if s.position == 0 {
			continue
		}
		i := x.home(s.hash)
		for x.slots[i].position != 0 {
			i = (i + 1) & (len(x.slots) - 1)
		}
		x.slots[i] = s
	}
}
