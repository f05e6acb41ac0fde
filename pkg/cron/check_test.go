package cron

import (
	"errors"
	"strings"
	"testing"
	"time"

	"conch/pkg/schedule"
)

// Of the messages below, all is as of this instant.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// goodJob is the job that the tests spoil.
func goodJob() *Job {
	return &Job{Name: "backup", Schedule: "@daily", Cmd: []string{"backup", "--all"}}
}

func TestCheckRefuses(t *testing.T) {
	hour, day := noon.Add(time.Hour), noon.Add(24*time.Hour)
	const second = Duration(time.Second)
	for _, c := range []struct {
		spoil func(*Job)
		want  string
	}{
		{func(j *Job) { j.Name = "" }, `job "": name: the name is empty`},
		{func(j *Job) { j.Name = "a/b" }, `job "a/b": name: the name "a/b" contains a slash; use a dot or a dash, as in "a.b"`},
		{func(j *Job) { j.Schedule = "" }, `job backup: schedule: "" is not a schedule: it is empty`},
		{func(j *Job) { j.Schedule = "every 5 minutes" },
			`job backup: schedule: "every 5 minutes" is not a schedule: did you mean "*/5 * * * *" or "@every 5m"?`},
		{func(j *Job) { j.Schedule = "0 0 31 2 *" },
			`job backup: schedule: "0 0 31 2 *" is not a schedule: it is never due: none of its months has such a day`},
		{func(j *Job) { j.Schedule = "@at 2026-03-01T12:00:00Z" },
			`job backup: schedule: never due: 2026-03-01T12:00:00Z is not after now, 2026-03-01T12:00:00Z`},
		{func(j *Job) { j.Schedule, j.Starts = "@at 2026-03-01T12:30:00Z", &hour },
			`job backup: schedule: never due: 2026-03-01T12:30:00Z is not after starts = 2026-03-01T13:00:00Z`},
		{func(j *Job) { j.Expires = &hour },
			`job backup: schedule: never due: the next tick is 2026-03-02T00:00:00Z, and it expires at 2026-03-01T13:00:00Z`},
		{func(j *Job) { j.Expires = &noon },
			`job backup: schedule: never due: the next tick is 2026-03-02T00:00:00Z, and it expires at 2026-03-01T12:00:00Z`},
		{func(j *Job) { j.Starts, j.Expires = &hour, &hour },
			`job backup: expires: 2026-03-01T13:00:00Z is not after starts = 2026-03-01T13:00:00Z`},
		{func(j *Job) { j.Starts, j.Expires = &day, &hour },
			`job backup: expires: 2026-03-01T13:00:00Z is not after starts = 2026-03-02T12:00:00Z`},
		{func(j *Job) { j.TZ = "Local" },
			`job backup: tz: "Local" is the zone of each host, and these need not agree: name one such as Europe/Rome`},
		{func(j *Job) { j.TZ = "europe/rome" }, `job backup: tz: "europe/rome" is not a time zone: did you mean Europe/Rome?`},
		{func(j *Job) { j.DST = "wal" }, `job backup: dst: "wal" is not once, skip or wall: did you mean "wall"?`},
		{func(j *Job) { j.Cmd = nil }, `job backup: cmd: there is neither a cmd nor a script`},
		{func(j *Job) { j.Script = "x" }, `job backup: cmd: there is a script too: give one of them`},
		{func(j *Job) { j.Cmd[0] = "" }, `job backup: cmd: its first word is empty`},
		{func(j *Job) { j.Cmd[1] = "a\x00b" }, `job backup: cmd: "a\x00b" contains a NUL byte`},
		{func(j *Job) { j.Cmd[1] = "a\xff" }, `job backup: cmd: "a\xff" is not UTF-8`},
		{func(j *Job) { j.Cmd, j.Script = nil, "a\x00" }, `job backup: script: "a\x00" contains a NUL byte`},
		{func(j *Job) { j.Stdin = "\xff" }, `job backup: stdin: "\xff" is not UTF-8`},
		{func(j *Job) { j.OnFailure = "\x00" }, `job backup: on-failure: "\x00" contains a NUL byte`},
		{func(j *Job) { j.OnRecovery = "\x00" }, `job backup: on-recovery: "\x00" contains a NUL byte`},
		{func(j *Job) { j.OnSuccess = "\x00" }, `job backup: on-success: "\x00" contains a NUL byte`},
		{func(j *Job) { j.Description = "\xff" }, `job backup: description: "\xff" is not UTF-8`},
		{func(j *Job) { j.Owners = []string{"ops", "\xff"} }, `job backup: owners: "\xff" is not UTF-8`},
		{func(j *Job) { j.Env = map[string]string{"": "x"} }, `job backup: env: there is a variable without a name`},
		{func(j *Job) { j.Env = map[string]string{"A=B": "x"} }, `job backup: env: "A=B": the name of a variable contains no =`},
		{func(j *Job) { j.Env = map[string]string{"CONCH_TTL": "x"} },
			`job backup: env: "CONCH_TTL": the names that begin with CONCH_ are set by conch`},
		{func(j *Job) { j.Env = map[string]string{"A": "\x00"} }, `job backup: env: "\x00" contains a NUL byte`},
		{func(j *Job) { j.Env = map[string]string{"\x00": "a"} }, `job backup: env: "\x00" contains a NUL byte`},
		{func(j *Job) { j.Cwd = "srv" }, `job backup: cwd: "srv" is not absolute: runners need not be where you are`},
		{func(j *Job) { j.Cwd = "/\x00" }, `job backup: cwd: "/\x00" contains a NUL byte`},
		{func(j *Job) { j.User = "a b" }, `job backup: user: "a b" is not the name of a user`},
		{func(j *Job) { j.User = "-x" }, `job backup: user: "-x" is not the name of a user`},
		{func(j *Job) { j.User = "a:b" }, `job backup: user: "a:b" is not the name of a user`},
		{func(j *Job) { j.Via = "web-1" }, `job backup: via: "web-1" is not ssh://[USER@]HOST[:PORT]: did you mean "ssh://web-1"?`},
		{func(j *Job) { j.Via, j.Stdin = "ssh://h", "x" },
			`job backup: stdin: not together with via: the connection's input is how the remote command learns that it must die`},
		{func(j *Job) { j.Via, j.User = "ssh://h", "me" },
			`job backup: user: not together with via: name the remote user there, ssh://me@HOST`},
		{func(j *Job) { j.Via, j.Cwd = "ssh://h", "srv" }, `job backup: cwd: "srv" is not absolute: runners need not be where you are`},
		{func(j *Job) { j.On = "al" }, `job backup: on: "al" is not any, all, a number or a label such as role=db: did you mean "all"?`},
		{func(j *Job) { j.Overlap = "forbidden" }, `job backup: overlap: "forbidden" is not forbid, allow or replace: did you mean "forbid"?`},
		{func(j *Job) { j.Overlap = "Forbid" }, `job backup: overlap: "Forbid" is not forbid, allow or replace: did you mean "forbid"?`},
		{func(j *Job) { j.Misfire = "never" }, `job backup: misfire: "never" is not skip, once or all`},
		{func(j *Job) { j.Output = "failures" }, `job backup: output: "failures" is not none, failure or always: did you mean "failure"?`},
		{func(j *Job) { j.Deadline = second - 1 }, `job backup: deadline: 999.999999ms is less than 1s`},
		{func(j *Job) { j.Deadline = -second }, `job backup: deadline: -1s is less than 1s`},
		{func(j *Job) { half := Duration(second / 2); j.RunTTL = &half }, `job backup: run-ttl: 500ms is less than 1s`},
		{func(j *Job) { j.KeepFor = 1 }, `job backup: keep-for: 1ns is less than 1s`},
		{func(j *Job) { j.Splay = -second }, `job backup: splay: -1s is less than 0s`},
		{func(j *Job) { j.Splay = 24 * 3600 * second }, `job backup: splay: 24h0m0s is not less than 24h0m0s`},
		{func(j *Job) { j.Keep = -1 }, `job backup: keep: -1 is less than 1`},
		{func(j *Job) { j.Keep = 1001 }, `job backup: keep: 1001 is more than 1000`},
		{func(j *Job) { j.Retry = &Retry{N: -1} }, `job backup: retry: n = -1 is less than 0`},
		{func(j *Job) { j.Retry = &Retry{N: 500} }, `job backup: retry: n = 500 is more than 100`},
		{func(j *Job) { j.Retry = &Retry{N: 1, Backoff: -second} }, `job backup: retry: backoff = -1s is less than 0s`},
		{func(j *Job) { j.Retry = &Retry{N: 1, Backoff: 3601 * second} }, `job backup: retry: backoff = 1h0m1s is more than 1h0m0s`},
		{func(j *Job) { j.Retry = &Retry{Backoff: second} },
			`job backup: retry: backoff = 1s, but n = 0 means that nothing is tried again`},
		{func(j *Job) { j.Cmd, j.Script = nil, strings.Repeat("x", MaxSpec) },
			`job backup: the job takes 65585 bytes, 65536 are possible: keep large input in a file that the command reads`},
	} {
		j := goodJob()
		c.spoil(j)
		if err := j.Check(noon); err == nil || err.Error() != c.want {
			t.Errorf("got\n\t%v, not\n\t%s", err, c.want)
		}
	}
}

func TestCheckRefusesAllAtOnce(t *testing.T) {
	j := Job{Name: "x", Schedule: "nightly", TZ: "Mars", Overlap: "no", Keep: 2000}
	const want = `job x: tz: "Mars" is not a time zone such as UTC or Europe/Rome
job x: schedule: "nightly" is not a schedule: did you mean "@daily"?
job x: cmd: there is neither a cmd nor a script
job x: overlap: "no" is not forbid, allow or replace
job x: keep: 2000 is more than 1000`
	err := j.Check(noon)
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nnot\n%s", err, want)
	}
	// What the schedule has to add is not lost on the way.
	if e := new(schedule.Error); !errors.As(err, &e) || e.Expr != "nightly" {
		t.Errorf("there is no *schedule.Error in it: %v", e)
	}
}

func TestCheckPasses(t *testing.T) {
	hour, past := noon.Add(time.Hour), noon.Add(-time.Hour)
	for i, change := range []func(*Job){
		func(*Job) {},
		func(j *Job) { j.Cmd, j.Script = nil, "backup | gzip" },
		func(j *Job) { j.Cmd = append(j.Cmd, "") },
		func(j *Job) { j.Schedule = "@manual" },
		func(j *Job) { j.Schedule, j.Expires = "@manual", &past },
		func(j *Job) { j.Schedule = "@at 2026-03-01T12:00:01Z" },
		func(j *Job) { j.Schedule, j.Starts = "@at 2026-03-01T13:00:00Z", &hour },
		func(j *Job) { j.Schedule, j.Starts, j.Expires = "@every 1s", &past, &hour },
		func(j *Job) { j.TZ, j.DST = "Europe/Rome", schedule.Wall },
		func(j *Job) { j.Env = map[string]string{"CONCHA": "", "a.b": "=\n"} },
		func(j *Job) { j.Stdin = "\x00" },
		func(j *Job) { j.User, j.Cwd = `DOMAIN\me.too$`, "/srv" },
		func(j *Job) { j.Via, j.Cwd, j.Env = "ssh://me@h:22", "/srv", map[string]string{"A": "b"} },
		func(j *Job) { j.Overlap, j.Misfire, j.Output = Replace, MisfireAll, OutputAlways },
		func(j *Job) {
			least := Duration(time.Second)
			j.Deadline, j.RunTTL, j.Splay = least, &least, Duration(maxSplay-1)
		},
		func(j *Job) { j.Retry, j.Keep = &Retry{N: 100, Backoff: Duration(time.Hour)}, 1000 },
		func(j *Job) { j.Retry = &Retry{} },
		func(j *Job) { j.RunTTL = new(Duration) },
	} {
		j := goodJob()
		change(j)
		if err := j.Check(noon); err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func TestMaxRun(t *testing.T) {
	for text, want := range map[string]time.Duration{
		`{"name":"a"}`: 10 * time.Minute, `{"name":"a","run-ttl":"0s"}`: 0, `{"name":"a","run-ttl":"2h"}`: 2 * time.Hour,
	} {
		j, err := DecodeJob([]byte(text))
		if err != nil || j.MaxRun() != want {
			t.Errorf("%s: %v, %v", text, j.MaxRun(), err)
		}
		again, _ := j.Encode()
		if j, err := DecodeJob([]byte(again)); err != nil || j.MaxRun() != want {
			t.Errorf("%s: %v, %v", again, j.MaxRun(), err)
		}
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		change func(*Job)
		want   string
	}{
		{func(*Job) {}, ""},
		{func(j *Job) { j.Schedule = "x" }, ""},
		{func(j *Job) { j.Schedule, j.Splay = "0 * * * *", Duration(time.Hour) }, ""},
		{func(j *Job) { j.Schedule, j.Splay = "0 9,10 * * *", Duration(2*time.Hour) },
			"job backup: splay: 2h0m0s is more than the 1h0m0s between two ticks"},
		{func(j *Job) { j.Schedule, j.Deadline = "*/5 * * * *", Duration(time.Hour) }, ""},
		{func(j *Job) { j.Schedule, j.Deadline, j.Overlap = "*/5 * * * *", Duration(time.Hour), Allow },
			"job backup: deadline: 1h0m0s is more than the 5m0s between two ticks, and overlap = allow: after an outage several runs start at once"},
		{func(j *Job) { j.Schedule = "@at 9000-01-01T00:00:00Z" },
			"job backup: misfire: skip means that this one never runs if no runner is up within 1m0s of its time; once runs it later"},
		{func(j *Job) { j.Schedule, j.Misfire = "@at 9000-01-01T00:00:00Z", MisfireOnce }, ""},
		{func(j *Job) { j.Schedule, j.Splay = "@manual", Duration(time.Hour) }, ""},
		{func(j *Job) { j.Anchor = &noon }, "job backup: anchor: only @every has one"},
		{func(j *Job) { j.Schedule, j.Anchor = "@every 1h", &noon }, ""},
	} {
		j := goodJob()
		c.change(j)
		if got := strings.Join(j.Warnings(), "\n"); got != c.want {
			t.Errorf("got\n\t%s, not\n\t%s", got, c.want)
		}
	}
}
