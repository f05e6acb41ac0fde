package main

import (
	"slices"
	"time"
)

// shrink makes a script that fails as small as it can within a time: whatever can be
// left out so that the same promise is broken is.
func shrink(s *script, f *failure, b *broken, within time.Duration) (*script, *failure) {
	end := time.Now().Add(within)
	try := func(c *script) bool {
		if time.Now().After(end) {
			return false
		}
		got := newWorld(c, b).run()
		if got == nil || got.kind != f.kind {
			return false
		}
		s, f = c, got
		return true
	}
	shorter := func() {
		c := s.clone()
		c.length = f.at.Truncate(time.Second) + time.Second
		if c.length >= s.length {
			return
		}
		c.actions = slices.DeleteFunc(c.actions, func(a action) bool { return a.at > c.length })
		try(c)
	}
	for before := -1; before != s.size() && time.Now().Before(end); {
		before = s.size()
		shorter()
		for n := len(s.actions) / 2; n > 0; n /= 2 {
			for i := 0; i+n <= len(s.actions); {
				c := s.clone()
				c.actions = slices.Delete(c.actions, i, i+n)
				if !try(c) {
					i += n
				}
			}
		}
		for i := 0; i < len(s.hosts) && len(s.hosts) > 1; {
			c := s.clone()
			c.hosts = slices.Delete(c.hosts, i, i+1)
			if !try(c) {
				i++
			}
		}
	}
	return s, f
}

func (s *script) clone() *script {
	c := *s
	c.hosts, c.actions = slices.Clone(s.hosts), slices.Clone(s.actions)
	return &c
}

func (s *script) size() int { return len(s.hosts) + len(s.actions) }
