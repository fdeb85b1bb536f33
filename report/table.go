package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
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

// WriteText writes the table as text of any width, see [Table.WriteWithin].
func (t Table) WriteText(w io.Writer) error { return t.WriteWithin(w, 0) }

// WriteWithin writes the table for a terminal of the given width in cells, 0 for any: aligned columns two spaces apart, a
// thin rule below the header. A table that is wider comes in blocks, one below the other, each of which begins with the
// columns before the first that is Right (or with the first of all, if none is), and its notes are wrapped. Only a column
// that does not fit beside those sticks out.
func (t Table) WriteWithin(w io.Writer, width int) error {
	if err := t.check(); err != nil {
		return err
	}
	var b strings.Builder
	for i, columns := range t.blocks(width) {
		if i > 0 {
			b.WriteString("\n")
		}
		t.writeBlock(&b, columns)
	}
	for _, n := range t.Notes {
		b.WriteString(wrap(n, width) + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// blocks returns the columns of every block.
func (t Table) blocks(width int) (blocks [][]int) {
	labels := max(1, slices.IndexFunc(t.Columns, func(c Column) bool { return c.Right }))
	var block []int
	used := 0
	for j := range t.Columns {
		if used += t.width(j) + 2; width > 0 && used-2 > width && len(block) > labels {
			blocks, block, used = append(blocks, block), slices.Clone(block[:labels]), t.width(j)+2
			for _, l := range block {
				used += t.width(l) + 2
			}
		}
		block = append(block, j)
	}
	return append(blocks, block)
}

func (t Table) writeBlock(b *strings.Builder, columns []int) {
	line := func(row []string) {
		var l strings.Builder
		for k, j := range columns {
			if k > 0 {
				l.WriteString("  ")
			}
			if t.Columns[j].Right {
				l.WriteString(terminal.FillLeft(row[j], t.width(j)))
			} else {
				l.WriteString(terminal.FillRight(row[j], t.width(j)))
			}
		}
		b.WriteString(strings.TrimRight(l.String(), " ") + "\n")
	}
	rule := -2
	for _, j := range columns {
		rule += t.width(j) + 2
	}
	line(t.names())
	b.WriteString(strings.Repeat("─", max(0, rule)) + "\n")
	for _, r := range t.Rows {
		line(r)
	}
}

// terminal measures text in the cells of a terminal; by itself the library would ask the environment for its locale.
var terminal = &runewidth.Condition{StrictEmojiNeutral: true}

// width returns the cells that a column takes.
func (t Table) width(j int) int {
	n := terminal.StringWidth(t.Columns[j].Name)
	for _, r := range t.Rows {
		n = max(n, terminal.StringWidth(r[j]))
	}
	return n
}

// wrap breaks text between words, so that no line is wider than width cells, 0 for any; a longer word has a line of its own.
func wrap(text string, width int) string {
	if width <= 0 || terminal.StringWidth(text) <= width {
		return text
	}
	var lines []string
	for _, word := range strings.Fields(text) {
		if n := len(lines) - 1; n >= 0 && terminal.StringWidth(lines[n]+" "+word) <= width {
			lines[n] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return strings.Join(lines, "\n")
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
