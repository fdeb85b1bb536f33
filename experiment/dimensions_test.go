package experiment

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/gmm"
)

const fullMethods = "methods=[base, importance, vargrad, smc_twisted]"

// logZ sums p(x)·exp r(x) over a fine grid in one dimension: the definition, without any algebra of mixtures.
func logZ(prior, reward func(x float64) float64) float64 {
	const h = 1e-3
	var sum float64
	for x := -12.0; x < 12; x += h {
		sum += prior(x) * reward(x) * h
	}
	return math.Log(sum)
}

func gauss(x, mean, variance float64) float64 {
	return math.Exp(-(x-mean)*(x-mean)/(2*variance)) / math.Sqrt(2*math.Pi*variance)
}

func TestOneDimension(t *testing.T) {
	folder, report := run(t, tiny(t, fullMethods,
		"prior={weights: [3, 1], means: [[-1], [1.5]], covs: [[[0.2]], [[0.5]]]}", "reward={weights: [1], means: [[1]], sd: 0.7}"), nil)
	want := logZ(func(x float64) float64 { return 0.75*gauss(x, -1, 0.2) + 0.25*gauss(x, 1.5, 0.5) },
		func(x float64) float64 { return gauss(x, 1, 0.49) })
	if got := report["exact"].(map[string]any)["log_z"].(float64); math.Abs(got-want) > 1e-6 {
		t.Errorf("exact log Z = %g, the integral gives %g", got, want)
	}
	for _, name := range []string{"methods.png", "training.png"} {
		if _, err := os.Stat(filepath.Join(folder, "figures", name)); err != nil {
			t.Error(err)
		}
	}
	if n := len(rows(t, draw(t, Draw{Folder: folder, N: 5}, ".csv"), 1)); n != 5 {
		t.Errorf("%d rows, want 5", n)
	}
	draw(t, Draw{Folder: folder, N: 5}, ".png")
}

// In three dimensions there is no picture of the samples, but all else.
func TestThreeDimensions(t *testing.T) {
	folder, report := run(t, tiny(t, fullMethods,
		"prior={means: [[0, 0, 0], [1, 1, -1]], covs: [[[1, 0.3, 0], [0.3, 1, 0.1], [0, 0.1, 0.5]], [[0.4, 0, 0], [0, 0.4, 0], [0, 0, 0.4]]]}",
		"reward={weights: [1], means: [[1, 0, 0]], covs: [[[0.5, 0, 0.2], [0, 0.5, 0], [0.2, 0, 0.5]]]}"), nil)
	for _, name := range []string{"base", "importance", "vargrad", "smc_twisted"} {
		method(t, report, name)
	}
	if _, err := os.Stat(filepath.Join(folder, "figures", "methods.png")); !os.IsNotExist(err) {
		t.Errorf("figures/methods.png: %v, want no such file", err)
	}
	if page := read(t, filepath.Join(folder, "report.html")); strings.Count(page, "<img") != 1 { // the training curves
		t.Errorf("report.html has %d pictures, want 1", strings.Count(page, "<img"))
	}
	if n := len(rows(t, draw(t, Draw{Folder: folder, N: 4}, ".csv"), 3)); n != 4 {
		t.Errorf("%d rows, want 4", n)
	}
	out := filepath.Join(t.TempDir(), "x.png")
	_, err := Sample(t.Context(), Draw{Folder: folder, N: 4, Out: out})
	wantError(t, err, "1 and 2 dimensions", "3", ".csv")
}

// With the exact score and enough steps the samples are those of the prior: the whole chain of sampler, path weights and
// metrics must say so.
func TestExactBaseSamplesThePrior(t *testing.T) {
	_, report := run(t, tiny(t, "base=exact", "methods=[base]", "samples=2000", "batch=1000", "process.steps=100", "seed=4",
		"prior={weights: [2, 1], means: [[-1, 0], [1, 0]], covs: [[[0.3, 0.1], [0.1, 0.2]], [[0.2, 0], [0, 0.4]]]}",
		"reward={weights: [1], means: [[0.5, 0]], sd: 1}"), nil)
	exact, base := report["exact"].(map[string]any)["log_z"].(float64), method(t, report, "base")
	// Of unweighted prior samples, log Ẑ = log mean exp r, whose error here is about 1 %.
	if got := base["log_z"].(float64); math.Abs(got-exact) > 0.05 {
		t.Errorf("log Ẑ = %g, exact %g", got, exact)
	}
}

// cells are the exact probabilities that samples of the tilted law must reproduce.
func TestCellProbabilities(t *testing.T) {
	p, err := newToyProblem(tiny(t))
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for _, c := range p.cellProbabilities() {
		sum += c
	}
	if math.Abs(sum-1) > 1e-9 {
		t.Errorf("the cells sum to %g", sum)
	}
	// Four cells hold a mean of the reward each, and that much of its weight.
	cells := p.cellProbabilities()
	for i, m := range p.prior.Means() {
		for j, n := range [][]float64{{-1, -1}, {1, -1}, {1, 1}, {-1, 1}} {
			if m[0] == n[0] && m[1] == n[1] && math.Abs(cells[i]-[]float64{0.4, 0.3, 0.2, 0.1}[j]) > 0.03 {
				t.Errorf("cell %v has probability %g, want about %g", m, cells[i], []float64{0.4, 0.3, 0.2, 0.1}[j])
			}
		}
	}
}

func TestMixtureConfig(t *testing.T) {
	grid, err := Mixture{Grid: Grid{Side: 2, Spacing: 3}, SD: 1}.build("prior")
	if err != nil {
		t.Fatal(err)
	}
	listed, err := Mixture{Means: [][]float64{{-1.5, -1.5}, {1.5, -1.5}, {-1.5, 1.5}, {1.5, 1.5}}, Weights: []float64{2, 2, 2, 2},
		Covs: [][][]float64{{{1, 0}, {0, 1}}, {{1, 0}, {0, 1}}, {{1, 0}, {0, 1}}, {{1, 0}, {0, 1}}}, SD: 9}.build("prior") // covs before sd
	if err != nil {
		t.Fatal(err)
	}
	density := func(m *gmm.Mixture) float64 { return m.LogDensity([]float64{0.3, -0.8}) }
	if density(grid) != density(listed) {
		t.Errorf("log densities %g of the grid and %g of its means differ", density(grid), density(listed))
	}
}
