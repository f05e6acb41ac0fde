package cli

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// OneLine makes text safe for a line on a terminal: control characters, bytes
// that are not UTF-8 and characters that are not printable are escaped as in a
// Go string, so that a name of someone else's choosing can neither add a line
// nor move the cursor.
func OneLine(text string) string {
	clean := func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }
	if strings.IndexFunc(text, clean) < 0 {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		i += size
	}
	return b.String()
}

// JoinLines puts the lines of a text that is meant to have several, of a script or
// of several errors, one behind the other, with a semicolon between them where the
// first does not go on. What is within double quotes is left as it is.
func JoinLines(text string) string {
	if !strings.Contains(text, "\n") {
		return text
	}
	joined, quoted := "", false
	for line := range strings.SplitSeq(text, "\n") {
		switch bare := strings.Trim(line, " \t\r"); {
		case quoted:
			joined += "\n" + line
		case joined == "" || bare == "":
			joined += bare
		case strings.HasSuffix(joined, "\\"): // of a shell, for just this
			joined = strings.TrimRight(joined[:len(joined)-1], " ") + " " + bare
		case strings.ContainsAny(joined[len(joined)-1:], ":;,{([&|"):
			joined += " " + bare
		default:
			joined += "; " + bare
		}
		quoted = quoted != (strings.Count(line, `"`)%2 == 1)
	}
	return joined
}
