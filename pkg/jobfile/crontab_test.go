package jobfile_test

import (
	"slices"
	"strings"
	"testing"

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
	}
	if !slices.Equal(notes, wantNotes) {
		t.Errorf("notes:\n%s", strings.Join(notes, "\n"))
	}
}

// hashOf returns the eight digits behind the first prefix in text.
func hashOf(text, prefix string) string {
	_, rest, _ := strings.Cut(text, prefix)
	return rest[:min(8, len(rest))]
}

func TestSystemCrontab(t *testing.T) {
	o := jobfile.Options{SystemCrontab: true, Prefix: "web1-"}
	jobs, notes, err := jobfile.ReadCrontab("tab", []byte("CRON_TZ=UTC\n# name: a\r\n1 2 3 4 5 www-data  run it\r\n@daily root /x\n"), o)
	if err != nil || len(notes) != 0 {
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
	_, _, err = jobfile.ReadCrontab("tab", []byte("1 2 3 4 5 run\n"), o)
	if err == nil || err.Error() != `tab:1: "1 2 3 4 5 run" is not five fields or an @name, a user and a command` {
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
		if strings.ContainsAny(line, "\n\r\x00") || strings.HasPrefix(strings.TrimLeft(line, " \t"), "#") {
			return
		}
		jobs, _, err := jobfile.ReadCrontab("tab", []byte(line), jobfile.Options{})
		if err != nil || len(jobs) == 0 {
			return
		}
		line = strings.TrimPrefix(strings.TrimLeft(line, " \t"), "-")
		schedule, rest := refLine(strings.TrimLeft(line, " \t"))
		command, input := refSplit(rest)
		if strings.HasPrefix(schedule, "@") {
			schedule = strings.ToLower(schedule)
		}
		if j := jobs[0]; j.Schedule != schedule || j.Script != command || j.Stdin != input {
			t.Errorf("%q: read %q %q %q, not %q %q %q", line, j.Schedule, j.Script, j.Stdin, schedule, command, input)
		}
	})
}
