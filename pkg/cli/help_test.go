package cli_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"conch/pkg/cli"
)

func TestHelp(t *testing.T) {
	for _, args := range [][]string{
		{"--help"}, {"-n", "--help", "--nonsense"}, {"jobs", "--help"}, {"--ttl", "10", "--help"}, {"jobs", "-n", "--help", "ls"},
	} {
		_, status, stdout, stderr := run([]string{"CONCH_TTL=x"}, args...)
		if status != 0 || stderr != "" || !strings.HasPrefix(stdout, "conch-elect: run a command on one host of a cluster\n\nExamples:\n") {
			t.Errorf("%q: status %d, %q, %q", args, status, stdout, stderr)
		}
	}
	_, _, help, _ := run(nil, "--help")
	for _, want := range []string{
		"\n  conch-elect [FLAGS] --who NAME\n",
		"\nTurn:\n  -w, --wait DURATION       wait at most this long (CONCH_WAIT)\n",
		"\n  -n, --nonblock            do not wait. Exits with 75 (CONCH_NONBLOCK)\n",
		"(default 127.0.0.1:2379;\n                            CONCH_ENDPOINTS, ETCDCTL_ENDPOINTS)\n",
		"\n  CONCH_PASSWORD            password of the user (ETCDCTL_PASSWORD)\n",
		"\n  75                        no turn",
		"\n  -V, --version             print the version\n",
		"\n  -c, --command SHELL       run this with the shell\n",
	} {
		if !strings.Contains(help, want) {
			t.Errorf("--help lacks %q:\n%s", want, help)
		}
	}
	for _, hidden := range []string{"token", "--man", "--h\n"} {
		if strings.Contains(help, hidden) {
			t.Errorf("--help shows %s", hidden)
		}
	}
	for line := range strings.Lines(help) {
		if utf8.RuneCountInString(line) > 81 && !strings.Contains(line, "conch-elect") {
			t.Errorf("too long for a terminal: %q", line)
		}
	}
}

func TestShortHelp(t *testing.T) {
	_, status, stdout, _ := run(nil, "-nh", "--nonsense")
	if status != 0 || !strings.HasPrefix(stdout, "usage: conch-elect [FLAGS] NAME") {
		t.Errorf("status %d, %q", status, stdout)
	}
	for _, want := range []string{"\n  -n, --nonblock             do not wait\n", "\n      --ttl DURATION         lease time; a holder that is cut off is...\n"} {
		if strings.Contains(stdout, "token") || strings.Contains(stdout, "PASSWORD") {
			t.Errorf("-h shows what is hidden, or no flag:\n%s", stdout)
		}
		if !strings.Contains(stdout, want) {
			t.Errorf("-h lacks %q:\n%s", want, stdout)
		}
	}
}

func TestVersion(t *testing.T) {
	shape := regexp.MustCompile(`^conch-elect \S+ \(\S+, go1\S+, linux/\w+\)\n$`)
	for _, flag := range []string{"--version", "-V"} {
		if _, status, stdout, _ := run(nil, flag); status != 0 || !shape.MatchString(stdout) {
			t.Errorf("%s: status %d, %q", flag, status, stdout)
		}
	}
}

// need returns the path of a program that a test cannot do without. Where it
// is not installed the test is skipped, but never in CI.
func need(t *testing.T, program string, always bool) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	if always && os.Getenv("CI") == "true" {
		t.Fatalf("%s is needed in CI", program)
	}
	t.Skipf("NOT TESTED: %s is not installed", program)
	return ""
}

func TestManLint(t *testing.T) {
	mandoc := need(t, "mandoc", true)
	for _, tool := range []cli.Tool{sample(nil), cron(nil), cli.Conch([]cli.Tool{sample(nil), cron(nil)})} {
		page := output(t, tool, "--man")
		lint := exec.Command(mandoc, "-T", "lint", "-W", "warning")
		lint.Stdin = strings.NewReader(page)
		if out, err := lint.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s\n%s", tool.Name, err, out, page)
		}
	}
}

// TestManText reads the page as a user does: no macro may have eaten a flag, a
// dot or a backslash.
func TestManText(t *testing.T) {
	mandoc := need(t, "mandoc", true)
	text := exec.Command(mandoc, "-T", "ascii", "-O", "width=100")
	text.Stdin = strings.NewReader(output(t, sample(nil), "--man"))
	out, err := text.Output()
	if err != nil {
		t.Fatal(err)
	}
	page := regexp.MustCompile(`.\x08`).ReplaceAllString(string(out), "")
	for _, want := range []string{
		"conch-elect [FLAGS] NAME [FLAGS] [--] COMMAND [ARG]...\n",
		"conch-elect [FLAGS] --who NAME\n",
		"-n, --nonblock\n",
		"-w, --wait DURATION\n",
		"--log-format auto|text|json\n",
		"CONCH_ENDPOINTS, ETCDCTL_ENDPOINTS\n",
		"Sets --ttl.\n",
		"conch-elect -n x -- ls \\\n",
		".dot\n",
		".Dotted paragraph with back\\slash.\n",
		`conch-elect deploy --held ||`,
		`exec conch-elect -n deploy -- "$0" "$@"`,
		"two 'quoted' goes on",
		"/etc/default/conch\n",
		".hidden\n",
		"The default is 10s.",
		"conch-sema(1), flock(1)",
		"128+n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	order := []string{"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "WHAT CAN GO WRONG", "ENVIRONMENT", "FILES", "EXIT STATUS", "EXAMPLES", "SEE ALSO"}
	at := -1
	for _, title := range order {
		i := strings.Index(page, "\n"+title+"\n")
		if i <= at {
			t.Errorf("section %s is missing or out of order", title)
		}
		at = i
	}
	if t.Failed() {
		t.Log(page)
	}
}
