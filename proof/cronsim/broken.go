package main

import "conch/pkg/plan"

// broken puts something back as it was: between a planner and what it is told, or what
// it wants.
type broken struct {
	name  string
	facts func(*session, []plan.Fact) []plan.Fact
	verbs func(*session, []plan.Verb) []plan.Verb
}
