package cli

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// line is what one walk over the arguments finds. It applies nothing.
type line struct {
	given   []given
	action  *given // --help and its like end the walk
	words   []string
	command []string
	dashed  bool // "--" was seen
	lacking *Row // the last flag, whose value would come next
}

type given struct {
	row  *Row
	text string
}

// anyWords as the number of words means that flags and words mix until "--".
const anyWords = -1

func (s Shape) words() int {
	if s == Plain {
		return anyWords
	}
	return int(s)
}

// walk reads args: flags, at most so many words, then a command that is not
// looked at. It is our own, and one loop, because the rule "flags end at
// COMMAND or --" is a state of the walk; a flag package can only be run once
// for each word, and must then be told apart from its own defaults.
//
// After an error it goes on for what else was given: that may say where, and in which
// form, the error is to be told.
func (f *Flags) walk(args []string, words int) (l line, wrong error) {
	defer func() { f.given = l.given }()
	for len(args) > 0 && l.action == nil {
		arg := args[0]
		switch {
		case arg == "--":
			l.dashed = true
			l.command = args[1:]
			return l, wrong
		case len(arg) > 1 && arg[0] == '-':
			rest, err := l.option(f, args)
			if err != nil {
				rest = args[1:]
			}
			if wrong != nil {
				l.lacking = nil
			}
			wrong, args = first(wrong, err), rest
		case len(l.words) == words:
			l.command = args
			return l, wrong
		default:
			l.words = append(l.words, arg)
			args = args[1:]
		}
	}
	return l, wrong
}

// option reads the flag, or the cluster of short ones, that args begins with,
// and returns what follows it and its value.
func (l *line) option(f *Flags, args []string) ([]string, error) {
	arg, rest := args[0], args[1:]
	if long, ok := strings.CutPrefix(arg, "--"); ok {
		name, text, attached := strings.Cut(long, "=")
		row := f.row(name)
		if row == nil || row.EnvOnly {
			return nil, f.unknown(name)
		}
		return l.take(row, text, attached, rest)
	}
	for cluster := arg[1:]; cluster != "" && l.action == nil; {
		letter, size := utf8.DecodeRuneInString(cluster)
		row := f.short(cluster[:size])
		if row == nil {
			return nil, f.unknownShort(letter, arg)
		}
		cluster = cluster[size:]
		text, attached := strings.CutPrefix(cluster, "=")
		if row.needsValue() && cluster != "" {
			attached = true
		}
		var err error
		if rest, err = l.take(row, text, attached, rest); err != nil || attached {
			return rest, err
		}
	}
	return rest, nil
}

// take notes a row with the value attached to it, or the next argument.
func (l *line) take(row *Row, text string, attached bool, rest []string) ([]string, error) {
	switch {
	case attached && row.kind == instant && row.Arg == "":
		return nil, Usagef("%s takes no value", row.flag())
	case attached:
	case !row.needsValue():
		text = "true"
	case len(rest) == 0:
		l.lacking = row
		return nil, Usagef("%s needs a value: %s %s", row.flag(), row.flag(), row.Arg)
	default:
		text, rest = rest[0], rest[1:]
	}
	l.given = append(l.given, given{row, text})
	if row.kind == instant {
		l.action = &l.given[len(l.given)-1]
	}
	return rest, nil
}

func (r *Row) needsValue() bool {
	return r.kind == scalar || r.kind == list || r.kind == instant && r.Arg != ""
}

func (f *Flags) short(letter string) *Row {
	i := slices.IndexFunc(f.rows, func(r *Row) bool { return r.Short == letter && !r.EnvOnly })
	if i < 0 {
		return nil
	}
	return f.rows[i]
}

func (f *Flags) unknown(name string) error {
	if row := f.row(name); row != nil && row.EnvOnly {
		return Usagef("--%s is not taken from the command line, which every user can read: set %s", name, strings.Join(row.env(), " or "))
	}
	if f.meant != nil {
		if flag := f.meant(name); slices.Contains(f.names(), flag) {
			return Usagef("unknown flag --%s: did you mean --%s?", name, flag)
		}
	}
	return Usagef("unknown flag --%s%s", name, didYouMean(name, f.names(), "--"))
}

func (f *Flags) unknownShort(letter rune, arg string) error {
	if f.row(arg[1:]) != nil {
		return Usagef("unknown flag %s: did you mean -%s?", arg, arg)
	}
	if len(arg) == 1+utf8.RuneLen(letter) {
		return Usagef("unknown flag %s", arg)
	}
	return Usagef("unknown flag -%c in %s", letter, arg)
}

// names are the long flags worth proposing.
func (f *Flags) names() []string {
	var names []string
	for _, r := range f.rows {
		if !r.Hidden && !r.EnvOnly {
			names = append(names, r.Name)
		}
	}
	return names
}

func (l line) args() Args {
	a := Args{Words: l.words, Command: l.command, HasName: len(l.words) > 0}
	if a.HasName {
		a.Name = l.words[0]
	}
	return a
}
