package jobfile_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"conch/pkg/cron"
	"conch/pkg/jobfile"
	"conch/pkg/schedule"
)

func write(t *testing.T, format string, jobs []cron.Job) string {
	t.Helper()
	var b bytes.Buffer
	if err := jobfile.Write(&b, format, jobs); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

var twoJobs = []cron.Job{
	{
		Name: "nightly", Schedule: "0 2 * * *", Cmd: []string{"/usr/bin/backup", "--all", "a b", "", "no", "<&>"},
		Env: map[string]string{"B": "1", "A": "on"}, On: "all role=db", Deadline: cron.Duration(90 * time.Second),
		Retry: &cron.Retry{N: 3}, Keep: 5, Paused: true, Updated: noon, By: "ann@web-1",
	},
	{Name: "weekly", Schedule: "@weekly", RunTTL: new(cron.Duration), Script: "set -e\n\techo \"hi\"\n\nexit 0\n", Starts: &noon},
}

func TestWriteYAML(t *testing.T) {
	const want = `name: nightly
schedule: "0 2 * * *"
paused: true
cmd: [/usr/bin/backup, --all, a b, "", "no", "<&>"]
env:
  A: "on"
  B: "1"
"on": all role=db
deadline: 1m30s
retry:
  "n": 3
keep: 5
---
name: weekly
schedule: "@weekly"
starts: "2026-03-01T12:00:00Z"
script: |
  set -e
  	echo "hi"

  exit 0
run-ttl: "0s"
`
	if got := write(t, "yaml", twoJobs); got != want {
		t.Errorf("got\n%s\nnot\n%s", got, want)
	}
}

// A reader of YAML 1.1 takes more words without quotes than ours for truth values,
// numbers and dates; neither names nor values may be such.
func TestWriteYAMLForOthers(t *testing.T) {
	odd := regexp.MustCompile(`^(~|(?i:null|y|n|yes|no|on|off|true|false)|<<|=|[-+]?[0-9][0-9_,:]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|[-+]?0[xXbo][0-9a-fA-F_]+|[-+]?\.(?i:inf|nan)|[-+]?\.[0-9_]+|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*)$`)
	words := []string{"on", "n", "y", "Yes", "no", "OFF", "null", "~", "<<", "=", "1:30", "1_000", "0b1", "0x1F", ".5", ".inf", "2026-01-01", "1,000", "012"}
	env := map[string]string{}
	for _, w := range words {
		env[w] = w
	}
	jobs := []cron.Job{{Name: "n", Schedule: "@daily", Cmd: words, Env: env, On: "2", RunTTL: new(cron.Duration), Retry: &cron.Retry{N: 1}, Owners: words}}
	for line := range strings.Lines(write(t, "yaml", jobs)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.Trim(strings.TrimSpace(value), "[]")
		for _, w := range append(strings.Split(value, ", "), name) {
			if odd.MatchString(w) && w != "1" {
				t.Errorf("%s: %q is without quotes", strings.TrimSpace(line), w)
			}
		}
	}
}

func TestWriteJSON(t *testing.T) {
	const want = `[
  {
    "name": "weekly",
    "schedule": "@weekly",
    "starts": "2026-03-01T12:00:00Z",
    "script": "set -e\n\techo \"hi\"\n\nexit 0\n",
    "run-ttl": "0s"
  }
]
`
	if got := write(t, "json", twoJobs[1:]); got != want {
		t.Errorf("got\n%s\nnot\n%s", got, want)
	}
	if got := write(t, "json", nil); got != "[]\n" {
		t.Errorf("no jobs are %q", got)
	}
	if got := write(t, "yaml", nil); got != "" {
		t.Errorf("no jobs are %q", got)
	}
	err := jobfile.Write(nil, "toml", nil)
	if err == nil || err.Error() != `"toml" is not json or yaml` {
		t.Error(err)
	}
}

// roundTrip writes jobs in each format and reads them again.
func roundTrip(t *testing.T, jobs []cron.Job) {
	t.Helper()
	want := asJSON(t, jobs)
	for _, format := range []string{"json", "yaml"} {
		text := write(t, format, jobs)
		again, err := jobfile.Read("f."+format, []byte(text))
		if err != nil {
			t.Fatalf("%s: %v\n%s", format, err, text)
		}
		if got := asJSON(t, again); got != want {
			t.Fatalf("%s: wrote\n%s\nread\n%s\n%s", format, want, got, text)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	jobs := twoJobs
	jobs[0].Unstamp()
	roundTrip(t, jobs)
	for i, s := range []string{
		"", "-", "--", "---", "...", "- a", "? a", ": ", "a: b", "a #b", "#", "&a", "*a", "!a", "|", ">", "%", "@a", "`",
		"~", "null", "Null", "NO", "y", "0", "1e3", ".inf", ".5", "0x1F", "1_000", "2026-01-01", "12:30:45", "<<", "=", "on",
		" a", "a ", "\t", "\n", "\n\n", "a\n", "a\n\n", "a\n\n\n", "a\nb", "a\nb\n", "a\n b\n\n", "a\n   \nb", " a\nb", "a\nb ",
		"a\n---\nb", "a\n...\n", "a\r\nb\r\n", "a\x00b", "\x7f", "\u0085", "\u2028", "\ufeff", "\ufffe", "\u00a0", "é", "𝄞", "a\nü\n",
		"'", `"`, `\`, "a\\\nb", "a\n\tb\n", "a\n#b\n", "[a]", "{a}", "a,b", "-x", "-1", "-.inf", "/", "_",
		strings.Repeat("x", 2000), strings.Repeat("\x01 ", 1000),
	} {
		env := map[string]string{"X": s}
		if s != "" {
			env[s] = "y"
		}
		roundTrip(t, []cron.Job{
			{Name: fmt.Sprint("j", i), Schedule: s, Cmd: []string{s, "x", s}, Script: s, Env: env, Description: s},
			{Name: "last", OnSuccess: s},
		})
	}
}

// FuzzRoundTrip makes a job of arbitrary text.
func FuzzRoundTrip(f *testing.F) {
	f.Add("nightly", "0 2 * * *", "set -e\nx\n", "a\x1fb", int64(90), uint16(3))
	f.Add("on", "~", " \n", "\x1f", int64(-1), uint16(0xffff))
	f.Fuzz(func(t *testing.T, name, when, script, words string, n int64, bits uint16) {
		if name == "" || !utf8.ValidString(strings.Join([]string{name, when, script, words}, " ")) {
			return // JSON cannot hold these, and Check refuses them
		}
		n &= 1<<62 - 1
		some := time.Unix(n%(1<<37), n%1e9).UTC()
		j := cron.Job{
			Name: name, Schedule: when, Script: script, Cmd: strings.Split(words, "\x1f"), DST: schedule.Rule(script),
			Env: map[string]string{when: script, words: name}, Deadline: cron.Duration(n), Keep: int(n % 3), Paused: bits&1 != 0,
		}
		if bits&2 != 0 {
			j.Starts = &some
		}
		if bits&4 != 0 {
			j.Retry = &cron.Retry{N: int(bits), Backoff: cron.Duration(n)}
		}
		// Of an hour and more, String leaves no unit out that is read otherwise.
		var back cron.Duration
		if err := json.Unmarshal([]byte(fmt.Sprintf("%q", j.Deadline)), &back); err != nil || back != j.Deadline {
			t.Fatalf("%s: %v", j.Deadline, err)
		}
		roundTrip(t, []cron.Job{j, {Name: name + "2", On: script}})
	})
}
