package jobfile

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"

	"conch/pkg/cron"
)

// Diff says how a job has changed, a line for each field that has, in the order
// of cron.Job: `+ FIELD: VALUE`, `- FIELD: VALUE`, `~ FIELD: OLD -> NEW`. Either
// job may be nil. When and by whom they were stored does not count.
func Diff(old, new *cron.Job) []string {
	was, is := fieldValues(old), fieldValues(new)
	var lines []string
	for i, name := range fieldNames(reflect.TypeFor[cron.Job]()) {
		switch a, b := was[i], is[i]; {
		case a == b:
		case a == "":
			lines = append(lines, "+ "+name+": "+b)
		case b == "":
			lines = append(lines, "- "+name+": "+a)
		default:
			lines = append(lines, "~ "+name+": "+a+" -> "+b)
		}
	}
	return lines
}

// fieldValues returns each field of a job as it can stand in a line, "" for one
// that has its zero value.
func fieldValues(j *cron.Job) []string {
	var bare cron.Job
	if j != nil {
		bare = *j
		bare.Unstamp()
	}
	v := reflect.ValueOf(bare)
	values := make([]string, v.NumField())
	for i := range values {
		if field := v.Field(i); !isEmpty(field) {
			values[i] = inLine(field.Interface())
		}
	}
	return values
}

// isEmpty reports whether a field is left out in JSON.
func isEmpty(v reflect.Value) bool {
	if k := v.Kind(); k == reflect.Slice || k == reflect.Map {
		return v.Len() == 0
	}
	return v.IsZero()
}

// inLine writes a value as JSON does, and text without quotes if that is clear.
func inLine(value any) string {
	if t, ok := value.(*time.Time); ok {
		value = t.UTC()
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return "?" // a time beyond the year 9999, which Check refuses
	}
	line := strings.TrimSuffix(b.String(), "\n")
	var s string
	if json.Unmarshal([]byte(line), &s) != nil {
		return line
	}
	odd := func(r rune) bool { return !unicode.IsPrint(r) }
	if s == "" || strings.TrimSpace(s) != s || strings.ContainsFunc(s, odd) || strings.Contains(s, " -> ") || s[0] == '"' {
		return strconv.Quote(s)
	}
	return s
}
