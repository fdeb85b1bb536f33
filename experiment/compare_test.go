package experiment

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/report"
)

// writeReport makes a finished run folder with a report, below dir, and returns its path.
func writeReport(t *testing.T, dir, name string, rep any) string {
	t.Helper()
	folder := filepath.Join(dir, filepath.FromSlash(name))
	text, err := json.Marshal(rep)
	if err == nil {
		err = os.MkdirAll(folder, 0o777)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "report.json"), text, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

// toyReport has two methods, of which the second has no KL.
func toyReport() *ToyReport {
	rep := &ToyReport{Experiment: "toy", Seed: 4, Seeds: 1, Base: "exact", Backend: "cpu", Version: "v1", Seconds: 61.2, Methods: map[string]*ToyResult{
		"smc_fk": {ModeTV: 0.5, SW2: 1.5, Energy: 0.25, Reward: -2, ESSFraction: 0.75, LogZ: -3, KL: nan, Paths: 10_000, NetworkCalls: 2e6, Seconds: 7},
		"base":   {ModeTV: 0.8115, SW2: 0.66, Energy: 0.251, Reward: -7.25, ESSFraction: 0.14, LogZ: -2.83, KL: 4.43, Paths: 100, NetworkCalls: 500, Seconds: 0.3},
	}}
	rep.Floor.SW2, rep.Exact.LogZ = 0.051, -2.764
	return rep
}

func compared(t *testing.T, folders ...string) *Comparison {
	t.Helper()
	c, err := Compare(folders)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func tableText(t *testing.T, c *Comparison) string {
	t.Helper()
	var b bytes.Buffer
	if err := c.Table().WriteText(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestCompareToys(t *testing.T) {
	dir := t.TempDir()
	three := toyReport()
	three.Seeds, three.Base = 3, "learned"
	three.Methods["zeta"] = &ToyResult{KL: finetune.Number(3.2e8), LogZ: nan} // of a later version
	three.Methods["base"].SE = map[string]finetune.Number{"mode_tv": 0.012, "sw2": 0, "energy": nan, "paths": 0, "kl": 0.5}
	delete(three.Methods, "smc_fk")
	c := compared(t, writeReport(t, dir, "one", toyReport()), writeReport(t, dir, "three", three))
	want := `
method            run          mode TV            SW2  energy  reward   ESS   log Ẑ             KL  paths  calls  seconds
─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
Base model        one            0.811          0.660  0.2510   −7.25  0.14  −2.830          4.430    100    500        0
                  three  0.811 ± 0.012  0.660 ± 0.000  0.2510   −7.25  0.14  −2.830  4.430 ± 0.500    100    500        0
SMC, Feynman–Kac  one            0.500          1.500  0.2500   −2.00  0.75  −3.000              —   10 k  2.0 M        7
zeta              three          0.000          0.000  0.0000    0.00  0.00       —          3e+08      0      0        0
Exact law                            —          0.051       —       —     —  −2.764              —      —      —        —
one: seed 4, exact base score, backend cpu, 1m1s.
three: seeds 4 to 6, mean ± standard error, learned base score, backend cpu, 1m1s.
`
	if d := cmp.Diff(want[1:], tableText(t, c)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// mnistReport has one seed, and both columns of Table 1.
func mnistReport() *MNISTReport {
	column := func(fid finetune.Number) *MNISTColumn {
		return &MNISTColumn{MNISTMetrics: MNISTMetrics{Reward: -0.5, FID: fid, Accuracy: 0.975, Diversity: 0.25}}
	}
	result := map[string]*MNISTResult{}
	return &MNISTReport{Experiment: "mnist", Data: "digits", Seed: 1, Seeds: 1, Backend: "cpu", Version: "v1", Seconds: 7200,
		Tasks: map[string]map[string]*MNISTResult{"single_3": result, "even": result},
		Methods: map[string]*MNISTMethod{
			"frugal":     {Single: column(3), EvenOdd: column(4), ESSFraction: 0.25, KL: 1, Paths: 100, NetworkCalls: 1e6, Seconds: 90}, // a variant
			"importance": {Single: column(1), EvenOdd: column(2), ESSFraction: 0.5, KL: nan, Paths: 100, NetworkCalls: 1e6, Seconds: 60},
			"base":       {Single: column(30), ESSFraction: nan, KL: nan, Paths: 10, NetworkCalls: 1000, Seconds: 6},
		},
		Floor: MNISTFloor{FID: 0.5, Single: &MNISTMetrics{Reward: -0.125, FID: 0.5, Accuracy: 1, Diversity: nan}}}
}

func TestCompareMNIST(t *testing.T) {
	dir := t.TempDir()
	other := mnistReport()
	other.Seeds, other.Version, other.Floor.Single.FID = 2, "v2", 0.75
	delete(other.Methods, "frugal")
	other.Methods["importance"].Single.SE = &MNISTMetrics{Reward: 0.1, FID: 0.2, Accuracy: 0.01, Diversity: nan}
	c := compared(t, writeReport(t, dir, "a", mnistReport()), writeReport(t, dir, "b", other))
	want := `
method                    run        reward            FID      accuracy  diversity  even/odd reward  even/odd FID  even/odd accuracy  even/odd diversity    ESS    KL  paths  calls  minutes
─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
Base model                a           −0.50         30.000        97.5 %      0.250                —             —                  —                   —      —     —     10   1000     0.10
                          b           −0.50         30.000        97.5 %      0.250                —             —                  —                   —      —     —     10   1000     0.10
Importance (this method)  a           −0.50          1.000        97.5 %      0.250            −0.50         2.000             97.5 %               0.250  0.500     —    100  1.0 M     1.00
                          b    −0.50 ± 0.10  1.000 ± 0.200  97.5 ± 1.0 %      0.250            −0.50         2.000             97.5 %               0.250  0.500     —    100  1.0 M     1.00
frugal                    a           −0.50          3.000        97.5 %      0.250            −0.50         4.000             97.5 %               0.250  0.250  1.00    100  1.0 M     1.50
Real images               a           −0.12          0.500       100.0 %          —                —             —                  —                   —      —     —      —      —        —
                          b           −0.12          0.750       100.0 %          —                —             —                  —                   —      —     —      —      —        —
a: seed 1, data digits, backend cpu, 2h0m0s, doob v1.
b: seeds 1 to 2, mean ± standard error, data digits, backend cpu, 2h0m0s, doob v2.
`
	if d := cmp.Diff(want[1:], tableText(t, c)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// What makes numbers incomparable is said, and only that.
func TestCompareUnlikeRuns(t *testing.T) {
	dir := t.TempDir()
	toy, mnist := toyReport(), mnistReport()
	toy.Exact.LogZ, mnist.Data = -1.5, "mnist"
	delete(mnist.Tasks, "even")
	a, b := writeReport(t, dir, "toy/a", toyReport()), writeReport(t, dir, "toy/b", toyReport())
	c := writeReport(t, dir, "toy/c", toy)
	d, e := writeReport(t, dir, "mnist/d", mnistReport()), writeReport(t, dir, "mnist/e", mnist)
	for _, x := range []struct {
		folders []string
		want    []string
	}{
		{[]string{a, b}, nil},
		{[]string{a, b, c}, []string{"target (exact log Z), so that their numbers do not compare (a: −2.7640; b: −2.7640; c: −1.5000)"}},
		{[]string{d, e}, []string{"data, so that their numbers do not compare (d: digits; e: mnist)", "tasks, so that their numbers do not compare (d: even single_3; e: single_3)"}},
	} {
		got := compared(t, x.folders...)
		if len(got.Unlike) != len(x.want) {
			t.Errorf("%v: %q, want %d", x.folders, got.Unlike, len(x.want))
			continue
		}
		for i, w := range x.want {
			if !strings.Contains(got.Unlike[i], w) || !strings.Contains(tableText(t, got), w) {
				t.Errorf("%v: %q, want %q, in the table too", x.folders, got.Unlike[i], w)
			}
		}
	}
}

// An older report lacks what was not measured then, which is not 0.
func TestCompareOlderReport(t *testing.T) {
	dir := t.TempDir()
	old := map[string]any{"experiment": "mnist", "data": "mnist", "seed": 1, "backend": "go", "methods": map[string]any{"base": map[string]any{"single": map[string]any{"reward": -1.5, "fid": nil}}},
		"floor": map[string]any{"single": map[string]any{"fid": 0.5}}}
	c := compared(t, writeReport(t, dir, "old", old), writeReport(t, dir, "older", old))
	want := `
method      run    reward
─────────────────────────
Base model  old     −1.50
            older   −1.50
old: seed 1, data mnist, backend go, 0s.
older: seed 1, data mnist, backend go, 0s.
`
	if d := cmp.Diff(want[1:], tableText(t, c)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestCompareJSON(t *testing.T) {
	dir := t.TempDir()
	rep := toyReport()
	rep.Methods["base"].SE = map[string]finetune.Number{"sw2": 0.125}
	a, b := writeReport(t, dir, "a", rep), writeReport(t, dir, "b", toyReport())
	text, err := json.Marshal(compared(t, a, b))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Experiment string
		Runs       []map[string]any
		Metrics    []map[string]any
		Rows       []struct {
			Method, Title, Run string
			Numbers            map[string]map[string]any
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&got); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	want := map[string]any{"label": "a", "folder": a, "seed": 4., "seeds": 1., "backend": "cpu", "version": "v1", "seconds": 61.2}
	if d := cmp.Diff(want, got.Runs[0]); d != "" || got.Experiment != "toy" || len(got.Runs) != 2 {
		t.Errorf("experiment %q with %d runs, the first (-want +got)\n%s", got.Experiment, len(got.Runs), d)
	}
	if d := cmp.Diff(map[string]any{"name": "mode_tv", "title": "mode TV", "better": "lower"}, got.Metrics[0]); d != "" || len(got.Metrics) != 10 {
		t.Errorf("%d metrics, the first (-want +got)\n%s", len(got.Metrics), d)
	}
	if len(got.Rows) != 6 || got.Rows[1].Method != "base" || got.Rows[1].Run != "b" || got.Rows[5].Method != "reference" {
		t.Fatalf("rows %v", got.Rows)
	}
	for _, x := range []struct {
		row       int
		name      string
		value, se any
	}{
		{0, "sw2", 0.66, 0.125}, {1, "sw2", 0.66, nil}, {0, "kl", 4.43, nil}, {2, "kl", nil, nil}, {4, "sw2", 0.051, nil}, {5, "log_z", -2.764, nil}, {5, "mode_tv", nil, nil},
	} {
		if d := cmp.Diff(map[string]any{"value": x.value, "se": x.se}, got.Rows[x.row].Numbers[x.name]); d != "" {
			t.Errorf("row %d, %s (-want +got)\n%s", x.row, x.name, d)
		}
	}
}

func TestCompareLabels(t *testing.T) {
	work, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	here := filepath.Base(work)
	for _, c := range [][2]string{
		{"runs/a runs/b", "a b"}, {"a/run b/run/", "a b"}, {"x/a/p/run x/b/p/run", "a b"}, {"a b/c", "a c"}, {"run x/run", here + " x"},
		{"a/x/run a/y/run b/x/run", "a/x a/y b/x"}, {"a/1 b/1 b/2", "a/1 b/1 b/2"}, {". ..", here + " " + filepath.Base(filepath.Dir(work))},
		{"p/q/run run p/run", "q " + here + " p"}, {"./a/../b ./a", "b a"}, {"/run /x/run", "/ x"},
	} {
		got, err := runLabels(strings.Fields(c[0]))
		if err != nil || strings.Join(got, " ") != c[1] {
			t.Errorf("%s: labels %q, error %v, want %s", c[0], got, err, c[1])
		}
	}
	_, err = runLabels([]string{"a", "runs/b", "./runs//b"})
	wantError(t, err, "runs/b and ./runs//b are the same")
}

func TestCompareErrors(t *testing.T) {
	dir := t.TempDir()
	toy, mnist := writeReport(t, dir, "toy", toyReport()), writeReport(t, dir, "mnist", mnistReport())
	magic := writeReport(t, dir, "magic", map[string]any{"experiment": "magic"})
	list := writeReport(t, dir, "list", []int{1})
	torn, unfinished, empty := filepath.Join(dir, "torn"), filepath.Join(dir, "unfinished"), filepath.Join(dir, "empty")
	for _, folder := range []string{torn, unfinished, empty} {
		if err := os.Mkdir(folder, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{filepath.Join(torn, "report.json"), filepath.Join(unfinished, "config.yaml")} {
		if err := os.WriteFile(file, []byte(`{"experiment": "toy"`), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		folders, words []string
	}{
		{[]string{toy}, []string{"1 run folder", "at least 2"}},
		{[]string{toy, toy}, []string{"same run folder"}},
		{[]string{toy, mnist}, []string{toy + " is a run of toy", mnist + " of mnist"}},
		{[]string{toy, magic}, []string{magic, `"magic" is unknown`}},
		{[]string{toy, unfinished}, []string{unfinished, "not finished", "doob run --resume " + unfinished}},
		{[]string{toy, empty}, []string{empty, "neither report.json nor config.yaml"}},
		{[]string{toy, filepath.Join(dir, "missing")}, []string{"missing", "no such file"}},
		{[]string{torn, toy}, []string{torn, "report.json: unexpected end"}},
		{[]string{list, toy}, []string{list, "report.json", "array"}},
	} {
		got, err := Compare(c.folders)
		wantError(t, err, c.words...)
		if got != nil {
			t.Errorf("%v: a comparison and an error", c.folders)
		}
	}
}

func TestCompareFigure(t *testing.T) {
	dir := t.TempDir()
	rep := mnistReport()
	rep.Methods["importance"].Single.SE = &MNISTMetrics{Accuracy: 0.02, Reward: nan}
	c := compared(t, writeReport(t, dir, "a", mnistReport()), writeReport(t, dir, "b", rep))
	path, same := filepath.Join(dir, "figure.png"), filepath.Join(dir, "same.png")
	if err := c.Figure(path); err != nil {
		t.Fatal(err)
	}
	methods := []string{"base", "importance", "frugal"}
	var panels []report.DotPanel
	shown := map[string]ComparedMetric{}
	for _, m := range c.Metrics {
		shown[m.Name] = m
		if m.Name != "paths" {
			panels = append(panels, c.panel(m, methods))
		}
	}
	if err := report.Dots(same, 4, []string{"Base model", "Importance (this method)", "frugal"}, panels); err != nil {
		t.Fatal(err)
	}
	if len(panels) != 12 || read(t, path) != read(t, same) {
		t.Errorf("the figure is not that of %d panels, want 12", len(panels))
	}
	wantError(t, c.Figure(filepath.Join(dir, "figure.gif")), "figure.gif", ".png")
	minutes := c.panel(shown["seconds"], methods)
	for _, s := range minutes.Series {
		if d := cmp.Diff([]float64{0.1, 1, 1.5}, s.X); d != "" {
			t.Errorf("minutes of %s (-want +got)\n%s", s.Name, d)
		}
	}
	odd := c.panel(shown["even_odd.fid"], methods)
	if x := odd.Series[1].X; odd.Series[1].Name != "b" || !math.IsNaN(x[0]) || x[1] != 2 || x[2] != 4 || !odd.Log || odd.Note != "lower is better" {
		t.Errorf("panel %+v", odd)
	}
	accuracy := c.panel(shown["single.accuracy"], methods)
	if se := accuracy.Series[1].Err; se[1] != 2 || !math.IsNaN(se[0]) {
		t.Errorf("standard errors %v, want 2 %% in row 1", se)
	}
	if len(accuracy.Lines) != 2 || accuracy.Lines[1].X != 100 || accuracy.Lines[1].Label != "Real images" || accuracy.Title != "accuracy, %" {
		t.Errorf("panel %+v", accuracy)
	}
}
