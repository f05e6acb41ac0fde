package main

import (
	"slices"
	"strings"
	"time"
)

// shrink makes a script that fails as small as it can within a time: whatever can be
// left out so that the same promise is broken is.
func shrink(s *script, f *failure, run func(*script) *failure, within time.Duration) (*script, *failure) {
	end := time.Now().Add(within)
	try := func(c *script) bool {
		if time.Now().After(end) {
			return false
		}
		got := run(c)
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
	about := f.job()
	fewer := func(keep func(action) bool) {
		c := s.clone()
		c.actions = slices.DeleteFunc(c.actions, func(a action) bool { return !keep(a) })
		try(c)
	}
	shorter()
	fewer(func(a action) bool { return a.who != "hand" || strings.HasPrefix(a.args, about) })
	fewer(func(a action) bool { return a.who == "hand" })
	for _, verb := range s.verbs() {
		fewer(func(a action) bool { return a.verb != verb })
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

// job is the name of the job that a failure is about.
func (f *failure) job() string {
	name, _, _ := strings.Cut(f.text, " ")
	name, _, _ = strings.Cut(strings.TrimRight(name, ":,"), "/")
	return name
}

// verbs returns what is done in a script.
func (s *script) verbs() (all []string) {
	for _, a := range s.actions {
		if !slices.Contains(all, a.verb) {
			all = append(all, a.verb)
		}
	}
	return all
}

func (s *script) clone() *script {
	c := *s
	c.hosts, c.actions = slices.Clone(s.hosts), slices.Clone(s.actions)
	return &c
}

func (s *script) size() int { return len(s.hosts) + len(s.actions) }
