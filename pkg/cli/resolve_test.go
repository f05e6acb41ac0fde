package cli_test

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"conch/pkg/cli"
)

func TestLookupOrder(t *testing.T) {
	for _, tt := range []struct {
		env  []string
		args []string
		want string
		from string
	}{
		{nil, nil, "10s", ""},
		{[]string{"CONCH_TTL=20s"}, nil, "20s", "CONCH_TTL"},
		{[]string{"CONCH_TTL="}, nil, "10s", ""},
		{[]string{"CONCH_TTL=20s", "CONCH_TTL=30s"}, nil, "20s", "CONCH_TTL"},
		{[]string{"CONCH_TTL=20s"}, []string{"--ttl", "5s"}, "5s", "--ttl"},
		{[]string{"CONCH_TTL=nonsense"}, []string{"--ttl", "5s"}, "5s", "--ttl"},
	} {
		got, status, _, stderr := run(tt.env, append(tt.args, "jobs")...)
		if status != 0 || got.ttl.String() != tt.want || got.source != tt.from {
			t.Errorf("%v %v: status %d, ttl %v from %q, want %s from %q (%s)",
				tt.env, tt.args, status, got.ttl, got.source, tt.want, tt.from, stderr)
		}
	}
}

func TestAliases(t *testing.T) {
	both := []string{"ETCDCTL_ENDPOINTS=a:1, b:2 ,", "CONCH_ENDPOINTS=c:3"}
	if got, _, _, _ := run(both[:1], "jobs"); strings.Join(got.endpoints, "|") != "a:1|b:2" {
		t.Errorf("alias gave %q", got.endpoints)
	}
	if got, _, _, _ := run(both, "jobs"); strings.Join(got.endpoints, "|") != "c:3" {
		t.Errorf("CONCH_ENDPOINTS did not count before the alias: %q", got.endpoints)
	}
	got, _, _, _ := run(both, "--endpoints", "d:4,e:5", "jobs", "--endpoints=f:6")
	if strings.Join(got.endpoints, "|") != "d:4|e:5|f:6" {
		t.Errorf("flags gave %q", got.endpoints)
	}
	if got, _, _, _ := run(nil, "jobs"); strings.Join(got.endpoints, "|") != "127.0.0.1:2379" {
		t.Errorf("default gave %q", got.endpoints)
	}
	if got, _, _, _ := run([]string{"ETCDCTL_PASSWORD=s"}, "jobs"); got.password != "s" {
		t.Errorf("password %q", got.password)
	}
}

func TestKinds(t *testing.T) {
	got, status, _, stderr := run([]string{"CONCH_NONBLOCK=Yes", "CONCH_SIGNAL=sigusr1", "CONCH_ENV=A=b,c"},
		"-E", "0", "--token", "18446744073709551615", "--log-format", "json", "jobs")
	if status != 0 {
		t.Fatal(stderr)
	}
	if !got.nonblock || got.signal != syscall.SIGUSR1 || got.max != 0 || got.token != 1<<64-1 || got.format != "json" {
		t.Errorf("got %+v", got.options)
	}
	if len(got.vars) != 1 || got.vars[0] != "A=b,c" {
		t.Errorf("a repeated flag split its commas: %q", got.vars)
	}
	got, _, _, _ = run(nil, "--env", "A=1,2", "--env=B=3", "jobs", "-s9")
	if strings.Join(got.vars, "|") != "A=1,2|B=3" || got.signal != syscall.SIGKILL {
		t.Errorf("got %q, %v", got.vars, got.signal)
	}
	if got.ttl != 10*time.Second || got.signal == 0 || got.max != 75 {
		t.Errorf("defaults: %+v", got.options)
	}
}

// TestSecretIsNotQuoted guards against a parser whose error repeats the secret.
func TestSecretIsNotQuoted(t *testing.T) {
	tool := cli.Tool{Name: "conch-elect", Setup: func(f *cli.Flags) cli.Run {
		f.Uint64(new(uint64), cli.Row{Name: "pin", Secret: true})
		return nil
	}}
	for _, args := range [][]string{{"--pin", "hunter2"}, {"--debug-env", "--pin", "hunter2"}} {
		var out strings.Builder
		status := tool.Exec(context.Background(), &cli.Stdio{Out: &out, Err: &out}, args...)
		if status != 64 || strings.Contains(out.String(), "hunter2") || !strings.Contains(out.String(), "--pin: not a value") {
			t.Errorf("%q: status %d, %q", args, status, out.String())
		}
	}
}

// TestRefusals holds the first line of stderr, word for word: it is what users
// read most of all that conch writes.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		env  string
		args string
		want string
	}{
		{"", "--ttl 10 jobs", `--ttl: "10" has no unit: did you mean 10s?`},
		{"CONCH_TTL=10", "jobs", `CONCH_TTL: "10" has no unit: did you mean 10s?`},
		{"", "--ttl -5s jobs", `--ttl: "-5s" is negative`},
		{"", "--ttl soon jobs", `--ttl: "soon" is not a duration such as 10s, 1h30m or 2d`},
		{"", "--ttl 5s jobs --ttl 5s", `--ttl given twice`},
		{"", "-n --nonblock jobs", `--nonblock given twice`},
		{"", "--tll 5s jobs", `unknown flag --tll: did you mean --ttl?`},
		{"", "--nonblok jobs", `unknown flag --nonblok: did you mean --nonblock?`},
		{"", "--conflict jobs", `unknown flag --conflict: did you mean --conflict-exit-code?`},
		{"", "--sginla KILL jobs", `unknown flag --sginla: did you mean --signal?`},
		{"", "--exx jobs", `unknown flag --exx`},
		{"", "--xyzzy jobs", `unknown flag --xyzzy`},
		{"", "--toke 1 jobs", `unknown flag --toke`},
		{"", "--=3 jobs", `unknown flag --`},
		{"", "---ttl jobs", `unknown flag ---ttl: did you mean --ttl?`},
		{"", "-z jobs", `unknown flag -z`},
		{"", "-nz jobs", `unknown flag -z in -nz`},
		{"", "-ttl 5s jobs", `unknown flag -ttl: did you mean --ttl?`},
		{"", "-test.v jobs", `unknown flag -t in -test.v`},
		{"", "jobs --ttl", `--ttl needs a value: --ttl DURATION`},
		{"", "jobs -nw", `--wait needs a value: --wait DURATION`},
		{"", "--nonblock=maybe jobs", `--nonblock: "maybe" is neither yes nor no`},
		{"CONCH_NONBLOCK=2", "jobs", `CONCH_NONBLOCK: "2" is neither yes nor no`},
		{"", "--help=all", `--help takes no value`},
		{"", "-s FOO jobs", `--signal: "FOO" is not a signal such as TERM, SIGTERM or 15`},
		{"", "-s 99 jobs", `--signal: no signal has the number 99`},
		{"", "-E 256 jobs", `--conflict-exit-code: 256 is not between 0 and 255`},
		{"", "-E many jobs", `--conflict-exit-code: "many" is not a whole number`},
		{"", "--token -1 jobs", `--token: "-1" is not a whole number of at least 0`},
		{"", "--log-format jsn jobs", `--log-format: "jsn" is not one of auto, text, json: did you mean json?`},
		{"", "--password x jobs", `--password is not taken from the command line, which every user can read: set CONCH_PASSWORD or ETCDCTL_PASSWORD`},
		{"", "--completion tcsh", `--completion: "tcsh" is not one of bash, zsh, fish`},
		{"CONCH_TTL=10", "--wait 3 jobs", `--wait: "3" has no unit: did you mean 3s?`},
		{"", "--tt\x1b[2J jobs", `unknown flag --tt\x1b[2J`},
	} {
		var env []string
		if tt.env != "" {
			env = []string{tt.env}
		}
		_, status, stdout, stderr := run(env, strings.Split(tt.args, " ")...)
		line, _, _ := strings.Cut(stderr, "\n")
		if status != 64 || stdout != "" || line != "conch-elect: "+tt.want {
			t.Errorf("%s %q: status %d\n got %s\nwant conch-elect: %s", tt.env, tt.args, status, line, tt.want)
		}
	}
}

func TestUsageFollowsAFlagNotAVariable(t *testing.T) {
	const usage = "usage: conch-elect [FLAGS] NAME [FLAGS] [--] COMMAND [ARG]...\n"
	if _, _, _, stderr := run(nil, "--tll", "jobs"); !strings.HasSuffix(stderr, usage) || strings.Count(stderr, "\n") != 2 {
		t.Errorf("a flag: %q", stderr)
	}
	if _, _, _, stderr := run([]string{"CONCH_TTL=1"}, "jobs"); strings.Contains(stderr, "usage:") {
		t.Errorf("a variable: %q", stderr)
	}
}

func TestDebugEnv(t *testing.T) {
	env := []string{"CONCH_TTL=20s", "ETCDCTL_ENDPOINTS=a:1", "CONCH_PASSWORD=hunter2", "CONCH_SIGNAL=nope"}
	_, status, stdout, _ := run(env, "--debug-env", "-n", "jobs")
	if status != 64 {
		t.Errorf("status %d although CONCH_SIGNAL is wrong", status)
	}
	got := make(map[string]string)
	for line := range strings.Lines(stdout) {
		name, rest, _ := strings.Cut(strings.Join(strings.Fields(line), " "), " ")
		got[name] = rest
	}
	for name, want := range map[string]string{
		"ttl":                "20s CONCH_TTL",
		"endpoints":          "a:1 ETCDCTL_ENDPOINTS",
		"password":           "*** CONCH_PASSWORD",
		"nonblock":           "true --nonblock",
		"wait":               "- default",
		"conflict-exit-code": "75 default",
		"signal":             `nope CONCH_SIGNAL ("nope" is not a signal such as TERM, SIGTERM or 15)`,
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	if strings.Contains(stdout, "hunter2") {
		t.Error("a secret is shown")
	}
	if _, status, _, _ := run(nil, "--debug-env"); status != 0 {
		t.Errorf("status %d without a NAME", status)
	}
}

// -o json is --json, wherever that is, beside the other forms of -o.
func TestJSONFlag(t *testing.T) {
	type forms struct {
		json bool
		form string
	}
	for _, c := range []struct {
		args   string
		want   forms
		status int
	}{
		{"", forms{}, 0},
		{"--json", forms{json: true}, 0},
		{"-o json", forms{json: true}, 0},
		{"--output=json", forms{json: true}, 0},
		{"-o wide", forms{form: "wide"}, 0},
		{"-o wide --json", forms{true, "wide"}, 0},
		{"-o yaml", forms{}, cli.Usage},
	} {
		var got forms
		tool := cli.Tool{Name: "conch-x", Usage: []string{""}, Setup: func(f *cli.Flags) cli.Run {
			f.Forms(&got.json, "an object", &got.form, "wide is more", "wide")
			return func(context.Context, *cli.Stdio, cli.Args) error { return nil }
		}}
		var out, err strings.Builder
		status := tool.Exec(context.Background(), &cli.Stdio{Out: &out, Err: &err}, strings.Fields(c.args)...)
		if status != c.status || got != c.want {
			t.Errorf("%q: %+v with status %d: %s", c.args, got, status, err.String())
		}
	}
}
