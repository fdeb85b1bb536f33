// Package toy is the two-dimensional experiment of the paper (section 4.1, C.1, Figure 1): a Gaussian-mixture prior tilted by a
// Gaussian-mixture log-likelihood, where the answer is known in closed form.
package toy

import (
	"context"
	"embed"

	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

//go:embed presets
var presets embed.FS

func init() {
	experiment.Register(experiment.Entry{Name: "toy", About: "Tilt a Gaussian mixture, where the answer is exact: Figure 1.",
		New: func() experiment.Problem { return &Problem{} }, Presets: presets, Default: "quick"})
}

// Problem is the toy. Any dimension from 1 to 8 works; figures are for 1 and 2.
type Problem struct {
	experiment.Common `yaml:",inline"`
	Base              string  `yaml:"base"`         // "learned" or "exact"
	Prior             Mixture `yaml:"prior,flow"`   // p_data
	Reward            Mixture `yaml:"reward,flow"`  // r is its log-likelihood
	Network           nn.MLP  `yaml:"network,flow"` // of the base model
	H                 H       `yaml:"h,flow"`       // NN1 and NN2 of (16)
	Directions        int     `yaml:"directions"`   // of the sliced Wasserstein distance

	law *law
}

// H is the size of NN1, and the start of h.
type H struct {
	nn.MLP              `yaml:",inline"`
	htransform.Settings `yaml:",inline"`
}

// Check implements [experiment.Problem].
func (p *Problem) Check(c *config.Check) {
	c.OneOf("base", p.Base, "learned", "exact")
	c.Positive("directions", p.Directions)
	c.MLP("network", p.Network)
	c.MLP("h", p.H.MLP)
	c.H("h", p.H.Settings)
	c.That(!p.H.Tuned, "h.tuned is true, but NN1 is no network of the base model's kind")
	if p.Base == "learned" {
		c.Training("pretrain", p.Pretrain)
	}
	l, err := p.exact()
	if p.law == nil { // a run that is reopened needs it too, without its data
		p.law = l
	}
	c.That(err == nil, "%v", err)
	c.That(err != nil || p.Previews == 0 || l.dim() <= 2, "previews is %d, want 0: pictures are for 1 and 2 dimensions", p.Previews)
}

// Load implements [experiment.Problem]: there are no data.
func (p *Problem) Load() (data.Source, error) {
	var err error
	p.law, err = p.exact()
	p.KeepSamples = true
	return data.Source{}, err
}

// Networks implements [experiment.Problem]: the base model, unless its score is exact.
func (p *Problem) Networks() []experiment.Network {
	own := experiment.OwnFit{Shape: []int{p.law.dim()}, Data: p.rows, Fits: experiment.FitsNN1{Net: p.nn1}, EachSeed: true, Settings: []any{false, []any{p.H.MLP, p.Base, p.Prior}},
		Base: func(trained *engine.Engine) (diffusion.Model, error) { return p.model(trained), nil }}
	if p.Base == "exact" {
		return p.WithSelf(nil, own)
	}
	base := p.Common.Prior(func(s *model.Scope) nn.Network { return p.net(s) }, []int{p.law.dim()}, p.rows, p.Network, p.Prior)
	base.EachSeed = true
	return p.WithSelf([]experiment.Network{base}, own)
}

// rows returns what fills in n samples of the prior for every step.
func (p *Problem) rows(key noise.Key, n int) func(rows []float32, step int) {
	return func(rows []float32, step int) { copy(rows, p.law.prior.Sample(n, key.Sub("data").At(step))) }
}

// net is the network of the base model in a scope.
func (p *Problem) net(s *model.Scope) nn.MLP {
	n := p.Network
	n.Scope, n.In, n.Out, n.Timed = s, p.law.dim(), p.law.dim(), true
	return n
}

// model is the base model, with trained networks on an engine.
func (p *Problem) model(trained *engine.Engine) diffusion.Model {
	if p.Base == "exact" {
		return diffusion.Mixture{Density: p.law.prior}
	}
	return diffusion.Network{Velocity: p.net(trained.Scope(nn.Averaged("/base")))}
}

// nn1 is NN1 of so many inputs in a scope.
func (p *Problem) nn1(s *model.Scope, inputs int) nn.Network {
	n, d := p.H.MLP, p.law.dim()
	n.Scope, n.In, n.Out, n.Timed = s, inputs*d, d, true
	return n
}

// Prepare implements [experiment.Problem].
func (p *Problem) Prepare(context.Context, *experiment.Lab) error {
	p.law.cells = p.law.cellProbabilities()
	return nil
}

// Keys implements [experiment.Problem]: every method has noise of its own, so that their errors are independent.
func (p *Problem) Keys(seed uint64, _, name string) method.Keys {
	key := noise.New(seed)
	own := key.Sub(name)
	return method.Keys{Root: own, Start: key.Sub("h"), Loop: own, Particles: own.Sub("samples")}
}

// Target implements [experiment.Problem].
func (p *Problem) Target(_ context.Context, l *experiment.Lab, _ string) (*method.Target, error) {
	return &method.Target{Base: p.model(l.Engine), Self: p.Self.On(), Shape: []int{p.law.dim()}, Data: p.rows, Reward: p.law.reward, Conditions: 1,
		H: func(e *engine.Engine, key noise.Key, r reward.Reward) (htransform.Learned, error) {
			return p.H.New(e, key, htransform.Parts{Reward: r, NN1: p.nn1, Self: p.Own(l.Engine, p.nn1)})
		}}, nil
}

// law is the closed form of a toy: what every method is compared with.
type law struct {
	*Problem
	prior, tilted *gmm.Mixture
	reward        reward.Mixture
	logZ          float64
	cells         []float64 // exact probability of the cell around each mean of the prior
}
