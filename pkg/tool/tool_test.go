package tool

import (
	"slices"
	"testing"
)

// outputs are the variables that a command finds. If one of them also set a
// flag, a conch under a conch would take it for its user's word.
var outputs = []string{
	"CONCH_KIND", "CONCH_NAME", "CONCH_REV", "CONCH_ETCD_KEY", "CONCH_CLUSTER", "CONCH_LEASE", "CONCH_SLOT", "CONCH_HOLDS",
	"CONCH_JOB", "CONCH_TICK", "CONCH_RUN", "CONCH_ATTEMPT", "TRACEPARENT",
}

func TestOutputsAreNoInputs(t *testing.T) {
	for _, tool := range All() {
		for _, row := range tool.Rows() {
			if slices.Contains(outputs, row.Env) {
				t.Errorf("%s --%s is set by %s", tool.Name, row.Name, row.Env)
			}
		}
	}
}

// Every flag says what it does, in the form that help is written in.
func TestFlagsAreExplained(t *testing.T) {
	for _, tool := range All() {
		for _, row := range tool.Rows() {
			if row.Hidden {
				continue
			}
			if row.Help == "" || row.Group == "" || row.Help[len(row.Help)-1] == '.' {
				t.Errorf("%s --%s: help %q in group %q", tool.Name, row.Name, row.Help, row.Group)
			}
		}
	}
}
