package wrap

import (
	"fmt"
	"time"

	"conch/pkg/cli"
	"conch/pkg/hold"
)

// Contact is the line of --watch --json that says how old the lines above it may be.
// One of Office and Name is set.
type Contact struct {
	Office string    `json:"office,omitempty"`
	Name   string    `json:"name,omitempty"`
	Event  string    `json:"event"` // stale: etcd has not answered for a while; fresh: it does again
	Heard  time.Time `json:"heard"` // when it last had
}

// SayContact prints what --watch has heard of the road to etcd, as JSON or for
// people.
func SayContact(stdio *cli.Stdio, json bool, of Contact, c hold.Contact) error {
	of.Event, of.Heard = "fresh", c.Heard.UTC().Truncate(time.Millisecond)
	text := "! etcd answers again"
	if c.Silent {
		of.Event = "stale"
		text = fmt.Sprintf("? etcd has not answered since %s: what is shown may be old", of.Heard.Format(time.RFC3339))
	}
	if json {
		return stdio.JSON(of)
	}
	_, err := fmt.Fprintln(stdio.Out, cli.OneLine(of.Office+of.Name), text)
	return err
}
