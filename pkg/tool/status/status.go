// Package status is conch-status: what there is, in one screen or by HTTP.
package status

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"conch/pkg/cli"
	"conch/pkg/connect"
	"conch/pkg/etcd"
	"conch/pkg/status"
)

const name = "conch-status"

// Tool is conch-status.
var Tool = cli.Tool{
	Name:  name,
	Brief: "show who holds and who waits, jobs and runners",
	Usage: []string{
		"[--only SECTION,...] [--json] [FLAGS]",
		"--watch [FLAGS]",
		"serve [--listen ADDRESS] [FLAGS]",
	},
	Examples: examples,
	Sections: sections,
	Statuses: cli.Statuses(0, cli.Failed, cli.Usage, cli.Unreachable, cli.Refused, cli.Config),
	SeeAlso:  []string{"conch-cron(1)", "conch-elect(1)", "conch-sema(1)", "conch(7)"},
	Setup:    setup,
}

// options are the settings of one run.
type options struct {
	*connect.Settings
	only    []string
	json    bool
	watch   bool
	verbose bool
	listen  string
	flags   *cli.Flags
}

func setup(f *cli.Flags) cli.Run {
	o := &options{flags: f}
	f.Group("What is shown")
	f.Strings(&o.only, cli.Row{Name: "only", Arg: "SECTION", Env: cli.NoEnv, Help: "only these of " + strings.Join(status.Sections(), ", ")})
	f.JSON(&o.json, "JSON, one object a line")
	f.Bool(&o.watch, cli.Row{Name: "watch", Env: cli.NoEnv, Help: "show it again after each change, at most once a second, and when etcd has fallen silent or answers again"})
	f.Bool(&o.verbose, cli.Row{Name: "verbose", Short: "v", Help: "times in full, and everybody who holds, waits or runs; of serve, a line on standard error that says where"})
	f.Group("By HTTP")
	f.String(&o.listen, cli.Row{Name: "listen", Arg: "ADDRESS", Default: "127.0.0.1:9191", Help: "where serve answers; :9191 is port 9191 of every address of this machine"})
	o.Settings = connect.Flags(f)
	f.Complete(func(_ context.Context, _ *cli.Stdio, words []string, _ string) []string {
		if len(words) > 0 {
			return nil
		}
		return []string{"serve"}
	})
	return o.run
}

func (o *options) run(ctx context.Context, stdio *cli.Stdio, args cli.Args) error {
	serve, err := o.check(args)
	switch {
	case err != nil:
		return err
	case serve:
		return o.serve(ctx, stdio)
	case o.watch:
		return o.Ask(ctx, func(ctx context.Context, c *etcd.Client) error { return o.follow(ctx, stdio, c) })
	}
	return o.Ask(ctx, func(ctx context.Context, c *etcd.Client) error {
		s, err := status.Read(ctx, c, o.Space, o.DialTimeout)
		if err != nil {
			return err
		}
		return o.show(stdio, &s)
	})
}

// check refuses a line that cannot be meant.
func (o *options) check(args cli.Args) (serve bool, _ error) {
	words := append(slices.Clone(args.Words), args.Command...)
	serve = len(words) == 1 && words[0] == "serve"
	switch {
	case len(words) > 0 && !serve:
		return false, cli.Usagef("unexpected %q: the only word is serve", words[0])
	case serve && (len(o.only) > 0 || o.json || o.watch):
		return false, cli.Usagef("--only, --json (-o json) and --watch do not go with serve")
	case !serve && o.flags.Source("listen") == "--listen":
		return false, cli.Usagef("--listen goes with serve: %s serve --listen %s", name, o.listen)
	}
	for _, section := range o.only {
		if !slices.Contains(status.Sections(), section) {
			return false, cli.Usagef("--only: %q is none of %s", section, strings.Join(status.Sections(), ", "))
		}
	}
	return serve, nil
}

func (o *options) show(stdio *cli.Stdio, s *status.Snapshot) error {
	if o.json {
		return s.WriteJSON(stdio.Out, time.Now(), o.only...)
	}
	return o.text(stdio.Out, s, time.Now())
}

// redraw is how often --watch looks whether something has changed.
const redraw = time.Second

// follow shows what there is again after each change: on a terminal over what
// was there, elsewhere below it.
func (o *options) follow(ctx context.Context, stdio *cli.Stdio, c *etcd.Client) error {
	k := status.NewKeeper(o.Space)
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx, c) }()
	err := o.redraw(stdio, k, ended)
	cancel()
	if err != nil { // of writing; else it is that of Run
		<-ended
	}
	return err
}

func (o *options) redraw(stdio *cli.Stdio, k *status.Keeper, ended chan error) error {
	began := time.Now()
	tick := time.NewTicker(redraw / 10) // until there is something to be shown
	defer tick.Stop()
	terminal := !o.json && cli.Terminal(stdio.Out)
	stale := false // what was shown last said so
	for shown := int64(0); ; {
		select {
		case err := <-ended:
			ended <- err
			return err
		case <-tick.C:
		}
		s := k.Snapshot()
		if s.At.IsZero() && time.Since(began) > o.DialTimeout {
			return cli.Errorf(cli.Unreachable, "etcd unreachable: %s", s.Stale)
		}
		if s.Rev == 0 || s.Rev == shown && stale == (s.Stale != "") && !terminal {
			continue
		}
		if shown == 0 {
			tick.Reset(redraw)
		}
		if err := o.draw(stdio, &s, terminal, shown > 0); err != nil {
			return err
		}
		shown, stale = s.Rev, s.Stale != ""
	}
}

// home moves the cursor to the top of a terminal and clears it.
const home = "\x1b[H\x1b[2J"

func (o *options) draw(stdio *cli.Stdio, s *status.Snapshot, terminal, again bool) error {
	before := ""
	switch {
	case terminal:
		before = home
	case again && !o.json:
		before = "\n"
	}
	if _, err := fmt.Fprint(stdio.Out, before); err != nil {
		return err
	}
	return o.show(stdio, s)
}
