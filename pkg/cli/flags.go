package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Func declares a setting that set reads.
func (f *Flags) Func(set func(text string) error, r Row) {
	if r.Arg == "" {
		r.Arg = "VALUE"
	}
	f.declare(r, scalar, func(texts []string) error { return set(texts[0]) })
}

// Bool declares a switch. In the environment it is 1, true, yes, 0, false or
// no; --name=no on the command line undoes that.
func (f *Flags) Bool(p *bool, r Row) {
	f.declare(r, toggle, func(texts []string) error { return assign(p, texts[0], parseBool) })
}

// String declares a text.
func (f *Flags) String(p *string, r Row) {
	f.Func(func(text string) error { *p = text; return nil }, r)
}

// Strings declares a list: commas, or the flag repeated. Spaces around the
// parts are cut off, empty parts are left out.
func (f *Flags) Strings(p *[]string, r Row) {
	if r.Arg == "" {
		r.Arg = "LIST"
	}
	r.commas = true
	f.declare(r, list, func(texts []string) error {
		*p = nil
		for part := range strings.SplitSeq(strings.Join(texts, ","), ",") {
			if part = strings.TrimSpace(part); part != "" {
				*p = append(*p, part)
			}
		}
		return nil
	})
}

// Repeat declares a list of texts that may hold commas: the flag repeated. A
// variable gives one element.
func (f *Flags) Repeat(p *[]string, r Row) {
	if r.Arg == "" {
		r.Arg = "VALUE"
	}
	f.declare(r, list, func(texts []string) error { *p = slices.Clone(texts); return nil })
}

// Duration declares a length of time; see ParseDuration.
func (f *Flags) Duration(p *time.Duration, r Row) {
	if r.Arg == "" {
		r.Arg = "DURATION"
	}
	f.Func(func(text string) error { return assign(p, text, ParseDuration) }, r)
}

// Int declares a whole number, between r.Min and r.Max if they differ.
func (f *Flags) Int(p *int, r Row) {
	if r.Arg == "" {
		r.Arg = "N"
	}
	f.Func(func(text string) error {
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		if r.Max > r.Min && (n < r.Min || n > r.Max) {
			return fmt.Errorf("%d is not between %d and %d", n, r.Min, r.Max)
		}
		*p = n
		return nil
	}, r)
}

// Uint64 declares a whole number that is not negative: a revision, a token.
func (f *Flags) Uint64(p *uint64, r Row) {
	if r.Arg == "" {
		r.Arg = "N"
	}
	f.Func(func(text string) error {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a whole number of at least 0", text)
		}
		*p = n
		return nil
	}, r)
}

// Enum declares a choice among r.Values.
func (f *Flags) Enum(p *string, r Row) {
	f.choice(func(text string) { *p = text }, r)
}

func (f *Flags) choice(set func(string), r Row) {
	if r.Arg == "" {
		r.Arg = strings.Join(r.Values, "|")
	}
	f.Func(func(text string) error {
		if !slices.Contains(r.Values, text) {
			return fmt.Errorf("%q is not one of %s%s", text, strings.Join(r.Values, ", "), didYouMean(text, r.Values, ""))
		}
		set(text)
		return nil
	}, r)
}

// JSON declares --json, and -o json, which is the same. help is that of --json.
func (f *Flags) JSON(p *bool, help string) { f.Forms(p, help, nil, "") }

// Forms declares --json as JSON does, and further values of -o, which are put into other;
// otherHelp explains these.
func (f *Flags) Forms(p *bool, help string, other *string, otherHelp string, others ...string) {
	const json = "json"
	f.Bool(p, Row{Name: json, Env: NoEnv, Help: help})
	same := "as --json"
	if otherHelp != "" {
		same = otherHelp + "; json is as --json"
	}
	f.choice(func(text string) {
		if text == json {
			*p = true
		} else {
			*other = text
		}
	}, Row{Name: "output", Short: "o", Env: NoEnv, Values: append(others, json), Help: same})
}

// Signal declares a signal: TERM, SIGTERM or 15.
func (f *Flags) Signal(p *syscall.Signal, r Row) {
	if r.Arg == "" {
		r.Arg = "SIGNAL"
	}
	f.Func(func(text string) error { return assign(p, text, ParseSignal) }, r)
}

func assign[T any](p *T, text string, parse func(string) (T, error)) error {
	value, err := parse(text)
	if err == nil {
		*p = value
	}
	return err
}
