package cron

import (
	"context"
	"fmt"
	"strings"

	"conch/pkg/cli"
	"conch/pkg/cron"
)

// sayUnplaced says of jobs that are about to be due that no runner is there which may
// run them: of those that are to run in the same place, together.
func sayUnplaced(ctx context.Context, stdio *cli.Stdio, s cron.Store, jobs ...*cron.Job) error {
	if len(jobs) == 0 {
		return nil
	}
	nodes, err := s.Nodes(ctx)
	if err != nil {
		return err
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
		note(stdio, "%s: unplaced: %s", few(names[on]), why)
	}
	return nil
}

// few are some names, and how many more there are.
func few(names []string) string {
	const some = 3
	if len(names) <= some {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:some], ", "), len(names)-some)
}
