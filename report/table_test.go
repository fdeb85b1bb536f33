package report

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var methods = Table{
	Columns: []Column{{Name: "method"}, {Name: "log Ẑ", Right: true}, {Name: "remark"}},
	Rows:    [][]string{{"exact", "−2.31", ""}, {"importance", "−2.3 ± 0.01", "a|b"}, {"x̂₀ guidance", "—", "tuned"}},
	Notes:   []string{"5 seeds"},
}

func TestTableText(t *testing.T) {
	var b strings.Builder
	if err := methods.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	want := `
method             log Ẑ  remark
────────────────────────────────
exact              −2.31
importance   −2.3 ± 0.01  a|b
x̂₀ guidance            —  tuned
5 seeds
`
	if d := cmp.Diff(want[1:], b.String()); d != "" {
		t.Error(d)
	}
}

// runs is wider than a terminal, with marks that combine and letters of two cells.
var runs = Table{
	Columns: []Column{{Name: "method"}, {Name: "任务"}, {Name: "log Ẑ", Right: true}, {Name: "effective sample size", Right: true}, {Name: "remark"}},
	Rows:    [][]string{{"x̂₀ guidance", "数字 3", "−2.31 ± 0.01", "0.25", "tuned"}, {"exact", "even", "−2.3", "—", "🙂"}},
	Notes:   []string{"means of 5 seeds ± standard error, on new samples", "Ẑ"},
}

func TestTableWithin(t *testing.T) {
	for width, want := range map[int]string{
		0: `
method       任务           log Ẑ  effective sample size  remark
────────────────────────────────────────────────────────────────
x̂₀ guidance  数字 3  −2.31 ± 0.01                   0.25  tuned
exact        even            −2.3                      —  🙂
means of 5 seeds ± standard error, on new samples
Ẑ
`, 40: `
method       任务           log Ẑ
─────────────────────────────────
x̂₀ guidance  数字 3  −2.31 ± 0.01
exact        even            −2.3

method       任务    effective sample size
──────────────────────────────────────────
x̂₀ guidance  数字 3                   0.25
exact        even                        —

method       任务    remark
───────────────────────────
x̂₀ guidance  数字 3  tuned
exact        even    🙂
means of 5 seeds ± standard error, on
new samples
Ẑ
`, 56: `
method       任务           log Ẑ  effective sample size
────────────────────────────────────────────────────────
x̂₀ guidance  数字 3  −2.31 ± 0.01                   0.25
exact        even            −2.3                      —

method       任务    remark
───────────────────────────
x̂₀ guidance  数字 3  tuned
exact        even    🙂
means of 5 seeds ± standard error, on new samples
Ẑ
`,
	} {
		var b strings.Builder
		if err := runs.WriteWithin(&b, width); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want[1:], b.String()); d != "" {
			t.Errorf("width %d: %s", width, d)
		}
	}
}

// A table that fits is written as without a width, and so is every table without a column to part.
func TestTableWithinOneBlock(t *testing.T) {
	for width, table := range map[int]Table{64: runs, 80: runs, 10: {Columns: []Column{{Name: "a column wider than 10"}}, Rows: [][]string{{"1"}}}} {
		var wide, within strings.Builder
		table.WriteText(&wide)
		if err := table.WriteWithin(&within, width); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(wide.String(), within.String()); d != "" {
			t.Errorf("width %d: %s", width, d)
		}
	}
	var b strings.Builder
	left := Table{Columns: []Column{{Name: "name"}, {Name: "what it is"}, {Name: "where"}}, Rows: [][]string{{"a", "b", "c"}}}
	left.WriteWithin(&b, 16) // no column of numbers: the first is the label
	if want := "name  what it is\n────────────────\na     b\n\nname  where\n───────────\na     c\n"; b.String() != want {
		t.Error(cmp.Diff(want, b.String()))
	}
}

// Texts that are wider than the terminal are wrapped in their column; numbers and long words stick out.
func TestTableWraps(t *testing.T) {
	table := Table{Columns: []Column{{Name: "name"}, {Name: "n", Right: true}, {Name: "what it is"}},
		Rows: [][]string{{"flowers", "1", "photographs of many kinds"}, {"digits", "23", "drawn"}, {"words", "4", "incomprehensibilities are long"}}}
	var b strings.Builder
	if err := table.WriteWithin(&b, 24); err != nil {
		t.Fatal(err)
	}
	want := `
name      n
───────────
flowers   1
digits   23
words     4

name     what it is
────────────────────────
flowers  photographs of
         many kinds
digits   drawn
words    incomprehensibilities
         are long
`
	if d := cmp.Diff(want[1:], b.String()); d != "" {
		t.Error(d)
	}
}

// Within a width every block has the labels, every column comes once, and only a lone column sticks out.
func TestTableWithinAnyWidth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var table Table
		for range rapid.IntRange(1, 9).Draw(t, "columns") {
			table.Columns = append(table.Columns, Column{Name: rapid.StringMatching(`[a-z]{1,12}`).Draw(t, "name"), Right: rapid.Bool().Draw(t, "right")})
		}
		width := rapid.IntRange(1, 60).Draw(t, "width")
		labels := 0
		for labels < len(table.Columns) && !table.Columns[labels].Right {
			labels++
		}
		if labels == 0 || labels == len(table.Columns) {
			labels = 1
		}
		seen := labels
		for i, b := range table.blocks(width) {
			total := -2
			for k, j := range b {
				total += len(table.Columns[j].Name) + 2
				switch {
				case k < labels && j != k:
					t.Fatalf("block %d begins with columns %v, want the first %d", i, b, labels)
				case k >= labels && j != seen:
					t.Fatalf("block %d has column %d, want %d", i, j, seen)
				case k >= labels:
					seen++
				}
			}
			if total > width && len(b) > labels+1 {
				t.Fatalf("block %d is %d wide, want %d", i, total, width)
			}
		}
		if seen < len(table.Columns) {
			t.Fatalf("the blocks end before column %d", seen)
		}
	})
}

func TestTableCSV(t *testing.T) {
	var b strings.Builder
	quoted := methods
	quoted.Rows = append(quoted.Rows, []string{`a "b", c`, "−1e−6", "two\nlines"})
	if err := quoted.WriteCSV(&b); err != nil {
		t.Fatal(err)
	}
	want := `
method,log Ẑ,remark
exact,-2.31,
importance,-2.3 ± 0.01,a|b
x̂₀ guidance,—,tuned
"a ""b"", c",-1e-6,"two
lines"
`
	if d := cmp.Diff(want[1:], b.String()); d != "" {
		t.Error(d)
	}
}

func TestTableMarkdown(t *testing.T) {
	var b strings.Builder
	if err := methods.WriteMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	want := `
| method | log Ẑ | remark |
| --- | ---: | --- |
| exact | −2.31 |  |
| importance | −2.3 ± 0.01 | a\|b |
| x̂₀ guidance | — | tuned |

5 seeds
`
	if d := cmp.Diff(want[1:], b.String()); d != "" {
		t.Error(d)
	}
}

type full struct{}

var errFull = errors.New("full")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestTableErrors(t *testing.T) {
	bad := Table{Columns: []Column{{Name: "a"}}, Rows: [][]string{{"1"}, {"1", "2"}}}
	var b strings.Builder
	if err := bad.WriteText(&b); err == nil || b.Len() > 0 || !strings.Contains(err.Error(), "row 1") {
		t.Errorf("a row too long: error %v, wrote %q", err, b.String())
	}
	if err := bad.WriteMarkdown(&b); err == nil {
		t.Error("a row too long is no error in Markdown")
	}
	if err := bad.WriteCSV(&b); err == nil {
		t.Error("a row too long is no error in CSV")
	}
	if err := methods.WriteText(full{}); !errors.Is(err, errFull) {
		t.Errorf("a full writer: %v", err)
	}
	if err := methods.WriteCSV(full{}); !errors.Is(err, errFull) {
		t.Errorf("a full writer of CSV: %v", err)
	}
	if err := (Table{}).WriteText(&b); err != nil {
		t.Errorf("the empty table: %v", err)
	}
}
