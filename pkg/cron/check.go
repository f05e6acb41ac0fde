package cron

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"conch/pkg/keys"
	"conch/pkg/schedule"
)

// The words that a job's settings can be.
var (
	rules    = []schedule.Rule{schedule.Once, schedule.Skip, schedule.Wall}
	overlaps = []Overlap{Forbid, Allow, Replace}
	misfires = []Misfire{MisfireSkip, MisfireOnce, MisfireAll}
	outputs  = []Output{OutputNone, OutputFailure, OutputAlways}
)

// Check says all that is wrong with a job which is about to be stored, joined if
// it is several things, or nil. A job that would never be due after now is
// wrong, too, unless it is @manual.
func (j *Job) Check(now time.Time) error {
	c := checker{Job: j}
	if err := keys.CheckName(j.Name); err != nil {
		c.refuse("name", "%w", err)
	}
	c.checkWhen(now)
	c.checkWhat()
	if j.Via != "" {
		c.checkVia()
	}
	c.checkOn()
	c.checkHow()
	c.checkText()
	if _, err := j.Encode(); err != nil {
		c.errs = append(c.errs, fmt.Errorf("job %s: %w", c.label(), err))
	}
	return errors.Join(c.errs...)
}

// A checker collects what is wrong with a job.
type checker struct {
	*Job
	errs []error
}

// refuse notes that a field is wrong, as fmt.Errorf writes it.
func (c *checker) refuse(field, format string, a ...any) {
	c.errs = append(c.errs, fmt.Errorf("job %s: %s: %w", c.label(), field, fmt.Errorf(format, a...)))
}

// label is the name in so far as it fits into a message.
func (c *checker) label() string {
	if keys.CheckName(c.Name) == nil {
		return c.Name
	}
	const most = 64
	return fmt.Sprintf("%+q", c.Name[:min(len(c.Name), most)])
}

func (c *checker) checkWhen(now time.Time) {
	// What is wrong with the zone or the rule is said once, and the schedule is
	// looked at without.
	j := *c.Job
	if !oneOf(c, "dst", j.DST, rules) {
		j.DST = ""
	}
	if j.TZ != "" {
		if _, err := schedule.LoadZone(j.TZ); err != nil {
			c.refuse("tz", "%w", err)
			j.TZ = ""
		}
	}
	if j.Starts != nil && j.Expires != nil && !j.Starts.Before(*j.Expires) {
		c.refuse("expires", "%s is not after starts = %s", instant(*j.Expires), instant(*j.Starts))
		j.Starts, j.Expires = nil, nil
	}
	s, err := j.Schedules()
	if err != nil {
		c.refuse("schedule", "%w", err)
		return
	}
	if why := j.neverDue(s, now); why != "" {
		c.refuse("schedule", "never due: %s", why)
	}
}

// neverDue says why there is no tick after now, or nothing.
func (j *Job) neverDue(s *schedule.Schedule, now time.Time) string {
	if s.String() == manually {
		return ""
	}
	// A tick at starts itself counts, one that is now does not.
	what, from := "now, ", now
	if j.Starts != nil && j.Starts.After(now) {
		what, from = "starts = ", j.Starts.Add(-1)
	}
	tick := s.Next(from)
	switch {
	case tick.IsZero() && strings.HasPrefix(s.String(), "@at "):
		return fmt.Sprintf("%s is not after %s%s", strings.TrimPrefix(s.String(), "@at "), what, instant(from.Add(1)))
	case tick.IsZero():
		return fmt.Sprintf("there is no tick after %s%s", what, instant(from.Add(1)))
	case j.Expires != nil && !tick.Before(*j.Expires):
		return fmt.Sprintf("the next tick is %s, and it expires at %s", instant(tick), instant(*j.Expires))
	}
	return ""
}

// manually is the schedule without ticks.
const manually = "@manual"

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func (c *checker) checkWhat() {
	switch {
	case len(c.Cmd) == 0 && c.Script == "":
		c.refuse("cmd", "there is neither a cmd nor a script")
	case len(c.Cmd) > 0 && c.Script != "":
		c.refuse("cmd", "there is a script too: give one of them")
	case len(c.Cmd) > 0 && c.Cmd[0] == "":
		c.refuse("cmd", "its first word is empty")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		switch {
		case name == "":
			c.refuse("env", "there is a variable without a name")
		case strings.Contains(name, "="):
			c.refuse("env", "%+q: the name of a variable contains no =", name)
		case strings.HasPrefix(name, "CONCH_"):
			c.refuse("env", "%+q: the names that begin with CONCH_ are set by conch", name)
		}
	}
	if c.Cwd != "" && !filepath.IsAbs(c.Cwd) {
		c.refuse("cwd", "%+q is not absolute: runners need not be where you are", c.Cwd)
	}
	if c.User == "" {
		return
	}
	if err := checkUser(c.User); err != nil {
		c.refuse("user", "%w", err)
	}
}

// checkUser refuses what is no user's name anywhere: it takes those of domains,
// such as DOMAIN\name, and numbers.
func checkUser(name string) error {
	odd := func(r rune) bool { return !unicode.IsPrint(r) || strings.ContainsRune(" :/,@", r) }
	if name == "" || len(name) > 256 || name[0] == '-' || !utf8.ValidString(name) || strings.ContainsFunc(name, odd) {
		return fmt.Errorf("%+q is not the name of a user", name)
	}
	return nil
}

func (c *checker) checkVia() {
	if _, err := ParseVia(c.Via); err != nil {
		c.refuse("via", "%w", err)
	}
	if c.Stdin != "" {
		c.refuse("stdin", "not together with via: the connection's input is how the remote command learns that it must die")
	}
	if c.User != "" {
		c.refuse("user", "not together with via: name the remote user there, ssh://%s@HOST", c.User)
	}
}

// checkOn refuses more than ParsePlacement does: a job that is stored goes on.
func (c *checker) checkOn() {
	p, err := ParsePlacement(c.On)
	if literal := p.checkLiterals(c.On); literal != nil {
		err = literal
	}
	if err != nil {
		c.refuse("on", "%w", err)
	}
}

func (c *checker) checkHow() {
	oneOf(c, "overlap", c.Overlap, overlaps)
	oneOf(c, "misfire", c.Misfire, misfires)
	oneOf(c, "output", c.Output, outputs)
	for _, d := range []struct {
		field string
		is    Duration
	}{{"deadline", c.Deadline}, {"run-ttl", *or(c.RunTTL, new(Duration))}, {"keep-for", c.KeepFor}} {
		if d.is != 0 && time.Duration(d.is) < time.Second {
			c.refuse(d.field, "%s is less than 1s", d.is)
		}
	}
	switch {
	case c.Splay < 0:
		c.refuse("splay", "%s is less than 0s", c.Splay)
	case time.Duration(c.Splay) >= maxSplay:
		c.refuse("splay", "%s is not less than %s", c.Splay, maxSplay)
	}
	if c.Keep != 0 {
		c.within("keep", "", c.Keep, 1, MaxKeep)
	}
	if c.Retry != nil {
		c.checkRetry(*c.Retry)
	}
}

// maxSplay is what a delay must stay below: beyond, a tick would run on another
// day than it is called by.
const maxSplay = 24 * time.Hour

func (c *checker) checkRetry(r Retry) {
	c.within("retry", "n = ", r.N, 0, MaxRetries)
	switch {
	case r.Backoff < 0:
		c.refuse("retry", "backoff = %s is less than 0s", r.Backoff)
	case time.Duration(r.Backoff) > MaxBackoff:
		c.refuse("retry", "backoff = %s is more than %s", r.Backoff, MaxBackoff)
	case r.Backoff > 0 && r.N == 0:
		c.refuse("retry", "backoff = %s, but n = 0 means that nothing is tried again", r.Backoff)
	}
}

func (c *checker) within(field, what string, n, least, most int) {
	switch {
	case n < least:
		c.refuse(field, "%s%d is less than %d", what, n, least)
	case n > most:
		c.refuse(field, "%s%d is more than %d", what, n, most)
	}
}

// oneOf refuses a setting that is neither empty nor one of those that there are.
func oneOf[T ~string](c *checker, field string, is T, known []T) bool {
	if is == "" || slices.Contains(known, is) {
		return true
	}
	words := make([]string, len(known))
	for i, k := range known {
		words[i] = string(k)
	}
	last := len(words) - 1
	c.refuse(field, "%+q is not %s or %s%s", string(is), strings.Join(words[:last], ", "), words[last], DidYouMean(string(is), words))
	return false
}

// checkText refuses what neither JSON nor a command line can carry as it is.
func (c *checker) checkText() {
	for _, t := range c.texts() {
		switch {
		case !utf8.ValidString(t.text):
			c.refuse(t.field, "%+.32q is not UTF-8", t.text)
		case t.field != "stdin" && strings.Contains(t.text, "\x00"):
			c.refuse(t.field, "%+.32q contains a NUL byte", t.text)
		}
	}
}

type fieldText struct{ field, text string }

// texts returns all text of the job that is not checked otherwise.
func (c *checker) texts() []fieldText {
	all := []fieldText{
		{"description", c.Description}, {"script", c.Script}, {"stdin", c.Stdin}, {"cwd", c.Cwd},
		{"on-failure", c.OnFailure}, {"on-recovery", c.OnRecovery}, {"on-success", c.OnSuccess}, {"on-missed", c.OnMissed},
	}
	for _, owner := range c.Owners {
		all = append(all, fieldText{"owners", owner})
	}
	for _, word := range c.Cmd {
		all = append(all, fieldText{"cmd", word})
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		all = append(all, fieldText{"env", name}, fieldText{"env", c.Env[name]})
	}
	return all
}
