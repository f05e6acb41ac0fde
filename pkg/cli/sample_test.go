package cli_test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"conch/pkg/cli"
)

// options are what the sample tool's flags set.
type options struct {
	ttl, wait time.Duration
	nonblock  bool
	endpoints []string
	vars      []string
	signal    syscall.Signal
	format    string
	max       int
	token     uint64
	password  string
	shell     string
	states    []string
	zone      string
	file      string
}

// call is what one run of the sample tool got.
type call struct {
	options
	args   cli.Args
	source string // where --ttl came from
}

// sample is a tool with a flag of each kind; it hands each call to got.
func sample(got func(call) error) cli.Tool {
	return cli.Tool{
		Name:  "conch-elect",
		Brief: "run a command on one host of a cluster",
		Usage: []string{"[FLAGS] NAME [FLAGS] [--] COMMAND [ARG]...", "[FLAGS] --who NAME"},
		Examples: []cli.Example{
			{Text: "Back up once, on whichever host is first", Command: "conch-elect -n -E 0 backup restic backup /data"},
			{Text: "Guard a script", Command: "conch-elect deploy --held ||\n\texec conch-elect -n deploy -- \"$0\" \"$@\""},
		},
		Sections: []cli.Section{
			{Title: "FILES", Body: "= /etc/default/conch: read by the units. Not by `conch-elect`.\n= .hidden: starts with a dot\n  and goes on"},
			{Title: "DESCRIPTION", Body: "Campaigns for `NAME`. Then runs.\n\n- one\n- two 'quoted'\n  goes on\n\n    conch-elect -n x -- ls \\\n    .dot\n\n.Dotted paragraph with back\\slash."},
			{Title: "WHAT CAN GO WRONG", Body: "Much."},
		},
		Statuses: cli.CommandStatuses(),
		SeeAlso:  []string{"conch-sema(1)", "flock(1)"},
		Shape:    cli.NameCommand,
		Setup: func(f *cli.Flags) cli.Run {
			var o options
			declare(f, &o)
			f.Complete(func(ctx context.Context, _ *cli.Stdio, _ []string, _ string) []string {
				if end, ok := ctx.Deadline(); !ok || time.Until(end) > 300*time.Millisecond {
					return []string{"a shell that waits for ever"}
				}
				return []string{"jobs", "jade", "a:b", "it's", "bad\nname", o.format}
			})
			return func(_ context.Context, io *cli.Stdio, args cli.Args) error {
				return got(call{o, args, f.Source("ttl")})
			}
		},
	}
}

func declare(f *cli.Flags, o *options) {
	f.Group("Turn")
	f.Duration(&o.wait, cli.Row{Name: "wait", Short: "w", Help: "wait at most this long"})
	f.Bool(&o.nonblock, cli.Row{Name: "nonblock", Short: "n", Help: "do not wait. Exits with `75`"})
	f.Int(&o.max, cli.Row{Name: "conflict-exit-code", Short: "E", Default: "75", Min: 0, Max: 255, Help: "status when it is taken"})
	f.Duration(&o.ttl, cli.Row{Name: "ttl", Default: "10s", Help: "lease time; a holder that is cut off is replaced after it"})
	f.Signal(&o.signal, cli.Row{Name: "signal", Short: "s", Default: "TERM", Help: "signal that stops the command"})
	f.String(&o.shell, cli.Row{Name: "command", Short: "c", Arg: "SHELL", Env: cli.NoEnv, Help: "run this with the shell"})
	f.String(&o.file, cli.Row{Name: "status-file", Arg: "FILE", Help: "write the state to a file"})
	f.Strings(&o.states, cli.Row{Name: "state", Arg: "STATE", Values: []string{"ok", "lost", "late"}, Env: cli.NoEnv, Help: "only those"})
	f.String(&o.zone, cli.Row{Name: "tz", Arg: "ZONE", Values: []string{"any"}, Env: cli.NoEnv, Help: "the zone", Complete: func(ctx context.Context, prefix string) []string {
		if end, ok := ctx.Deadline(); !ok || time.Until(end) > 300*time.Millisecond {
			return []string{"a shell that waits for ever"}
		}
		return []string{prefix + "/" + o.format, "elsewhere"}
	}})
	f.Enum(&o.format, cli.Row{Name: "log-format", Default: "auto", Values: []string{"auto", "text", "json"}, Help: "how to log"})
	f.Group("Connection")
	f.Strings(&o.endpoints, cli.Row{Name: "endpoints", Default: "127.0.0.1:2379", Alias: []string{"ETCDCTL_ENDPOINTS"}, Help: "where etcd is"})
	f.String(&o.password, cli.Row{Name: "password", EnvOnly: true, Secret: true, Alias: []string{"ETCDCTL_PASSWORD"}, Help: "password of the user"})
	f.Repeat(&o.vars, cli.Row{Name: "env", Arg: "NAME=VALUE", Help: "variable for the command"})
	f.Uint64(&o.token, cli.Row{Name: "token", Hidden: true, Help: "hidden"})
}

// run runs the sample with arguments and environment.
func run(env []string, args ...string) (got call, status int, stdout, stderr string) {
	var out, err strings.Builder
	io := &cli.Stdio{Out: &out, Err: &err, Env: env}
	t := sample(func(c call) error { got = c; return nil })
	status = t.Exec(context.Background(), io, args...)
	return got, status, out.String(), err.String()
}

// show is what matters of Args, so that nil and empty are alike.
func show(a cli.Args) string {
	return fmt.Sprintf("%q %v %q", a.Name, a.HasName, a.Command)
}
