package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// addActions declares the flags that every tool has.
func (f *Flags) addActions() {
	const group = "Help"
	show := func(render func(Tool) string) func(Tool, *Stdio, string) error {
		return func(t Tool, io *Stdio, _ string) error { return print(io.Out, render(t)) }
	}
	f.action(Row{Name: "help", Help: "explain all of it", Group: group}, show(Tool.help))
	f.action(Row{Name: "h", Short: "h", Hidden: true}, show(Tool.shortHelp))
	f.action(Row{Name: "version", Short: "V", Help: "print the version", Group: group}, show(Tool.version))
	f.Bool(&f.debugEnv, Row{Name: "debug-env", Env: NoEnv, Group: group,
		Help: "print each setting and where it comes from"})
	f.action(Row{Name: "completion", Arg: "bash|zsh|fish", Values: shells(), Group: group,
		Help: "print the completion for a shell"}, Tool.completion)
	f.action(Row{Name: "man", Hidden: true}, show(Tool.man))
}

func (f *Flags) action(r Row, act func(t Tool, io *Stdio, text string) error) {
	r.Env, r.act = NoEnv, act
	f.declare(r, instant, nil)
}

// print writes to stdout. A full disk must not look like success.
func print(w io.Writer, text string) error {
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	return nil
}

// printEnv prints each setting, its value and where that came from.
func (f *Flags) printEnv(w io.Writer) error {
	var b strings.Builder
	tab := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, r := range f.rows {
		if r.kind == instant || r.Name == "debug-env" {
			continue
		}
		source := r.source
		if source == "" {
			source = "default"
		}
		if r.err != nil {
			source += " (" + OneLine(maskURLs(r.err.Error())) + ")"
		}
		fmt.Fprintf(tab, "%s\t%s\t%s\n", r.Name, r.shown(), source)
	}
	if err := tab.Flush(); err != nil {
		return err
	}
	return print(w, b.String())
}

// shown is the value as --debug-env shows it.
func (r *Row) shown() string {
	texts := []string{r.Default}
	if r.source != "" {
		texts = slices.Clone(r.text)
	}
	for i, text := range texts {
		if text != "" {
			texts[i] = r.mask(text)
		}
	}
	switch text := strings.Join(texts, ","); {
	case text == "" && r.source == "":
		return "-"
	case text == "":
		return `""`
	default:
		return OneLine(text)
	}
}
