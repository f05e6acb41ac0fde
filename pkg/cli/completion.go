package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// completion answers the scripts of --completion. Its answer is a line for
// each proposal, the word, a tab and what it means, and then one line that
// says what else the shell should do:
//
//	:words      nothing
//	:files      propose files
//	:command N  from the Nth word on (0 is the tool) another command is typed
type completion struct {
	tool  Tool
	io    *Stdio
	shell string

	starts []int  // where on the shell's line each of the words stands
	keep   string // what bash has already set before the word it completes
	quoted bool   // the word is typed within quotes
}

type proposal struct{ word, help string }

// patience is how long the shell may wait for names from etcd.
const patience = 300 * time.Millisecond

// print answers for the words after the tool's name, the last being the one
// that is typed.
func (c completion) print(ctx context.Context, words []string) error {
	if len(words) == 0 {
		words = []string{""}
	}
	for i := range words {
		c.starts = append(c.starts, i+1)
	}
	if c.shell == "bash" {
		c.quoted = strings.HasPrefix(words[len(words)-1], "'") || strings.HasPrefix(words[len(words)-1], `"`)
		words, c.starts, c.keep = joinBroken(words)
		for i := range words {
			words[i] = strings.NewReplacer(`\`, "", "'", "", `"`, "").Replace(words[i])
		}
	}
	proposals, then := c.propose(ctx, words[:len(words)-1], words[len(words)-1])
	var b strings.Builder
	for _, p := range proposals {
		// A name is of someone else's choosing: nothing in it may become a
		// line of the answer, or a part of the command line but a word.
		if strings.ContainsFunc(p.word, unicode.IsControl) {
			continue
		}
		if c.shell == "bash" {
			p.word = strings.TrimPrefix(p.word, c.keep)
			escaped := escapeWord(p.word)
			if c.quoted && escaped != p.word {
				continue // what would be safe differs within quotes
			}
			p.word = escaped
		}
		fmt.Fprintf(&b, "%s\t%s\n", p.word, OneLine(p.help))
	}
	return print(c.io.Out, b.String()+then+"\n")
}

// propose is the answer for the words before and the prefix of the next.
func (c completion) propose(ctx context.Context, before []string, prefix string) ([]proposal, string) {
	f, _ := c.tool.flags()
	words := c.tool.Shape.words()
	if len(c.tool.Commands) > 0 {
		words = 0
	}
	l, err := f.walk(before, words)
	switch {
	case l.lacking != nil:
		return c.value(ctx, f, l, l.lacking, "", prefix)
	case err != nil || l.action != nil:
		return nil, ":words"
	case len(c.tool.Commands) > 0 && len(l.command) > 0:
		return c.proposeOf(ctx, before, l.command, prefix)
	case len(l.command) > 0 || l.dashed:
		return nil, c.command(len(before) - len(l.command))
	case strings.HasPrefix(prefix, "-"):
		return c.flag(ctx, f, l, prefix)
	case len(c.tool.Commands) > 0:
		return c.commands(prefix), ":words"
	case len(l.words) == words:
		return nil, c.command(len(before))
	}
	return c.words(ctx, f, l, prefix), ":words"
}

// command is the answer where another command begins with the word at index.
func (c completion) command(index int) string { return fmt.Sprintf(":command %d", c.starts[index]) }

// proposeOf completes after the word of a subcommand.
func (c completion) proposeOf(ctx context.Context, before, command []string, prefix string) ([]proposal, string) {
	all := c.tool.commands()
	i := named(all, command[0])
	if i < 0 {
		return nil, ":words"
	}
	at := len(before) - len(command)
	c.tool = all[i]
	c.starts = slices.Delete(slices.Clone(c.starts), at, at+1)
	return c.propose(ctx, slices.Delete(slices.Clone(before), at, at+1), prefix)
}

func (c completion) commands(prefix string) []proposal {
	var list []proposal
	for _, t := range c.tool.commands() {
		if strings.HasPrefix(t.Name, prefix) {
			list = append(list, proposal{t.Name, t.Brief})
		}
	}
	return list
}

// words asks the tool, with the settings of the line so far applied, so that
// --endpoints counts here too.
func (c completion) words(ctx context.Context, f *Flags, l line, prefix string) []proposal {
	if f.complete == nil || f.resolve(l.given, c.io.Lookup) != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var list []proposal
	for _, word := range f.complete(ctx, c.io, l.words, prefix) {
		if strings.HasPrefix(word, prefix) {
			list = append(list, proposal{word, ""})
		}
	}
	return list
}

// flag completes a flag, or its value after "=".
func (c completion) flag(ctx context.Context, f *Flags, l line, prefix string) ([]proposal, string) {
	if name, value, ok := strings.Cut(prefix, "="); ok {
		row := f.row(strings.TrimPrefix(name, "--"))
		if row == nil {
			return nil, ":words"
		}
		return c.value(ctx, f, l, row, name+"=", value)
	}
	var list []proposal
	for _, r := range f.rows {
		if strings.HasPrefix(r.flag(), prefix) && !r.Hidden && !r.EnvOnly {
			list = append(list, proposal{r.flag(), plain(r.Help)})
		}
	}
	return list, ":words"
}

// value completes the value of a flag, which lead stands before.
func (c completion) value(ctx context.Context, f *Flags, l line, r *Row, lead, prefix string) ([]proposal, string) {
	if i := strings.LastIndexByte(prefix, ',') + 1; r.commas {
		lead, prefix = lead+prefix[:i], prefix[i:]
	}
	values := r.Values
	if r.Complete != nil && f.resolve(l.given, c.io.Lookup) == nil {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		values = append(slices.Clone(values), r.Complete(ctx, prefix)...)
	}
	var list []proposal
	for _, value := range values {
		if strings.HasPrefix(value, prefix) {
			list = append(list, proposal{lead + value, ""})
		}
	}
	if slices.Contains([]string{"FILE", "DIR", "PATH", "ADDR|PATH"}, r.Arg) {
		return list, ":files"
	}
	return list, ":words"
}

// joinBroken undoes that bash breaks words at "=" and ":" where it hands them
// to a completion. It returns the words whole, where each began, and the part
// of the last that bash takes for words before the one it completes.
func joinBroken(words []string) (whole []string, starts []int, keep string) {
	breaks := func(word string) bool { return word != "" && strings.Trim(word, "=:") == "" }
	for i, word := range words {
		if i > 0 && (breaks(word) || breaks(words[i-1])) {
			whole[len(whole)-1] += word
			continue
		}
		whole = append(whole, word)
		starts = append(starts, i+1)
	}
	last := words[len(words)-1]
	if breaks(last) {
		last = ""
	}
	return whole, starts, strings.TrimSuffix(whole[len(whole)-1], last)
}

// escapeWord makes a word safe to put on a command line as it is.
func escapeWord(word string) string {
	var b strings.Builder
	for _, r := range word {
		if r < 0x80 && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_./:=@%+,", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
