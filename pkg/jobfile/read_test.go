package jobfile_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"conch/pkg/cron"
	"conch/pkg/jobfile"
)

// noon is when the jobs of these tests are looked at.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func checked(j *cron.Job) error { return j.Check(noon) }

// asJSON writes jobs in a line each, to compare them.
func asJSON(t *testing.T, jobs []cron.Job) string {
	t.Helper()
	var lines []string
	for _, j := range jobs {
		b, err := json.Marshal(j)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(b))
	}
	return strings.Join(lines, "\n")
}

const yamlOfAll = `# What every field can be.
name: nightly
description: it copies the database
owners: [ops@example.org, db]
schedule: 0 2 * * *
tz: Europe/Rome
dst: skip
anchor: 2026-01-01T00:00:00Z
splay: 5m
starts: 2026-01-01T00:00:00Z
expires: 2027-01-01T00:00:00+01:00
paused: true
cmd: [/usr/bin/backup, --all, 5, 0777, no, 1e3, 2026-01-01]
stdin: |
  one
    two
env:
  PORT: 8080
  on: off
  EMPTY: ""
cwd: /srv
user: 1000
via: ssh://web-1:22
on: all role=db
overlap: replace
misfire: once
deadline: 2m
run-ttl: 1d
retry:
  n: 3
  backoff: 30s
keep: 7
output: failure
on-failure: mail -s broken ops
on-recovery: 'true'
on-success: ":"
on-missed: wall
keep-for: 1h
since: 2026-02-01T00:00:00Z
updated: 2026-02-01T00:00:00Z
by: ann@web-1
`

const jsonOfAll = `{"name":"nightly","description":"it copies the database","owners":["ops@example.org","db"],` +
	`"schedule":"0 2 * * *","tz":"Europe/Rome","dst":"skip","anchor":"2026-01-01T00:00:00Z","splay":"5m0s",` +
	`"starts":"2026-01-01T00:00:00Z","expires":"2027-01-01T00:00:00+01:00","paused":true,` +
	`"cmd":["/usr/bin/backup","--all","5","0777","no","1e3","2026-01-01"],"stdin":"one\n  two\n",` +
	`"env":{"EMPTY":"","PORT":"8080","on":"off"},"cwd":"/srv","user":"1000","via":"ssh://web-1:22","on":"all role=db",` +
	`"overlap":"replace","misfire":"once","deadline":"2m0s","run-ttl":"24h0m0s","retry":{"n":3,"backoff":"30s"},` +
	`"keep":7,"output":"failure","on-failure":"mail -s broken ops","on-recovery":"true","on-success":":","on-missed":"wall",` +
	`"keep-for":"1h0m0s"}`

func TestReadEachField(t *testing.T) {
	for name, text := range map[string]string{"all.yaml": yamlOfAll, "all.json": jsonOfAll} {
		jobs, err := jobfile.Read(name, []byte(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := asJSON(t, jobs); got != jsonOfAll {
			t.Errorf("%s: read\n%s\nnot\n%s", name, got, jsonOfAll)
		}
	}
	// None was forgotten above.
	var j cron.Job
	if err := json.Unmarshal([]byte(jsonOfAll), &j); err != nil {
		t.Fatal(err)
	}
	v := reflect.ValueOf(j)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; v.Field(i).IsZero() && name != "Script" && name != "Updated" && name != "Since" && name != "By" {
			t.Errorf("the text has no %s", name)
		}
	}
}

func TestReadShapes(t *testing.T) {
	const a, b = `{"name":"a","schedule":"@daily","cmd":["x"]}`, `{"name":"b","schedule":"@daily","cmd":["x"]}`
	const yamlA, yamlB = "name: a\nschedule: '@daily'\ncmd: [x]\n", "name: b\nschedule: '@daily'\ncmd: [x]\n"
	const list = "- {name: a, schedule: '@daily', cmd: [x]}\n- {name: b, schedule: '@daily', cmd: [x]}\n"
	for _, c := range []struct{ what, name, text, names string }{
		{"an object", "f.json", a, "a"},
		{"an array", "f.json", "[" + a + "," + b + "]", "a b"},
		{"lines", "f.json", a + "\n" + b + "\n", "a b"},
		{"without space", "f.json", a + b, "a b"},
		{"jobs in an object", "f.json", `{"jobs":[` + a + "," + b + `]}`, "a b"},
		{"nothing", "f.json", " \n", ""},
		{"an empty array", "f.json", "[]", ""},
		{"a byte order mark", "f.json", "\ufeff" + a, "a"},
		{"a document", "f.yaml", yamlA, "a"},
		{"documents", "f.yml", "---\n" + yamlA + "---\n---\n" + yamlB + "...\n", "a b"},
		{"a list", "f.yaml", list, "a b"},
		{"jobs", "f.yaml", "jobs:\n" + list, "a b"},
		{"jobs that are not there", "f.yaml", "jobs:\n", ""},
		{"no document", "f.yaml", "# nothing\n", ""},
		{"Windows' lines", "f.yaml", strings.ReplaceAll(yamlA, "\n", "\r\n"), "a"},
		{"JSON in YAML", "f.yaml", "[" + a + ",\n " + b + "]", "a b"},
		{"JSON by content", "-", "\n" + a, "a"},
		{"an array by content", "", "[" + a + "]", "a"},
		{"YAML by content", "-", "# hello\n" + yamlA, "a"},
		{"a list by content", "/dev/stdin", list, "a b"},
		{"a crontab by name", "/etc/crontab", "# name: a\n@daily x\n", "a"},
		{"a crontab by content", "-", "\n# name: a\n* * * * * x\n", "a"},
		{"a crontab by its macro", "-", "# name: a\n@daily x\n", "a"},
		{"a crontab by its setting", "-", "A=b\n# name: a\n@daily x\n", "a"},
		{"merged", "f.yaml", "x-d: &d\n  schedule: '@daily'\n  cmd: [y]\njobs:\n- name: a\n  <<: *d\n  cmd: [x]\n- {name: b, <<: [*d]}\n", "a b"},
	} {
		jobs, err := jobfile.Read(c.name, []byte(c.text))
		var names []string
		for _, j := range jobs {
			names = append(names, j.Name)
			if j.Schedule != "@daily" && c.name != "-" || j.Name == "a" && len(j.Cmd) == 1 && j.Cmd[0] != "x" {
				t.Errorf("%s: %+v", c.what, j)
			}
		}
		if got := strings.Join(names, " "); err != nil || got != c.names {
			t.Errorf("%s: %q, %v", c.what, got, err)
		}
	}
}

// Each refusal, in the words in which it reaches the user.
func TestReadRefuses(t *testing.T) {
	const good = "name: a\nschedule: '@daily'\ncmd: [x]\n"
	for _, c := range []struct{ name, text, want string }{
		{"f.yaml", good + "schedul: x\n", `f.yaml:4: "schedul" is not a field of a job: did you mean "schedule"?`},
		{"f.yaml", good + "run_ttl: 1m\n", `f.yaml:4: "run_ttl" is not a field of a job: did you mean "run-ttl"?`},
		{"f.yaml", good + "command: x\n", `f.yaml:4: "command" is not a field of a job: did you mean "cmd"?`},
		{"f.yaml", good + "args: x\n", `f.yaml:4: "args" is not a field of a job: did you mean "cmd"?`},
		{"f.yaml", good + "timezone: x\n", `f.yaml:4: "timezone" is not a field of a job: did you mean "tz"?`},
		{"f.yaml", good + "time_zone: x\n", `f.yaml:4: "time_zone" is not a field of a job: did you mean "tz"?`},
		{"f.yaml", good + "timeout: x\n", `f.yaml:4: "timeout" is not a field of a job: did you mean "run-ttl"?`},
		{"f.yaml", good + "max-run: x\n", `f.yaml:4: "max-run" is not a field of a job: did you mean "run-ttl"?`},
		{"f.yaml", good + "cron: x\n", `f.yaml:4: "cron" is not a field of a job: did you mean "schedule"?`},
		{"f.yaml", good + "environment: x\n", `f.yaml:4: "environment" is not a field of a job: did you mean "env"?`},
		{"f.yaml", good + "workingDir: x\n", `f.yaml:4: "workingDir" is not a field of a job: did you mean "cwd"?`},
		{"f.yaml", good + "run-as: x\n", `f.yaml:4: "run-as" is not a field of a job: did you mean "user"?`},
		{"f.yaml", good + "owner: x\n", `f.yaml:4: "owner" is not a field of a job: did you mean "owners"?`},
		{"f.yaml", good + "label: x\n", `f.yaml:4: "label" is not a field of a job: did you mean "on"?`},
		{"f.yaml", good + "concurrencyPolicy: x\n", `f.yaml:4: "concurrencyPolicy" is not a field of a job: did you mean "overlap"?`},
		{"f.yaml", good + "suspend: x\n", `f.yaml:4: "suspend" is not a field of a job: did you mean "paused"?`},
		{"f.yaml", good + "retries: x\n", `f.yaml:4: "retries" is not a field of a job: did you mean "retry"?`},
		{"f.yaml", good + "jitter: x\n", `f.yaml:4: "jitter" is not a field of a job: did you mean "splay"?`},
		{"f.yaml", good + "banana: x\n", `f.yaml:4: "banana" is not a field of a job`},
		{"f.yaml", good + "retry: {n: 1, backof: 1s}\n", `f.yaml:4: "backof" is not a field of retry: did you mean "backoff"?`},
		{"f.yaml", good + "retry: {count: 1}\n", `f.yaml:4: "count" is not a field of retry, which has n and backoff`},
		{"f.yaml", good + "retry: 3\n", `f.yaml:4: retry is a mapping, not 3: did you mean {n: 3}?`},
		{"f.yaml", good + "deadline: 30\n", `f.yaml:4: deadline: "30" has no unit: did you mean 30s?`},
		{"f.yaml", good + "deadline: -30s\n", `f.yaml:4: deadline: "-30s" is negative`},
		{"f.yaml", good + "deadline: soon\n", `f.yaml:4: deadline: "soon" is not a duration such as 10s, 1h30m or 2d`},
		{"f.yaml", good + "deadline: [1s]\n", `f.yaml:4: deadline is text, not a list`},
		{"f.yaml", good + "deadline: 0s\n", `f.yaml:4: deadline: 0s is less than 1s; left out, it is the default`},
		{"f.yaml", good + "keep-for: 0s\n", `f.yaml:4: keep-for: 0s is less than 1s; left out, it is the default`},
		{"f.yaml", good + "retry: {n: 1, backoff: 0}\n", `f.yaml:4: backoff: 0 is less than 1ms; left out, it is the default`},
		{"f.yaml", good + "keep: 0\n", `f.yaml:4: keep: 0 is less than 1; left out, it is the default`},
		{"f.yaml", good + "keep: 010\n", `f.yaml:4: keep: 010 is not a whole number, or not written as one`},
		{"f.yaml", good + "keep: 1.5\n", `f.yaml:4: keep: 1.5 is not a whole number, or not written as one`},
		{"f.yaml", good + "keep: '5'\n", `f.yaml:4: keep is a number, not "5"`},
		{"f.yaml", good + "paused: yes\n", `f.yaml:4: paused is true or false, not yes`},
		{"f.yaml", good + "paused: 1\n", `f.yaml:4: paused is true or false, not 1`},
		{"f.yaml", good + "env: [A]\n", `f.yaml:4: env is a mapping, not a list: each is NAME: VALUE, without a dash`},
		{"f.yaml", good + "env:\n  A:\n", `f.yaml:5: env: A has no value: leave it out, or write "" if it is empty`},
		{"f.yaml", good + "env:\n  A: [x]\n", `f.yaml:5: env: A is text, not a list`},
		{"f.yaml", good + "env:\n  A: 1\n  A: 2\n", `f.yaml:6: "A" is given twice: it is in line 5, too`},
		{"f.yaml", good + "env:\n  ? [a]\n  : 1\n", `f.yaml:5: a name is a word, not a list`},
		{"f.yaml", good + "tz:\n", `f.yaml:4: tz has no value: leave it out, or write "" if it is empty`},
		{"f.yaml", good + "name: b\n", `f.yaml:4: "name" is given twice: it is in line 1, too`},
		{"f.yaml", good + "owners: ops\n", `f.yaml:4: owners is a list, not ops: did you mean [ops]?`},
		{"f.yaml", good + "owners: {a: b}\n", `f.yaml:4: owners is a list, not a mapping`},
		{"f.yaml", good + "owners: [a, [b]]\n", `f.yaml:4: owners, word 2, is text, not a list`},
		{"f.yaml", good + "starts: 2026-01-01\n", `f.yaml:4: starts: "2026-01-01" is not a time such as 2030-01-02T03:04:05Z`},
		{"f.yaml", good + "user: !secret x\n", `f.yaml:4: !secret is a tag that has no meaning here`},
		{"f.yaml", "name: a\nschedule: '@daily'\ncmd: rsync -a\n", `f.yaml:3: cmd is a list of words; for a shell command use script`},
		{"f.yaml", "schedule: '@daily'\ncmd: [x]\n", `f.yaml:1: the job has no name`},
		{"f.yaml", "jobs: {}\n", `f.yaml:1: jobs is a list, not a mapping`},
		{"f.yaml", "job: []\njobs: []\n", `f.yaml:1: "job" cannot stand beside jobs: only what begins with x- can`},
		{"f.yaml", "- x\n", `f.yaml:1: a job is a mapping with name and schedule, not x`},
		{"f.yaml", "- - " + `{name: a}`, `f.yaml:1: a job is a mapping with name and schedule, not a list`},
		{"f.yaml", "name: a\n<<: [x]\n", `f.yaml:2: << merges mappings, not text`},
		{"f.yaml", "name: a\n  b: c\n", `f.yaml:2: not YAML: mapping values are not allowed in this context`},
		{"f.yaml", "name: *a\n", `f.yaml:1: not YAML: unknown anchor 'a' referenced`},
		{"f.yaml", "name: a\nenv: &e\n  A: *e\n", `f.yaml:2: values lie more than 32 deep`},
		{"f.yaml", good + "---\n" + good, `f.yaml:5: there is a job a in f.yaml:1 already`},
		{"f.yaml", "name: \xff", "f.yaml:1: the file is not UTF-8: in Latin-1 its byte 0xff is ÿ"},
		{"f.json", "{}\n[\n\xff]", "f.json:3: the file is not UTF-8: in Latin-1 its byte 0xff is ÿ"},
		{"f.crontab", "# caf\xe9\n@daily x\n", "f.crontab:1: the file is not UTF-8: in Latin-1 its byte 0xe9 is é"},
		{"f.crontab", "\n@daily echo \x93x\x94\n", "f.crontab:2: the file is not UTF-8"},
		{"f.yaml", "\x7fELF\xd0\x00", "f.yaml: the file is not text"},
		{"f.yaml", "\xff\xfen\x00a\x00", "f.yaml: the file is UTF-16, and not UTF-8"},
		{"f.yaml", "\xfe\xff\x00n\x00a", "f.yaml: the file is UTF-16, and not UTF-8"},
		{"f.yaml", "n\x00a\x00m\x00", "f.yaml: the file is UTF-16, and not UTF-8"},
		{"f.yaml", "\x00n\x00a\x00m", "f.yaml: the file is UTF-16, and not UTF-8"},
		{"f.json", `{"name":"a",` + "\n" + `"keep":"5"}`, `f.json:2: keep is a number, not "5"`},
		{"f.json", `{"name":"a",` + "\n" + `"deadline":30}`, `f.json:2: deadline: "30" has no unit: did you mean 30s?`},
		{"f.json", `{"name":"a",` + "\n" + `"cmd":["sleep",` + "\n5]}", `f.json:3: cmd, word 2, is text, not 5: did you mean "5"?`},
		{"f.json", `{"name":7}`, `f.json:1: name is text, not 7: did you mean "7"?`},
		{"f.json", `{"name":"a","name":"b"}`, `f.json:1: "name" is given twice: it is in line 1, too`},
		{"f.json", `{"Name":"a"}`, "f.json:1: \"Name\" is not a field of a job: did you mean \"name\"?\nf.json:1: the job has no name"},
		{"f.json", "{\n\"name\":\"a\",\n}", `f.json:3: not JSON: invalid character '}' looking for beginning of object key string`},
		{"f.json", "{\"name\":\"a\n\"}", `f.json:1: not JSON: invalid character '\n' in string literal`},
		{"f.json", "[1,]", `f.json:1: not JSON: invalid character ']' looking for beginning of value`},
		{"f.json", "[\n{\"name\":\n", `f.json:2: not JSON: it ends in the middle of a value`},
		{"f.json", "[\n{\n", `f.json:2: not JSON: it ends in the middle of a value`},
		{"f.json", "\n{}]", `f.json:2: not JSON: invalid character ']' looking for beginning of value`},
		{"f.json", strings.Repeat("[", 40), `f.json:1: values lie more than 32 deep`},
		{"f.json", "\n5", `f.json:2: a job is a mapping with name and schedule, not 5`},
		{"f.json", "null", `f.json:1: a job is a mapping with name and schedule, not null`},
		{"f.crontab", "\n1 2 3 x\n", `f.crontab:2: "1 2 3 x" is not five fields or an @name, and a command`},
		{"f.crontab", "* * * * *\n", `f.crontab:1: "* * * * *" is not five fields or an @name, and a command`},
		{"f.crontab", "RANDOM_DELAY=x\n", `f.crontab:1: RANDOM_DELAY: "x" is not a number of minutes`},
		{"f.crontab", "@daily \x00\n", `f.crontab:1: the line contains a NUL byte`},
		{"f.crontab", "# name: a\n@daily x\n# name: a\n@daily y\n", `f.crontab:4: there is a job a in f.crontab:2 already`},
	} {
		jobs, err := jobfile.Read(c.name, []byte(c.text))
		if err == nil || err.Error() != c.want || jobs != nil {
			t.Errorf("%q: %d jobs, error\n\t%v, not\n\t%s", c.text, len(jobs), err, c.want)
		}
	}
}

// What YAML takes for something else is said in the words of YAML, with what to write.
func TestReadHints(t *testing.T) {
	for _, c := range []struct{ text, want, hint string }{
		{"name: a\nschedule: * * * * *\n", "f.yaml:2: ", `put it in quotes: "* * * * *"`},
		{"name: a\nschedule: */5 * * * *\n", "f.yaml:2: ", `put it in quotes: "*/5 * * * *"`},
		{"name: a\nschedule:\n  * * * * *\n", "f.yaml:3: ", `put it in quotes: "* * * * *"`},
		{"- {name: a, schedule: */5 * * * *, cmd: [x]}\n", "f.yaml:1: ", `put it in quotes: "*/5 * * * *"`},
		{"name: a\nscript: x\ncmd: [echo, *]\n", "f.yaml:3: ", `put it in quotes: "*"`},
		{"name: a\ncmd:\n- *\n", "f.yaml:3: ", `put it in quotes: "*"`},
		{"name: a\nscript: *run\n", "f.yaml:2: ", `put it in quotes: "*run"`},
		{"name: a\nscript: & x\n", "f.yaml:2: ", `put it in quotes: "& x"`},
		{"name: a\nschedule: @daily\n", "f.yaml:2: ", `put it in quotes: "@daily"`},
		{"- {name: a, schedule: @daily}\n", "f.yaml:1: ", `put it in quotes: "@daily"`},
		{"name: a\nscript: %x\n", "f.yaml:2: ", `put it in quotes: "%x"`},
		{"name: a\nscript: `date`\n", "f.yaml:2: ", "put it in quotes: \"`date`\""},
		{"name: a\nschedule: ? ? ? ? ?\n", "f.yaml:2: ", `put it in quotes: "? ? ? ? ?"`},
		{"name: a\non: !role=db\n", "f.yaml:2: ", `put it in quotes: "!role=db"`},
		{"name: a\nscript: | sort\n", "f.yaml:2: ", `put it in quotes: "| sort"`},
		{"name: a\nscript: - x\n", "f.yaml:2: ", `put it in quotes: "- x"`},
		{"name: a\nscript: echo a: b\n", "f.yaml:2: ", `put it in quotes: "echo a: b"`},
		{"name: a\n\tscript: x\n", "f.yaml:2: ", "YAML is indented with spaces, not with tabs"},
		{"name: a\n  b: c\n", "f.yaml:2: ", ""},
	} {
		_, err := jobfile.Read("f.yaml", []byte(c.text))
		var hint interface{ Hint() string }
		if !errors.As(err, &hint) || !strings.HasPrefix(err.Error(), c.want) || hint.Hint() != c.hint {
			t.Errorf("%q: %v, hint %v, not %s, hint %s", c.text, err, hint, c.want, c.hint)
		}
	}
}

// All that is wrong is said at once, in the order of the lines, with what Check
// has to say.
func TestReadRefusesAllAtOnce(t *testing.T) {
	const text = `- name: a
  schedule: 0 0 31 2 *
  cmd: [x]
- name: b
  schedul: "@daily"
- name: c
  schedule: "@daily"
  retry: {n: 500}
- name: d
  schedule: "@daily"
  cmd: [x]
  deadline: 5
`
	_, _, err := jobfile.Options{Check: checked}.Read("f.yaml", []byte(text))
	const want = `f.yaml:1: job a: schedule: "0 0 31 2 *" is not a schedule: it is never due: none of its months has such a day
f.yaml:5: "schedul" is not a field of a job: did you mean "schedule"?
f.yaml:6: job c: cmd: there is neither a cmd nor a script
f.yaml:6: job c: retry: n = 500 is more than 100
f.yaml:12: deadline: "5" has no unit: did you mean 5s?`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nnot\n%s", err, want)
	}
	var e *jobfile.Error
	if !errors.As(err, &e) || e.File != "f.yaml" || e.Line != 1 {
		t.Errorf("the first error is %+v", e)
	}
}

// A few lines must not come to stand for more than memory holds, nor take long.
func TestReadBounds(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 9), ","))
	}
	for _, c := range []struct{ name, text, want string }{
		{"f.yaml", bomb, "these are more than 2000000 values: are aliases nested?"},
		{"f.json", strings.Repeat(" ", 8<<20+1), "f.json: the file is larger than 8 MB"},
		{"f.yaml", strings.Repeat("[", 1<<20), "exceeded max depth"},
		{"f.yaml", strings.Repeat("- ", 1<<20), "exceeded max depth"},
		{"f.json", strings.Repeat("[", 1<<20), "more than 32 deep"},
	} {
		start := time.Now()
		_, err := jobfile.Read(c.name, []byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.20q: %v", c.text, err)
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%.20q took %v", c.text, took)
		}
	}
}

// FuzzRead makes sure that whatever is read can be written, and read again.
func FuzzRead(f *testing.F) {
	f.Add("f.yaml", yamlOfAll)
	f.Add("f.json", jsonOfAll)
	f.Add("f.crontab", "A='b'\n# name: x\n*/5 * * * 7 cmd \\% %in%put\n@daily y\n")
	f.Add("-", "x-a: &a {name: b, cmd: [on, ~, 0x1]}\njobs: [{<<: *a, schedule: !!str 1}]\n")
	f.Fuzz(func(t *testing.T, name, text string) {
		jobs, err := jobfile.Read(name, []byte(text))
		if err == nil {
			roundTrip(t, jobs)
		}
	})
}
