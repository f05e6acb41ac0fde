package status

import (
	"bufio"
	"io"
	"strings"
	"unicode/utf8"

	"conch/pkg/cli"
)

// printer writes tables for people.
type printer struct {
	*bufio.Writer
	tables int
}

func newPrinter(w io.Writer) *printer { return &printer{Writer: bufio.NewWriter(w)} }

// table prints a title and n rows in columns, or that there are none. It asks
// for each row twice, first for the widths: there may be too many to keep.
// Lines that follow a row are more's.
func (p *printer) table(title string, columns []string, n int, row func(i int) []string, more func(i int) []string) {
	if p.tables > 0 {
		p.line()
	}
	p.tables++
	if n == 0 {
		p.line(title, " none")
		return
	}
	p.line(title)
	widths := make([]int, len(columns))
	widen := func(cells []string) {
		for i, cell := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	widen(columns)
	for i := range n {
		widen(clean(row(i)))
	}
	p.row(columns, widths)
	for i := range n {
		p.row(clean(row(i)), widths)
		for _, text := range more(i) {
			p.line("    ", cli.OneLine(text))
		}
	}
}

func (p *printer) row(cells []string, widths []int) {
	var b strings.Builder
	for i, cell := range cells {
		b.WriteString(cell)
		b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
	}
	p.line(strings.TrimRight(b.String(), " "))
}

func (p *printer) line(parts ...string) {
	for _, s := range parts {
		_, _ = p.WriteString(s) // Flush says it
	}
	_ = p.WriteByte('\n')
}

// clean makes cells fit for a terminal, and none of them empty.
func clean(cells []string) []string {
	for i, cell := range cells {
		if cells[i] = cli.OneLine(cell); cell == "" {
			cells[i] = "-"
		}
	}
	return cells
}
