package report

import (
	"io"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
)

// WriteText writes the table as text of any width, see [Table.WriteWithin].
func (t Table) WriteText(w io.Writer) error { return t.WriteWithin(w, 0) }

// WriteWithin writes the table for a terminal of the given width in cells, 0 for any: aligned columns two spaces apart, a
// thin rule below the header. A table that is wider comes in blocks, one below the other, each of which begins with the
// columns before the first that is Right (or with the first of all, if none is), without rows that are empty there; its notes are wrapped. Of a column
// that does not fit beside those, texts are wrapped, and numbers and long words stick out.
func (t Table) WriteWithin(w io.Writer, width int) error {
	if err := t.check(); err != nil {
		return err
	}
	var b strings.Builder
	for i, columns := range t.blocks(width) {
		if i > 0 {
			b.WriteString("\n")
		}
		t.writeBlock(&b, columns, width)
	}
	for _, n := range t.Notes {
		b.WriteString(wrap(n, width) + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// blocks returns the columns of every block.
func (t Table) blocks(width int) (blocks [][]int) {
	labels := t.labels()
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

func (t Table) writeBlock(b *strings.Builder, columns []int, width int) {
	widths := t.within(columns, width)
	line := func(row []string) {
		var l strings.Builder
		for k, j := range columns {
			if k > 0 {
				l.WriteString("  ")
			}
			if t.Columns[j].Right {
				l.WriteString(terminal.FillLeft(row[j], widths[k]))
			} else {
				l.WriteString(terminal.FillRight(row[j], widths[k]))
			}
		}
		b.WriteString(strings.TrimRight(l.String(), " ") + "\n")
	}
	rule := -2
	for _, w := range widths {
		rule += w + 2
	}
	line(t.names())
	b.WriteString(strings.Repeat("─", max(0, rule)) + "\n")
	parted := len(columns) < len(t.Columns)
	for _, r := range t.Rows {
		if parted && t.isEmpty(r, columns) {
			continue
		}
		for more := true; more; { // lines of texts that are wrapped
			now := slices.Clone(r)
			r, more = make([]string, len(r)), false
			for k, j := range columns {
				if first, rest, ok := strings.Cut(wrap(now[j], widths[k]), "\n"); ok && !t.Columns[j].Right {
					now[j], r[j], more = first, strings.ReplaceAll(rest, "\n", " "), true
				}
			}
			line(now)
		}
	}
}

// within returns the widths of a block's columns: if they are more than the terminal has, the widest text beside the labels has what the others leave, and at least a quarter
// and its name.
func (t Table) within(columns []int, width int) []int {
	widths, all, widest := make([]int, len(columns)), -2, -1
	for k, j := range columns {
		widths[k] = t.width(j)
		all += widths[k] + 2
		if k >= t.labels() && !t.Columns[j].Right && (widest < 0 || widths[k] > widths[widest]) {
			widest = k
		}
	}
	if width > 0 && all > width && widest >= 0 {
		widths[widest] = min(widths[widest], max(widths[widest]-(all-width), width/4, terminal.StringWidth(t.Columns[columns[widest]].Name)))
	}
	return widths
}

// isEmpty reports whether a row has nothing in a block but its labels.
func (t Table) isEmpty(row []string, columns []int) bool {
	return !slices.ContainsFunc(columns[min(len(columns), t.labels()):], func(j int) bool { return row[j] != "" })
}

// labels is the number of columns that every block begins with.
func (t Table) labels() int {
	return max(1, slices.IndexFunc(t.Columns, func(c Column) bool { return c.Right }))
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
