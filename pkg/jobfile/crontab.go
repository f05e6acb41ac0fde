package jobfile

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"path"
	"strconv"
	"strings"
	"time"

	"conch/pkg/cron"
	"conch/pkg/schedule"
)

// ReadCrontab reads a crontab as cron does, and says in notes what conch does
// otherwise.
//
// A line `# name: backup` directly above a job names it. The name of any other
// is that of its command and a hash of the whole of it, so it stays the same when
// its time changes. CRON_TZ or TZ is the zone of the lines below; without, it is
// UTC. A SHELL other than sh is run with -c, and HOME is the directory to run in,
// too. RANDOM_DELAY becomes the splay, and ~ an H. Mail is not sent. @reboot is left
// out. Lines of six or seven fields are refused, and so are those that have a column
// for the user without Options.SystemCrontab, or have none with it, as far as the
// words show that.
//
// As in cron, the first % of a command ends it, the rest is what it reads, with
// each further % for a newline, and \% is a percent sign.
func ReadCrontab(name string, b []byte, o Options) (jobs []cron.Job, notes []string, err error) {
	f := &file{name: name}
	f.readCrontab(b, o)
	f.check(o)
	return o.together(&Empty{Path: name}, f)
}

func (f *file) readCrontab(b []byte, o Options) {
	c := crontab{file: f, Options: o, env: map[string]string{}, named: map[string]int{}}
	if first, _, _ := strings.Cut(string(b), "\n"); strings.HasPrefix(first, "#!") && !strings.Contains(first, "cron") {
		f.advise(1, "conch-cron add NAME @daily -- "+f.name+" is a job that runs it", "this is a script, and not a crontab")
		return
	}
	for line := range strings.Lines(string(b)) {
		c.line++
		if strings.Contains(line, "\x00") {
			c.refuse(c.line, "the line contains a NUL byte")
			continue
		}
		c.read(strings.TrimRight(strings.TrimLeft(line, " \t"), "\r\n"))
	}
	if c.local > 0 {
		f.note(c.local, "cron takes these times as the host's local ones, conch as UTC: CRON_TZ=Europe/Rome on a line above names another zone")
	}
}

// A crontab is one that is being read, up to a line.
type crontab struct {
	*file
	Options
	line  int
	name  string // from the comment right above
	env   map[string]string
	tz    string // from CRON_TZ
	shell string
	splay time.Duration
	named map[string]int // how many jobs have a name that was made
	quiet bool           // cron would send no mail either
	local int            // the first line whose times are without a zone
	mail  bool           // it was noted that none is sent
	drawn bool           // it was noted what becomes of ~
	askew bool           // it was said that its lines have another form
	other bool           // it was said that it is no crontab at all
}

func (c *crontab) read(line string) {
	named := c.name
	c.name = ""
	switch key, value, isSetting := setting(line); {
	case strings.HasPrefix(line, "#"):
		c.name = nameIn(line)
	case line == "":
	case isSetting:
		c.set(key, value)
	default:
		c.job(line, named)
	}
}

// nameIn returns the name that a comment gives to the job below it.
func nameIn(comment string) string {
	name, ok := strings.CutPrefix(strings.TrimLeft(comment, "# \t"), "name:")
	if !ok {
		return ""
	}
	return strings.TrimSpace(name)
}

// setting reads NAME=VALUE, of which either can be in quotes.
func setting(line string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(line, "=")
	name, value = unquote(strings.TrimSpace(name)), unquote(strings.TrimSpace(value))
	odd := func(r rune) bool { return !isLetter(r) && r != '_' && (r < '0' || r > '9') }
	if !ok || name == "" || strings.ContainsFunc(name, odd) || name[0] <= '9' {
		return "", "", false
	}
	return name, value, true
}

func unquote(s string) string {
	if n := len(s); n >= 2 && s[0] == s[n-1] && (s[0] == '"' || s[0] == '\'') {
		return s[1 : n-1]
	}
	return s
}

func (c *crontab) set(name, value string) {
	switch name {
	case "CRON_TZ":
		c.tz = strings.TrimPrefix(value, ":")
	case "SHELL":
		c.shell, c.env[name] = value, value
	case "MAILTO", "MAILFROM", "CONTENT_TYPE", "CONTENT_TRANSFER_ENCODING":
		if name == "MAILTO" {
			c.quiet = value == ""
		}
		if value != "" && !c.mail {
			c.mail = true
			c.note(c.line, "%s: no mail is sent; on-failure runs a command when a job fails", name)
		}
	case "RANDOM_DELAY":
		minutes, err := strconv.ParseUint(value, 10, 16)
		if err != nil {
			c.refuse(c.line, "RANDOM_DELAY: %+.64q is not a number of minutes", value)
		}
		c.splay = time.Duration(minutes) * time.Minute
	case "START_HOURS_RANGE":
		c.other = true
		c.advise(c.line, "1 is @daily here, 7 @weekly and @monthly @monthly, each with --splay for the delay", "%s: this is an anacrontab, and not a crontab", name)
	case "TZ":
		if value != "" && c.env["TZ"] == "" {
			c.note(c.line, "TZ: conch takes it as the zone of the times below, too; CRON_TZ is for these alone")
		}
		c.env[name] = value
	default:
		c.env[name] = value
	}
}

// zone is the one that the times of the next line are in.
func (c *crontab) zone() string {
	if c.tz != "" {
		return c.tz
	}
	return strings.TrimPrefix(c.env["TZ"], ":")
}

// job reads a line that starts something.
func (c *crontab) job(line, named string) {
	// A dash in front keeps cron from logging it.
	when, rest := cutSchedule(strings.TrimPrefix(line, "-"))
	column := ""
	switch {
	case c.other:
		return
	case when == "@reboot":
		c.note(c.line, "@reboot is left out: a cluster has no boot to run it after; have each host's init system do so")
		return
	case c.hasMoreFields(when, rest), c.hasOtherColumns(rest):
		return
	case c.SystemCrontab:
		column, rest = cutWord(rest)
	}
	rest = cutFlags(rest)
	command, stdin := splitPercent(rest)
	switch {
	case command == "" && c.SystemCrontab:
		c.refuse(c.line, "%+.64q is not five fields or an @name, a user and a command", line)
		return
	case command == "":
		c.refuse(c.line, "%+.64q is not five fields or an @name, and a command", line)
		return
	}
	if translated := schedule.FromCron(when); translated != when {
		if !c.drawn {
			c.note(c.line, "~ is H here: a number by the job's name that stays the same, where cron draws one when it starts")
		}
		when, c.drawn = translated, true
	}
	j := cron.Job{Schedule: when, TZ: c.zone(), User: cmp.Or(column, c.User), Stdin: stdin, Splay: cron.Duration(c.splay)}
	if j.TZ == "" && c.local == 0 {
		c.local = c.line
	}
	if named == "" {
		named = c.madeName(column, rest)
	}
	j.Name = c.Prefix + named
	c.run(&j, command)
	c.tab.job(&j, c.quiet || c.mail)
	c.jobs = append(c.jobs, entry{j, c.line})
}

// run has j run a command as the settings above it say.
func (c *crontab) run(j *cron.Job, command string) {
	if c.shell == "" || path.Base(c.shell) == "sh" {
		j.Script = command
	} else {
		j.Cmd = []string{c.shell, "-c", command}
	}
	if len(c.env) > 0 {
		j.Env = maps.Clone(c.env)
	}
	if home := c.env["HOME"]; path.IsAbs(home) {
		j.Cwd = home
	}
}

// cutSchedule takes an @name or five fields off a line. A schedule is "" if
// there are fewer.
func cutSchedule(line string) (schedule, rest string) {
	first, rest := cutWord(line)
	if strings.HasPrefix(first, "@") {
		return strings.ToLower(first), rest
	}
	words := []string{first}
	for range 4 {
		var word string
		word, rest = cutWord(rest)
		words = append(words, word)
	}
	return strings.Join(words, " "), rest
}

// cutFlags takes off what the crons of the BSDs know in front of a command: about mail,
// the log, and one run at a time, as it is here.
func cutFlags(line string) string {
	for {
		word, rest := cutWord(line)
		if len(word) < 2 || word[0] != '-' || strings.Trim(word[1:], "nqs") != "" {
			return line
		}
		line = rest
	}
}

func cutWord(s string) (word, rest string) {
	s = strings.TrimLeft(s, " \t")
	end := strings.IndexAny(s, " \t")
	if end < 0 {
		return s, ""
	}
	return s[:end], strings.TrimLeft(s[end:], " \t")
}

// splitPercent splits a command from what it reads, as cron's do_command does:
// there \ keeps the character after it from being looked at, and is dropped in
// front of % alone. Input that does not end in a newline is given one.
func splitPercent(line string) (command, stdin string) {
	var b strings.Builder
	for i := 0; i < len(line); i++ {
		switch {
		case line[i] == '%':
			return b.String(), percentInput(line[i+1:])
		case line[i] == '\\' && i+1 < len(line):
			if line[i+1] != '%' {
				b.WriteByte('\\')
			}
			i++
		}
		b.WriteByte(line[i])
	}
	return b.String(), ""
}

// percentInput reads what follows the first %. Here a backslash counts even
// after another.
func percentInput(text string) string {
	const escaped = "\x00" // which a line of a crontab cannot have
	text = strings.ReplaceAll(text, `\%`, escaped)
	text = strings.ReplaceAll(text, "%", "\n")
	text = strings.ReplaceAll(text, escaped, "%")
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text
}

// madeName makes a name of a command. Jobs that have all in common but their
// time are counted.
func (c *crontab) madeName(user, command string) string {
	h := fnv.New32a()
	h.Write([]byte(user + "\x00" + command))
	name := fmt.Sprintf("%s-%08x", baseName(command), h.Sum32())
	c.named[name]++
	if n := c.named[name]; n > 1 {
		name += "-" + strconv.Itoa(n)
	}
	return name
}

// baseName is what people would call a command: the last element of its first
// word that is neither a setting nor a preparation, such as cd, test or nice.
func baseName(command string) string {
	words := strings.FieldsFunc(command, func(r rune) bool { return strings.ContainsRune(" \t(){}\"'", r) })
	skip := false
	for _, word := range words {
		switch {
		case word == "&&" || word == "||" || word == ";" || word == "|":
			skip = false
			continue
		case skip || strings.Contains(word, "=") || strings.HasPrefix(word, "-") || strings.Trim(word, "0123456789") == "":
		case strings.Contains(" cd test [ [[ export . source set unset umask ulimit ", " "+word+" "):
			skip = true
		case strings.Contains(" nice ionice env exec nohup time ", " "+path.Base(word)+" "):
		default:
			if name := cleanName(path.Base(strings.TrimRight(word, ";&|"))); name != "" {
				return name
			}
		}
		skip = skip && !strings.HasSuffix(word, ";")
	}
	return "job"
}

// cleanName leaves what can be part of any name, and not too much of it.
func cleanName(s string) string {
	clean := strings.Map(func(r rune) rune {
		if isLetter(r) || '0' <= r && r <= '9' || strings.ContainsRune("._-", r) {
			return r
		}
		return -1
	}, s)
	const most = 40
	return strings.Trim(clean[:min(len(clean), most)], "._-")
}
