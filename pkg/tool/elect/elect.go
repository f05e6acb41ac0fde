// Package elect is conch-elect: a command that runs on one host of a cluster.
package elect

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"

	"conch/pkg/cli"
	"conch/pkg/hold"
	"conch/pkg/keys"
	"conch/pkg/proc"
	"conch/pkg/wrap"
)

const name = "conch-elect"

// Tool is conch-elect.
var Tool = cli.Tool{
	Name:  name,
	Brief: "run a command on one host of a cluster",
	Usage: []string{
		"[FLAGS] NAME [FLAGS] [--] COMMAND [ARG]...",
		"[FLAGS] NAME -c 'SHELL COMMAND'",
		"[FLAGS] -- COMMAND [ARG]...",
		"NAME --hold",
		"NAME --held",
		"NAME --who | --watch | --assert",
		"NAME --evict [--ask [--wait DURATION]]",
		"NAME --once-list | --once-forget KEY",
		"--held | --who | --watch | --assert | --evict | --once-list | --once-forget KEY -- COMMAND [ARG]...",
		"NAME --fenced-file PATH | --fenced-put KEY -- COMMAND [ARG]...",
		"NAME --fenced-file PATH | --fenced-put KEY <FILE",
	},
	Examples: examples,
	Sections: sections,
	Statuses: statuses(),
	SeeAlso:  []string{"conch-sema(1)", "etcdctl(1)", "flock(1)", "conch(7)"},
	Shape:    cli.NameCommand,
	Setup:    setup,
	Raise:    proc.Raise,
}

// options are the settings of one run.
type options struct {
	*wrap.Options
	hold       bool
	held       bool
	who        bool
	watch      bool
	assert     bool
	minRev     uint64
	token      uint64
	evict      bool
	fencedPut  string
	fencedFile string
	json       bool
	output     string
	markers    wrap.Markers
	given      func(flag string) bool
}

func setup(f *cli.Flags) cli.Run {
	o := &options{Options: wrap.Flags(f), given: f.Set}
	f.Group("Instead of a command")
	f.Bool(&o.hold, cli.Row{Name: "hold", Env: cli.NoEnv, Help: "hold without a command: print the token, and release when standard input ends"})
	wrap.HeldFlag(f, &o.held)
	f.Bool(&o.who, cli.Row{Name: "who", Env: cli.NoEnv, Help: "say who holds NAME; status 1 if nobody does"})
	f.Bool(&o.watch, cli.Row{Name: "watch", Env: cli.NoEnv, Help: "say who holds NAME, and again at each change"})
	f.Bool(&o.assert, cli.Row{Name: "assert", Env: cli.NoEnv, Help: "status 0 if this host holds NAME, 1 if not"})
	f.Uint64(&o.minRev, cli.Row{Name: "min-rev", Arg: "REV", Env: cli.NoEnv, Help: "with --assert: and its token is at least this"})
	f.Uint64(&o.token, cli.Row{Name: "token", Arg: "REV", Env: cli.NoEnv, Help: "with --assert: whether the hold with this very token exists, on whichever host; with --fenced-put and --fenced-file: write under it"})
	f.Bool(&o.evict, cli.Row{Name: "evict", Env: cli.NoEnv, Help: "kill the command of whoever has the hold, at once and without its --kill-after, and take the hold away; with --ask, let it end first"})
	o.AskFlag(f)
	f.String(&o.fencedPut, cli.Row{Name: "fenced-put", Arg: "KEY", Env: cli.NoEnv, Help: "write what COMMAND prints to a key of etcd, if it ends with 0 and while the hold exists; status 1 if that does not. Without COMMAND, what standard input holds"})
	f.String(&o.fencedFile, cli.Row{Name: "fenced-file", Arg: "PATH", Env: cli.NoEnv, Help: "replace a file by what COMMAND prints, in one step, if it ends with 0, while the hold exists and none newer has written it; status 1 otherwise. Without COMMAND, by standard input"})
	wrap.OutputFlags(f, &o.output, "with --who and --watch: value prints what the holder has published and nothing else",
		&o.json, "with --who, --watch, --assert, --evict, --once-list, --once-forget: JSON, one object a line")
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
	office, err := o.office(args, argv)
	if err != nil {
		return err
	}
	if o.fenced() {
		if err := o.checkFenced(argv); err != nil {
			return err
		}
		if len(argv) > 0 {
			return o.runFenced(ctx, stdio, office, argv)
		}
	}
	switch {
	case o.held:
		return o.Held(ctx, stdio, office)
	case mode != nil:
		return o.ask(ctx, stdio, office, mode)
	case o.Plain && !o.Configured():
		return o.Exec(argv, stdio)
	}
	return o.wrap(ctx, stdio, office, argv)
}

// wrap is the path of a command: the way to etcd, the turn, the command under
// it, the release.
func (o *options) wrap(ctx context.Context, stdio *cli.Stdio, office keys.Line, argv []string) error {
	defer proc.BuryStrays()()
	s, err := wrap.Open(ctx, o.Options, name, "elect", office, argv, stdio)
	if err != nil {
		return err
	}
	return s.Close(s.Loop(func() error {
		turn, err := s.Take(ctx, hold.Join)
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

// office says which line to stand in. Without a NAME the command names it.
func (o *options) office(args cli.Args, argv []string) (keys.Line, error) {
	n := args.Name
	if !args.HasName {
		n = nameOf(argv)
	}
	if err := keys.CheckName(n); err != nil {
		return keys.Line{}, &cli.Exit{Status: cli.Usage, Err: err}
	}
	return o.Space.Office(n), nil
}

// nameOf derives a name from a command line: what it runs, for people, and a
// hash of all of it. The words are hashed with a zero byte after each, so that
// `a "b c"` and `a b c` are two.
func nameOf(argv []string) string {
	h := sha256.New()
	for _, word := range argv {
		h.Write([]byte(word + "\x00"))
	}
	base := strings.Map(func(r rune) rune {
		if strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", r) {
			return r
		}
		return '_'
	}, filepath.Base(argv[0]))
	return base[:min(len(base), 100)] + "-" + hex.EncodeToString(h.Sum(nil)[:6])
}

// mode finds the one thing to do instead of a command, nil for a command, and
// refuses a line that asks for two things or for none.
func (o *options) mode(args cli.Args, argv []string) (query, error) {
	named := !args.HasName
	mode, err := wrap.PickMode([]wrap.Mode[query]{
		{Flag: "--hold", On: o.hold},
		{Flag: "--held", On: o.held, Named: named},
		{Flag: "--who", On: o.who, Do: o.sayWho, Named: named},
		{Flag: "--watch", On: o.watch, Do: o.sayWatch, Named: named},
		{Flag: "--assert", On: o.assert, Do: o.sayAssert, Named: named},
		{Flag: "--evict", On: o.evict, Do: o.sayEvict, Named: named},
		{Flag: "--once-list", On: o.markers.List, Do: o.sayOnce, Named: named},
		{Flag: "--once-forget", On: o.markers.Forget != "", Do: o.forgetOnce, Named: named},
		{Flag: "--fenced-put", On: o.given("fenced-put"), Do: o.copyFenced, Named: named, Runs: true},
		{Flag: "--fenced-file", On: o.given("fenced-file"), Do: o.copyFenced, Named: named, Runs: true},
	}, argv)
	if err != nil {
		return nil, err
	}
	switch {
	case mode.On && named && !mode.Named:
		return nil, cli.Usagef("%s needs the NAME it is about", mode.Flag)
	case mode.On && named && len(argv) == 0:
		return nil, cli.Usagef("%s needs the NAME it is about, or after -- the command that makes it", mode.Flag)
	}
	if o.hold {
		if err := o.CheckHold(); err != nil {
			return nil, err
		}
	}
	switch {
	case o.output != "" && !o.who && !o.watch:
		return nil, cli.Usagef("--output goes with --who and --watch")
	case o.output != "" && o.json:
		return nil, cli.Usagef("--output and --json are two forms of one answer; use one of them")
	case o.json && mode.Do == nil:
		return nil, cli.Usagef("--json, or -o json, goes with --who, --watch, --assert, --evict, --once-list and --once-forget")
	case o.Asks && !o.evict:
		return nil, cli.Usagef("--ask goes with --evict")
	case o.minRev > 0 && !o.assert:
		return nil, cli.Usagef("--min-rev goes with --assert")
	case o.token > 0 && !o.assert && !o.fenced():
		return nil, cli.Usagef("--token goes with --assert, --fenced-put and --fenced-file")
	}
	return mode.Do, nil
}
