package cli

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

const width = 80

// synopsis is line i of Usage with the name in front.
func (t Tool) synopsis(i int) string {
	usage := "[FLAGS]"
	if i < len(t.Usage) {
		usage = t.Usage[i]
	}
	return strings.TrimSpace(t.full() + " " + usage)
}

// synopses are all lines of Usage, under each other.
func (t Tool) synopses(first, next string) string {
	var b strings.Builder
	for i := range max(1, len(t.Usage)) {
		b.WriteString(first + t.synopsis(i) + "\n")
		first = next
	}
	return b.String()
}

// brief is the answer to a command line with nothing on it.
func (t Tool) brief() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\nusage: %s\n", t.full(), t.Brief, t.synopsis(0))
	for _, c := range t.commands() {
		fmt.Fprintf(&b, "  %-26s %s\n", c.Name, c.Brief)
	}
	fmt.Fprintf(&b, "%s --help explains, -h lists the flags\n", t.full())
	return b.String()
}

// shortHelp is -h: what can be typed, a line each.
func (t Tool) shortHelp() string {
	var b strings.Builder
	b.WriteString(t.synopses("usage: ", "       "))
	for _, c := range t.commands() {
		fmt.Fprintf(&b, "  %-26s %s\n", c.Name, c.Brief)
	}
	f, _ := t.flags()
	for _, r := range f.rows {
		if !r.Hidden && !r.EnvOnly {
			fmt.Fprintf(&b, "  %-26s %s\n", r.usage(), cut(plain(r.Help), width-29))
		}
	}
	return b.String()
}

// cut keeps the first sentence of a help text, or as much as fits.
func cut(text string, room int) string {
	text, _, _ = strings.Cut(text, ". ")
	if utf8.RuneCountInString(text) <= room {
		return text
	}
	short := string([]rune(text)[:room-3])
	if i := strings.LastIndexByte(short, ' '); i > 0 {
		short = short[:i]
	}
	return strings.TrimRight(short, " ,;:") + "..."
}

// help is --help: examples first.
func (t Tool) help() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", t.full(), t.Brief)
	if len(t.Examples) > 0 {
		b.WriteString("\nExamples:\n")
	}
	for _, e := range t.Examples {
		fmt.Fprintf(&b, "  # %s\n  %s\n", e.Text, strings.ReplaceAll(e.Command, "\n", "\n  "))
	}
	b.WriteString("\nUsage:\n" + t.synopses("  ", "  "))
	if len(t.Commands) > 0 {
		b.WriteString("\nCommands:\n")
	}
	for _, c := range t.commands() {
		listed(&b, c.Name, c.Brief)
	}
	f, _ := t.flags()
	for _, g := range f.groups() {
		fmt.Fprintf(&b, "\n%s:\n", g.title)
		for _, r := range g.rows {
			listed(&b, r.usage(), plain(r.Help)+r.origin())
		}
	}
	if f.timed() {
		b.WriteString("\n" + plain(timed) + "\n")
	}
	if len(t.Statuses) > 0 {
		b.WriteString("\nExit status:\n")
	}
	for _, s := range t.Statuses {
		listed(&b, s.Code, plain(s.Meaning))
	}
	return b.String()
}

// timed is what all flags that take a DURATION have in common.
const timed = "A DURATION is 10s, 1h30m or 2d; 0 is none, and refused where one must be."

func (f *Flags) timed() bool {
	return slices.ContainsFunc(f.rows, func(r *Row) bool { return r.Arg == "DURATION" && !r.Hidden })
}

// usage is "-w, --wait DURATION".
func (r *Row) usage() string {
	switch {
	case r.EnvOnly:
		return r.Env
	case r.Name == "h":
		return "-h"
	}
	text := "    " + r.flag()
	if r.Short != "" {
		text = "-" + r.Short + ", " + r.flag()
	}
	if r.kind != toggle && r.Arg != "" {
		text += " " + r.Arg
	}
	return text
}

// origin is " (default 10s; CONCH_TTL)".
func (r *Row) origin() string {
	var parts []string
	if r.Default != "" && !r.Secret {
		parts = append(parts, "default "+r.Default)
	}
	env := r.env()
	if r.EnvOnly {
		env = env[1:] // its name is the heading
	}
	if len(env) > 0 {
		parts = append(parts, strings.Join(env, ", "))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, "; ") + ")"
}

type group struct {
	title string
	rows  []*Row
}

// groups are the rows to show, under their headings, in order of declaration.
func (f *Flags) groups() []group {
	var groups []group
next:
	for _, r := range f.rows {
		if r.Hidden {
			continue
		}
		title := r.Group
		if title == "" {
			title = "Flags"
		}
		for i := range groups {
			if groups[i].title == title {
				groups[i].rows = append(groups[i].rows, r)
				continue next
			}
		}
		groups = append(groups, group{title, []*Row{r}})
	}
	return groups
}

// listed writes a term and, beside or below it, its explanation.
func listed(b *strings.Builder, term, text string) {
	const column = 28
	head := "  " + term
	if utf8.RuneCountInString(head) > column-2 {
		b.WriteString(head + "\n")
		head = ""
	}
	for _, l := range wrap(text, width-column) {
		fmt.Fprintf(b, "%-*s%s\n", column, head, l)
		head = ""
	}
}

// wrap breaks text at spaces into lines of at most so many characters.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// plain is text without the backquotes of the markup.
func plain(text string) string { return strings.ReplaceAll(text, "`", "") }
