//go:build xla

package experiment_test

import (
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// Runs of all problems on XLA leave what they leave on package cpu: the trained parameters of all networks within 1e-4 of their norm, and what
// path weights say within 1e-4 of it. Few paths, so that no choice among them hangs on the last digits.
func TestXLAProblems(t *testing.T) {
	backend := oracle.XLA(t)
	for kind, sets := range map[string][]string{
		"toy": append([]string{"methods=[importance]", "samples=20", "batch=20", "importance={iterations: 2, paths: 20, updates: 2, batch: 10}",
			"pretrain.steps=10"}, plain...),
		"mnist": {"methods=[importance]", "tasks=[even]", "drawn=50", "pool=12", "samples=4", "process.steps=3", "previews=0", "batch=8",
			"importance={iterations: 2, paths: 8, batch: 4, updates: 1}", "classifier={steps: 5, batch: 8}", "judge={steps: 5, batch: 8}", "pretrain.batch=8"},
		"superres": {"methods=[importance]", "drawn=50", "measurements=2", "samples=3", "process.steps=3", "held=1", "previews=0",
			"importance.iterations=2", "classifier.batch=8", "pretrain.batch=8"},
	} {
		t.Run(kind, func(t *testing.T) {
			want := outcome(t, run(t, tiny(t, kind, sets...), "cpu").folder)
			got := outcome(t, run(t, tiny(t, kind, sets...), backend).folder)
			if d := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); d != "" {
				t.Fatalf("files (-cpu +xla)\n%s", d)
			}
			for _, name := range slices.Sorted(maps.Keys(want)) {
				tensors, ok := want[name].(map[string]checkpoint.Tensor)
				if !ok || strings.HasSuffix(name, "_state.safetensors") {
					continue
				}
				others := got[name].(map[string]checkpoint.Tensor)
				var norm, distance float64
				for key, tensor := range tensors {
					for i, w := range tensor.F32 {
						norm += float64(w) * float64(w)
						distance += math.Pow(float64(others[key].F32[i])-float64(w), 2)
					}
				}
				off := math.Sqrt(distance / norm)
				if !(off <= 1e-4) {
					t.Errorf("%s: off by %.1e of its norm, want at most 1e-4", name, off)
				}
				t.Logf("%s: off by %.1e of its norm", name, off)
			}
			n, worst := weighed(t, "", want["report.json"], got["report.json"])
			if n == 0 {
				t.Error("the report has nothing of path weights")
			}
			t.Logf("%d numbers of path weights, off by at most %.1e of them", n, worst)
		})
	}
}

// weighed compares what reports say of path weights, wherever it stands. It returns how many numbers that were, and by what part of the
// larger of 1 and itself one is off at most.
func weighed(t *testing.T, path string, want, got any) (n int, worst float64) {
	t.Helper()
	switch w := want.(type) {
	case map[string]any:
		g, _ := got.(map[string]any)
		for key, v := range w {
			m, off := weighed(t, path+"."+key, v, g[key])
			n, worst = n+m, max(worst, off)
		}
	case float64:
		key := path[strings.LastIndex(path, ".")+1:]
		if !slices.Contains([]string{"log_z", "kl", "l_sc", "ess_fraction"}, key) {
			break
		}
		g, ok := got.(float64)
		n, worst = 1, math.Abs(g-w)/max(1, math.Abs(w))
		if !ok || !(worst <= 1e-4) {
			t.Errorf("%s is %v, want %g", path, got, w)
		}
	}
	return n, worst
}
