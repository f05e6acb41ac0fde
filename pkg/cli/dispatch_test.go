package cli_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"conch/pkg/cli"
)

// cron is a tool with subcommands; each tells got what it was called with.
func cron(got func(name string, ttl time.Duration, args cli.Args)) cli.Tool {
	shared := func(f *cli.Flags, ttl *time.Duration) {
		f.Group("Connection")
		f.Duration(ttl, cli.Row{Name: "ttl", Short: "t", Default: "10s", Help: "lease time"})
	}
	command := func(name, brief string, shape cli.Shape, usage string) cli.Tool {
		return cli.Tool{Name: name, Brief: brief, Shape: shape, Usage: []string{usage},
			Setup: func(f *cli.Flags) cli.Run {
				var ttl time.Duration
				var json bool
				shared(f, &ttl)
				f.Bool(&json, cli.Row{Name: "json", Help: "as JSON"})
				return func(_ context.Context, _ *cli.Stdio, args cli.Args) error {
					if len(args.Words) == 0 && name == "add" {
						return cli.Usagef("no NAME")
					}
					got(name, ttl, args)
					return nil
				}
			}}
	}
	return cli.Tool{
		Name: "conch-cron", Aliases: []string{"cr"}, Brief: "jobs of a cluster", Usage: []string{"[FLAGS] COMMAND [ARG]..."},
		Setup: func(f *cli.Flags) cli.Run {
			shared(f, new(time.Duration))
			return nil
		},
		Commands: []cli.Tool{
			command("add", "add a job", 2, "[FLAGS] NAME SCHEDULE [--] COMMAND [ARG]..."),
			command("list", "list jobs", cli.Plain, "[FLAGS] [NAME]..."),
			{Name: "bare", Brief: "no flags", Setup: func(*cli.Flags) cli.Run {
				return func(context.Context, *cli.Stdio, cli.Args) error { return nil }
			}},
		},
	}
}

// output runs a tool that must succeed and returns its stdout.
func output(t *testing.T, tool cli.Tool, args ...string) string {
	t.Helper()
	var stdout, stderr strings.Builder
	if status := tool.Exec(context.Background(), &cli.Stdio{Out: &stdout, Err: &stderr}, args...); status != 0 {
		t.Fatalf("%s %q: status %d: %s", tool.Name, args, status, stderr.String())
	}
	return stdout.String()
}

func TestSubcommands(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"add backup @daily restic -n backup", "add 10s [backup @daily] [restic -n backup]"},
		{"-t 5s add --json backup @daily -- -x", "add 5s [backup @daily] [-x]"},
		{"--ttl 5s -- add backup @daily -- ls --", "add 5s [backup @daily] [ls --]"},
		{"add -t5s backup -- ls", "add 5s [backup] [ls]"},
		{"list a --ttl 5s b", "list 5s [a b] []"},
		{"list", "list 10s [] []"},
	} {
		var got string
		tool := cron(func(name string, ttl time.Duration, a cli.Args) {
			got = name + " " + ttl.String() + " [" + strings.Join(a.Words, " ") + "] [" + strings.Join(a.Command, " ") + "]"
		})
		var stderr strings.Builder
		status := tool.Exec(context.Background(), &cli.Stdio{Out: io.Discard, Err: &stderr}, strings.Fields(tt.args)...)
		if status != 0 || got != tt.want {
			t.Errorf("%s: status %d, got %q, want %q (%s)", tt.args, status, got, tt.want, stderr.String())
		}
	}
}

func TestSubcommandErrors(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"ad x", "conch-cron: unknown command \"ad\": did you mean conch-cron add?\nusage: conch-cron [FLAGS] COMMAND [ARG]...\n"},
		{"add --ttl 1s --ttl 2s", "conch-cron: --ttl given twice\nusage: conch-cron add [FLAGS] NAME SCHEDULE [--] COMMAND [ARG]...\n"},
		{"--ttl 1s add --ttl 2s", "conch-cron: --ttl given twice\nusage: conch-cron add [FLAGS] NAME SCHEDULE [--] COMMAND [ARG]...\n"},
		{"add --json", "conch-cron: no NAME\nusage: conch-cron add [FLAGS] NAME SCHEDULE [--] COMMAND [ARG]...\n"},
		{"--ttl 1s bare", "conch-cron: unknown flag --ttl\nusage: conch-cron bare [FLAGS]\n"},
		{"--json list", "conch-cron: unknown flag --json\nusage: conch-cron [FLAGS] COMMAND [ARG]...\n"},
		{"add", "conch-cron add: add a job\nusage: conch-cron add [FLAGS] NAME SCHEDULE [--] COMMAND [ARG]...\nconch-cron add --help explains, -h lists the flags\n"},
		{"--ttl 1s", "conch-cron: jobs of a cluster\nusage: conch-cron [FLAGS] COMMAND [ARG]...\n  add                        add a job\n  list                       list jobs\n  bare                       no flags\n  help                       explain all of it, or one command\n  version                    print the version\nconch-cron --help explains, -h lists the flags\n"},
	} {
		var stderr strings.Builder
		status := cron(nil).Exec(context.Background(), &cli.Stdio{Out: io.Discard, Err: &stderr}, strings.Fields(tt.args)...)
		if status != 64 || stderr.String() != tt.want {
			t.Errorf("%s: status %d\n got %q\nwant %q", tt.args, status, stderr.String(), tt.want)
		}
	}
	if help := output(t, cron(nil), "add", "--help"); !strings.Contains(help, "conch-cron add: add a job") || !strings.Contains(help, "--json") {
		t.Errorf("help of a subcommand: %s", help)
	}
}

func TestRows(t *testing.T) {
	env := make(map[string]int)
	for _, r := range cron(nil).Rows() {
		if r.Env != "" {
			env[r.Env]++
		}
	}
	if len(env) != 2 || env["CONCH_TTL"] != 1 || env["CONCH_JSON"] != 1 {
		t.Errorf("variables %v", env)
	}
}

// The binary under test is this test's, started again under another name.
func TestMain(m *testing.M) {
	switch os.Getenv("CLI_TEST_MAIN") {
	case "dispatch":
		cli.Dispatch([]cli.Tool{probe("conch-elect"), probe("conch-cron", "crond"), sample(nil)}[:2], probe("conch-release"))
	case "main":
		cli.Main(probe("conch-elect"), probe("conch-release"))
	case "sample":
		cli.Dispatch([]cli.Tool{sample(nil), cron(nil)})
	}
	os.Exit(m.Run())
}

// probe is a tool that prints its name and arguments, or dies as it is told.
func probe(name string, aliases ...string) cli.Tool {
	return cli.Tool{Name: name, Aliases: aliases, Brief: "probe",
		Raise: func(sig syscall.Signal) {
			syscall.Kill(os.Getpid(), sig)
			select {}
		},
		Setup: func(*cli.Flags) cli.Run {
			return func(_ context.Context, stdio *cli.Stdio, args cli.Args) error {
				if args.Name == "die" {
					return cli.Signaled{Signal: syscall.SIGTERM}
				}
				_, err := io.WriteString(stdio.Out, name+" "+strings.Join(args.Words, ","))
				return err
			}
		}}
}

// start runs this binary as mode, with argv.
func start(t *testing.T, mode string, argv ...string) (stdout, stderr string, state *os.ProcessState) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs strings.Builder
	cmd := exec.Cmd{Path: self, Args: argv, Stdout: &out, Stderr: &errs, Env: []string{"CLI_TEST_MAIN=" + mode, "GORACE=atexit_sleep_ms=10"}}
	err = cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState
}

func TestDispatch(t *testing.T) {
	for _, tt := range []struct {
		argv   string
		status int
		stdout string
		stderr string
	}{
		{"conch elect a", 0, "conch-elect a", ""},
		{"conch conch-elect a", 0, "conch-elect a", ""},
		{"conch crond a", 0, "conch-cron a", ""},
		{"conch-elect a", 0, "conch-elect a", ""},
		{"/usr/bin/conch-cron elect", 0, "conch-cron elect", ""},
		{"anything elect a", 0, "conch-elect a", ""},
		{"./conch-release a", 0, "conch-release a", ""},
		{"conch release a", 64, "", "conch: unknown command \"release\"\n"},
		{"conch elct a", 64, "", "conch: unknown command \"elct\": did you mean conch elect?\n"},
		{"conch", 64, "", "conch: locks, "},
		{"conch --nope", 64, "", "conch: unknown flag --nope\n"},
		{"conch --help", 0, "conch: locks, ", ""},
		{"conch --version", 0, "conch ", ""},
		{"conch elect --version", 0, "conch-elect ", ""},
		{"conch elect die", 128 + 15, "", ""},
		{"conch install-links", 64, "", "conch: one directory is needed\n"},
		{"conch install-links /does/not/exist", 1, "", "conch: stat /does/not/exist: no such file or directory\n"},
	} {
		stdout, stderr, state := start(t, "dispatch", strings.Fields(tt.argv)...)
		if shellStatus(state) != tt.status || !strings.HasPrefix(stdout, tt.stdout) || !strings.HasPrefix(stderr, tt.stderr) ||
			tt.stdout == "" && stdout != "" || tt.stderr == "" && stderr != "" {
			t.Errorf("%s: %v, %q, %q", tt.argv, state, stdout, stderr)
		}
	}
}

func TestMainEntries(t *testing.T) {
	for argv0, want := range map[string]string{"conch-elect": "conch-elect a", "x/other": "conch-elect a", "conch-release": "conch-release a", "/x/conch-release": "conch-release a"} {
		if stdout, _, _ := start(t, "main", argv0, "a"); stdout != want {
			t.Errorf("%s: %q, want %q", argv0, stdout, want)
		}
	}
	_, _, state := start(t, "main", "conch-elect", "die")
	if ws := state.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != syscall.SIGTERM {
		t.Errorf("the process did not die of the signal: %v", state)
	}
}

// shellStatus is $? of a shell.
func shellStatus(state *os.ProcessState) int {
	if ws := state.Sys().(syscall.WaitStatus); ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return state.ExitCode()
}

func TestInstallLinks(t *testing.T) {
	dir := t.TempDir()
	self, _ := os.Executable()
	stale := filepath.Join(dir, "conch-cron")
	if err := os.Symlink("/elsewhere", stale); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, stderr, state := start(t, "dispatch", "conch", "install-links", dir); state.ExitCode() != 0 {
			t.Fatal(stderr)
		}
		for _, name := range []string{"conch-elect", "conch-cron"} {
			if target, err := os.Readlink(filepath.Join(dir, name)); err != nil || target != self {
				t.Errorf("%s leads to %q, %v", name, target, err)
			}
		}
	}
	if names, _ := os.ReadDir(dir); len(names) != 2 {
		t.Errorf("left behind: %v", names)
	}
	// A real program of that name is not ours to replace.
	os.Remove(stale)
	os.WriteFile(stale, []byte("precious"), 0o755)
	_, stderr, state := start(t, "dispatch", "conch", "install-links", dir)
	if state.ExitCode() != 1 || !strings.Contains(stderr, "not a symlink") {
		t.Errorf("%v, %q", state, stderr)
	}
	if b, _ := os.ReadFile(stale); string(b) != "precious" {
		t.Error("a file was replaced")
	}
}
