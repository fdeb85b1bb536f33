package report

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestHTML(t *testing.T) {
	dir := t.TempDir()
	grid, figure, page := filepath.Join(dir, "g.png"), filepath.Join(dir, "c.png"), filepath.Join(dir, "report.html")
	if err := ImageGrid(grid, make([]float32, 784), 1, 28, 28, 1, 1); err != nil {
		t.Fatal(err)
	}
	if err := Charts(figure, 1, []Chart{{Title: "a"}}); err != nil {
		t.Fatal(err)
	}
	err := HTML(page, Document{Title: "toy & <more>", Subtitle: "seed 7", Sections: []Section{
		{Heading: "Table", Table: &methods},
		{Heading: "Figures", Images: []Image{{figure, "loss"}, {grid, `"digits"`}}, Pre: "a: 1\n  b: <2>\n"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	data, _ := os.ReadFile(page)
	got := string(data)
	for _, want := range []string{
		"<title>toy &amp; &lt;more&gt;</title>", `<td class="right">−2.3 ± 0.01</td>`, "<td>a|b</td>",
		`<p class="note">5 seeds</p>`, "a: 1\n  b: &lt;2&gt;\n", "prefers-color-scheme: dark", `width="88" alt="&#34;digits&#34;"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	sources := regexp.MustCompile(`src="([^"]*)"`).FindAllStringSubmatch(got, -1)
	for i, path := range []string{figure, grid} {
		want, _ := os.ReadFile(path)
		body, ok := strings.CutPrefix(strings.ReplaceAll(sources[i][1], "&#43;", "+"), "data:image/png;base64,")
		if inlined, err := base64.StdEncoding.DecodeString(body); !ok || err != nil || string(inlined) != string(want) {
			t.Errorf("image %d is not the file: %v", i, err)
		}
	}
	if bad := regexp.MustCompile(`(?i)https?:|<script|<link|@import|url\(`).FindString(got); bad != "" {
		t.Errorf("the page holds %q: it must need nothing else", bad)
	}
}

func TestHTMLErrorsLeaveNothing(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "a.txt")
	os.WriteFile(text, []byte("no image"), 0o644)
	page := filepath.Join(dir, "report.html")
	bad := Table{Columns: []Column{{}}, Rows: [][]string{{}}}
	for want, s := range map[string]Section{
		"b.png": {Images: []Image{{Path: filepath.Join(dir, "b.png")}}}, "a.txt is no PNG": {Images: []Image{{Path: text}}}, "row 0": {Table: &bad},
	} {
		s.Heading = "Figures"
		err := HTML(page, Document{Sections: []Section{s}})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `"Figures"`) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	if got := names(t, dir); got != "a.txt" {
		t.Errorf("the folder holds %q", got)
	}
}
