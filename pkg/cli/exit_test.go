package cli_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"conch/pkg/cli"
)

// fact is an error type of another package, known by its methods alone.
type fact struct{}

func (fact) Error() string   { return "taken by web-3" }
func (fact) ExitStatus() int { return cli.Busy }
func (fact) Hint() string    { return "conch-elect --wait 10s jobs" }

func TestExitStatus(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status int
		stderr string
	}{
		{nil, 0, ""},
		{errors.New("boom"), 1, "conch-elect: boom\n"},
		{cli.Errorf(cli.Config, "ca.pem: %w", os.ErrNotExist), 78, "conch-elect: ca.pem: file does not exist\n"},
		{fmt.Errorf("jobs: %w", fact{}), 75, "conch-elect: jobs: taken by web-3\nhint: conch-elect --wait 10s jobs\n"},
		{cli.Hint(cli.Errorf(75, "taken"), "wait for %s", "it"), 75, "conch-elect: taken\nhint: wait for it\n"},
		{cli.Usagef("no command"), 64, "conch-elect: no command\nusage: conch-elect [FLAGS] NAME [FLAGS] [--] COMMAND [ARG]...\n"},
		{&cli.Exit{Status: 75}, 75, ""},
		{cli.Ended{Code: 0}, 0, ""},
		{cli.Ended{Code: 255}, 255, ""},
		{fmt.Errorf("run: %w", cli.Signaled{Signal: syscall.SIGTERM}), 143, ""},
		{&cli.Exit{Status: 69, Err: fact{}}, 69, "conch-elect: taken by web-3\nhint: conch-elect --wait 10s jobs\n"},
		{errors.Join(errors.New("one"), errors.New("two: three:\n  four\n")), 1, "conch-elect: one; two: three: four\n"},
		{errors.New("sh -c if x; then\n\trestic \\\n\t\tbackup {\r\n\n}"), 1, "conch-elect: sh -c if x; then; restic backup { }\n"},
		{errors.New("name \"a\nb\x1b[2Jc\x7f\xff\u202e\u2028é\""), 1, `conch-elect: name "a\nb\x1b[2Jc\x7f\xff\u202e\u2028é"` + "\n"},
	} {
		var stderr strings.Builder
		tool := sample(func(call) error { return tt.err })
		status := tool.Exec(context.Background(), &cli.Stdio{Out: io.Discard, Err: &stderr}, "jobs", "true")
		if status != tt.status || stderr.String() != tt.stderr {
			t.Errorf("%v: status %d, %q; want %d, %q", tt.err, status, stderr.String(), tt.status, tt.stderr)
		}
	}
}

func TestNoArguments(t *testing.T) {
	_, status, stdout, stderr := run(nil)
	if status != 64 || stdout != "" || strings.Count(stderr, "\n") != 3 {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
}

// TestFullDisk guards against help that is lost and called a success.
func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, flag := range []string{"--help", "-h", "--version", "--debug-env", "--man", "--completion=bash"} {
		var stderr strings.Builder
		status := sample(nil).Exec(context.Background(), &cli.Stdio{Out: full, Err: &stderr}, flag)
		if status == 0 || !strings.Contains(stderr.String(), "no space left") {
			t.Errorf("%s: status %d, %q", flag, status, stderr.String())
		}
	}
}
