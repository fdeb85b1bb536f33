package report

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
	if err := methods.WriteText(full{}); !errors.Is(err, errFull) {
		t.Errorf("a full writer: %v", err)
	}
	if err := (Table{}).WriteText(&b); err != nil {
		t.Errorf("the empty table: %v", err)
	}
}
