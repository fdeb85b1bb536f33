package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"strings"
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

// WriteCSV writes the cells as they are shown, without the notes. A minus sign is one that programs read.
func (t Table) WriteCSV(w io.Writer) error {
	if err := t.check(); err != nil {
		return err
	}
	c := csv.NewWriter(w)
	for _, row := range append([][]string{t.names()}, t.Rows...) {
		plain := make([]string, len(row))
		for j, s := range row {
			plain[j] = strings.ReplaceAll(s, "−", "-")
		}
		c.Write(plain) // its error is kept for the end
	}
	c.Flush()
	return c.Error()
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
