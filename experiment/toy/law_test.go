package toy

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/noise"
)

// tiny is a toy with the tiny settings, and others over them.
func tiny(t *testing.T, sets ...string) *Problem {
	t.Helper()
	p, err := experiment.New("toy", "quick", "../testdata/tiny.yaml", sets)
	if err != nil {
		t.Fatal(err)
	}
	return p.(*Problem)
}

// prepared is the same with its closed form.
func prepared(t *testing.T, sets ...string) *Problem {
	t.Helper()
	p := tiny(t, sets...)
	if _, err := p.Load(); err != nil {
		t.Fatal(err)
	}
	if err := p.Prepare(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return p
}

func gauss(x, mean, variance float64) float64 {
	return math.Exp(-(x-mean)*(x-mean)/(2*variance)) / math.Sqrt(2*math.Pi*variance)
}

// log Z and the tilted law against sums of p(x)·exp r(x) over a fine grid, the definition without any algebra of mixtures.
func TestExactLaw(t *testing.T) {
	one := prepared(t, "prior={weights: [3, 1], means: [[-1], [1.5]], covs: [[[0.2]], [[0.5]]]}", "reward={weights: [1], means: [[1]], sd: 0.7}").law
	const h = 1e-3
	weight := func(x float64) float64 {
		return (0.75*gauss(x, -1, 0.2) + 0.25*gauss(x, 1.5, 0.5)) * gauss(x, 1, 0.49)
	}
	var z float64
	for x := -12.0; x < 12; x += h {
		z += weight(x) * h
	}
	oracle.Near(t, "log Z in one dimension", one.logZ, math.Log(z), 1e-9)
	for _, x := range []float64{-1, 0, 0.7, 2} {
		oracle.Near(t, "density of the tilted law", math.Exp(one.tilted.LogDensity([]float64{x})), weight(x)/z, 1e-9)
	}

	two := prepared(t, "prior={weights: [2, 1], means: [[-1, 0], [1, 0]], covs: [[[0.3, 0.1], [0.1, 0.2]], [[0.2, 0], [0, 0.4]]]}",
		"reward={weights: [1], means: [[0.5, 0]], sd: 1}").law
	var plane float64
	const step = 0.02
	for x := -6.0; x < 6; x += step {
		for y := -6.0; y < 6; y += step {
			plane += math.Exp(two.prior.LogDensity([]float64{x, y})+two.reward.Density.LogDensity([]float64{x, y})) * step * step
		}
	}
	oracle.Near(t, "log Z in the plane", two.logZ, math.Log(plane), 1e-6)

	// Independent coordinates: the law in three dimensions is a product of those in one.
	three := prepared(t, "prior={means: [[0, 1, 2]], sd: 0.9}", "reward={weights: [1], means: [[1, 1, 1]], sd: 0.6}").law
	var sum float64
	for _, mean := range []float64{0, 1, 2} {
		sum += math.Log(gauss(1, mean, 0.9*0.9+0.6*0.6))
	}
	oracle.Near(t, "log Z in three dimensions", three.logZ, sum, 1e-9)
	oracle.Near(t, "log Z of Figure 1", prepared(t).law.logZ, -2.764, 1e-3)
}

// cells are the exact probabilities that samples of the tilted law must reproduce.
func TestCellProbabilities(t *testing.T) {
	l := prepared(t).law
	var sum float64
	for _, c := range l.cells {
		sum += c
	}
	oracle.Near(t, "sum of the cells", sum, 1, 1e-9)
	// Four cells hold a mean of the reward each, and that much of its weight.
	known := 0
	for i, m := range l.prior.Means() {
		for j, n := range [][]float64{{-1, -1}, {1, -1}, {1, 1}, {-1, 1}} {
			if m[0] == n[0] && m[1] == n[1] {
				oracle.Near(t, "probability of a cell", l.cells[i], []float64{0.4, 0.3, 0.2, 0.1}[j], 0.03)
				known++
			}
		}
	}
	if known != 4 || len(l.cells) != 25 {
		t.Errorf("%d cells, %d of them with a mean of the reward", len(l.cells), known)
	}
	// In one dimension, a cell is an interval: of N(0.4, 0.24) the part below 0.5, which is where the means −1 and 2 divide.
	one := prepared(t, "prior={weights: [1, 0.000001], means: [[-0.2], [1.2]], sd: 0.7}", "reward={weights: [1], means: [[1]], sd: 0.7}").law
	oracle.Near(t, "interval", one.cells[0], math.Erfc((0.4-0.5)/math.Sqrt(0.49))/2, 4*0.5/math.Sqrt(2000))
}

// The floors are those of exact sets, whose size they fall with, and so does their spread.
func TestFloors(t *testing.T) {
	l := prepared(t).law
	sw2, modes := l.floors()
	l.Samples *= 16
	less, fewer := l.floors()
	if !(sw2.Value > 0 && sw2.Value < 0.3 && less.Value < sw2.Value/2 && less.SE < sw2.SE) {
		t.Errorf("SW2 %+v of 200 samples, %+v of 3200", sw2, less)
	}
	// E|p̂ − p|/2 over cells of probabilities 0.4, 0.3, 0.2, 0.1 is the sum of √(p(1−p)/200)·√(2/π)/2, 0.046; a standard error of ten is 0.005.
	oracle.Near(t, "mode TV of 200 samples", modes.Value, 0.046, 0.02)
	oracle.Near(t, "mode TV of 3200 samples", fewer.Value, 0.046/4, 0.005)
	if !(modes.SE > 0.004 && modes.SE < 0.04) {
		t.Errorf("the standard deviation of a mode TV is %g", modes.SE)
	}
}

// Exact samples measure as such: their numbers are those of two exact sets, to a few standard errors; those of the prior do not.
func TestMeasure(t *testing.T) {
	p := prepared(t, "samples=1000", "directions=64")
	measure := func(x []float32) experiment.Result {
		r, err := p.Measure(t.Context(), &experiment.Lab{}, "", &method.Samples{X: x, Count: 1, Members: len(x) / 2})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	exact, prior := measure(p.law.samples(1, 3)), measure(p.law.prior.Sample(1000, noise.New(9)))
	// E|p̂ − p|/2 over cells of probabilities 0.4, 0.3, 0.2, 0.1: the sum of √(p(1−p)/1000)·√(2/π)/2 is 0.02.
	if v := exact["mode_tv"].Value; v > 0.06 {
		t.Errorf("mode TV of exact samples is %g", v)
	}
	if v, floor := exact["sw2"].Value, floor(p.law); v > 2.5*floor {
		t.Errorf("SW2 of exact samples is %g, the floor %g", v, floor)
	}
	if v := exact["energy"].Value; math.Abs(v) > 0.02 {
		t.Errorf("energy distance of exact samples is %g", v)
	}
	// E r under the tilted law, from far more samples: four standard errors of 1000.
	p.Samples = 40000
	var sum, square float64
	rewards, err := p.law.reward.Rewards(t.Context(), p.law.samples(1, 7), 40000)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rewards {
		sum, square = sum+r/40000, square+r*r/40000
	}
	oracle.Near(t, "reward of exact samples", exact["reward"].Value, sum, 4*math.Sqrt((square-sum*sum)/1000))
	// A grid of 25 equal modes has 4/25 of its mass in the four cells of the tilted law.
	oracle.Near(t, "mode TV of the prior", prior["mode_tv"].Value, 0.84, 0.05)
	if prior["sw2"].Value < 3*exact["sw2"].Value || prior["energy"].Value < 0.1 || prior["reward"].Value > exact["reward"].Value-1 {
		t.Errorf("of the prior: %v, of exact samples: %v", prior, exact)
	}
	p.Samples = 1000
	references, err := p.References(t.Context(), nil)
	if err != nil || references[""]["log_z"].Value != p.law.logZ || references[""]["sw2"].Value <= 0 {
		t.Errorf("references are %v, %v", references, err)
	}
}

func TestMixture(t *testing.T) {
	build := func(m Mixture) *gmm.Mixture {
		t.Helper()
		out, err := m.build("prior")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	unit := [][]float64{{1, 0}, {0, 1}}
	grid := build(Mixture{Grid: Grid{Side: 2, Spacing: 3}, SD: 1})
	listed := build(Mixture{Means: [][]float64{{-1.5, -1.5}, {1.5, -1.5}, {-1.5, 1.5}, {1.5, 1.5}}, Weights: []float64{2, 2, 2, 2},
		Covs: [][][]float64{unit, unit, unit, unit}, SD: 9}) // covs before sd
	at := []float64{0.3, -0.8}
	oracle.Near(t, "log density of a grid and of its means", grid.LogDensity(at), listed.LogDensity(at), 1e-12)
	for _, c := range []struct {
		m     Mixture
		words string
	}{
		{Mixture{SD: 1}, "want means, or a grid"},
		{Mixture{Grid: Grid{Side: 2}, SD: 1}, "want means, or a grid"},
		{Mixture{Means: [][]float64{{0}}}, "want covs, or sd > 0"},
		{Mixture{Means: [][]float64{{}}, SD: 1}, "the dimension is 0"},
		{Mixture{Means: [][]float64{make([]float64, 9)}, SD: 1}, "the dimension is 9"},
		{Mixture{Means: [][]float64{{0}, {0, 1}}, SD: 1}, "prior"},
		{Mixture{Means: [][]float64{{0, 0}}, Covs: [][][]float64{{{1, 2}, {2, 1}}}}, "prior"},
		{Mixture{Means: [][]float64{{0}}, SD: 1, Weights: []float64{-1}}, "prior"},
	} {
		if _, err := c.m.build("prior"); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%+v: error %v, want one with %q", c.m, err, c.words)
		}
	}
}

// What makes no sense is refused before anything is done, with the words of what a method needs.
func TestConfig(t *testing.T) {
	for set, words := range map[string]string{
		"methods=[base, dps]":                        "methods has dps, which needs a reward that is the likelihood of a measurement: toy has none",
		"methods=[importance_smc]":                   "importance_smc, which needs importance",
		"methods=[bicubic]":                          `"bicubic"`,
		"methods=[base_smc]":                         `"base_smc"`,
		"methods=[x_smc]":                            `"x_smc"`,
		"methods=[smc_fk, smc_fk]":                   "smc_fk twice",
		"base=guessed":                               "base",
		"directions=0":                               "directions is 0",
		"h.tuned=true":                               "h.tuned",
		"h.scale_width=0":                            "h.scale_width is 0",
		"network.width=-8":                           "network.width is -8",
		"prior.sd=0":                                 "prior: want covs, or sd > 0",
		"reward={weights: [1], means: [[0]], sd: 1}": "prior and reward",
		"reward={weights: [1, 2], means: [[0, 0]], sd: 1}": "reward: ",
		"importance.paths=0":             "importance.paths is 0",
		"process.kernel=leapfrog":        "leapfrog",
		"methods=[importance_smc_smc]":   `"importance_smc_smc"`,
		"methods=[importance_amplified]": "importance_amplified, which needs importance",
	} {
		_, err := experiment.New("toy", "quick", "../testdata/tiny.yaml", []string{set})
		if !errors.Is(err, experiment.ErrConfig) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: error %v, want one with %q", set, err, words)
		}
	}
	for _, preset := range []string{"quick", "paper"} {
		p, err := experiment.New("toy", preset, "", nil)
		if err != nil {
			t.Errorf("preset %s: %v", preset, err)
			continue
		}
		for _, name := range p.(*Problem).Methods {
			if missing := p.(*Problem).Method(name).About().Needs.Missing(p.Offers()); missing != "" {
				t.Errorf("preset %s: %s lacks %s", preset, name, missing)
			}
		}
	}
}

func floor(l *law) float64 {
	sw2, _ := l.floors()
	return sw2.Value
}
