package experiment

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
)

func evaluate(t *testing.T, ev Evaluation) *Evaluated {
	t.Helper()
	ev.Backend = engine.Default
	out, err := Evaluate(t.Context(), ev, func(Event) {})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func evaluatedMethods(rows []EvaluatedRow) (names []string) {
	for _, r := range rows {
		names = append(names, r.Method)
	}
	return names
}

// With the seed and number of samples of the run, what the run has measured comes out; with another seed, other numbers.
func TestEvaluateToy(t *testing.T) {
	folder, _ := sharedRun(t)
	before := len(tree(t, folder))
	file := readJSON(t, filepath.Join(folder, "report.json"))
	out := evaluate(t, Evaluation{Folder: folder, Seed: 1})
	want := []string{"base", "importance", "reward_only", "online", "vargrad", "raft", "cem", "exact"}
	if got := evaluatedMethods(out.Methods); !slices.Equal(got, want) {
		t.Fatalf("methods %v, want %v", got, want)
	}
	for _, row := range out.Methods[:len(want)-1] {
		for _, m := range evaluatedMetrics["toy"] {
			if got, want := row.Numbers[m.name], method(t, file, row.Method)[m.name]; float64(got) != want {
				t.Errorf("%s: %s is %v, the run has %v", row.Method, m.name, float64(got), want)
			}
		}
	}
	if got, want := float64(out.Methods[7].Numbers["sw2"]), file["floor"].(map[string]any)["sw2"]; got != want {
		t.Errorf("floor is %v, the run has %v", got, want)
	}
	if !out.Complete || out.Samples != 200 {
		t.Errorf("complete %v, %d samples", out.Complete, out.Samples)
	}
	other := evaluate(t, Evaluation{Folder: folder, Seed: 1000})
	for i, row := range other.Methods {
		if row.Numbers["sw2"] == out.Methods[i].Numbers["sw2"] {
			t.Errorf("%s has the same SW2 with another seed", row.Method)
		}
	}
	few := evaluate(t, Evaluation{Folder: folder, Seed: 1, N: 50})
	if few.Samples != 50 || few.Methods[0].Numbers["reward"] == out.Methods[0].Numbers["reward"] {
		t.Errorf("%d samples, want 50, and another mean reward than that of 200", few.Samples)
	}
	if n := len(tree(t, folder)); n != before {
		t.Errorf("%d files, want %d", n, before)
	}
}

func TestEvaluateMNIST(t *testing.T) {
	folder, rep, _ := mnistIn(t, tinyMNIST(t, "methods=[base, guidance, vargrad, importance, mine]", "variants=[{name: mine, set: [h.gradient=false]}]", "seed=5"))
	var stages []int
	out, err := Evaluate(t.Context(), Evaluation{Folder: folder, Seed: 5, Backend: engine.Default}, func(ev Event) { stages = append(stages, ev.Done) })
	if err != nil {
		t.Fatal(err)
	}
	if want := []int{0, 1, 2, 3, 4, 5, 6, 7, 8}; !slices.Equal(stages, want) {
		t.Errorf("progress %v, want %v", stages, want)
	}
	want := []string{"base", "vargrad", "importance", "mine", "real"}
	if got := evaluatedMethods(out.Tasks); !slices.Equal(got, append(want, want...)) {
		t.Fatalf("methods %v, want %v twice", got, want)
	}
	mean := map[string]map[string]float64{}
	for _, row := range out.Tasks {
		if row.Method != "real" {
			r := rep.Tasks[row.Task][row.Method]
			want := map[string]finetune.Number{"reward": r.Reward, "fid": r.FID, "accuracy": r.Accuracy, "diversity": r.Diversity, "ess_fraction": r.ESSFraction, "kl": r.KL}
			if d := cmp.Diff(want, row.Numbers); d != "" {
				t.Errorf("%s of %s (-run +evaluated):\n%s", row.Method, row.Task, d)
			}
		}
		if mean[row.Method] == nil {
			mean[row.Method] = map[string]float64{}
		}
		for name, v := range row.Numbers {
			mean[row.Method][name] += float64(v) / 2
		}
	}
	if got := evaluatedMethods(out.Methods); !slices.Equal(got, want) {
		t.Fatalf("means of %v, want %v", got, want)
	}
	for _, row := range out.Methods {
		for name, v := range row.Numbers {
			if math.Abs(float64(v)-mean[row.Method][name]) > 1e-12 {
				t.Errorf("%s: mean %s is %v, want %v", row.Method, name, float64(v), mean[row.Method][name])
			}
		}
	}
	if table := out.Table(true); len(table.Rows) != 10 || table.Rows[5][0] != "even" || table.Rows[6][0] != "" {
		t.Errorf("by task: %v", table.Rows)
	}

	// A run that was stopped: what it has left is measured, but no mean is made of some of the tasks.
	for _, name := range []string{"report.json", "checkpoint/vargrad_even.safetensors"} {
		if err := os.Remove(filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	out = evaluate(t, Evaluation{Folder: folder, Seed: 1000, N: 12})
	if got, want := evaluatedMethods(out.Methods), []string{"base", "importance", "mine", "real"}; !slices.Equal(got, want) {
		t.Errorf("means of %v, want %v", got, want)
	}
	if len(out.Tasks) != 9 || out.Complete || out.Samples != 12 {
		t.Errorf("%d rows, complete %v, %d samples", len(out.Tasks), out.Complete, out.Samples)
	}
	if notes := strings.Join(out.Table(false).Notes, "\n"); !strings.Contains(notes, "not finished") || !strings.Contains(notes, "every task yet, see --tasks: vargrad.") {
		t.Errorf("notes %s", notes)
	}
	config := filepath.Join(folder, "config.yaml")
	if err := os.WriteFile(config, []byte(strings.Replace(read(t, config), "data: digits", "data: mnist", 1)), 0o666); err != nil {
		t.Fatal(err)
	}
	_, err = Evaluate(t.Context(), Evaluation{Folder: folder, From: t.TempDir(), Backend: engine.Default}, func(Event) {})
	wantError(t, err, "missing data files", "doob data get mnist")
}

func TestEvaluateRefuses(t *testing.T) {
	folder, _ := sharedRun(t)
	stopped := t.TempDir()
	if err := os.WriteFile(filepath.Join(stopped, "config.yaml"), []byte(read(t, filepath.Join(folder, "config.yaml"))), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ev    Evaluation
		words []string
	}{
		{Evaluation{Folder: folder, N: 1}, []string{"1 samples", "at least 2"}},
		{Evaluation{Folder: folder, N: -4}, []string{"-4 samples"}},
		{Evaluation{Folder: folder, Backend: "abacus"}, []string{`"abacus"`}},
		{Evaluation{Folder: t.TempDir()}, []string{"run folder", "config.yaml", "no such file"}},
		{Evaluation{Folder: stopped}, []string{stopped, "not finished", "no checkpoint", "--resume"}},
	} {
		_, err := Evaluate(t.Context(), c.ev, func(Event) {})
		wantError(t, err, c.words...)
	}
}
