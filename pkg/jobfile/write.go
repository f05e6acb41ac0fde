package jobfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"conch/pkg/cron"
)

// Write writes jobs as a file that Read reads as the same jobs. The format is
// json, an array, or yaml, documents. When a job was stored, and by whom, is left out.
func Write(w io.Writer, format string, jobs []cron.Job) error {
	var b bytes.Buffer
	var err error
	switch format {
	case "json":
		err = writeJSON(&b, jobs)
	case "yaml":
		err = writeYAML(&b, jobs)
	default:
		err = fmt.Errorf("%q is not json or yaml", format)
	}
	if err == nil {
		_, err = w.Write(b.Bytes())
	}
	return err
}

func writeJSON(b *bytes.Buffer, jobs []cron.Job) error {
	all := append([]cron.Job{}, jobs...)
	for i := range all {
		all[i].Unstamp()
	}
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(all)
}

// writeYAML goes by way of JSON, whose names and order YAML has too. The library
// could do it, for 110 KB more, and with scripts that cannot be read.
func writeYAML(b *bytes.Buffer, jobs []cron.Job) error {
	var asJSON bytes.Buffer
	if err := writeJSON(&asJSON, jobs); err != nil {
		return err
	}
	roots, err := readJSON(asJSON.Bytes())
	if err != nil {
		return err
	}
	for i, job := range roots[0].items {
		if i > 0 {
			b.WriteString("---\n")
		}
		writeMapping(b, job, "")
	}
	return nil
}

func writeMapping(b *bytes.Buffer, n *node, indent string) {
	for i, key := range n.keys {
		writeName(b, word(key.text), indent)
		switch item := n.items[i]; {
		case item.kind == mapping:
			b.WriteByte('\n')
			writeMapping(b, item, indent+"  ")
		case item.kind == list:
			writeList(b, item, indent+"  ")
		case item.kind == text && isBlock(item.text):
			writeBlock(b, item.text, indent+"  ")
		case item.kind == text:
			b.WriteString(" " + word(item.text) + "\n")
		default:
			b.WriteString(" " + item.text + "\n")
		}
	}
}

// writeName writes a name up to its colon, which a reader of YAML expects within
// 1024 characters unless it is told.
func writeName(b *bytes.Buffer, name, indent string) {
	const most = 1000
	if len(name) > most {
		b.WriteString(indent + "? " + name + "\n" + indent + ":")
		return
	}
	b.WriteString(indent + name + ":")
}

// writeList writes a list of words, in one line if that is short.
func writeList(b *bytes.Buffer, n *node, indent string) {
	const short = 100
	words := make([]string, len(n.items))
	for i, item := range n.items {
		words[i] = word(item.text)
	}
	if line := strings.Join(words, ", "); len(line) <= short {
		b.WriteString(" [" + line + "]\n")
		return
	}
	b.WriteByte('\n')
	for _, w := range words {
		b.WriteString(indent + "- " + w + "\n")
	}
}

// word writes text as YAML, in quotes unless nobody can take it for anything
// else.
func word(s string) string {
	if isPlain(s) {
		return s
	}
	// What Go escapes is escaped alike in YAML: s is UTF-8, so \x does not come
	// from half of a character.
	return strconv.Quote(s)
}

// isPlain reports whether s begins like a word, an option or a path, has nothing
// in it that means something to YAML, and is none of its words.
func isPlain(s string) bool {
	bare := strings.TrimPrefix(strings.TrimPrefix(s, "-"), "-")
	switch strings.ToLower(bare) {
	case "", "y", "n", "yes", "no", "on", "off", "true", "false", "null":
		return false
	}
	if isDuration(s) {
		return true
	}
	if !isLetter(rune(bare[0])) && bare[0] != '/' && bare[0] != '_' {
		return false
	}
	odd := func(r rune) bool { return !isLetter(r) && !strings.ContainsRune("0123456789 _-./+=@", r) }
	return !strings.ContainsFunc(s, odd) && !strings.HasSuffix(s, " ")
}

// isDuration reports whether s is like 1m30s, which no number is.
func isDuration(s string) bool {
	return s[0] >= '1' && s[0] <= '9' && strings.Trim(s, "0123456789hms") == "" && strings.HasSuffix(s, "s")
}

func isLetter(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }

// isBlock reports whether s reads best, and can be written, as lines of their
// own: as scripts do.
func isBlock(s string) bool {
	odd := func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }
	return strings.Contains(strings.TrimRight(s, "\n"), "\n") && !strings.ContainsRune(" \t\n", rune(s[0])) && !strings.ContainsFunc(s, odd)
}

func writeBlock(b *bytes.Buffer, s, indent string) {
	switch body := strings.TrimRight(s, "\n"); len(s) - len(body) {
	case 0:
		b.WriteString(" |-\n")
	case 1:
		b.WriteString(" |\n")
	default:
		b.WriteString(" |+\n")
	}
	for line := range strings.Lines(s) {
		if line != "\n" {
			b.WriteString(indent)
		}
		b.WriteString(strings.TrimSuffix(line, "\n") + "\n")
	}
}
