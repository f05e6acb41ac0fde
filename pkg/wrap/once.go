package wrap

import (
	"context"
	"errors"
	"fmt"
	"time"

	"conch/pkg/cli"
	"conch/pkg/etcd"
	"conch/pkg/hold"
	"conch/pkg/keys"
)

// Markers are the settings that are about what --once has recorded.
type Markers struct {
	List   bool
	Forget string
	JSON   *bool // of the tool
}

// Flags declares them.
func (k *Markers) Flags(f *cli.Flags, json *bool) {
	k.JSON = json
	f.Bool(&k.List, cli.Row{Name: "once-list", Env: cli.NoEnv, Help: "say what --once has done under NAME, a line for each KEY; status 1 if nothing"})
	f.Func(func(text string) error { k.Forget = text; return keys.CheckOnce(text) }, cli.Row{Name: "once-forget", Arg: "KEY", Env: cli.NoEnv,
		Help: "forget that KEY was done: the next --once with it runs again; status 1 if it was not"})
}

// markerJSON is a done-marker in --json output.
type markerJSON struct {
	Name string    `json:"name"`
	Once string    `json:"once"`
	Host string    `json:"host"`
	PID  int       `json:"pid"`
	At   time.Time `json:"at"`
	Exit int       `json:"exit"`
	Key  string    `json:"key"`
}

// say prints a marker. The key comes last: there can be spaces in it.
func (k *Markers) say(stdio *cli.Stdio, name string, m hold.Marker) error {
	if *k.JSON {
		return stdio.JSON(markerJSON{name, m.Once, m.Host, m.PID, m.At, m.Exit, m.Key})
	}
	at := "unknown"
	if !m.At.IsZero() {
		at = m.At.Format(time.RFC3339)
	}
	_, err := fmt.Fprintln(stdio.Out, cli.OneLine(fmt.Sprintf("%s %s pid=%d at=%s once=%s", name, m.Host, m.PID, at, m.Once)))
	return err
}

// SayOnce answers --once-list.
func (o *Options) SayOnce(ctx context.Context, stdio *cli.Stdio, c *etcd.Client, name string, k *Markers) error {
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	all, err := hold.ListDone(ctx, c, o.Space, name)
	if err != nil {
		return err
	}
	for _, m := range all {
		if err := k.say(stdio, name, m); err != nil {
			return err
		}
	}
	if len(all) == 0 {
		return cli.No
	}
	return nil
}

// ForgetOnce answers --once-forget.
func (o *Options) ForgetOnce(ctx context.Context, stdio *cli.Stdio, c *etcd.Client, name string, k *Markers) error {
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	m, err := hold.ForgetDone(ctx, c, o.Space, name, k.Forget)
	if errors.Is(err, hold.ErrVacant) {
		return cli.Errorf(cli.Failed, "%s: nothing was done under %s", name, k.Forget)
	}
	if err != nil {
		return err
	}
	return k.say(stdio, name, m)
}
