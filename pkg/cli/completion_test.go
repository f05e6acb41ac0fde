package cli_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"conch/pkg/cli"
)

// answers are lines as a shell hands them over, and the words of the answer.
var answers = []struct {
	shell string
	line  string // "|" parts the words, the last is being typed
	want  string
}{
	{"zsh", "jo", "jobs :words"},
	{"zsh", "", "jobs jade a:b it's auto :words"},
	{"zsh", "--log-format|js", "json :words"},
	{"zsh", "--log-format|json|", "jobs jade a:b it's json :words"},
	{"zsh", "--log-format|", "auto text json :words"},
	{"zsh", "--log-format=t", "--log-format=text :words"},
	{"zsh", "--log-f", "--log-format :words"},
	{"zsh", "--state|l", "lost late :words"},
	{"zsh", "--state|ok,l", "ok,lost ok,late :words"},
	{"zsh", "--state=ok,l", "--state=ok,lost --state=ok,late :words"},
	{"zsh", "--tz|x", "x/auto :words"},
	{"zsh", "--log-format|json|--tz|a", "any a/json :words"},
	{"zsh", "--log-format|nonsense|--tz|a", "any :words"},
	{"bash", "--tz|=|e", "e/auto elsewhere :words"},
	{"zsh", "-w|1", ":words"},
	{"zsh", "-nw|", ":words"},
	{"zsh", "--status-file|x", ":files"},
	{"zsh", "--status-file=x", ":files"},
	{"zsh", "jobs|", ":command 2"},
	{"zsh", "jobs|--log-f", "--log-format :words"},
	{"zsh", "jobs|ls|--log-f", ":command 2"},
	{"zsh", "-n|jobs|--|--log-f", ":command 4"},
	{"zsh", "--|l", ":command 2"},
	{"zsh", "--pass", ":words"},
	{"zsh", "--toke", ":words"},
	{"zsh", "--nope|", ":words"},
	{"bash", "--log-format|=|t", "text :words"},
	{"bash", "--log-format|=", "auto text json :words"},
	{"bash", "--log-format|=|text|j", "jobs jade :words"},
	{"bash", "a|:|", "b :words"},
	{"bash", "a|:|b|ls|x", ":command 4"},
	{"bash", "jobs|a|:|b|", ":command 2"},
	{"bash", "it", `it\'s :words`},
	{"bash", `it\'`, `it\'s :words`},
	{"bash", `"it`, ":words"},
	{"bash", `"jo`, "jobs :words"},
}

func TestCompletionAnswers(t *testing.T) {
	for _, tt := range answers {
		args := append([]string{"--__complete", tt.shell}, strings.Split(tt.line, "|")...)
		var got []string
		for line := range strings.Lines(output(t, sample(nil), args...)) {
			word, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			got = append(got, word)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.shell, tt.line, got, tt.want)
		}
	}
}

func TestCompletionOfSubcommands(t *testing.T) {
	conch := cli.Conch([]cli.Tool{sample(nil), cron(nil)})
	for _, tt := range []struct {
		tool       cli.Tool
		line, want string
	}{
		{cron(nil), "a", "add :words"},
		{cron(nil), "--ttl|5s|a", "add :words"},
		{cron(nil), "-t|5s|add|--js", "--json :words"},
		{cron(nil), "add|--ttl|", ":words"},
		{cron(nil), "-t5s|add|x|@daily|l", ":command 5"},
		{cron(nil), "add|x|@daily|ls|l", ":command 4"},
		{conch, "e", "elect :words"},
		{conch, "elect|j", "jobs jade :words"},
		{conch, "elect|jobs|ls|x", ":command 3"},
		{conch, "conch-cron|li", ":words"},
		{conch, "cron|add|x|@daily|--|l", ":command 6"},
		{conch, "install-", "install-links :words"},
		{conch, "help|e", "elect :words"},
		{conch, "help|cron|a", "add :words"},
		{conch, "help|elect|a", ":words"},
		{cron(nil), "help|l", "list :words"},
	} {
		args := append([]string{"--__complete", "zsh"}, strings.Split(tt.line, "|")...)
		var got []string
		for line := range strings.Lines(output(t, tt.tool, args...)) {
			word, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			got = append(got, word)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.tool.Name, tt.line, got, tt.want)
		}
	}
}

// shellPath makes a directory in which conch-elect is this test's binary.
func shellPath(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\nexec env CLI_TEST_MAIN=sample %q elect \"$@\"\n", self)
	if err := os.WriteFile(filepath.Join(dir, "conch-elect"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// shellRun runs a script in a shell and returns its words.
func shellRun(t *testing.T, dir string, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "HOME="+dir, "TERM=dumb", "GORACE=atexit_sleep_ms=10")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%s: %v\n%s", argv[0], err, stderr.String())
	}
	return strings.Join(strings.Fields(string(out)), " ")
}

func TestCompletionInBash(t *testing.T) {
	bash := need(t, "bash", true)
	dir := shellPath(t)
	for _, tt := range []struct {
		words string // of COMP_WORDS, quoted for bash
		want  string
	}{
		{"jo", "jobs"},
		{"''", `jobs jade a:b it\'s auto`},
		{"--log-format = t", "text"},
		{"--log-f", "--log-format"},
		{"jobs --log-format js", "json"},
		{"jobs ech", "echo"},
		{"jobs ls --", "compopt -o default"},
		{"--status-file x", "compopt -o default"},
	} {
		script := `eval "$(conch-elect --completion bash)"
			complete -p conch-elect >/dev/null || exit
			compopt() { echo compopt "$@"; }
			PATH=${PATH%%:*}:/bin:/usr/bin
			COMP_WORDS=(conch-elect ` + tt.words + `)
			COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
			_conch_elect
			printf '%s\n' "${COMPREPLY[@]}"`
		got := shellRun(t, dir, bash, "--norc", "-c", script)
		if !strings.HasPrefix(got+" ", tt.want+" ") {
			t.Errorf("%s: %q, want %q", tt.words, got, tt.want)
		}
	}
}

func TestCompletionInFish(t *testing.T) {
	fish := need(t, "fish", false)
	dir := shellPath(t)
	for _, tt := range []struct{ line, want string }{
		{"conch-elect jo", "jobs"},
		{"conch-elect --log-format t", "text"},
		{"conch-elect --log-format=t", "--log-format=text"},
		{"conch-elect --log-f", "--log-format how to log"},
		{"conch-elect jobs -n -- conch-ele", "conch-elect command"},
	} {
		script := "conch-elect --completion fish | source; complete -C '" + tt.line + "'"
		if got := shellRun(t, dir, fish, "--no-config", "-c", script); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.line, got, tt.want)
		}
	}
}

func TestCompletionInZsh(t *testing.T) {
	zsh := need(t, "zsh", false)
	dir := shellPath(t)
	for _, tt := range []struct{ words, want string }{
		{"jo", "describe -V conch-elect lines jobs"},
		{`it\'`, "describe -V conch-elect lines it's"},
		{"a:", `describe -V conch-elect lines a\:b`},
		{"--log-f", "describe -V conch-elect lines --log-format:how to log"},
		{"--status-file x", "files"},
		{"-n jobs -- ls -", "normal ls - 2"},
		{"jobs ls", "normal ls 1"},
	} {
		// The functions of zsh's completion system work only within it.
		script := `compdef() {}
			_describe() { echo describe "$@" "${lines[@]}" }
			_files() { echo files }
			_normal() { echo normal "${words[@]}" $CURRENT }
			eval "$(conch-elect --completion zsh)"
			words=(conch-elect ` + strings.ReplaceAll(tt.words, `\`, `\\\`) + `)
			CURRENT=$#words
			_conch_elect`
		if got := shellRun(t, dir, zsh, "-f", "-c", script); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.words, got, tt.want)
		}
	}
}
