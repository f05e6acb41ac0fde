package schedule

import (
	"fmt"
	"strconv"
	"strings"
)

// foreign returns what an expression of another scheduler stands for, or nothing:
// systemd's OnCalendar, cron(...) and rate(...) of AWS, and lengths of time as in ISO
// 8601. It need not be valid.
func foreign(expr string) []string {
	inner, closed := strings.CutSuffix(expr, ")")
	if fields, ok := strings.CutPrefix(inner, "cron("); ok && closed {
		if words := strings.FieldsFunc(fields, isBlank); len(words) == 6 {
			return quartz(append([]string{"0"}, words...))
		}
		return []string{fields}
	}
	if length, ok := strings.CutPrefix(inner, "rate("); ok && closed {
		return guess(length)
	}
	if every := isoLength(expr[strings.LastIndexByte(expr, '/')+1:]); every != "" {
		return []string{"@every " + every}
	}
	return calendar(expr)
}

// quartz returns seven fields, the last of which is a year, without that, and without
// a second that is 0. Quartz counts the days of the week from 1 for Sunday, others
// with a year do not.
func quartz(words []string) []string {
	first, weekday := 0, len(words)-2
	if words[0] == "0" {
		first = 1
	}
	same := strings.Join(words[first:weekday+1], " ")
	named := strings.Map(func(r rune) rune {
		if r >= '1' && r <= '7' {
			return r - 1
		}
		return r
	}, words[weekday])
	if named == words[weekday] || strings.ContainsAny(words[weekday], "/#L") {
		return []string{same}
	}
	return []string{strings.Join(append(words[first:weekday:weekday], named), " "), same}
}

// lastOfSix is what six fields may be meant for of which the last is a year or a zone.
func lastOfSix(words []string) []string {
	if len(words) != 6 {
		return nil
	}
	last := words[5]
	if year, ok := number(last); last == "*" || ok && year >= 1970 {
		return quartz(append([]string{"0"}, words...))
	}
	if zoneExists(last) {
		return []string{"TZ=" + last + " " + strings.Join(words[:5], " ")}
	}
	return nil
}

// isoLength makes 1h30m of PT1H30M.
func isoLength(text string) string {
	days, clock, timed := strings.Cut(text, "T")
	days, ok := strings.CutPrefix(days, "P")
	if weeks, isWeeks := strings.CutSuffix(days, "W"); ok && isWeeks && !timed {
		if n, ok := number(weeks); ok {
			return fmt.Sprintf("%dd", 7*n)
		}
	}
	length := strings.ToLower(days + clock)
	if !ok || strings.ContainsAny(days, "YMW") || !isDuration(length) {
		return ""
	}
	return length
}

// calendar reads an OnCalendar of systemd.timer(5): weekdays, a date, a time of day and
// a zone, of which all but one may be left out.
func calendar(expr string) []string {
	words := strings.FieldsFunc(expr, isBlank)
	days, dom, mon, when, zone := "*", "*", "*", []string{"0", "0", "0"}, ""
	if len(words) > 1 && zoneExists(words[len(words)-1]) {
		zone = "TZ=" + words[len(words)-1] + " "
		words = words[:len(words)-1]
	}
	if len(words) > 0 && strings.ContainsAny(words[0][:1], "MTWFSmtwfs") && !strings.Contains(words[0], ":") {
		days = strings.ToLower(words[0])
		words = words[1:]
	}
	dated := len(words) > 0 && !strings.Contains(words[0], ":")
	if dated {
		date := strings.Split(words[0], "-")
		if len(date) == 3 && date[0] == "*" {
			date = date[1:]
		}
		if len(date) != 2 {
			return nil
		}
		mon, dom, words = date[0], date[1], words[1:]
	}
	timed := len(words) > 0
	if timed {
		if when = strings.Split(words[0], ":"); len(when) == 2 {
			when = append(when, "0")
		}
		words = words[1:]
	}
	// Where both are given, a day must match both, as it cannot here.
	if len(words) > 0 || len(when) != 3 || !dated && !timed || days != "*" && dom != "*" {
		return nil
	}
	fields := []string{when[2], when[1], when[0], dom, mon, days}
	for i := range fields {
		fields[i] = component(fields[i])
	}
	if fields[0] == "0" {
		fields = fields[1:]
	}
	return []string{zone + strings.Join(fields, " ")}
}

// component is a field of a calendar in cron's words.
func component(text string) string {
	items := strings.Split(strings.ReplaceAll(text, "..", "-"), ",")
	for i, item := range items {
		base, step, stepped := strings.Cut(item, "/")
		if n, ok := number(base); ok {
			base = strconv.Itoa(n)
		}
		if base == "0" && stepped {
			base = "*"
		}
		if items[i] = base; stepped {
			items[i] += "/" + step
		}
	}
	return strings.Join(items, ",")
}

// FromCron returns the fields of a crontab with an H for each ~, of which some crons
// draw a number when they start.
func FromCron(expr string) string {
	words := strings.FieldsFunc(expr, isBlank)
	if len(words) != 5 && len(words) != 6 || !strings.Contains(expr, "~") {
		return expr
	}
	units := table[len(table)-len(words):]
	for i := range words {
		items := strings.Split(words[i], ",")
		for j, item := range items {
			if base, step, _ := strings.Cut(item, "/"); strings.Contains(base, "~") {
				items[j] = units[i].hashed(base) + strings.TrimSuffix("/"+step, "/")
			}
		}
		words[i] = strings.Join(items, ",")
	}
	return strings.Join(words, " ")
}
