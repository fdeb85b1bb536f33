package experiment_test

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// own are settings of a base model's own fit that takes little time.
const own = "self={paths: 24, steps: 20, batch: 8, learning_rate: 0.01, ema: 0.5}"

// relative are runs of every problem with an h that is relative to the base model's own fit.
var relative = map[string][]string{
	"toy":      append([]string{"methods=[base, importance, neutral, vargrad, importance_polished]", "neutral={iterations: 2, paths: 50, updates: 3, batch: 10}", "importance.kl=0.01", "samples=60", "seeds=2"}, plain...),
	"exact":    append([]string{"base=exact", "methods=[importance, online]", "samples=60"}, plain...),
	"mnist":    append([]string{"tasks=[even]", "methods=[base, importance, neutral, importance_polished]", "h.tuned=true", "neutral={paths: 8, updates: 1, batch: 4, iterations: 2, acceptance: [0.6]}", "importance_polished.paths=6"}, small...),
	"superres": {"methods=[importance, vargrad, importance_polished, importance_single]", "importance_polished.paths=8", "drawn=50", "measurements=2", "held=1", "samples=2", "process.steps=3"},
	"gaussian": {"data=gaussian", "gaussian={side: 4, length: 1, sd: 0.5}", "h={tuned: false, patch: 1}", "methods=[importance]", "measurements=2", "held=1", "samples=2", "process.steps=3"},
}

// problem is one of those, and what it is a kind of.
func problem(t *testing.T, name string, sets ...string) experiment.Problem {
	t.Helper()
	kind := map[string]string{"exact": "toy", "gaussian": "superres"}[name]
	if kind == "" {
		kind = name
	}
	return tiny(t, kind, append(append(slices.Clone(relative[name]), own), sets...)...)
}

// What is learned relative to the base model's own fit is something else; a run ends the same however it was stopped, and what it has left is
// what is sampled again.
func TestSelf(t *testing.T) {
	for name := range relative {
		t.Run(name, func(t *testing.T) {
			t.Setenv("DOOB_DATA", t.TempDir())
			var killed []string // while the own fit is trained, and while a method after it learns
			folder, last := filepath.Join(t.TempDir(), "run"), ""
			rep, err := experiment.Run(t.Context(), problem(t, name), folder, "cpu", func(ev experiment.Event) {
				if ev.Stage != last && (last == "train self" || ev.Stage == "train self") || ev.Stage == "importance" && ev.Done == 1 {
					killed = append(killed, copied(t, folder))
				}
				last = ev.Stage
			})
			if err != nil {
				t.Fatal(err)
			}
			want := outcome(t, folder)
			if len(killed) < 3 || want["checkpoint/self.safetensors"] == nil {
				t.Fatalf("%d stages, files %v", len(killed), len(want))
			}
			for _, folder := range killed[1:3] {
				t.Setenv("DOOB_DATA", t.TempDir())
				resume(t, folder)
				same(t, "resumed", want, outcome(t, folder))
			}
			without := run(t, problem(t, name, "self.paths=0", "methods=[importance]"), "cpu")
			learned := "checkpoint/importance.safetensors"
			if name == "mnist" {
				learned = "checkpoint/importance_even.safetensors"
			}
			if cmp.Equal(outcome(t, without.folder)[learned], want[learned]) {
				t.Error("without the own fit, the same is learned")
			}
			again, err := experiment.Evaluate(t.Context(), experiment.Draw{Folder: folder, Seed: 1}, func(experiment.Event) {})
			if err != nil {
				t.Fatal(err)
			}
			if len(again.Order) < len(rep.Order) {
				t.Errorf("%v are evaluated, of %v", again.Order, rep.Order)
			}
			for method, result := range rep.Methods {
				for key, e := range result {
					got, has := again.Methods[method][key]
					if has && rep.Seeds == 1 && !math.IsNaN(got.Value) && got.Value != e.Value && !strings.HasSuffix(key, "scale") {
						t.Errorf("%s of %s is %v, the run has %v", key, method, got.Value, e.Value)
					}
				}
			}
			if name != "exact" && name != "gaussian" {
				sample(t, experiment.Draw{Folder: folder, Method: "importance_polished", N: 2})
			}
		})
	}
}

// The own fit comes from the store if all is the same that it depends on: what the base model depends on, how it is simulated, NN1.
func TestSelfStore(t *testing.T) {
	t.Setenv("DOOB_DATA", t.TempDir())
	stored := func(sets ...string) bool {
		for _, ev := range run(t, problem(t, "toy", append([]string{"methods=[base]", "seeds=1"}, sets...)...), "cpu").events {
			if ev.Stage == "train self" && ev.Result != nil {
				return ev.Result["stored"].Value == 1
			}
		}
		t.Error("there is no own fit")
		return false
	}
	if stored() {
		t.Error("an empty store has an own fit")
	}
	for _, set := range []string{"samples=50", "methods=[base, guidance]", "h.start=0.5", "batch=10"} {
		if !stored(set) {
			t.Errorf("with %s the own fit is made anew", set)
		}
	}
	for _, set := range []string{"self.paths=25", "self.steps=21", "self.batch=9", "self.learning_rate=0.02", "process.steps=5", "process.kernel=ddpm", "process.beta1=19",
		"denoising.power=1.5", "pretrain.steps=21", "network.width=9", "h.width=9", "seed=2", "prior.means=[[0, 0, 0], [1, 0, 0]]", "base=exact"} {
		if stored(set) {
			t.Errorf("with %s the own fit comes from the store", set)
		}
	}
}

// A variant may have another h than the own fit is of only where it does without.
func TestSelfRefuses(t *testing.T) {
	for set, words := range map[string][]string{
		"self.paths=-1":         {"self.paths is -1"},
		"self.paths=7":          {"self.paths is 7", "8"},
		"self.batch=0":          {"self.batch is 0"},
		"self.learning_rate=-1": {"self.learning_rate is -1"},
		"self.ema=1":            {"self.ema is 1"},
		"self.nonsense=1":       {"nonsense"},
		"variants=[{name: other, set: [h.width=9]}]":                        {"other", "h.width=9", "self.paths=0"},
		"variants=[{name: other, set: [self.steps=9]}]":                     {"other", "self.steps=9", "self.paths=0"},
		"variants=[{name: other, set: [h.width=9, self.paths=0]}]":          nil,
		"variants=[{name: other, set: [h.start=0.5, h.gradient=false]}]":    nil,
		"variants=[{name: other, set: [self.paths=0, importance.paths=7]}]": nil,
	} {
		_, err := experiment.New("toy", "", files("toy"), append(slices.Clone(relative["toy"]), own, set))
		if words != nil {
			oracle.WantError(t, err, words...)
		} else if err != nil {
			t.Errorf("%s: %v", set, err)
		}
	}
	// Where a problem knows nothing of own fits, none is silently left out.
	dir := t.TempDir()
	write(t, filepath.Join(dir, "centre.txt"), "0.5\n")
	bell, err := experiment.New("bell", "", "", []string{"from=" + dir, own})
	if err != nil {
		t.Fatal(err)
	}
	_, err = experiment.Run(t.Context(), bell, filepath.Join(dir, "run"), "cpu", func(experiment.Event) {})
	oracle.WantError(t, err, "self.paths is 24", "bell")
	// Such variants run, beside importance with the own fit.
	d := run(t, problem(t, "toy", "methods=[importance, without, frugal]", "variants=[{name: without, set: [self.paths=0, h.width=9]}, {name: frugal, set: [h.gradient=false]}]"), "cpu")
	if at := d.report.Methods; at["without"]["network_calls"].Value >= at["importance"]["network_calls"].Value || at["frugal"]["network_calls"].Value != at["importance"]["network_calls"].Value {
		t.Errorf("network calls: %v without, %v with, %v without gradient", at["without"]["network_calls"], at["importance"]["network_calls"], at["frugal"]["network_calls"])
	}
}
