package experiment_test

import (
	"bytes"
	"encoding/json"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/internal/oracle"
)

const (
	toyReport = `{"experiment": "toy", "seed": 4, "seeds": 1, "backend": "cpu", "version": "v1", "seconds": 61.2, "base": "exact", "order": ["base", "smc_fk"],
		"titles": {"base": "Base model", "smc_fk": "SMC, Feynman–Kac"}, "floor": {"sw2": 0.051}, "exact": {"log_z": -2.764}, "methods": {
		"base": {"mode_tv": 0.8115, "sw2": 0.66, "energy": 0.251, "reward": -7.25, "ess_fraction": 0.14, "log_z": -2.83, "kl": 4.43, "paths": 100, "network_calls": 500, "seconds": 0.3},
		"smc_fk": {"mode_tv": 0.5, "sw2": 1.5, "energy": 0.25, "reward": -2, "ess_fraction": 0.75, "log_z": -3, "kl": null, "paths": 10000, "network_calls": 2e6, "seconds": 7}}}`
	threeSeeds = `{"experiment": "toy", "seed": 4, "seeds": 3, "backend": "cpu", "version": "v1", "seconds": 61.2, "floor": {"sw2": 0.051}, "exact": {"log_z": -2.764}, "methods": {
		"base": {"mode_tv": 0.8115, "sw2": 0.66, "energy": 0.251, "reward": -7.25, "ess_fraction": 0.14, "log_z": -2.83, "kl": 4.43, "paths": 100, "network_calls": 500, "seconds": 0.3,
			"se": {"mode_tv": 0.012, "sw2": 0, "energy": null, "paths": 0, "kl": 0.5}},
		"zeta": {"kl": 3.2e8}}}` // zeta is of a later version
	mnistReport = `{"experiment": "mnist", "data": "digits", "seed": 1, "seeds": 1, "backend": "cpu", "version": "v1", "seconds": 7200,
		"tasks": {"single_3": {}, "even": {}}, "floor": {"fid": 0.5, "single": {"reward": -0.125, "fid": 0.5, "accuracy": 1}}, "methods": {
		"importance": {"single": {"reward": -0.5, "fid": 1, "accuracy": 0.975, "diversity": 0.25, "se": {"reward": 0.1, "fid": 0.2, "accuracy": 0.01}},
			"even_odd": {"reward": -0.5, "fid": 2, "accuracy": 0.975, "diversity": 0.25}, "ess_fraction": 0.5, "paths": 100, "network_calls": 1e6, "seconds": 60},
		"base": {"single": {"reward": -0.5, "fid": 30, "accuracy": 0.975, "diversity": 0.25}, "paths": 10, "network_calls": 1000, "seconds": 6}}}`
)

// finished makes a run folder with a report.
func finished(t *testing.T, dir, name, report string) string {
	t.Helper()
	folder := filepath.Join(dir, filepath.FromSlash(name))
	write(t, filepath.Join(folder, "report.json"), report)
	return folder
}

func compared(t *testing.T, folders ...string) *experiment.Comparison {
	t.Helper()
	c, err := experiment.Compare(folders)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func tableOf(t *testing.T, c *experiment.Comparison) string {
	t.Helper()
	var b bytes.Buffer
	if err := c.Table().WriteText(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestCompareTable(t *testing.T) {
	dir := t.TempDir()
	toys := compared(t, finished(t, dir, "one", toyReport), finished(t, dir, "three", threeSeeds))
	digits := compared(t, finished(t, dir, "a", mnistReport), finished(t, dir, "b", strings.NewReplacer(`"fid": 0.5, "acc`, `"fid": 0.75, "acc`, "v1", "v2").Replace(mnistReport)))
	want := `
method            run          mode TV            SW2  energy  reward   ESS   log Ẑ             KL  paths  calls  seconds
─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
Base model        one            0.811          0.660  0.2510   −7.25  0.14  −2.830          4.430    100    500        0
                  three  0.811 ± 0.012  0.660 ± 0.000  0.2510   −7.25  0.14  −2.830  4.430 ± 0.500    100    500        0
SMC, Feynman–Kac  one            0.500          1.500  0.2500   −2.00  0.75  −3.000              —   10 k  2.0 M        7
zeta              three              —              —       —       —     —       —          3e+08      —      —        —
Exact law                            —          0.051       —       —     —  −2.764              —      —      —        —
one: seed 4, exact log Z −2.764, backend cpu, 1m1s.
three: seeds 4 to 6, mean ± standard error, exact log Z −2.764, backend cpu, 1m1s.
`
	if d := cmp.Diff(want[1:], tableOf(t, toys)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	got := tableOf(t, digits)
	for _, words := range []string{"Importance (this method)  a    −0.50 ± 0.10  1.000 ± 0.200  97.5 ± 1.0 %", "even/odd", "2.000", "a: seed 1, data digits", "doob v1.", "doob v2."} {
		if !strings.Contains(got, words) {
			t.Errorf("the table lacks %q:\n%s", words, got)
		}
	}
}

// What makes numbers incomparable is said, and only that.
func TestCompareUnlikeRuns(t *testing.T) {
	dir := t.TempDir()
	a, b := finished(t, dir, "toy/a", toyReport), finished(t, dir, "toy/b", toyReport)
	c := finished(t, dir, "toy/c", strings.Replace(toyReport, "-2.764", "-1.5", 1))
	d := finished(t, dir, "mnist/d", mnistReport)
	e := finished(t, dir, "mnist/e", strings.NewReplacer(`"data": "digits"`, `"data": "mnist"`, `, "even": {}`, "").Replace(mnistReport))
	for _, x := range []struct{ folders, want []string }{
		{[]string{a, b}, nil},
		{[]string{a, b, c}, []string{"exact log Z, so that their numbers do not compare (a: −2.764; b: −2.764; c: −1.5)"}},
		{[]string{d, e}, []string{"data, so that their numbers do not compare (d: digits; e: mnist)", "tasks, so that their numbers do not compare (d: even single_3; e: single_3)"}},
	} {
		table := tableOf(t, compared(t, x.folders...))
		if n := strings.Count(table, "do not compare"); n != len(x.want) {
			t.Errorf("%v: %d warnings, want %d:\n%s", x.folders, n, len(x.want), table)
		}
		for _, w := range x.want {
			if !strings.Contains(table, w) {
				t.Errorf("%v: the table lacks %q:\n%s", x.folders, w, table)
			}
		}
	}
}

// The JSON of a comparison is the reports by the shortest names that tell their folders apart.
func TestCompareLabels(t *testing.T) {
	for folders, want := range map[string]string{
		"runs/a runs/b": "a b", "a/run b/run/": "a b", "x/a/p/run x/b/p/run": "a b", "a b/c": "a c", "a/x/run a/y/run b/x/run": "a/x a/y b/x",
		"a/1 b/1 b/2": "a/1 b/1 b/2", "./a/../b ./a": "a b",
	} {
		t.Chdir(t.TempDir())
		for folder := range strings.FieldsSeq(folders) {
			finished(t, ".", filepath.Clean(folder), toyReport)
		}
		if err := os.MkdirAll("a", 0o777); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(compared(t, strings.Fields(folders)...))
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Experiment string
			Runs       map[string]any
			Unlike     []string
		}
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		if got.Unlike == nil {
			t.Errorf("%s: no list of warnings in %s", folders, text)
		}
		if labels := slices.Sorted(maps.Keys(got.Runs)); strings.Join(labels, " ") != want || got.Experiment != "toy" {
			t.Errorf("%s: labels %q of %s, want %s", folders, labels, got.Experiment, want)
		}
		for label, rep := range got.Runs {
			if v := at(rep, "methods.base.sw2"); v != 0.66 {
				t.Errorf("%s: SW2 of %s is %g", folders, label, v)
			}
		}
	}
	_, err := experiment.Compare([]string{"a", "runs/b", "./runs//b"})
	oracle.WantError(t, err, "runs/b and ./runs//b are the same")
}

func TestCompareErrors(t *testing.T) {
	dir := t.TempDir()
	toy, mnist := finished(t, dir, "toy", toyReport), finished(t, dir, "mnist", mnistReport)
	magic, list := finished(t, dir, "magic", `{"experiment": "magic"}`), finished(t, dir, "list", "[1]")
	torn, unfinished, empty := finished(t, dir, "torn", `{"experiment": "toy"`), filepath.Join(dir, "unfinished"), t.TempDir()
	write(t, filepath.Join(unfinished, "config.yaml"), "experiment: toy\n")
	for _, c := range []struct{ folders, words []string }{
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
		_, err := experiment.Compare(c.folders)
		oracle.WantError(t, err, c.words...)
	}
}

// The figure shows what the runs have reached: it changes with a number, and not with its unit.
func TestCompareFigure(t *testing.T) {
	dir := t.TempDir()
	figure := func(second string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "figure.png")
		if err := compared(t, finished(t, t.TempDir(), "x/a", mnistReport), finished(t, t.TempDir(), "x/b", second)).Figure(path); err != nil {
			t.Fatal(err)
		}
		return oracle.Read(t, path)
	}
	one := figure(mnistReport)
	if im, err := png.Decode(strings.NewReader(one)); err != nil || im.Bounds().Dx() < 400 || im.Bounds().Dy() < 200 {
		t.Errorf("the figure: %v", err)
	}
	for _, change := range [][2]string{{`"fid": 30`, `"fid": 10`}, {`"reward": 0.1,`, `"reward": 0.4,`}, {`"seconds": 60`, `"seconds": 600`}} {
		if !strings.Contains(mnistReport, change[0]) || figure(strings.Replace(mnistReport, change[0], change[1], 1)) == one {
			t.Errorf("the figure is the same with %s", change[1])
		}
	}
	oracle.WantError(t, compared(t, finished(t, dir, "a", toyReport), finished(t, dir, "b", toyReport)).Figure(filepath.Join(dir, "figure.gif")), "figure.gif", ".png")
}
