package cli

import (
	"context"
	"strings"
)

// Row is one setting: a flag, the variables it may come from instead, and how
// it is explained.
type Row struct {
	Name  string // long name, without dashes: "kill-after"
	Short string // one letter, or empty
	Arg   string // what its value is called in help: "DURATION"; empty for a switch
	// Env is the variable that sets it. Empty means CONCH_ and the name in
	// capitals; NoEnv means that there is none.
	Env string
	// Alias are variables looked at when Env is not set: "ETCDCTL_ENDPOINTS".
	Alias []string
	// Default is the value when nothing sets it, as the user would type it.
	// Empty leaves what the declared variable held.
	Default string
	Help    string // one sentence or two, without the full stop at the end
	Group   string // heading in help; empty takes that of Flags.Group
	Hidden  bool   // works, but is not shown
	Secret  bool   // the value is never shown
	EnvOnly bool   // no flag: every user of the machine can read argv
	// Mask, if not nil, returns a value as it may be shown, without a secret that it
	// can hold beside other things. What a URL has before its @ is masked anyway.
	Mask func(text string) string
	// Inherit leaves the variable to the commands that a tool runs, unless it holds
	// a secret; see Flags.Environ.
	Inherit bool
	// Values are the only values, for Enum; of a list, those that are proposed.
	Values []string
	// Complete, if not nil, proposes values to the shell's completion, as
	// Flags.Complete does words.
	Complete func(ctx context.Context, prefix string) []string
	// Min and Max bound an Int, where Max > Min.
	Min, Max int

	kind   kind
	commas bool // a list whose parts may stand in one text
	set    func(texts []string) error
	act    func(t Tool, io *Stdio, text string) error // an action: --help
	text   []string                                   // as given
	source string                                     // where text came from
	err    error                                      // why text was refused
}

// NoEnv as a Row's Env means that no variable sets it.
const NoEnv = "-"

type kind int

const (
	scalar  kind = iota
	toggle       // needs no value on the command line
	list         // may be repeated
	instant      // an action that is taken as soon as it is seen
)

// flag is the row as the user types it.
func (r *Row) flag() string { return "--" + r.Name }

// env lists the variables of the row, the first that is set counts.
func (r *Row) env() []string {
	if r.Env == "" {
		return r.Alias
	}
	return append([]string{r.Env}, r.Alias...)
}

// Flags is the table of a tool's settings, made by its Setup.
type Flags struct {
	rows     []*Row
	group    string
	debugEnv bool
	given    []given // by walk, even if it fails
	failed   func(Failure)
	meant    func(name string) string
	complete func(ctx context.Context, io *Stdio, words []string, prefix string) []string
}

// Group begins a group: rows declared from here on are shown under title.
func (f *Flags) Group(title string) { f.group = title }

// Meant names who knows the flags that others call otherwise: it returns which, or "".
func (f *Flags) Meant(flag func(name string) string) { f.meant = flag }

// Complete names who proposes words (NAMEs from etcd, say) to the shell's
// completion. It is called with the settings on the line so far applied, the
// words before, and what has been typed of the next; ctx ends after 300 ms.
func (f *Flags) Complete(propose func(ctx context.Context, io *Stdio, words []string, prefix string) []string) {
	f.complete = propose
}

// Source returns what set the named row: "--ttl", "CONCH_TTL",
// "ETCDCTL_ENDPOINTS", or "" if its default stands.
func (f *Flags) Source(name string) string {
	if r := f.row(name); r != nil {
		return r.source
	}
	panic("cli: no flag --" + name)
}

// Set reports whether anything set the named row.
func (f *Flags) Set(name string) bool { return f.Source(name) != "" }

func (f *Flags) row(name string) *Row {
	for _, r := range f.rows {
		if r.Name == name {
			return r
		}
	}
	return nil
}

// declare adds a row. A table that contradicts itself is a mistake in the
// program, found by the first run of any test, so it panics.
func (f *Flags) declare(r Row, kind kind, set func([]string) error) {
	if f.row(r.Name) != nil {
		panic("cli: --" + r.Name + " declared twice")
	}
	for _, other := range f.rows {
		if r.Short != "" && r.Short == other.Short {
			panic("cli: -" + r.Short + " is --" + r.Name + " and --" + other.Name)
		}
	}
	r.kind, r.set = kind, set
	switch r.Env {
	case "":
		r.Env = "CONCH_" + strings.ToUpper(strings.ReplaceAll(r.Name, "-", "_"))
	case NoEnv:
		r.Env = ""
	}
	if r.Group == "" {
		r.Group = f.group
	}
	if r.Default != "" {
		if err := set([]string{r.Default}); err != nil {
			panic("cli: default of --" + r.Name + ": " + err.Error())
		}
	}
	f.rows = append(f.rows, &r)
}
