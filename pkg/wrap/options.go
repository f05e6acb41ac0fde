// Package wrap is a command wrapped in a hold, as conch-elect and conch-sema
// share it: the flags, the hooks, the reports, and the steps from the wait to
// the release.
//
// It does not decide who has a turn (package hold does) nor how a command is
// stopped (package guard does); it puts the two together and turns what comes of
// them into messages and an exit status.
package wrap

import (
	"fmt"
	"syscall"
	"time"

	"conch/pkg/cli"
	"conch/pkg/connect"
	"conch/pkg/guard"
	"conch/pkg/hold"
	"conch/pkg/keys"
	"conch/pkg/lease"
)

// Options are the values of the flags.
type Options struct {
	*connect.Settings
	flags *cli.Flags
	told  bool // how the session has ended

	TTL       time.Duration
	LockDelay time.Duration
	Wait      time.Duration // negative: for ever
	NonBlock  bool
	Conflict  int // -1: the usual status
	HoldFor   time.Duration
	Asks      bool // --ask, of a tool that has it
	Once      string

	Shell       string // -c
	KillAfter   time.Duration
	StopSignal  syscall.Signal
	MaxRun      time.Duration
	Restart     bool
	WaitTree    bool
	Contain     bool
	Plain       bool // --if-configured
	OnAcquire   string
	OnLose      string
	HookTimeout time.Duration

	Quiet      bool
	Verbose    bool
	LogFormat  string
	StatusFD   int // -1: none
	StatusFile string
	Notify     string
	Listen     string
	CmdShown   string // argv, name, none
	Publish    string

	// Of a tool that has turns beside each other: how much of NAME there is besides
	// what one takes, and the line, if any, of which it needs the turn as well.
	Room  int
	Alone keys.Line

	// Output opens what takes the command's standard output, once the command is to
	// be started. Nil: it is ours.
	Output func() (Sink, error)

	began time.Time
}

// Environment opens the manual's section on what a command finds.
const Environment = "COMMAND and hooks get the caller's environment without conch's own settings: a variable such as `CONCH_TTL` or `CONCH_RESTART` is said to this conch, and not to one that COMMAND may start. What says where etcd is stays (see \"Connection\"), and so do `CONCH_IF_CONFIGURED` and `CONCH_CMD_SHOWN`; but no variable that holds a password or a token, so that a conch inside needs `CONCH_PASSWORD_FILE` or a certificate. `ETCDCTL_` variables stay as they are, passwords among them: they are for etcdctl, which COMMAND may run. Where COMMAND is not to have the password, give it by `--password-file` or `CONCH_PASSWORD`. Added are\n\n"

// Watching ends the manual's section on --watch, with the field that has the NAME,
// and what follows when etcd answers again.
const Watching = "When etcd has not answered for 13 s, a line `NAME ? etcd has not answered since TIME: what is shown may be old` says so, with `--json` the object `{\"%s\":\"NAME\",\"event\":\"stale\",\"heard\":\"TIME\"}`, where TIME is that of the last answer; when it answers again, `NAME ! etcd answers again`, or `{\"%[1]s\":\"NAME\",\"event\":\"fresh\",\"heard\":\"TIME\"}`, and %[2]s. The line of a waiter on a terminal says it, too."

// Flags declares the flags.
func Flags(f *cli.Flags) *Options {
	o := &Options{flags: f, Wait: -1, Conflict: -1, StatusFD: -1, began: time.Now()}
	o.turn(f)
	o.command(f)
	o.reports(f)
	o.Settings = connect.Flags(f)
	f.Failed(o.failed)
	return o
}

func (o *Options) turn(f *cli.Flags) {
	f.Group("The turn")
	f.Duration(&o.TTL, cli.Row{Name: "ttl", Default: "10s", Help: "how long the hold outlives a host that is gone; 2s to 300s, and from 4s with etcd before 3.4.42, 3.5.28 and 3.6.9"})
	f.Func(func(text string) error { return o.setLockDelay(text) }, cli.Row{Name: "lock-delay", Arg: "DURATION|ttl", Default: "1s",
		Help: "how long to wait after a holder that did not release; ttl waits for its whole TTL, which excludes overlap even if etcd dropped its lease early"})
	f.Duration(&o.Wait, cli.Row{Name: "wait", Short: "w", Help: "give up after this, connecting included, with status 75, or 69 if etcd has not even answered; 0 is --nonblock"})
	f.Bool(&o.NonBlock, cli.Row{Name: "nonblock", Short: "n", Help: "do not wait: status 75 if somebody else has or awaits the turn; only a --lock-delay that is due is waited for, and no etcd of which every endpoint refuses the connection"})
	f.Int(&o.Conflict, cli.Row{Name: "conflict-exit-code", Short: "E", Min: 0, Max: 255, Help: "exit with this, and not 75, when there was no turn; with 0 nothing is said"})
	f.Duration(&o.HoldFor, cli.Row{Name: "hold-for", Help: "keep the hold at least this long after acquiring it, however the command has ended and though conch has exited; a year at most"})
	f.Func(func(text string) error { o.Once = text; return keys.CheckOnce(text) }, cli.Row{Name: "once", Arg: "KEY",
		Help: "run only if nothing has yet succeeded under this KEY, which is any printable text; else exit 0. Others wait for it, then skip"})
}

func (o *Options) command(f *cli.Flags) {
	f.Group("The command")
	f.String(&o.Shell, cli.Row{Name: "command", Short: "c", Arg: "SHELL", Env: cli.NoEnv, Help: "run this by /bin/sh -c; words that follow become its arguments"})
	f.Duration(&o.KillAfter, cli.Row{Name: "kill-after", Short: "k", Default: "5s", Help: "SIGKILL this long after the request to end"})
	f.Signal(&o.StopSignal, cli.Row{Name: "signal", Short: "s", Default: "TERM", Help: "the request to end, when the hold is being lost or --max-run is over"})
	f.Duration(&o.MaxRun, cli.Row{Name: "max-run", Help: "stop the command after this, with status 124; 0: never"})
	f.Bool(&o.Restart, cli.Row{Name: "restart", Help: "when the command has ended, or the hold was lost, queue again; ends by a signal only"})
	f.Bool(&o.WaitTree, cli.Row{Name: "wait-tree", Help: "the command has ended when all that it started has, for commands that turn into daemons"})
	f.Bool(&o.Contain, cli.Row{Name: "contain", Help: "run the command in a pid namespace: nothing survives, even if both of conch's processes are killed at once"})
	f.Bool(&o.Plain, cli.Row{Name: "if-configured", Inherit: true, Help: "if nothing says where etcd is, just run the command, without a hold"})
	f.Group("Hooks")
	f.String(&o.OnAcquire, cli.Row{Name: "on-acquire", Arg: "SHELL", Help: "run before the command; if it fails, the turn is given back and the status is 75"})
	f.String(&o.OnLose, cli.Row{Name: "on-lose", Arg: "SHELL", Help: "run when the command is dead, however it ended, before the release; if the hold was lost, the next holder may have begun"})
	f.Duration(&o.HookTimeout, cli.Row{Name: "hook-timeout", Default: "30s", Help: "a hook is killed after this"})
}

func (o *Options) reports(f *cli.Flags) {
	f.Group("Reports")
	f.Bool(&o.Quiet, cli.Row{Name: "quiet", Short: "q", Help: "say nothing about a turn that was not to be had, or was lost"})
	f.Bool(&o.Verbose, cli.Row{Name: "verbose", Short: "v", Help: "a line on standard error for each transition, and for a timing that had to be shortened"})
	f.Enum(&o.LogFormat, cli.Row{Name: "log-format", Values: []string{"auto", "text", "json", "journald"}, Default: "auto", Help: "form of these lines, and of errors"})
	f.Int(&o.StatusFD, cli.Row{Name: "status-fd", Min: 0, Max: 1 << 20, Help: "a line of JSON for each transition, to this descriptor; the last one says how conch has ended, and whether by the command"})
	f.String(&o.StatusFile, cli.Row{Name: "status-file", Arg: "FILE", Help: "the same, appended to a file"})
	f.Func(func(text string) error { o.Publish = text; return hold.CheckValue(text) }, cli.Row{Name: "publish", Arg: "TEXT", Help: "a line that --who and others show while this holds NAME: an address, say; at most 1 KiB"})
	f.Enum(&o.CmdShown, cli.Row{Name: "cmd-shown", Inherit: true, Values: []string{"argv", "name", "none"}, Default: "argv",
		Help: "what of the command line is written to etcd, where --who and others read it: all, up to 256 bytes; what is run, without its arguments; nothing"})
	f.Enum(&o.Notify, cli.Row{Name: "notify", Values: []string{"standby", "leader", "child"}, Help: "tell systemd that we are ready, once in line or once the turn is ours, and from then on its watchdog (WatchdogSec=) that we are alive; or leave both to the command"})
	f.String(&o.Listen, cli.Row{Name: "listen", Arg: "ADDRESS", Help: "answer HTTP: /leader is 200 while the hold is ours, 503 otherwise"})
}

func (o *Options) setLockDelay(text string) (err error) {
	if text == "ttl" {
		o.LockDelay = hold.LockDelayTTL
		return nil
	}
	if o.LockDelay, err = cli.ParseDuration(text); err != nil {
		return fmt.Errorf("%w, nor ttl", err)
	}
	return nil
}

// Check refuses what cannot work, with the inequality that it breaks.
func (o *Options) Check() error {
	impossible := func(format string, args ...any) error { return cli.Errorf(cli.Config, format, args...) }
	switch {
	case o.TTL < lease.MinTTL:
		return impossible("--ttl %v is too short to be renewed in time: ttl >= %v", o.TTL, lease.MinTTL)
	case o.TTL > lease.MaxTTL:
		return impossible("--ttl %v is longer than etcd can be trusted with: ttl <= %v", o.TTL, lease.MaxTTL)
	case o.HoldFor > maxHoldFor:
		return impossible("--hold-for %v is longer than a year: hold-for <= %v", o.HoldFor, maxHoldFor)
	case o.Restart && o.Wait > 0:
		return cli.Usagef("--restart queues for ever and --wait gives up; use one of them")
	case o.Restart && (o.NonBlock || o.Wait == 0):
		return cli.Usagef("--restart queues again and --nonblock never queues; use one of them")
	case o.Restart && o.Once != "":
		return cli.Usagef("--restart never ends and --once runs a thing once; use one of them")
	case o.StatusFile != "" && o.StatusFD >= 0:
		return cli.Usagef("--status-fd and --status-file are two ways to say one thing; use one of them")
	case o.NonBlock && o.Wait > 0 && o.contradicts("nonblock", "wait"):
		return cli.Usagef("--nonblock does not wait and --wait does; use one of them")
	case o.Quiet && o.Verbose:
		return cli.Usagef("--quiet and --verbose contradict each other")
	}
	if o.NonBlock && o.Wait > 0 { // one of them was typed, and counts before a variable
		o.NonBlock = o.typed("nonblock")
	}
	if o.NonBlock {
		o.Wait = -1
	}
	if o.Wait == 0 {
		o.NonBlock = true
	}
	return nil
}

// maxHoldFor is the longest --hold-for. etcd would take more; nobody means it.
const maxHoldFor = 365 * 24 * time.Hour

// typed reports whether a setting stands on the command line.
func (o *Options) typed(name string) bool { return o.flags.Source(name) == "--"+name }

// contradicts reports whether two settings that do not go together come from the
// same place.
func (o *Options) contradicts(a, b string) bool { return o.typed(a) == o.typed(b) }

// guard returns the guard for the command.
func (o *Options) guard(usable time.Duration) guard.Guard {
	return guard.Guard{
		StopSignal: o.StopSignal, KillAfter: o.KillAfter, MaxRun: o.MaxRun,
		LossGrace: guard.Grace(usable, o.KillAfter),
	}
}

// conflict is the error for a turn that was not to be had.
func (o *Options) conflict(format string, args ...any) error {
	status := cli.Busy
	if o.Conflict >= 0 {
		status = o.Conflict
	}
	if status == 0 || o.Quiet {
		return &cli.Exit{Status: status}
	}
	return cli.Errorf(status, "%w", fmt.Errorf(format, args...))
}
