package jobfile_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"conch/pkg/cron"
	"conch/pkg/jobfile"
)

func TestReadCrontab(t *testing.T) {
	const text = `# m h dom mon dow command
MAILTO=root@example.org
PATH = "/usr/bin:/bin"

# name: backup
*/5 * * * 1-5	/usr/bin/backup --all >/dev/null 2>&1
# name: far

0 4 * * 7 cd /srv && ./weekly.sh
0 5 * * 7 cd /srv && ./weekly.sh
CRON_TZ=Europe/Rome
SHELL=/bin/bash
HOME=/var/lib/x
RANDOM_DELAY=5
-@Daily FOO=1 nice -n 10 /opt/report.py $(date +\%F)
CRON_TZ=
SHELL=/usr/bin/sh
TZ=:Asia/Tokyo
#name:mail
30 2 1 jan sun mail -s hi ops%Hello,%%100\% done
`
	const want = `name: backup
schedule: "*/5 * * * 1-5"
script: "/usr/bin/backup --all >/dev/null 2>&1"
env:
  PATH: "/usr/bin:/bin"
---
name: weekly.sh-HASH
schedule: "0 4 * * 7"
script: "cd /srv && ./weekly.sh"
env:
  PATH: "/usr/bin:/bin"
---
name: weekly.sh-HASH-2
schedule: "0 5 * * 7"
script: "cd /srv && ./weekly.sh"
env:
  PATH: "/usr/bin:/bin"
---
name: report.py-HASH
schedule: "@daily"
tz: Europe/Rome
splay: 5m0s
cmd: [/bin/bash, -c, "FOO=1 nice -n 10 /opt/report.py $(date +%F)"]
env:
  HOME: /var/lib/x
  PATH: "/usr/bin:/bin"
  SHELL: /bin/bash
cwd: /var/lib/x
---
name: mail
schedule: "30 2 1 jan sun"
tz: Asia/Tokyo
splay: 5m0s
script: mail -s hi ops
stdin: |
  Hello,

  100% done
env:
  HOME: /var/lib/x
  PATH: "/usr/bin:/bin"
  SHELL: /usr/bin/sh
  TZ: ":Asia/Tokyo"
cwd: /var/lib/x
`
	o := jobfile.Options{Check: checked}
	jobs, notes, err := jobfile.ReadCrontab("tab", []byte(text), o)
	if err != nil {
		t.Fatal(err)
	}
	got := write(t, "yaml", jobs)
	got = strings.NewReplacer("report.py-"+hashOf(got, "report.py-"), "report.py-HASH",
		"weekly.sh-"+hashOf(got, "weekly.sh-"), "weekly.sh-HASH").Replace(got)
	if got != want {
		t.Errorf("got\n%s\nnot\n%s", got, want)
	}
	wantNotes := []string{
		"tab:2: MAILTO: no mail is sent; on-failure runs a command when a job fails",
		"tab:18: TZ: conch takes it as the zone of the times below, too; CRON_TZ is for these alone",
		"tab:6: cron takes these times as the host's local ones, conch as UTC: CRON_TZ=Europe/Rome on a line above names another zone",
		asUser, noLimit, noOverlap, noBackground, toChange,
	}
	if !slices.Equal(notes, wantNotes) {
		t.Errorf("notes:\n%s", strings.Join(notes, "\n"))
	}
}

// What is said of every crontab.
const (
	asUser       = "crontab: cron runs it as its owner, at home; here it is run as the runner's user, in /: --run-as USER names another, and runs it at home"
	itsPath      = "crontab: cron's PATH is /usr/bin:/bin; here it is the runner's, as is all of the environment that the crontab does not set"
	noLimit      = "crontab: cron lets a run go on for ever; here it is stopped after 10m (run-ttl)"
	noOverlap    = "crontab: cron starts a job beside its last run; here that tick is skipped (overlap: forbid)"
	noBackground = "crontab: cron leaves what a job has put in the background; here it is killed when the job ends"
	noMail       = "crontab: cron mails what a job prints; here the end of it is kept if the job fails, and on-failure can tell somebody"
	toChange     = "crontab: conch-cron export prints the jobs as a file in which all that can be set"
)

// The default that the notes name is that of a job.
func TestNoteOfRunTTL(t *testing.T) {
	if !strings.Contains(noLimit, "after "+strings.TrimSuffix(cron.DefaultRunTTL.String(), "0s")+" ") {
		t.Errorf("the default is %s", cron.DefaultRunTTL)
	}
}

func TestCrontabNotes(t *testing.T) {
	for _, c := range []struct {
		text string
		o    jobfile.Options
		want []string
	}{
		{"CRON_TZ=UTC\n@daily x\n", jobfile.Options{}, []string{asUser, itsPath, noLimit, noOverlap, noBackground, noMail, toChange}},
		{"CRON_TZ=UTC\nPATH=/bin\n@daily x\n", jobfile.Options{User: "me"}, []string{noLimit, noOverlap, noBackground, noMail, toChange}},
		{"CRON_TZ=UTC\nPATH=/bin\nMAILTO=\n@daily root x\n", jobfile.Options{SystemCrontab: true}, []string{noLimit, noOverlap, noBackground, toChange}},
		{"CRON_TZ=UTC\nPATH=/bin\nMAILTO=\n0~29 * * * * x\n~ * * * * y\n", jobfile.Options{User: "me"}, []string{
			"tab:4: ~ is H here: a number by the job's name that stays the same, where cron draws one when it starts",
			noLimit, noOverlap, noBackground, toChange}},
		{"CRON_TZ=UTC\n@reboot x\n", jobfile.Options{},
			[]string{"tab:2: @reboot is left out: a cluster has no boot to run it after; have each host's init system do so"}},
	} {
		_, notes, err := jobfile.ReadCrontab("tab", []byte(c.text), c.o)
		if err != nil || !slices.Equal(notes, c.want) {
			t.Errorf("%q: %v\n%s", c.text, err, strings.Join(notes, "\n"))
		}
	}
}

func TestCrontabTranslates(t *testing.T) {
	for when, want := range map[string]string{
		"~ * * * *": "H * * * *", "0~29/10 3~ ~12 1~3 *": "H(0-29)/10 H(3-23) H(1-12) H(1-3) *", "~/15 ~ ~ * ~": "H/15 H H * H", "1,~ * * * *": "1,H * * * *",
	} {
		jobs, _, err := jobfile.ReadCrontab("tab", []byte(when+" x"), jobfile.Options{Check: checked})
		if err != nil || jobs[0].Schedule != want {
			t.Errorf("%s: %+v, %v", when, jobs, err)
		}
	}
	jobs, _, err := jobfile.ReadCrontab("tab", []byte("@daily x\n@daily root y\n"), jobfile.Options{User: "me"})
	if err == nil {
		t.Errorf("%+v", jobs)
	}
	jobs, _, err = jobfile.ReadCrontab("tab", []byte("@daily x\n"), jobfile.Options{User: "me"})
	plain, _, _ := jobfile.ReadCrontab("tab", []byte("@daily x\n"), jobfile.Options{})
	if err != nil || jobs[0].User != "me" || jobs[0].Name != plain[0].Name {
		t.Errorf("%+v is not %+v of me: %v", jobs, plain, err)
	}
}

// What is no crontab of this form is seen by its words.
func TestCrontabColumns(t *testing.T) {
	// Programs that have the names of days, and of users that this host does not have.
	programs := tree(t, map[string]string{"mon": "", "sat": "", "git": "", "puppet": "", "borg": ""})
	for _, name := range []string{"mon", "sat", "git", "puppet", "borg"} {
		if err := os.Chmod(filepath.Join(programs, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", os.Getenv("PATH")+":"+programs)
	mine, system := jobfile.Options{}, jobfile.Options{SystemCrontab: true}
	for _, c := range []struct {
		text       string
		o          jobfile.Options
		want, hint string
	}{
		{"0 */5 * * * * run it", mine, `tab:1: "0 */5 * * * *" are 6 fields, and a crontab has five`, `without the second it is "*/5 * * * *"`},
		{"*/10 * * * * * run it", mine, `tab:1: "*/10 * * * * *" are 6 fields, and a crontab has five`, `conch-cron add NAME --schedule "*/10 * * * * *" takes a second`},
		{"0 0 9 * * mon-fri run it", mine, `tab:1: "0 0 9 * * mon-fri" are 6 fields, and a crontab has five`, `without the second it is "0 9 * * mon-fri"`},
		{"0 0 9 * * sun run it", mine, `tab:1: "0 0 9 * * sun" are 6 fields, and a crontab has five`, `without the second it is "0 9 * * sun"; or, if sun is the command, write its path`},
		{"0 0 9 * * mon root /x", system, `tab:1: "0 0 9 * * mon" are 6 fields, and a crontab has five`, `without the second it is "0 9 * * mon"`},
		{"0 0 12 * * ? 2030 run", mine, `tab:1: "0 0 12 * * ? 2030" are 7 fields, and a crontab has five`, `without the second it is "0 12 * * ?"`},
		{"0 */5 * * * * root run", system, `tab:1: "0 */5 * * * *" are 6 fields, and a crontab has five`, `without the second it is "*/5 * * * *"`},
		{"*/5 * * * * root /bin/run", mine, `tab:1: "root /bin/run": a user stands before the command`, "--system-crontab; or, if root is the command, write its path"},
		{"@daily www-data test -x /x && /x", mine, `tab:1: "www-data test -x /x && /x": a user stands before the command`, "--system-crontab; or, if www-data is the command, write its path"},
		{"A=b\n@daily root /x\n@hourly root /y\n", mine, `tab:2: "root /x": a user stands before the command`, "--system-crontab; or, if root is the command, write its path"},
		{"*/5 * * * * /bin/run it", system, `tab:1: "/bin/run it": no user stands before the command`, "leave out --system-crontab"},
		{"*/5 * * * * cd /srv && ./run", system, `tab:1: "cd /srv && ./run": no user stands before the command`, "leave out --system-crontab"},
		{"@daily FOO=1 run\n@daily BAR=1 run\n", system, `tab:1: "FOO=1 run": no user stands before the command`, "leave out --system-crontab"},
		{"* * * * * git gc --auto", system, `tab:1: "git gc --auto": no user stands before the command`, "leave out --system-crontab"},
		{"* * * * * rm /tmp", system, `tab:1: "rm /tmp": no user stands before the command`, "leave out --system-crontab"},
		{"START_HOURS_RANGE=3-22\n1\t5\tcron.daily\trun-parts /x\n", mine, "tab:1: START_HOURS_RANGE: this is an anacrontab, and not a crontab",
			"1 is @daily here, 7 @weekly and @monthly @monthly, each with --splay for the delay"},
		{"#!/bin/sh\nset -e\n", mine, "tab:1: this is a script, and not a crontab", "conch-cron add NAME @daily -- tab is a job that runs it"},
	} {
		_, _, err := jobfile.ReadCrontab("tab", []byte(c.text), c.o)
		var hint interface{ Hint() string }
		if err == nil || err.Error() != c.want || !errors.As(err, &hint) || hint.Hint() != c.hint {
			t.Errorf("%q: got\n\t%v, %+v, not\n\t%s, %s", c.text, err, hint, c.want, c.hint)
		}
	}
	jobs, _, err := jobfile.ReadCrontab("tab", []byte("* * * * * -n -qs /x -n\n"), mine)
	if err != nil || jobs[0].Script != "/x -n" {
		t.Errorf("flags of a BSD: %+v, %v", jobs, err)
	}
	for text, o := range map[string]jobfile.Options{
		"* * * * * root": mine, "* * * * * mysql -e x": mine, "* * * * * 7z a": mine, "* * * * * 1000 /x": system, "* * * * * deploy-42 /x": system,
		"* * * * * sh -c x": mine, "* * * * * nobody-here /x": mine, "#!/usr/bin/crontab\n@daily x": mine,
		"* * * * * git /srv/x.sh": system, "@daily puppet test -x /x && /x": system, "@daily borg A=b /x": system,
		"* * * * * mon -x": mine, "* * * * * sat": mine, "* * * * * sun /x": system, "* * * * * Mon test -x /x": system,
	} {
		if jobs, _, err := jobfile.ReadCrontab("tab", []byte(text), o); err != nil || len(jobs) != 1 {
			t.Errorf("%q: %+v, %v", text, jobs, err)
		}
	}
}

// hashOf returns the eight digits behind the first prefix in text.
func hashOf(text, prefix string) string {
	_, rest, _ := strings.Cut(text, prefix)
	return rest[:min(8, len(rest))]
}

func TestSystemCrontab(t *testing.T) {
	o := jobfile.Options{SystemCrontab: true, Prefix: "web1-", User: "nobody"}
	jobs, notes, err := jobfile.ReadCrontab("tab", []byte("CRON_TZ=UTC\n# name: a\r\n1 2 3 4 5 www-data  run it\r\n@daily root /x\n"), o)
	if err != nil || !slices.Equal(notes, []string{itsPath, noLimit, noOverlap, noBackground, noMail, toChange}) {
		t.Fatal(notes, err)
	}
	got := write(t, "yaml", jobs)
	const want = `name: web1-a
schedule: "1 2 3 4 5"
tz: UTC
script: run it
user: www-data
---
name: web1-x-HASH
schedule: "@daily"
tz: UTC
script: /x
user: root
`
	if got = strings.Replace(got, hashOf(got, "web1-x-"), "HASH", 1); got != want {
		t.Errorf("got\n%s\nnot\n%s", got, want)
	}
	_, _, err = jobfile.ReadCrontab("tab", []byte("1 2 3 4 5 me\n"), o)
	if err == nil || err.Error() != `tab:1: "1 2 3 4 5 me" is not five fields or an @name, a user and a command` {
		t.Error(err)
	}
}

// The name that is made of a command is part of what users keep: it must not
// change from one version to the next, nor with the time of the job.
func TestMadeNames(t *testing.T) {
	for _, c := range []struct{ command, want string }{
		{"/usr/bin/backup --all", "backup-9fe72dd6"},
		{"A=b /usr/bin/backup --all", "backup"},
		{"cd /srv && ./weekly.sh", "weekly.sh"},
		{"cd /srv; ./weekly.sh", "weekly.sh"},
		{"source /etc/profile && ./weekly.sh", "weekly.sh"},
		{". /etc/profile; ./weekly.sh", "weekly.sh"},
		{"set -e; ./weekly.sh", "weekly.sh"},
		{"umask 022; ./weekly.sh", "weekly.sh"},
		{"ulimit -n 1024 && ./weekly.sh", "weekly.sh"},
		{"[ -x /usr/sbin/a ] && nice -n 10 /usr/sbin/a", "a"},
		{"test -x /usr/sbin/anacron || ( cd / && run-parts --report /etc/cron.daily )", "run-parts"},
		{"nice ionice -c2 /usr/bin/env X=1 python3 x.py", "python3"},
		{`"/opt/My App/run" x`, "My"},
		{"true;", "true"},
		{"(echo)", "echo"},
		{"$RUN", "RUN"},
		{"é", "job"},
		{"{}", "job"},
	} {
		var names []string
		for _, when := range []string{"* * * * *", "@daily"} {
			jobs, _, err := jobfile.ReadCrontab("tab", []byte(when+" "+c.command), jobfile.Options{})
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, jobs[0].Name)
		}
		base, _, _ := strings.Cut(names[0], names[0][max(0, len(names[0])-9):])
		if names[0] != names[1] || base != c.want && names[0] != c.want {
			t.Errorf("%s: %q, not %s", c.command, names, c.want)
		}
	}
}

// refSplit is do_command of Vixie's cron, read line by line: what of a crontab's
// command sh gets, and what that reads. Other than there, a backslash at the very
// end of the input counts as text that needs a newline.
func refSplit(s string) (command, input string) {
	var cmd, in []byte
	p, escaped, found := 0, false, false
	for ; p < len(s); p++ {
		ch := s[p]
		if escaped {
			if ch == '%' {
				cmd = cmd[:len(cmd)-1]
			}
			cmd, escaped = append(cmd, ch), false
			continue
		}
		if ch == '%' {
			p, found = p+1, true
			break
		}
		cmd, escaped = append(cmd, ch), ch == '\\'
	}
	if !found {
		return string(cmd), ""
	}
	escaped = false
	for ; p < len(s); p++ {
		ch := s[p]
		if escaped {
			if ch != '%' {
				in = append(in, '\\')
			}
		} else if ch == '%' {
			ch = '\n'
		}
		if escaped = ch == '\\'; !escaped {
			in = append(in, ch)
		}
	}
	if escaped {
		in = append(in, '\\')
	}
	if len(in) > 0 && in[len(in)-1] != '\n' {
		in = append(in, '\n')
	}
	return string(cmd), string(in)
}

// refLine splits a line into five words or one with an @, and the rest.
func refLine(line string) (schedule, rest string) {
	n := 5
	if strings.HasPrefix(line, "@") {
		n = 1
	}
	var words []string
	for len(words) < n {
		line = strings.TrimLeft(line, " \t")
		end := strings.IndexAny(line+" ", " \t")
		words, line = append(words, line[:end]), line[end:]
	}
	return strings.Join(words, " "), strings.TrimLeft(line, " \t")
}

// FuzzCrontab reads one line, and compares what comes of it with what the
// reference above makes of it.
func FuzzCrontab(f *testing.F) {
	for _, seed := range []string{
		"* * * * * a", "1 2\t3  4 5\tb \\% c % d \\% e % f", "@daily x%%", `@daily x\\%y`, `@daily x%\\%y`, `@daily x%\`, "A=b", "@reboot x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "\n\r\x00~") || strings.HasPrefix(strings.TrimLeft(line, " \t"), "#") {
			return
		}
		jobs, _, err := jobfile.ReadCrontab("tab", []byte(line), jobfile.Options{})
		if err != nil || len(jobs) == 0 {
			return
		}
		line = strings.TrimPrefix(strings.TrimLeft(line, " \t"), "-")
		schedule, rest := refLine(strings.TrimLeft(line, " \t"))
		if strings.HasPrefix(rest, "-") {
			return // a flag of a BSD
		}
		command, input := refSplit(rest)
		if strings.HasPrefix(schedule, "@") {
			schedule = strings.ToLower(schedule)
		}
		if j := jobs[0]; j.Schedule != schedule || j.Script != command || j.Stdin != input {
			t.Errorf("%q: read %q %q %q, not %q %q %q", line, j.Schedule, j.Script, j.Stdin, schedule, command, input)
		}
	})
}
