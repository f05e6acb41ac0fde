// Package sema is conch-sema: a command that runs on a few hosts of a cluster at
// a time, and no more.
package sema

import (
	"context"
	"errors"
	"os"

	"conch/pkg/cli"
	"conch/pkg/etcd"
	"conch/pkg/hold"
	"conch/pkg/keys"
	"conch/pkg/proc"
	"conch/pkg/wrap"
)

const name = "conch-sema"

// maxSlots is the largest capacity: a semaphore is read and compared as a whole.
const maxSlots = hold.MaxCapacity

// Tool is conch-sema.
var Tool = cli.Tool{
	Name:  name,
	Brief: "run a command on N hosts of a cluster at a time",
	Usage: []string{
		"NAME --max N [FLAGS] [--] COMMAND [ARG]...",
		"[FLAGS] --max N NAME -c 'SHELL COMMAND'",
		"NAME --shared|--exclusive [FLAGS] [--] COMMAND [ARG]...",
		"NAME --max N|--shared|--exclusive --hold",
		"NAME --held",
		"NAME --who | --watch",
		"NAME --resize N",
		"NAME --once-list | --once-forget KEY",
		"NAME --evict HOST:PID|SLOT|rev=REV|all [--ask [--wait DURATION]]",
	},
	Examples: examples,
	Sections: sections,
	Statuses: statuses(),
	SeeAlso:  []string{"conch-elect(1)", "conch(7)"},
	Shape:    cli.NameCommand,
	Setup:    setup,
	Raise:    proc.Raise,
}

// options are the settings of one run.
type options struct {
	*wrap.Options
	max      int
	weight   int
	shared   bool
	excl     bool
	spread   bool
	spreadBy string
	hold     bool
	held     bool
	who      bool
	watch    bool
	resize   int
	evict    string
	all      bool
	json     bool
	output   string
	markers  wrap.Markers
	given    func(flag string) bool
}

func setup(f *cli.Flags) cli.Run {
	o := &options{given: f.Set}
	f.Group("The semaphore")
	f.Int(&o.max, cli.Row{Name: "max", Min: 1, Max: maxSlots, Help: "how many may run at a time; all who use NAME must say the same"})
	f.Int(&o.weight, cli.Row{Name: "weight", Arg: "K", Min: 1, Max: maxSlots, Default: "1", Help: "take K of the N"})
	f.Bool(&o.shared, cli.Row{Name: "shared", Help: "in the place of --max: beside all others who share, and nobody who excludes"})
	f.Bool(&o.excl, cli.Row{Name: "exclusive", Help: "in the place of --max: beside nobody"})
	f.Bool(&o.spread, cli.Row{Name: "spread", Help: "at most one on each host"})
	f.String(&o.spreadBy, cli.Row{Name: "spread-by", Arg: "LABEL", Help: "at most one for each LABEL, such as a rack or a zone, in the place of the host's name"})
	o.Options = wrap.Flags(f)
	f.Group("Instead of a command")
	f.Bool(&o.hold, cli.Row{Name: "hold", Env: cli.NoEnv, Help: "hold without a command: print the token, and release when standard input ends"})
	wrap.HeldFlag(f, &o.held)
	f.Bool(&o.who, cli.Row{Name: "who", Env: cli.NoEnv, Help: "say who holds, and who waits; status 1 if nobody does"})
	f.Bool(&o.watch, cli.Row{Name: "watch", Env: cli.NoEnv, Help: "the same, and then a line for each change"})
	f.Int(&o.resize, cli.Row{Name: "resize", Env: cli.NoEnv, Min: 1, Max: maxSlots, Help: "change the capacity while it is in use: more admits at once, with less holders finish"})
	f.String(&o.evict, cli.Row{Name: "evict", Arg: "HOST:PID|SLOT|rev=REV|all", Env: cli.NoEnv, Help: "kill somebody's command, at once and without its --kill-after, and take the hold, or the place in line, away; with --ask, let it end first. Containers can share a HOST:PID: who is meant by it must be one, or named by the token that --who shows"})
	f.Bool(&o.all, cli.Row{Name: "all", Env: cli.NoEnv, Help: "with --evict: everybody who is meant, though it is more than one"})
	wrap.OutputFlags(f, &o.output, "with --who: value prints what the holders have published and nothing else, a line each",
		&o.json, "with --who, --watch, --evict, --once-list, --once-forget: JSON, one object a line")
	o.AskFlag(f)
	o.markers.Flags(f, &o.json)
	f.Complete(o.names)
	return o.run
}

// run is the whole tool: a question, a hold, or a command under one.
func (o *options) run(ctx context.Context, stdio *cli.Stdio, args cli.Args) error {
	argv := o.Argv(args.Command)
	mode, err := o.mode(args, argv)
	if err != nil {
		return err
	}
	pool := o.Space.Pool(args.Name)
	switch {
	case o.held:
		return o.Held(ctx, stdio, pool.Line)
	case mode != nil:
		return o.Ask(ctx, func(ctx context.Context, c *etcd.Client) error { return mode(ctx, stdio, c, pool) })
	case o.Plain && !o.Configured():
		return o.Exec(argv, stdio)
	}
	return o.wrap(ctx, stdio, pool, argv)
}

// wrap is the path of a command: the way to etcd, the turn, the command under
// it, the release.
func (o *options) wrap(ctx context.Context, stdio *cli.Stdio, pool keys.Pool, argv []string) error {
	join, err := o.join(pool)
	if err != nil {
		return err
	}
	defer proc.BuryStrays()()
	s, err := wrap.Open(ctx, o.Options, name, "sema", pool.Line, argv, stdio)
	if err != nil {
		return err
	}
	return s.Close(s.Loop(func() error {
		turn, err := s.Take(ctx, join)
		if err != nil {
			return err
		}
		if o.hold {
			return s.Hold(ctx, turn)
		}
		outcome, err := s.Run(ctx, turn)
		return s.Release(ctx, turn, outcome, err)
	}))
}

// join is how a turn is taken.
func (o *options) join(pool keys.Pool) (wrap.Join, error) {
	share := hold.Share{Pool: pool, Max: o.max, Weight: o.weight}
	join := func(ctx context.Context, c *etcd.Client, r hold.Request) (*hold.Turn, error) {
		t, err := hold.JoinPool(ctx, c, r, share)
		share.Adopt = share.Adopt || err == nil // of the next turn, with --restart
		return t, explain(err, pool.Name)
	}
	if !o.spread && o.spreadBy == "" {
		return join, nil
	}
	label := o.spreadBy
	if label == "" {
		var err error
		if label, err = os.Hostname(); err != nil {
			return nil, err
		}
	}
	if err := keys.CheckName(label); err != nil {
		return nil, cli.Usagef("--spread-by: %w", err)
	}
	o.Alone = o.Space.PoolHost(pool.Name, label)
	return func(ctx context.Context, c *etcd.Client, r hold.Request) (*hold.Turn, error) {
		t, err := hold.JoinSpread(ctx, c, r, share, o.Alone)
		share.Adopt = share.Adopt || err == nil
		return t, explain(err, pool.Name)
	}, nil
}

// explain gives the refusal of a capacity its status and a hint.
func explain(err error, name string) error {
	var use *hold.InUse
	if !errors.As(err, &use) {
		return err
	}
	err = cli.Errorf(cli.Usage, "%s: %w", name, use)
	switch {
	case use.Cap == hold.Exclusive:
		return cli.Hint(err, "--shared or --exclusive, or another NAME: one that is shared has no capacity")
	case use.Max == hold.Exclusive:
		return cli.Hint(err, "--max %d, or another NAME: a capacity cannot be shared in this sense", use.Cap)
	}
	return cli.Hint(err, "--max %d, or change it for all: conch-sema %s --resize %d", use.Cap, name, use.Max)
}

// mode finds the one thing to do instead of a command, nil for a command, and
// refuses a line that asks for two things or for none.
func (o *options) mode(args cli.Args, argv []string) (query, error) {
	if !args.HasName {
		return nil, cli.Usagef("the NAME of the semaphore is missing")
	}
	if err := keys.CheckName(args.Name); err != nil {
		return nil, &cli.Exit{Status: cli.Usage, Err: err}
	}
	mode, err := wrap.PickMode([]wrap.Mode[query]{
		{Flag: "--hold", On: o.hold},
		{Flag: "--held", On: o.held},
		{Flag: "--who", On: o.who, Do: o.sayWho},
		{Flag: "--watch", On: o.watch, Do: o.sayWatch},
		{Flag: "--resize", On: o.given("resize"), Do: o.setCapacity},
		{Flag: "--evict", On: o.given("evict"), Do: o.sayEvict},
		{Flag: "--once-list", On: o.markers.List, Do: o.sayOnce},
		{Flag: "--once-forget", On: o.markers.Forget != "", Do: o.forgetOnce},
	}, argv)
	switch {
	case err != nil:
		return nil, err
	case o.all && !o.given("evict"):
		return nil, cli.Usagef("--all goes with --evict")
	case o.output != "" && !o.who:
		return nil, cli.Usagef("--output goes with --who")
	case o.output != "" && o.json:
		return nil, cli.Usagef("--output and --json are two forms of one answer; use one of them")
	case o.Asks && !o.given("evict"):
		return nil, cli.Usagef("--ask goes with --evict")
	case mode.Do != nil:
		return mode.Do, nil
	case o.json:
		return nil, cli.Usagef("--json, or -o json, goes with --who, --watch, --evict, --once-list and --once-forget")
	case o.held:
		return nil, nil
	}
	return nil, o.checkTurn()
}

// checkTurn refuses a turn that cannot be.
func (o *options) checkTurn() error {
	switch {
	case o.shared && o.excl:
		return cli.Usagef("--shared and --exclusive exclude each other")
	case (o.shared || o.excl) && o.max != 0:
		return cli.Usagef("--max is a number, which --shared and --exclusive do without; use one of them")
	case (o.shared || o.excl) && o.given("weight"):
		return cli.Usagef("--weight is of --max; who shares takes as little as can be, and who excludes all")
	case o.shared:
		o.max, o.weight = hold.Exclusive, 1
	case o.excl:
		o.max, o.weight = hold.Exclusive, hold.Exclusive
	case o.max == 0:
		return cli.Usagef("--max N is missing: how many may run at a time (or --shared, or --exclusive)")
	}
	o.Room = o.max - o.weight
	switch {
	case o.given("spread-by") && o.spreadBy == "":
		return cli.Usagef("--spread-by is empty; it needs a LABEL")
	case o.weight > o.max:
		return cli.Usagef("--weight %d can never be had: weight <= max, which is %d", o.weight, o.max)
	case o.hold:
		return o.CheckHold()
	}
	return nil
}
