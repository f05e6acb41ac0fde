package jobfile

import (
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strings"

	"conch/pkg/schedule"
)

// hasMoreFields refuses a line with a second or a year, which a crontab has no field
// for. What comes behind five fields shows it: no command is called * or 1-5.
func (c *crontab) hasMoreFields(five, rest string) bool {
	if strings.HasPrefix(five, "@") {
		return false
	}
	words := strings.Fields(five)
	for len(words) < 7 {
		word, behind := cutWord(rest)
		next, _ := cutWord(behind)
		uid := c.SystemCrontab && strings.Trim(word, "0123456789") == "" && !isField(next)
		if !isField(word) || uid || isDay(word) && c.begins(word, next) {
			break
		}
		words, rest = append(words, word), behind
	}
	if len(words) <= 5 {
		return false
	}
	expr, hint := strings.Join(words, " "), ""
	s, err := schedule.Parse(strings.Join(words[:6], " "), schedule.Options{Name: "any"})
	switch {
	case err != nil:
	case words[0] == "0":
		hint = "without the second it is \"" + strings.Join(words[1:6], " ") + "\""
	default:
		hint = "conch-cron add NAME --schedule \"" + s.String() + "\" takes a second"
	}
	if last := words[len(words)-1]; isDay(last) && !c.SystemCrontab {
		hint += "; or, if " + last + " is the command, write its path"
	}
	c.advise(c.line, strings.TrimPrefix(hint, "; "), "%+.64q are %d fields, and a crontab has five", expr, len(words))
	return true
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// isField reports whether a word can be a field of a schedule, and hardly a command.
func isField(word string) bool {
	if strings.Trim(word, "0123456789*?/,-~") == "" {
		return strings.ContainsAny(word, "0123456789*?")
	}
	for _, day := range strings.FieldsFunc(word, func(r rune) bool { return r == '-' || r == ',' }) {
		if !slices.Contains(weekdays, strings.ToLower(day)) {
			return false
		}
	}
	return true
}

// isDay reports whether a word is the name of one day, which a command or a user may have.
func isDay(word string) bool { return slices.Contains(weekdays, strings.ToLower(word)) }

// begins reports whether a word is a command rather than a field, or the user before one.
func (c *crontab) begins(word, next string) bool {
	if c.SystemCrontab {
		return isCommand(next)
	}
	return isCommand(word)
}

// hasOtherColumns refuses a line that has a column for the user and should have none, or
// the reverse: once for a file, for its lines are alike.
func (c *crontab) hasOtherColumns(rest string) bool {
	first, behind := cutWord(rest)
	second, _ := cutWord(behind)
	switch {
	case !c.SystemCrontab && isUser(first) && !isCommand(first) && (isCommand(second) || first == "root" && second != ""):
		if !c.askew {
			c.advise(c.line, "--system-crontab; or, if "+first+" is the command, write its path", "%+.64q: a user stands before the command", rest)
		}
	case c.SystemCrontab && second != "" && !isUser(first) && isCommand(first) && !(canBeUser(first) && isCommand(second)):
		if !c.askew {
			c.advise(c.line, "leave out --system-crontab", "%+.64q: no user stands before the command", rest)
		}
	default:
		return false
	}
	c.askew = true
	return true
}

// known are users of most systems: a crontab may be read on another host.
var known = []string{"root", "daemon", "nobody", "www-data", "apache", "nginx", "postgres", "mysql"}

func isUser(word string) bool {
	if slices.Contains(known, word) {
		return true
	}
	if word == "" || !canBeUser(word) {
		return false
	}
	_, err := user.Lookup(word)
	return err == nil
}

// canBeUser reports whether a word may be a user of another host: there is many a program
// whose name its user has, too.
func canBeUser(word string) bool {
	return !strings.ContainsAny(word, "/=$&|;<>(){}[]\"'`\\") && !slices.Contains(builtin, word)
}

// builtin are words of the shell that a command begins with.
var builtin = []string{"[", "[[", "(", "{", "!", ".", "cd", "test", "if", "for", "while", "case", "export", "source", "set", "umask", "ulimit", "exec", "echo", "true", ":", "command", "eval"}

// isCommand reports whether a command line begins with a word. Of a path it is known
// even if there is no such file on this host.
func isCommand(word string) bool {
	if word == "" {
		return false
	}
	if slices.Contains(builtin, word) || strings.ContainsAny(word, "=$") || strings.ContainsAny(word[:1], "({\"'`") {
		return true
	}
	if strings.Contains(word, "/") {
		info, err := os.Stat(word)
		return err != nil || !info.IsDir()
	}
	_, err := exec.LookPath(word)
	return err == nil
}
