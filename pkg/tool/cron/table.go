package cron

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"conch/pkg/cli"
)

// table is rows of text under headings.
type table struct {
	rows [][]string
}

func newTable(heads ...string) *table { return &table{[][]string{heads}} }

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// print writes the table in columns. An empty cell is a dash, so that each line
// has as many words as its headings, but for those that hold spaces.
func (t *table) print(stdio *cli.Stdio) error {
	w := tabwriter.NewWriter(stdio.Out, 0, 0, 2, ' ', 0)
	for _, row := range t.rows {
		for i, cell := range row {
			if row[i] = cli.OneLine(cell); cell == "" {
				row[i] = "-"
			}
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// nothing says on a terminal that there is nothing to be listed: elsewhere that is an
// empty list.
func nothing(stdio *cli.Stdio, what string) error {
	if cli.Terminal(stdio.Err) {
		note(stdio, "%s", what)
	}
	return nil
}

// clock is a point in time as text, "" for none.
func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// at is the same for JSON: null for none.
func at(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func number(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}

// globs are patterns, one of which a name must match; none is all names.
type globs []string

func (g globs) check() error {
	for _, pattern := range g {
		if _, err := path.Match(pattern, ""); err != nil {
			return cli.Usagef("%q is not a pattern: * is any text, ? a character, [a-z] one of these", pattern)
		}
	}
	return nil
}

// isGlob reports whether a word can mean more than one name.
func isGlob(word string) bool { return strings.ContainsAny(word, `*?[\`) }

func (g globs) match(job string) bool {
	for _, pattern := range g {
		if ok, _ := path.Match(pattern, job); ok {
			return true
		}
	}
	return len(g) == 0
}
