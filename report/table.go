package report

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// Table is a table of text cells with notes below. The zero value is an empty table.
type Table struct {
	Columns []Column
	Rows    [][]string // as many cells as Columns
	Notes   []string   // lines below the table
}

// Column is one column of a Table; numbers belong to the Right.
type Column struct {
	Name  string
	Right bool
}

// WriteText writes the table for a terminal: aligned columns two spaces apart, a thin rule below the header.
func (t Table) WriteText(w io.Writer) error {
	if err := t.check(); err != nil {
		return err
	}
	width := make([]int, len(t.Columns))
	total := 2 * (len(t.Columns) - 1)
	for j, c := range t.Columns {
		width[j] = cells(c.Name)
		for _, r := range t.Rows {
			width[j] = max(width[j], cells(r[j]))
		}
		total += width[j]
	}
	var b strings.Builder
	line := func(row []string) {
		var l strings.Builder
		for j, s := range row {
			if j > 0 {
				l.WriteString("  ")
			}
			pad := strings.Repeat(" ", width[j]-cells(s))
			if t.Columns[j].Right {
				l.WriteString(pad + s)
			} else {
				l.WriteString(s + pad)
			}
		}
		b.WriteString(strings.TrimRight(l.String(), " ") + "\n")
	}
	line(t.names())
	b.WriteString(strings.Repeat("─", max(0, total)) + "\n")
	for _, r := range t.Rows {
		line(r)
	}
	for _, n := range t.Notes {
		b.WriteString(n + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteMarkdown writes the table as GitHub-flavoured Markdown, every note a paragraph below it.
func (t Table) WriteMarkdown(w io.Writer) error {
	if err := t.check(); err != nil {
		return err
	}
	escape := strings.NewReplacer("|", `\|`, "\n", " ")
	var b strings.Builder
	line := func(row []string) {
		for _, s := range row {
			b.WriteString("| " + escape.Replace(s) + " ")
		}
		b.WriteString("|\n")
	}
	line(t.names())
	for _, c := range t.Columns {
		if c.Right {
			b.WriteString("| ---: ")
		} else {
			b.WriteString("| --- ")
		}
	}
	b.WriteString("|\n")
	for _, r := range t.Rows {
		line(r)
	}
	for _, n := range t.Notes {
		b.WriteString("\n" + n + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t Table) names() []string {
	names := make([]string, len(t.Columns))
	for j, c := range t.Columns {
		names[j] = c.Name
	}
	return names
}

func (t Table) check() error {
	for i, r := range t.Rows {
		if len(r) != len(t.Columns) {
			return fmt.Errorf("report: row %d of a table has %d cells, want %d, one for each column", i, len(r), len(t.Columns))
		}
	}
	return nil
}

// cells returns how many terminal cells s takes: one for a rune, none for a mark that combines with the rune before it.
func cells(s string) (n int) {
	for _, r := range s {
		if !unicode.Is(unicode.Mn, r) {
			n++
		}
	}
	return n
}
