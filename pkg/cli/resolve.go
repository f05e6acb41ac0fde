package cli

import (
	"errors"
	"fmt"
)

// resolve gives each row its value: flag, CONCH_ variable, alias, default. It
// goes through the whole table whatever it meets, so that --debug-env can show
// it, and returns what was wrong first, flags before variables.
func (f *Flags) resolve(line []given, lookup func(string) (string, bool)) error {
	var wrong error
	for _, g := range line {
		if g.row.source != "" && g.row.kind != list {
			wrong = first(wrong, Usagef("%s given twice", g.row.flag()))
			continue
		}
		g.row.source = g.row.flag()
		g.row.text = append(g.row.text, g.text)
	}
	for _, r := range f.rows {
		if r.source == "" {
			r.fromEnv(lookup)
		}
	}
	for _, fromFlag := range []bool{true, false} {
		for _, r := range f.rows {
			if r.source != "" && (r.source == r.flag()) == fromFlag {
				wrong = first(wrong, r.apply())
			}
		}
	}
	return wrong
}

func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (r *Row) fromEnv(lookup func(string) (string, bool)) {
	for _, name := range r.env() {
		if text, ok := lookup(name); ok {
			r.source, r.text = name, []string{text}
			return
		}
	}
}

func (r *Row) apply() error {
	if r.set == nil {
		return nil
	}
	if r.err = r.set(r.text); r.err == nil {
		return nil
	}
	if r.Secret {
		// What set says may quote what it was given.
		r.err = errors.New("not a value that can be used")
	}
	status := &Exit{Status: Usage, Err: fmt.Errorf("%s: %w", r.source, r.err)}
	// The synopsis helps who typed a flag, not who exported a variable.
	status.Usage = r.source == r.flag()
	return status
}
