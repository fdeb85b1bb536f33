// Package own is the problem of whoever has pictures, or a model, and something that scores samples: a prior tilted by rewards of the user's own, which
// a YAML file names. [Prior] says where the prior comes from, [Term] what a reward may be. Each reward has its weight in the sum that the prior
// is tilted by; those under evaluate are measured and never trained on.
//
//	prior: {pictures: DIR, size: 32x32}   # or {run: DIR}, or {model: DIR}
//	rewards:
//	  - {command: [python3, score.py]}
//	  - {classifier: DIR, class: cat, weight: 5}
//	evaluate:
//	  - {classifier: DIR, class: cat}
package own

import (
	"context"
	"embed"
	"errors"
	"fmt"

	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/imaging"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/sd"
)

//go:embed presets
var presets embed.FS

func init() {
	experiment.Register(experiment.Entry{Name: "own", About: "Fine-tune a prior of your own, such as one over a folder of pictures, to rewards of your own: doob tune.",
		New: func() experiment.Problem { return &Problem{} }, Presets: presets, Default: "quick"})
}

// Problem is a prior and rewards that a configuration names. It is one task. Prior and classifiers are those of the first seed.
type Problem struct {
	experiment.Common `yaml:",inline"`
	From              string             `yaml:"from,omitempty"` // folder of the pictures, if they are not where prior says
	Base              Prior              `yaml:"prior,flow"`
	Rewards           []Term             `yaml:"rewards"`
	Evaluate          []Term             `yaml:"evaluate,omitempty"`
	Network           nn.UNet            `yaml:"network,flow"` // of the prior; of a model's h
	H                 imaging.H          `yaml:"h,flow"`       // gradient: where all rewards have one
	Classifier        imaging.Classifier `yaml:"classifier,flow"`

	pictures data.Images       // none if the prior comes from a run and no pictures are named
	run      *trained          // that the prior comes from; nil if it is of no run
	model    *sd.Unconditional // that the prior is; nil if it is none
	networks []*classes        // classifiers, each of one folder
	base     diffusion.Model
	lab      *engine.Engine // with the networks
	judges   []judge        // of Rewards, then of Evaluate
	programs map[int]*imaging.Scorer
	reward   reward.Reward // the sum
	inverse  *reward.Inverse
	spread   float64 // ‖A‖² of inverse
	truth    []float32
	accuracy map[string]any // of classifiers, by their names
}

var _ experiment.Problem = (*Problem)(nil)

// Check implements [experiment.Problem].
func (p *Problem) Check(c *config.Check) {
	p.Base.check(c)
	c.That(len(p.Rewards) > 0, "rewards is empty: want at least one, such as {command: [python3, score.py]}; doob init writes examples")
	p.checkTerms(c)
	if shape, err := p.Base.shape(); err == nil && p.Base.trained() {
		for _, side := range shape[:2] {
			c.UNet("network", p.Network, side)
			p.H.Check(c, p.Network, side)
		}
		c.Training("pretrain", p.Pretrain)
	}
	c.H("h", p.H.Settings)
	p.Classifier.Check(c)
}

// Offers implements [experiment.Problem].
func (p *Problem) Offers() method.Needs {
	offers := method.Unconditional | method.Learning
	if p.differentiable() {
		offers |= method.Gradient
	}
	if p.likelihood() {
		offers |= method.Likelihood
	}
	return offers
}

// Load implements [experiment.Problem]: it reads the pictures and all that rewards are made of, and settles what the configuration leaves open.
func (p *Problem) Load() (data.Source, error) {
	p.H.Gradient = p.H.Gradient && p.differentiable()
	missing := p.Base.load(p)
	if missing != nil && !errors.Is(missing, data.ErrMissing) {
		return data.Source{}, missing
	}
	if err := p.loadTerms(); err != nil {
		return data.Source{}, err
	}
	return p.Base.source(p), missing
}

// size returns the shape of a sample, [height, width, channels].
func (p *Problem) size() []int {
	shape, err := p.Base.shape()
	if err != nil {
		panic(err) // Check has seen it
	}
	return shape
}

// Networks implements [experiment.Problem]: classifiers, and the prior.
func (p *Problem) Networks() []experiment.Network {
	shape := p.size()
	channels := shape[2]
	var all []experiment.Network
	for _, c := range p.networks {
		all = append(all, c.network(p))
	}
	if p.Base.Model != "" {
		return all
	}
	prior := p.Prior(func(s *model.Scope) nn.Network { return imaging.Net(p.Network, s, channels, channels) }, shape, p.rows, p.Network, p.Base.Flip)
	if p.run != nil {
		prior = p.run.network(prior)
	}
	return p.WithSelf(append(all, prior), experiment.OwnFit{Shape: shape, Data: p.data(), Fits: experiment.FitsNN1{Net: p.nn1, Tuned: p.H.Tuned}, Settings: []any{p.H.Tuned, []any{p.H.Size(p.Network)}},
		Base: func(trained *engine.Engine) (diffusion.Model, error) {
			return diffusion.Network{Velocity: p.prior(trained)}, nil
		}})
}

// prior is the network of a base model that doob has trained, on an engine.
func (p *Problem) prior(trained *engine.Engine) nn.UNet {
	channels := p.size()[2]
	return imaging.Net(p.Network, trained.Scope(experiment.TrainedPath), channels, channels)
}

// nn1 is NN1 of so many inputs in a scope.
func (p *Problem) nn1(s *model.Scope, inputs int) nn.Network {
	channels := p.size()[2]
	return imaging.Net(p.H.Size(p.Network), s, inputs*channels, channels)
}

// Prepare implements [experiment.Problem].
func (p *Problem) Prepare(ctx context.Context, l *experiment.Lab) (err error) {
	if err = p.loadBase(l); err != nil {
		return err
	}
	if err := p.open(ctx, l); err != nil {
		return err
	}
	var terms []reward.Term
	for i, t := range p.Rewards {
		terms = append(terms, reward.Term{Weight: t.Factor(), Reward: p.judges[i].reward})
	}
	if len(terms) == 1 && terms[0].Weight == 1 {
		p.reward = terms[0].Reward
		return nil
	}
	p.reward, err = reward.NewSum(terms...)
	return err
}

// loadBase makes the base model of the networks in a lab, or of those of others.
func (p *Problem) loadBase(l *experiment.Lab) (err error) {
	if p.lab = l.Engine; p.model == nil {
		p.base = diffusion.Network{Velocity: p.prior(l.Engine)}
		return nil
	}
	p.base, err = p.loadWeights(l.Engine)
	return err
}

// Close implements [io.Closer]: it ends the programs that score samples.
func (p *Problem) Close() error {
	var errs []error
	for _, program := range p.programs {
		errs = append(errs, program.Close())
	}
	return errors.Join(errs...)
}

// Target implements [experiment.Problem].
func (p *Problem) Target(context.Context, *experiment.Lab, string) (*method.Target, error) {
	t := &method.Target{Base: p.base, Self: p.Self.On(), Shape: p.size(), Data: p.data(), Reward: p.reward, Conditions: 1}
	parts := htransform.Parts{Self: p.Own(p.lab, p.nn1), NN1: p.nn1}
	if net, ok := p.base.(diffusion.Network); ok {
		parts.Base = net.Velocity
	}
	if p.likelihood() {
		t.Anneal, parts.Weight = reward.Anneal(p.inverse.Sigma, p.spread), htransform.Likelihood(p.inverse.Sigma, p.spread)
	} else {
		t.Scaled = func(factor float64) reward.Reward {
			r, err := reward.NewSum(reward.Term{Weight: factor, Reward: p.reward})
			if err != nil {
				panic(err) // p.reward judges samples by themselves, as a sum that was made before
			}
			return r
		}
	}
	t.H = func(e *engine.Engine, key noise.Key, r reward.Reward) (htransform.Learned, error) {
		own := parts
		own.Reward = r
		return p.H.New(e, key, own)
	}
	return t, nil
}

// text says what the prior is, for people.
func (p *Problem) text() string {
	shape := p.size()
	return fmt.Sprintf("%s, %d×%d", p.Base.text(), shape[1], shape[0])
}
