package experiment_test

import (
	"encoding/json"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// report.json is a contract with programs: the places stay, also through reading and writing it.
func TestReportContract(t *testing.T) {
	cheap := append([]string{"methods=[base, guidance, importance]", "guidance.paths=6", "seeds=2", "tasks=[single_3, even]"}, append(small, "drawn=150")...)
	for kind, c := range map[string]struct {
		sets []string
		want string
	}{
		"toy": {append([]string{"methods=[base, guidance, importance, smc_fk]", "seeds=2"}, plain...), `seed seeds seconds floor.sw2 exact.log_z methods.importance.mode_tv
			methods.importance.se.mode_tv methods.importance.sw2 methods.importance.energy methods.importance.reward methods.importance.ess_fraction methods.base.kl
			methods.importance.log_z methods.importance.paths methods.importance.network_calls methods.importance.se.network_calls methods.importance.seconds
			methods.guidance.scale`},
		"mnist": {cheap, `methods.importance.single.fid methods.importance.single.se.fid methods.importance.even_odd.accuracy methods.importance.even_odd.diversity
			methods.importance.single.reward methods.importance.kl methods.importance.ess_fraction methods.importance.se.kl methods.importance.network_calls floor.single.fid
			floor.even_odd.accuracy floor.fid tasks.even.importance.fid tasks.single_3.guidance.scale floor.tasks.even.fid judge_accuracy`},
		"superres": {[]string{"methods=[bicubic, importance]", "drawn=50", "samples=2", "process.steps=3", "seeds=2"}, `methods.importance.psnr methods.importance.se.psnr
			methods.importance.ssim methods.importance.residual methods.importance.crps methods.importance.spread_skill methods.importance.fid methods.bicubic.psnr
			methods.importance.l_sc methods.importance.network_calls methods.importance.training_calls methods.importance.training_paths floor.residual sigma measurements samples`},
	} {
		d := run(t, tiny(t, kind, c.sets...), "cpu")
		text := oracle.Read(t, filepath.Join(d.folder, "report.json"))
		got := readJSON(t, filepath.Join(d.folder, "report.json"))
		for place := range strings.FieldsSeq(c.want) {
			if math.IsNaN(at(got, place)) {
				t.Errorf("%s has no number at %s", kind, place)
			}
		}
		for key, want := range map[string]any{"experiment": kind, "backend": "cpu"} {
			if got[key] != want {
				t.Errorf("%s: %s is %v, want %v", kind, key, got[key], want)
			}
		}
		var rep experiment.Report
		if err := json.Unmarshal([]byte(text), &rep); err != nil {
			t.Fatal(err)
		}
		nan := cmpopts.EquateNaNs()
		if d := cmp.Diff(d.report.Methods, rep.Methods, nan, missing); d != "" {
			t.Errorf("%s: methods (-written +read)\n%s", kind, d)
		}
		if d := cmp.Diff(d.report.Reference, only(rep.Reference, d.report.Reference), nan); d != "" {
			t.Errorf("%s: reference (-written +read)\n%s", kind, d)
		}
		again, err := json.Marshal(&rep)
		if err != nil {
			t.Fatal(err)
		}
		var back map[string]any
		if err := json.Unmarshal(again, &back); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(finite(got), finite(back)); d != "" {
			t.Errorf("%s: numbers (-file +written again)\n%s", kind, d)
		}
		if d := cmp.Diff(d.report.Table(), rep.Table()); d != "" {
			t.Errorf("%s: table (-of the run +of the file)\n%s", kind, d)
		}
	}
}

// missing takes numbers that are not for those that are NaN.
var missing = cmp.FilterValues(func(a, b experiment.Result) bool { return true }, cmp.Transformer("finite", func(r experiment.Result) map[string]float64 {
	out := map[string]float64{}
	for name, e := range r {
		if !math.IsNaN(e.Value) {
			out[name] = e.Value
		}
		if !math.IsNaN(e.SE) {
			out["se "+name] = e.SE
		}
	}
	return out
}))

func only(r, of experiment.Result) experiment.Result {
	out := experiment.Result{}
	for name := range of {
		out[name] = r[name]
	}
	return out
}

// finite lists the numbers of JSON by their places.
func finite(v any) map[string]float64 {
	out := map[string]float64{}
	var walk func(place string, v any)
	walk = func(place string, v any) {
		switch v := v.(type) {
		case float64:
			out[place] = v
		case map[string]any:
			for key, inner := range v {
				walk(place+"."+key, inner)
			}
		}
	}
	walk("", v)
	return out
}

// Reports of earlier versions are read: what they have is shown, all numbers keep their places, and what was called smc is smc_twisted.
func TestOlderReports(t *testing.T) {
	var seen int
	err := filepath.WalkDir("../docs/results", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".json") || d.Name() == "table.json" || strings.Contains(path, "/peers/") || strings.Contains(path, "/scaling/") || // which are of no run
			strings.Contains(path, "/textimage/") || strings.Contains(path, "/own/") { // whose own tests read them: the problems are not among those of these tests
			return err
		}
		seen++
		var rep experiment.Report
		if err := json.Unmarshal([]byte(oracle.Read(t, path)), &rep); err != nil {
			t.Errorf("%s: %v", path, err)
			return nil
		}
		again, err := json.Marshal(&rep)
		if err != nil {
			return err
		}
		var back map[string]any
		if err := json.Unmarshal(again, &back); err != nil {
			return err
		}
		was, is := finite(readJSON(t, path)), finite(back)
		for place, v := range was {
			place = strings.ReplaceAll(place, ".smc.", ".smc_twisted.")
			if got, ok := is[place]; !ok || got != v {
				t.Errorf("%s: %s is %g, want %g", path, place, got, v)
			}
		}
		t1 := rep.Table()
		if len(t1.Rows) < len(rep.Methods) || len(t1.Columns) < 5 {
			t.Errorf("%s: table of %d rows and %d columns", path, len(t1.Rows), len(t1.Columns))
		}
		for _, row := range t1.Rows {
			if !slices.ContainsFunc(row[1:], func(cell string) bool { return strings.ContainsAny(cell, "0123456789") }) {
				t.Errorf("%s: a row without numbers: %q", path, row)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen == 0 {
		t.Error("there are no results in docs")
	}
}
