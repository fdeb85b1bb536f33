package experiment

import (
	"fmt"
	"math"
	"slices"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// Toy is the 2-D experiment (section 4.1, C.1, Figure 1): a Gaussian-mixture prior tilted by a Gaussian-mixture
// log-likelihood, where the answer is known in closed form. Any dimension from 1 to 8 works; figures are for 1 and 2.
type Toy struct {
	Experiment string                `yaml:"experiment"` // "toy"
	Seed       uint64                `yaml:"seed"`
	Seeds      int                   `yaml:"seeds"` // repetitions, with seeds Seed, Seed+1, …
	Base       string                `yaml:"base"`  // "learned" or "exact"
	Prior      Mixture               `yaml:"prior"`
	Reward     Mixture               `yaml:"reward"`
	Process    Process               `yaml:"process"`
	Network    Network               `yaml:"network"`
	H          Control               `yaml:"h"`
	Pretrain   diffusion.Pretraining `yaml:"pretrain"`
	Samples    int                   `yaml:"samples"`
	Directions int                   `yaml:"directions"`
	Batch      int                   `yaml:"batch"`
	Guidance   Guidance              `yaml:"guidance"`
	Importance Loop                  `yaml:"importance"`
	RewardOnly Loop                  `yaml:"reward_only"`
	Online     Loop                  `yaml:"online"`
	VarGrad    Loop                  `yaml:"vargrad"`
	RAFT       Loop                  `yaml:"raft"`
	CEM        Loop                  `yaml:"cem"`
	SMC        struct {
		Threshold float64 `yaml:"threshold"`
	} `yaml:"smc"`
	ImportanceSMC struct {
		Particles int `yaml:"particles"`
	} `yaml:"importance_smc"`
	Methods []string `yaml:"methods"`
}

// Control is the size and start of a reward-informed h: Network is NN1, ScaleWidth the width of NN2.
type Control struct {
	Network    `yaml:",inline"`
	ScaleWidth int     `yaml:"scale_width"`
	Start      float64 `yaml:"start"` // of NN2, see [htransform.Network]
}

// Guidance says among which scales the best is looked for, and with how many paths each.
type Guidance struct {
	Scales []float64 `yaml:"scales"`
	Paths  int       `yaml:"paths"`
}

// Mixture is the configuration of a Gaussian mixture: means or a square grid of them, with full covariances or one sd.
type Mixture struct {
	Grid    Grid          `yaml:"grid"`
	Weights []float64     `yaml:"weights"` // equal if absent
	Means   [][]float64   `yaml:"means"`
	Covs    [][][]float64 `yaml:"covs"`
	SD      float64       `yaml:"sd"`
}

// Grid is side × side means around the origin.
type Grid struct {
	Side    int     `yaml:"side"`
	Spacing float64 `yaml:"spacing"`
}

func (m Mixture) build(key string) (*gmm.Mixture, error) {
	fail := func(format string, args ...any) (*gmm.Mixture, error) {
		return nil, fmt.Errorf("%w: %s: %s", ErrConfig, key, fmt.Sprintf(format, args...))
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

// toyMethods are the names of the report, in its order.
var toyMethods = []string{"base", "guidance", "importance", "reward_only", "online", "vargrad", "raft", "cem", "smc_twisted", "smc_fk", "importance_smc"}

// loop returns the settings of a fine-tuning method, and the zero Loop for the others.
func (t *Toy) loop(name string) Loop {
	return map[string]Loop{"importance": t.Importance, "reward_only": t.RewardOnly, "online": t.Online, "vargrad": t.VarGrad,
		"raft": t.RAFT, "cem": t.CEM}[name]
}

// LoadToy reads a configuration of the toy: a preset, then a file (if named), then key=value settings.
func LoadToy(preset, file string, sets []string) (*Toy, error) {
	t := &Toy{Experiment: "toy", Seed: 1, Seeds: 1}
	if err := decode(t, "toy", preset, file, sets); err != nil {
		return nil, err
	}
	return t, t.validate()
}

func (t *Toy) validate() error {
	c := &check{}
	c.that(t.Experiment == "toy", "experiment is %q, want toy", t.Experiment)
	c.that(t.Base == "learned" || t.Base == "exact", "base is %q, want learned or exact", t.Base)
	c.positive("seeds", t.Seeds)
	c.positive("samples", t.Samples)
	c.positive("directions", t.Directions)
	c.positive("batch", t.Batch)
	t.Process.check(c)
	t.Network.check("network", c)
	t.H.check("h", c)
	c.positive("h.scale_width", t.H.ScaleWidth)
	c.positive("pretrain.steps", t.Pretrain.Steps)
	c.positive("pretrain.batch", t.Pretrain.Batch)
	c.optimizer("pretrain", t.Pretrain.Optimizer)
	c.times("pretrain", t.Pretrain.Times)
	c.that(len(t.Guidance.Scales) > 0, "guidance.scales is empty")
	for _, s := range t.Guidance.Scales {
		c.that(s >= 0 && !math.IsInf(s, 1), "guidance.scales has %g, want numbers from 0", s)
	}
	c.positive("guidance.paths", t.Guidance.Paths)
	for _, name := range []string{"importance", "reward_only", "online", "vargrad", "raft", "cem"} {
		t.loop(name).check(name, c)
	}
	c.that(t.VarGrad.Paths > 1, "vargrad.paths is %d, want at least 2: its loss is a variance", t.VarGrad.Paths)
	c.positive("raft.best_of", t.RAFT.BestOf)
	c.that(t.SMC.Threshold > 0 && t.SMC.Threshold <= 1, "smc.threshold is %g, want a number in (0, 1]", t.SMC.Threshold)
	c.positive("importance_smc.particles", t.ImportanceSMC.Particles)
	for _, m := range t.Methods {
		c.that(slices.Contains(toyMethods, m), "methods has %q, want some of %v", m, toyMethods)
	}
	c.that(len(t.Methods) > 0, "methods is empty")
	c.that(!slices.Contains(t.Methods, "importance_smc") || slices.Contains(t.Methods, "importance"),
		"methods has importance_smc without importance, whose control it uses")
	if err := c.err(); err != nil {
		return err
	}
	_, err := newToyProblem(t)
	return err
}

// toyProblem is the closed form of a toy: what every method is compared with.
type toyProblem struct {
	*Toy
	prior, tilted *gmm.Mixture
	reward        reward.Mixture
	logZ          float64
	cells         []float64 // exact probability of the cell around each mean of the prior
}

func newToyProblem(t *Toy) (*toyProblem, error) {
	p := &toyProblem{Toy: t}
	var err error
	if p.prior, err = t.Prior.build("prior"); err != nil {
		return nil, err
	}
	if p.reward.Density, err = t.Reward.build("reward"); err != nil {
		return nil, err
	}
	if p.tilted, p.logZ, err = p.prior.Times(p.reward.Density); err != nil {
		return nil, fmt.Errorf("%w: prior and reward: %w", ErrConfig, err)
	}
	return p, nil
}

// cellProbabilities returns the exact law's probability of the cells nearest to each mean of the prior. Component
// weights are exact; only the share of a component that spills into another cell is estimated.
func (p *toyProblem) cellProbabilities() []float64 {
	const draws = 2000
	cells := make([]float64, len(p.prior.Means()))
	for i, w := range p.tilted.Weights() {
		if w < 1e-12 {
			continue
		}
		x := p.tilted.Component(i).Sample(draws, noise.New(0).Sub("cells").At(i))
		for c, share := range metric.ModeWeights(x, p.dim(), p.prior.Means()) {
			cells[c] += w * share
		}
	}
	return cells
}

func (p *toyProblem) dim() int { return p.prior.Dim() }

// exactSamples returns draws of the exact tilted law; sets with different numbers are independent.
func (p *toyProblem) exactSamples(number int) []float32 {
	return p.tilted.Sample(p.Samples, noise.New(p.Seed).Sub("exact").At(number))
}

// floor is the sliced W2 distance between two independent exact sets, the mean over ten pairs.
func (p *toyProblem) floor() float64 {
	const pairs = 10
	var sum float64
	for i := range pairs {
		sum += metric.SlicedW2(p.exactSamples(2*i+1), p.exactSamples(2*i+2), p.dim(), p.Directions, noise.New(0).Sub("floor").At(i))
	}
	return sum / pairs
}

// baseModel returns the model with its parameters below path, created if it has any.
func (p *toyProblem) baseModel(e *engine.Engine, path string, key noise.Key) diffusion.Model {
	if p.Base == "exact" {
		return diffusion.Mixture{Density: p.prior}
	}
	return diffusion.Network{Velocity: nn.MLP{Scope: e.Scope(path), In: p.dim(), Out: p.dim(),
		Width: p.Network.Width, Depth: p.Network.Depth, Octaves: p.Network.Octaves, Timed: true}.Init(key, 0, 0)}
}

// control returns a reward-informed h with parameters below path.
func (p *toyProblem) control(e *engine.Engine, path string, key noise.Key) htransform.RewardInformed {
	return htransform.RewardInformed{Reward: p.reward, NN2: htransform.Scale(e.Scope(path+"/nn2"), p.H.ScaleWidth, p.H.Start, key),
		NN1: nn.MLP{Scope: e.Scope(path + "/nn1"), In: 3 * p.dim(), Out: p.dim(), Width: p.H.Width, Depth: p.H.Depth, Octaves: p.H.Octaves,
			Timed: true}.Init(key, 0, 0)}
}

func (p *toyProblem) sampler(e *engine.Engine, base diffusion.Model, h diffusion.Control) *diffusion.Sampler {
	return &diffusion.Sampler{Engine: e, Process: p.Process.Schedule, Steps: p.Process.steps(0), Shape: []int{p.dim()},
		Base: base, Control: h, Batch: p.Batch}
}
