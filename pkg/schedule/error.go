package schedule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Error is an expression that is not a schedule.
type Error struct {
	Expr    string // as it was given, if it is not too long for a line
	What    string // what is wrong with it; "" if Suggest says it all
	Suggest string // what may have been meant, as a question, or what there is; or ""
}

func (e *Error) Error() string {
	what := e.What
	if what == "" {
		what = e.Suggest
	}
	return fmt.Sprintf("%+q is not a schedule: %s", e.Expr, what)
}

// Hint says what may have been meant, or what there is, unless the message has said so.
func (e *Error) Hint() string {
	if e.What == "" {
		return ""
	}
	return e.Suggest
}

// maxLength is the longest expression, in bytes.
const maxLength = 256

const blanks = " \t"

func isBlank(r rune) bool { return strings.ContainsRune(blanks, r) }

// checkText refuses what need not be looked at.
func checkText(expr string, o Options) error {
	if len(expr) > maxLength {
		return &Error{Expr: short(expr), What: fmt.Sprintf("it has %d bytes, and %d is the limit", len(expr), maxLength)}
	}
	if strings.Trim(expr, blanks) == "" {
		return &Error{Expr: expr, What: "it is empty", Suggest: `"*/5 * * * *" is one, and so is "@daily"`}
	}
	for i, r := range expr {
		if !printable(r) {
			f := &fault{instead: []string{strings.Trim(strings.Map(blanked, expr), blanks)}}
			return &Error{Expr: short(expr), What: fmt.Sprintf("%+q, byte %d, is not printable ASCII", r, i+1), Suggest: f.hint(o)}
		}
	}
	return nil
}

func printable(r rune) bool { return r >= ' ' && r <= '~' || r == '\t' }

// blanked is r, or what a word processor may have made r of.
func blanked(r rune) rune {
	switch {
	case printable(r):
		return r
	case strings.ContainsRune("\u2010\u2011\u2012\u2013\u2014\u2212", r):
		return '-'
	case strings.ContainsRune("\u2217\uff0a", r):
		return '*'
	}
	return ' '
}

// short cuts what does not fit into a line.
func short(expr string) string {
	const most = 64
	if len(expr) <= most {
		return expr
	}
	return expr[:most] + "..."
}

// A fault is what is wrong with a part of an expression. On its way up it comes
// to be about the whole.
type fault struct {
	what    string
	instead []string // what the part may have been meant to be
	advice  string   // what to write, if instead is of no use
	english bool     // what is worth saying only if instead is of no use
	cause   error    // an error that is not about the expression, to be passed on
}

func (f *fault) each(change func(string) string) *fault {
	for i, text := range f.instead {
		f.instead[i] = change(text)
	}
	return f
}

func (f *fault) before(rest string) *fault {
	return f.each(func(text string) string { return text + rest })
}

func (f *fault) behind(prefix string) *fault {
	return f.each(func(text string) string { return prefix + text })
}

// in makes a fault in item i of a list one in the list.
func (f *fault) in(items []string, i int) *fault {
	return f.each(func(text string) string {
		list := slices.Clone(items)
		list[i] = text
		if slices.Contains(items, text) {
			list[i] = ""
		}
		return strings.Join(slices.DeleteFunc(list, func(s string) bool { return s == "" }), ",")
	})
}

// within makes a fault in a field one in the expression.
func (f *fault) within(words []string, i int, u unit) *fault {
	f.what = fmt.Sprintf("%s %q: %s", u.name, words[i], f.what)
	f.instead = slices.DeleteFunc(f.instead, func(text string) bool { return text == "" })
	return f.each(func(text string) string {
		all := slices.Clone(words)
		all[i] = text
		return strings.Join(all, " ")
	})
}

// hint asks whether something else was meant, or else gives the advice. It asks only
// for what is a schedule.
func (f *fault) hint(o Options) string {
	var good []string
	if o.Name == "" {
		o.Name = "any" // H is one whatever the job is called
	}
	for _, text := range f.instead {
		if s, bad := parse(text, o); bad == nil && s != nil {
			good = append(good, strconv.Quote(text))
		}
	}
	if len(good) == 0 {
		return f.advice
	}
	return "did you mean " + strings.Join(good, " or ") + "?"
}
