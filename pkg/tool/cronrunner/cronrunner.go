// Package cronrunner is conch-cronrunner: the daemon that runs the jobs of
// conch-cron.
package cronrunner

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"conch/pkg/cli"
	"conch/pkg/connect"
	"conch/pkg/cron"
	"conch/pkg/keys"
	"conch/pkg/lease"
	"conch/pkg/proc"
	"conch/pkg/proc/hear"
	"conch/pkg/runner"
)

const name = "conch-cronrunner"

// Tool is conch-cronrunner.
var Tool = cli.Tool{
	Name:     name,
	Aliases:  []string{"conchd"},
	Brief:    "run the jobs of conch-cron on this host",
	Usage:    []string{"[FLAGS]"},
	Examples: examples,
	Sections: sections,
	Statuses: statuses(),
	SeeAlso:  []string{"conch-cron(1)", "conch-status(1)", "conch(7)"},
	Setup:    setup,
	Raise:    proc.Raise,
}

// Internal are the helpers that the runner starts itself.
func Internal() []cli.Tool {
	return []cli.Tool{
		{Name: runner.EpilogueName, Brief: "record that a runner was killed; conch starts this itself", Setup: func(*cli.Flags) cli.Run {
			return func(ctx context.Context, stdio *cli.Stdio, _ cli.Args) error {
				return runner.Epilogue(ctx, proc.Joined(runner.EpilogueVar, stdio.Lookup))
			}
		}},
		{Name: runner.BecomeName, Brief: "become another user; conch starts this itself", Shape: 3, Setup: func(*cli.Flags) cli.Run {
			return func(_ context.Context, stdio *cli.Stdio, args cli.Args) error {
				err := runner.Become(append(args.Words, args.Command...), stdio.Env)
				if errors.Is(err, proc.ErrNotFound) {
					return cli.Errorf(cli.NotFound, "%w", err)
				}
				return cli.Errorf(cli.NotExecutable, "%w", err)
			}
		}},
	}
}

// options are the settings.
type options struct {
	*connect.Settings
	host       string
	labels     []string
	slots      int
	placement  string
	ttl        time.Duration
	killAfter  time.Duration
	hedge      time.Duration
	drain      time.Duration
	spool      string
	logDir     string
	logSize    int
	logAge     time.Duration
	report     string
	headerFile string
	reportCA   string
	hooks      runner.Hooks
	statusAddr string
	logFormat  string
	quiet      bool
	verbose    bool
	clock      string
}

func setup(f *cli.Flags) cli.Run {
	o := &options{}
	f.Group("What it takes on")
	f.String(&o.host, cli.Row{Name: "host", Arg: "NAME", Help: "what to call this machine; its host name, unless set"})
	f.Strings(&o.labels, cli.Row{Name: "label", Arg: "KEY=VALUE", Help: "a label that jobs can ask for with --on; again, or with commas, for several. host=NAME is always there"})
	f.Int(&o.slots, cli.Row{Name: "slots", Default: "32", Min: 1, Max: 100000, Help: "how many runs at a time"})
	f.Enum(&o.placement, cli.Row{Name: "placement", Values: []string{runner.Spread, runner.Capacity, runner.LeastLoaded}, Default: runner.Spread,
		Help: "whose turn it is first: spread evenly over runners; in proportion to their slots; whoever has the smallest part of them taken. All runners should have the same"})
	f.Duration(&o.hedge, cli.Row{Name: "hedge", Default: "2s", Help: "how long a runner waits for the one whose turn comes before its own"})
	f.Group("Runs")
	f.Duration(&o.ttl, cli.Row{Name: "ttl", Default: "10s", Help: "how long its runs outlive a host that is gone, for the others; they are stopped when etcd has not answered for that long, less --kill-after; 2s to 300s, and from 4s with etcd before 3.4.42, 3.5.28 and 3.6.9"})
	f.Duration(&o.killAfter, cli.Row{Name: "kill-after", Short: "k", Default: "5s", Help: "SIGKILL this long after the request to end"})
	f.Duration(&o.drain, cli.Row{Name: "drain", Default: "30s", Help: "how long runs may take to end once the runner is asked to"})
	f.String(&o.spool, cli.Row{Name: "spool", Arg: "DIR", Alias: []string{"STATE_DIRECTORY"},
		Help: "where results wait that etcd does not have yet; /var/lib/conch/cronrunner for root, else ~/.local/state/conch/cronrunner; one for each runner; none: in memory alone"})
	f.Enum(&o.clock, cli.Row{Name: "clock", Values: []string{"check", "trust"}, Default: "check", Help: "compare the clock with etcd's, and stand by while it is wrong by more than 5s; or trust it"})
	f.Group("Output")
	f.String(&o.logDir, cli.Row{Name: "log-dir", Arg: "DIR", Alias: []string{"LOGS_DIRECTORY"},
		Help: "where all that each run writes is kept, for conch-cron logs --whole, unless its job has output = none; logs in the directory of --spool, unless set; one for each runner; none: nowhere"})
	f.Int(&o.logSize, cli.Row{Name: "log-size", Arg: "MIB", Default: "1024", Min: 1, Max: 1 << 40, Help: "how much all of that may take, 1 or more: the oldest is removed first, and in any case what the disk has no room for; one run may have a quarter"})
	f.Duration(&o.logAge, cli.Row{Name: "log-age", Default: "30d", Help: "for how long it is kept, 0: for ever, and of each job for about as many runs as it is to remember"})
	f.Group("Jobs without their own")
	f.String(&o.hooks.OnFailure, cli.Row{Name: "on-failure", Arg: "SCRIPT", Help: "for sh -c, when a run did not end well, and is not tried again; a job that has this as : tells nobody"})
	f.String(&o.hooks.OnRecovery, cli.Row{Name: "on-recovery", Arg: "SCRIPT", Help: "likewise, when one ended well, and the one before had not"})
	f.String(&o.hooks.OnMissed, cli.Row{Name: "on-missed", Arg: "SCRIPT", Help: "likewise, when ticks were missed or unplaced: once for a stretch of them"})
	f.Group("Reports")
	f.Bool(&o.quiet, cli.Row{Name: "quiet", Short: "q", Help: "say only what is wrong"})
	f.Bool(&o.verbose, cli.Row{Name: "verbose", Short: "v", Help: "say also whose turn each run is, who has claimed it, which jobs and runners come and go"})
	f.Enum(&o.logFormat, cli.Row{Name: "log-format", Values: []string{"auto", "text", "json", "journald"}, Default: "auto", Help: "form of the lines on standard error, errors among them, and of the runs' output"})
	f.String(&o.report, cli.Row{Name: "report", Mask: maskSecrets, Arg: "FILE|-|URL", Help: "a line of JSON for each run that has ended, and each stretch of ticks that nobody has run: appended to a file, to standard output, or posted; a URL that ends in /_bulk gets the form of Elasticsearch. What cannot be delivered waits in --spool"})
	f.String(&o.headerFile, cli.Row{Name: "report-header-file", Arg: "FILE", Help: "lines NAME: VALUE, such as Authorization, for what is posted; they are read again for each request"})
	f.String(&o.reportCA, cli.Row{Name: "report-cacert", Arg: "FILE", Help: "authorities that the URL's certificate may be signed by; the system's, unless set"})
	f.String(&o.statusAddr, cli.Row{Name: "status-addr", Arg: "ADDRESS", Help: "answer HTTP, read-only, as conch-status serve does: /cron /elect /sema /livez /readyz /metrics; /readyz is 503 while the runner takes nothing on, too"})
	o.Settings = connect.Flags(f)
	return o.run
}

// run is the whole daemon.
func (o *options) run(ctx context.Context, stdio *cli.Stdio, args cli.Args) error {
	defer proc.BuryStrays()()
	if len(args.Words)+len(args.Command) > 0 {
		return cli.Usagef("%s takes no arguments; jobs come from etcd (conch-cron add)", name)
	}
	cfg, err := o.config(stdio)
	if err != nil {
		return err
	}
	// All but these pass: HUP, for one, for there is nothing to read again.
	signals, err := hear.Listen(hear.All() &^ (hear.Deadly() | hear.Of(syscall.SIGTSTP)))
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE)
	proc.Reserve()
	log := newLog(o, stdio)
	defer log.close() // last of all: everything below says something
	o.Settings.Survey, o.Settings.Note = true, log.warn
	c, err := o.Open(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	cfg.Etcd, cfg.Said, cfg.Signals = c, log.say, signals.C
	var owned sync.WaitGroup
	defer owned.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var sink *runner.Sink
	if o.report != "" {
		cfg.Report = func(run *cron.Run, spec *cron.Job, apart bool) { sink.Add(run, spec, apart) }
	}
	r, err := runner.New(cfg)
	if err != nil {
		return cli.Errorf(cli.Config, "%w", err)
	}
	if o.report != "" { // once the spool is ours
		if sink, err = o.openSink(cfg.Spool, log); err != nil {
			return cli.Errorf(cli.Config, "--report: %w", err)
		}
		defer sink.Close()
	}
	if o.statusAddr != "" {
		stop, err := o.serveStatus(ctx, c, r, sink, log)
		if err != nil {
			return err
		}
		defer stop()
	}
	owned.Go(func() { notifyManager(ctx, r) })
	return o.Explain(r.Run(ctx))
}

// config is what can be said before etcd is asked.
func (o *options) config(stdio *cli.Stdio) (runner.Config, error) {
	host := o.host
	if host == "" {
		var err error
		if host, err = os.Hostname(); err != nil {
			return runner.Config{}, cli.Errorf(cli.Config, "this machine has no name: %w; set --host", err)
		}
	}
	if o.ttl < lease.MinTTL || o.ttl > lease.MaxTTL {
		return runner.Config{}, cli.Errorf(cli.Config, "--ttl %v is impossible: %v <= ttl <= %v", o.ttl, lease.MinTTL, lease.MaxTTL)
	}
	if err := keys.CheckName(host); err != nil {
		return runner.Config{}, cli.Usagef("--host: %w", err)
	}
	if len(host) > 180 || strings.ContainsAny(host, "~") {
		return runner.Config{}, cli.Usagef("--host %q: at most 180 bytes, and no ~", host)
	}
	labels, err := cron.ParseLabels(o.labels)
	if err != nil {
		return runner.Config{}, cli.Usagef("--label: %w", err)
	}
	if h, ok := labels["host"]; ok && h != host {
		return runner.Config{}, cli.Usagef("--label host=%s: the label host is that of --host, %s", h, host)
	}
	spool, err := o.spoolDir(stdio)
	if err != nil {
		return runner.Config{}, err
	}
	logs, err := o.logsDir(spool)
	if err != nil {
		return runner.Config{}, err
	}
	return runner.Config{LogDir: logs, LogSize: int64(o.logSize) << 20, LogAge: o.logAge, Space: o.Space, Host: host, Labels: labels, Slots: o.slots, Placement: o.placement, TTL: o.ttl, KillAfter: o.killAfter,
		Hedge: o.hedge, Drain: o.drain, Spool: spool, Version: version(), Env: stdio.Env, Hooks: o.hooks, SkipClock: o.clock == "trust"}, nil
}

// openSink opens what --report names.
func (o *options) openSink(spool string, log *log) (*runner.Sink, error) {
	if spool != "" {
		spool = filepath.Join(spool, "reports")
	}
	return runner.OpenSink(runner.SinkConfig{Target: o.report, Out: log.out.Waiting(), HeaderFile: o.headerFile, CACert: o.reportCA, Spool: spool,
		Warn: func(text string) { log.warn("--report: " + text) }})
}

// spoolDir is where the spool is, made by us or by the service manager.
func (o *options) spoolDir(stdio *cli.Stdio) (string, error) {
	dir := o.spool
	switch {
	case dir == "none":
		return "", nil
	case dir != "":
		dir, _, _ = strings.Cut(dir, ":") // systemd gives several that way
	case os.Getuid() == 0:
		dir = "/var/lib/conch/cronrunner"
	default:
		state := stdio.Getenv("XDG_STATE_HOME")
		if home := stdio.Getenv("HOME"); state == "" && home != "" {
			state = filepath.Join(home, ".local/state")
		}
		if state == "" {
			return "", nil
		}
		dir = filepath.Join(state, "conch/cronrunner")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", cli.Hint(cli.Errorf(cli.Config, "--spool: %w", err), "name a directory that this user can write to, or --spool none: then a result that etcd does not get is lost with the runner")
	}
	return dir, nil
}

// logsDir is where the whole output of runs is kept.
func (o *options) logsDir(spool string) (string, error) {
	dir, _, _ := strings.Cut(o.logDir, ":") // as with the spool
	switch {
	case dir == "none", dir == "" && spool == "":
		return "", nil
	case dir == "":
		dir = filepath.Join(spool, "logs")
	}
	dir, err := filepath.Abs(dir) // others are told of it
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return "", cli.Hint(cli.Errorf(cli.Config, "--log-dir: %w", err), "name a directory that this user can write to, or --log-dir none: then no output is kept here")
	}
	return dir, nil
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

// maskSecrets masks what a URL has before its @ and behind its ?: a password and a key, as a
// rule.
func maskSecrets(text string) string {
	if path, _, ok := strings.Cut(text, "?"); ok {
		text = path + "?***"
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if end := strings.IndexByte(rest+"/", '/'); ok && strings.Contains(rest[:end], "@") {
		text = scheme + "://***" + rest[strings.LastIndexByte(rest[:end], '@'):]
	}
	return text
}
