package cron

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"conch/pkg/cli"
	"conch/pkg/cron"
)

// sayUnplaced says of jobs that are about to be due that no runner is there which may
// run them: of those that are to run in the same place, together. The jobs are changed
// by then: that nobody can tell is no failure.
func sayUnplaced(ctx context.Context, stdio *cli.Stdio, s cron.Store, jobs ...*cron.Job) {
	if len(jobs) == 0 {
		return
	}
	nodes, err := s.Nodes(ctx)
	if err != nil {
		note(stdio, "whether a runner is there is not known: %v", err)
		return
	}
	var places []string
	names := map[string][]string{}
	for _, j := range jobs {
		p, err := cron.ParsePlacement(j.On)
		if err != nil || j.Paused || p.Placed(nodes) {
			continue
		}
		if names[j.On] == nil {
			places = append(places, j.On)
		}
		names[j.On] = append(names[j.On], j.Name)
	}
	for _, on := range places {
		why := fmt.Sprintf("no runner is there that on = %s asks for", on)
		if on == "" || on == "any" || len(nodes) == 0 {
			why = "no runner is there"
		}
		if p, _ := cron.ParsePlacement(on); slices.ContainsFunc(nodes, func(n cron.Node) bool { return n.Takes(p) }) {
			why = "every runner that may stands by: " + name + " nodes says why"
		}
		note(stdio, "%s: unplaced: %s", few(names[on]), why)
	}
}

// few are some names, and how many more there are.
func few(names []string) string {
	const some = 3
	if len(names) <= some {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:some], ", "), len(names)-some)
}
