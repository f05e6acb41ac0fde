package cli

import (
	"fmt"
	"strings"
	"unicode"
)

// mdocText turns the markup of a Section into mdoc.
func mdocText(body string) string {
	var b strings.Builder
	for i, paragraph := range paragraphs(body) {
		switch {
		case strings.HasPrefix(paragraph, "- "):
			b.WriteString(".Bl -bullet\n")
			for _, item := range items(paragraph, "- ") {
				fmt.Fprintf(&b, ".It\n%s\n", mdocProse(item))
			}
			b.WriteString(".El\n")
		case strings.HasPrefix(paragraph, "= "):
			b.WriteString(".Bl -tag -width Ds\n")
			for _, item := range items(paragraph, "= ") {
				term, text, _ := strings.Cut(item, ": ")
				fmt.Fprintf(&b, ".It Li %s\n%s\n", mdocArg(term), mdocProse(text))
			}
			b.WriteString(".El\n")
		case strings.HasPrefix(paragraph, "    "):
			b.WriteString(mdocLiteral(strings.ReplaceAll(paragraph[4:], "\n    ", "\n")))
		default:
			if i > 0 {
				b.WriteString(".Pp\n")
			}
			b.WriteString(mdocProse(paragraph) + "\n")
		}
	}
	return b.String()
}

func paragraphs(body string) []string {
	var list []string
	for p := range strings.SplitSeq(strings.Trim(body, "\n"), "\n\n") {
		if p = strings.Trim(p, "\n"); strings.TrimSpace(p) != "" {
			list = append(list, p)
		}
	}
	return list
}

// items are the entries of a list, their continued lines joined.
func items(paragraph, mark string) []string {
	var list []string
	for line := range strings.SplitSeq(paragraph, "\n") {
		if item, ok := strings.CutPrefix(line, mark); ok || len(list) == 0 {
			list = append(list, item)
			continue
		}
		list[len(list)-1] += " " + strings.TrimSpace(line)
	}
	return list
}

// mdocProse is running text, a sentence a line as mdoc wants it, with what is
// in backquotes in bold.
func mdocProse(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	var b strings.Builder
	for i, part := range strings.Split(text, "`") {
		if i%2 == 1 {
			b.WriteString(`\fB` + mdocEscape(part) + `\fR`)
			continue
		}
		b.WriteString(sentences(strings.ReplaceAll(escapeBackslash(part), "--", `\-\-`)))
	}
	lines := strings.Split(b.String(), "\n")
	for i, line := range lines {
		lines[i] = mdocLine(line)
	}
	return strings.Join(lines, "\n")
}

// sentences breaks the line after a full stop that a capital follows.
func sentences(text string) string {
	var b strings.Builder
	for {
		i := strings.Index(text, ". ")
		if i < 0 || i+2 >= len(text) {
			return b.String() + text
		}
		b.WriteString(text[:i+1])
		if unicode.IsUpper(rune(text[i+2])) {
			b.WriteByte('\n')
		} else {
			b.WriteByte(' ')
		}
		text = text[i+2:]
	}
}

// mdocLine keeps a line of text from being read as a request.
func mdocLine(line string) string {
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		return `\&` + line
	}
	return line
}

// mdocLiteral shows text as it is.
func mdocLiteral(text string) string {
	var b strings.Builder
	b.WriteString(".Bd -literal -offset indent\n")
	for line := range strings.SplitSeq(text, "\n") {
		b.WriteString(mdocLine(mdocEscape(line)) + "\n")
	}
	b.WriteString(".Ed\n")
	return b.String()
}

func escapeBackslash(text string) string { return strings.ReplaceAll(text, `\`, `\e`) }

// mdocEscape keeps each character what it is, so that it can be copied from
// the page: typesetters make dashes and curly quotes of some.
func mdocEscape(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
}

// mdocArg is text as one argument of a macro.
func mdocArg(text string) string {
	text = strings.ReplaceAll(mdocEscape(text), `"`, `\(dq`)
	if strings.Trim(text, ".,:;()[]?!|") == "" || strings.Contains(text, " ") || len(text) < 4 {
		// Quoted and with a \& in front, nothing is taken for a macro, a
		// delimiter or the end of the argument.
		return `"\&` + text + `"`
	}
	return text
}

// mdocUsage sets a synopsis: what is in capitals stands for something else,
// the rest is typed.
func mdocUsage(line string) string {
	var b strings.Builder
	for i, word := range strings.Fields(line) {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(usageWord(word))
	}
	return mdocLine(b.String())
}

func usageWord(word string) string {
	core := strings.Trim(word, "[]().|")
	if core == "" {
		return mdocEscape(word)
	}
	before, after, _ := strings.Cut(word, core)
	font := `\fB`
	if strings.ToUpper(core) == core && strings.ToLower(core) != core && !strings.HasPrefix(core, "-") {
		font = `\fI`
	}
	return mdocEscape(before) + font + mdocEscape(core) + `\fR` + mdocEscape(after)
}
