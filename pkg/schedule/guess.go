package schedule

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"conch/pkg/clock"
)

const shape = "five (minute, hour, day of the month, month, day of the week), or six with the second first"

func counted(n int, name string) string {
	if n == 1 {
		return "1 " + name
	}
	return fmt.Sprintf("%d %ss", n, name)
}

// phrased has the fault of an expression ask for what is meant, if that is
// English.
func phrased(expr string, f *fault) *fault {
	meant := guess(expr)
	if bare := strings.Trim(expr, "\"'`"); meant == nil && bare != expr {
		meant = []string{bare}
	}
	if meant != nil {
		f.instead, f.advice, f.english = meant, "", true
	}
	return f
}

// guess returns the expressions that a phrase like "every 5 minutes" may stand
// for. They need not be valid.
func guess(phrase string) []string {
	if _, _, ok := readTime(phrase, time.UTC); ok {
		return []string{"@at " + phrase}
	}
	if meant := foreign(phrase); meant != nil {
		return meant
	}
	words := strings.Fields(strings.ToLower(strings.NewReplacer(",", " ", "@", " ", "_", " ", " am", "am", " pm", "pm").Replace(phrase)))
	for len(words) > 0 && strings.Contains(" every each once on a an run ", " "+words[0]+" ") {
		words = words[1:]
	}
	if len(words) == 0 {
		return nil
	}
	when, timed := "0 0", false
	if last := words[len(words)-1]; strings.HasSuffix(last, "am") || strings.HasSuffix(last, "pm") || strings.Contains(last, ":") {
		if words[max(0, len(words)-2)] != "at" {
			words = append(words[:len(words)-1:len(words)-1], "at", last)
		}
	}
	if n := len(words); n >= 2 && words[n-2] == "at" {
		if when, timed = clockTime(words[n-1]); !timed {
			return nil
		}
		words = words[:n-2]
	}
	switch what := strings.Join(words, " "); {
	case len(words) == 2 && strings.Trim(words[0], "0123456789") == "":
		return guessEvery(words[0], strings.TrimSuffix(words[1], "s"))
	case timed:
		return guessDays(what, when)
	case guessNamed[strings.TrimSuffix(what, "s")] != "":
		return []string{guessNamed[strings.TrimSuffix(what, "s")]}
	case isDuration(what):
		return []string{"@every " + what}
	default:
		return guessDays(what, "0 0")
	}
}

var guessNamed = map[string]string{
	"second": "* * * * * *", "minute": "* * * * *",
	"hour": "@hourly", "day": "@daily", "week": "@weekly", "month": "@monthly", "year": "@yearly",
	"hourly": "@hourly", "daily": "@daily", "weekly": "@weekly", "monthly": "@monthly", "yearly": "@yearly",
	"minutely": "* * * * *", "secondly": "* * * * * *", "noon": "0 12 * * *",
	"quarterly": "0 0 1 1,4,7,10 *", "quarter": "0 0 1 1,4,7,10 *", "semiannually": "0 0 1 1,7 *", "half-yearly": "0 0 1 1,7 *",
	"fortnightly": "@every 14d", "fortnight": "@every 14d",
	"annual": "@yearly", "annually": "@yearly", "midnight": "@daily", "night": "@daily", "nightly": "@daily",
	"manually": "@manual", "manual": "@manual", "never": "@manual",
}

// guessEvery is for "5 minutes".
func guessEvery(n, name string) []string {
	for _, u := range durationUnits {
		if u.name != name && !(u.name[:1] == name || u.name[:3] == name) {
			continue
		}
		every := "@every " + n + u.name[:1]
		count, _ := number(n)
		form, limit := "*/%d * * * *", 60
		switch u.name {
		case "day":
			return []string{every}
		case "hour":
			form, limit = "0 */%d * * *", 24
		case "second":
			form = "*/%d * * * * *"
		}
		if count > 0 && count < limit && limit%count == 0 {
			return []string{fmt.Sprintf(form, count), every}
		}
		return []string{every}
	}
	return nil
}

// guessDays is for "monday"; when is the minute and the hour.
func guessDays(day, when string) []string {
	u := &table[dow]
	switch day = strings.TrimSuffix(day, "s"); day {
	case "", "day", "daily":
		return []string{when + " * * *"}
	case "weekday", "workday":
		return []string{when + " * * 1-5"}
	}
	if v, f := u.value(day); f == nil && strings.Trim(day, "0123456789") != "" {
		return []string{when + " * * " + strconv.Itoa(v)}
	}
	return nil
}

// clockTime reads "5", "5:30pm" or "noon" as the fields for minute and hour.
func clockTime(text string) (fields string, ok bool) {
	switch text {
	case "noon":
		return "0 12", true
	case "midnight":
		return "0 0", true
	}
	for _, layout := range []string{"15:04", "3:04pm", "3pm", "15"} {
		if t, err := time.Parse(layout, text); err == nil {
			return fmt.Sprintf("%d %d", t.Minute(), t.Hour()), true
		}
	}
	return "", false
}

func isDuration(text string) bool {
	_, err := clock.ParseDuration(text)
	return err == nil
}
