package jobfile

import (
	"errors"
	"strconv"
	"strings"
)

// quoteYAML adds to what the reader of YAML says, which is about its grammar, which text
// is to be put in quotes.
func quoteYAML(b []byte, err error) error {
	place := new(Error)
	if !errors.As(err, &place) {
		return err
	}
	lines := strings.Split(string(b), "\n")
	for _, n := range candidates(place, lines) {
		line := strings.TrimRight(lines[n-1], "\r")
		if strings.HasPrefix(line, "\t") {
			return &advised{&Error{Line: n, Err: place.Err}, "YAML is indented with spaces, not with tabs"}
		}
		if text := unquotable(line, place.Err.Error()); text != "" {
			return &advised{&Error{Line: n, Err: place.Err}, "put it in quotes: " + strconv.Quote(text)}
		}
	}
	return err
}

// candidates are the lines that an error may be about. That of the library is often
// where the mapping began, and of an anchor there is none.
func candidates(place *Error, lines []string) []int {
	if _, name, ok := strings.Cut(place.Err.Error(), "unknown anchor '"); ok {
		name, _, _ = strings.Cut(name, "'")
		for i, line := range lines {
			if strings.Contains(line, "*"+name) {
				return []int{i + 1}
			}
		}
		return nil
	}
	first := max(place.Line, 1)
	if first > len(lines) {
		return nil
	}
	if strings.HasSuffix(place.Err.Error(), "expected key") && first < len(lines) {
		return []int{first, first + 1}
	}
	return []int{first}
}

// unquotable is the text in a line that cannot stand there without quotes, or "".
func unquotable(line, why string) string {
	begins := ""
	switch {
	case strings.HasSuffix(why, "mapping values are not allowed in this context"):
		_, value, _ := strings.Cut(line, ": ")
		if strings.Contains(value, ": ") {
			return strings.TrimSpace(value)
		}
		return ""
	case strings.HasSuffix(why, "alphabetic or numeric character"), strings.Contains(why, "anchor '"):
		begins = "*&"
	case strings.HasSuffix(why, "cannot start any token"):
		begins = "@%`"
	case strings.HasSuffix(why, "has no meaning here"):
		begins = "!"
	case strings.HasSuffix(why, "comment or line break"):
		begins = "|>"
	case strings.HasSuffix(why, "mapping keys are not allowed in this context"):
		begins = "?"
	case strings.HasSuffix(why, "block sequence entries are not allowed in this context"):
		begins = "-"
	default:
		return ""
	}
	flow := strings.ContainsAny(line, "[{")
	for at := range line {
		if strings.IndexByte(begins, line[at]) < 0 || !valueBegins(line[:at]) {
			continue
		}
		text := line[at:]
		if end := strings.IndexAny(text, ",]}"); flow && end >= 0 {
			text = text[:end]
		}
		return strings.TrimSpace(text)
	}
	return ""
}

// valueBegins reports whether a value begins behind what a line has so far.
func valueBegins(before string) bool {
	trimmed := strings.TrimRight(before, " ")
	if trimmed == "" {
		return true
	}
	last := trimmed[len(trimmed)-1]
	return strings.IndexByte("[{,", last) >= 0 || trimmed != before && (last == ':' || last == '-')
}
