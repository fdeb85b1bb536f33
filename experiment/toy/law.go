package toy

import (
	"fmt"
	"math"
	"slices"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/noise"
)

// Mixture is the configuration of a Gaussian mixture: means or a square grid of them, with full covariances or one sd.
type Mixture struct {
	Grid    Grid          `yaml:"grid,omitempty"`
	Weights []float64     `yaml:"weights,omitempty"` // equal if absent
	Means   [][]float64   `yaml:"means,omitempty"`
	Covs    [][][]float64 `yaml:"covs,omitempty"`
	SD      float64       `yaml:"sd,omitempty"`
}

// Grid is side × side means around the origin.
type Grid struct {
	Side    int     `yaml:"side"`
	Spacing float64 `yaml:"spacing"`
}

func (m Mixture) build(key string) (*gmm.Mixture, error) {
	fail := func(format string, args ...any) (*gmm.Mixture, error) {
		return nil, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...))
	}
	means := m.Means
	if len(means) == 0 {
		if m.Grid.Side < 1 || m.Grid.Spacing <= 0 {
			return fail("want means, or a grid with side ≥ 1 and spacing > 0")
		}
		for i := range m.Grid.Side * m.Grid.Side {
			centre := float64(m.Grid.Side-1) / 2
			means = append(means, []float64{(float64(i%m.Grid.Side) - centre) * m.Grid.Spacing, (float64(i/m.Grid.Side) - centre) * m.Grid.Spacing})
		}
	}
	if d := len(means[0]); d < 1 || d > 8 {
		return fail("the dimension is %d, want 1 to 8", d)
	}
	weights := m.Weights
	if len(weights) == 0 {
		weights = slices.Repeat([]float64{1}, len(means))
	}
	var mixture *gmm.Mixture
	var err error
	switch {
	case len(m.Covs) > 0:
		mixture, err = gmm.New(weights, means, m.Covs)
	case m.SD > 0:
		mixture, err = gmm.Isotropic(weights, means, m.SD)
	default:
		return fail("want covs, or sd > 0")
	}
	if err != nil {
		return fail("%v", err)
	}
	return mixture, nil
}

// exact computes the tilted law.
func (p *Problem) exact() (*law, error) {
	l := &law{Problem: p}
	var err error
	if l.prior, err = p.Prior.build("prior"); err != nil {
		return nil, err
	}
	if l.reward.Density, err = p.Reward.build("reward"); err != nil {
		return nil, err
	}
	if l.tilted, l.logZ, err = l.prior.Times(l.reward.Density); err != nil {
		return nil, fmt.Errorf("prior and reward: %w", err)
	}
	return l, nil
}

// cellProbabilities returns the exact law's probability of the cells nearest to each mean of the prior. Component
// weights are exact; only the share of a component that spills into another cell is estimated.
func (l *law) cellProbabilities() []float64 {
	const draws = 2000
	cells := make([]float64, len(l.prior.Means()))
	for i, w := range l.tilted.Weights() {
		if w < 1e-12 {
			continue
		}
		x := l.tilted.Component(i).Sample(draws, noise.New(0).Sub("cells").At(i))
		for c, share := range metric.ModeWeights(x, l.dim(), l.prior.Means()) {
			cells[c] += w * share
		}
	}
	return cells
}

func (l *law) dim() int { return l.prior.Dim() }

// samples returns draws of the exact tilted law; sets with different seeds or numbers are independent.
func (l *law) samples(seed uint64, number int) []float32 {
	return l.tilted.Sample(l.Samples, noise.New(seed).Sub("exact").At(number))
}

// floors are what exact sets themselves reach, by sliced W2 distance against another exact set and by their mode weights: means over ten sets,
// with the standard deviation of one.
func (l *law) floors() (sw2, modeTV experiment.Estimate) {
	const sets = 10
	var distances, modes []float64
	for i := range sets {
		x := l.samples(l.Seed, 2*i+1)
		distances = append(distances, metric.SlicedW2(x, l.samples(l.Seed, 2*i+2), l.dim(), l.Directions, noise.New(0).Sub("floor").At(i)))
		modes = append(modes, l.modeTV(x))
	}
	spread := func(v []float64) experiment.Estimate {
		mean, se := metric.MeanSE(v)
		return experiment.Estimate{Value: mean, SE: se * math.Sqrt(sets)}
	}
	return spread(distances), spread(modes)
}

// modeTV is the total variation of the mode weights of samples from the exact ones.
func (l *law) modeTV(x []float32) float64 {
	return metric.TotalVariation(metric.ModeWeights(x, l.dim(), l.prior.Means()), l.cells)
}
