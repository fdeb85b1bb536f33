package experiment

import (
	"context"
	"strings"

	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// Self are the settings of the base model's own fit, that h is taken relative to: see [htransform.Neutral]. Without paths there is none,
// and h is relative to the base model.
type Self struct {
	Paths       int `yaml:"paths"` // of the base model, whose endpoints are learned from
	nn.Training `yaml:",inline"`
}

// On reports whether there is one.
func (s Self) On() bool { return s.Paths > 0 }

func (s Self) check(c *config.Check) {
	c.That(s.Paths >= 0, "self.paths is %d, want at least 0", s.Paths)
	if s.On() {
		c.Training("self", s.Training)
		c.Fits("self.paths", 2*float64(s.Paths)) // the order in which they are learned from
		c.That(s.Paths >= s.Batch, "self.paths is %d, want at least a batch, %d", s.Paths, s.Batch)
	}
}

// OwnFit says what a base model's own fit is made of, in a problem.
type OwnFit struct {
	Task     string // whose base model it is; "" where all tasks have the same
	Shape    []int
	Base     func(trained *engine.Engine) (diffusion.Model, error)    // with the averages of the networks before
	Data     func(key noise.Key, n int) func(dst []float32, step int) // see [method.Target]
	Fits     Fits
	EachSeed bool
	// Evaluations is how many of a network one of Base is, see [method.Target]; 0 means 1.
	Evaluations int
	Settings    []any // that Fits, and a base model without training, depend on
}

// Fits is what is fitted to samples of the base model, as h is to those that are kept.
type Fits interface {
	// Init creates the parameters below a scope, and returns them.
	Init(s *model.Scope, key noise.Key) ([]*model.Variable, error)
	// H returns the h with these parameters, as it is before any step.
	H(s *model.Scope, base diffusion.Model) (htransform.Learned, error)
}

// FitsNN1 is the NN1 of an h, see [htransform.RewardFree].
type FitsNN1 struct {
	Net   func(s *model.Scope, inputs int) nn.Network
	Tuned bool // it begins as a copy of the base model's network, as h does
}

// Init implements [Fits].
func (f FitsNN1) Init(s *model.Scope, key noise.Key) ([]*model.Variable, error) {
	return f.Net(s, 2).Init(key, 0, 0).Parameters(), nil
}

// H implements [Fits].
func (f FitsNN1) H(s *model.Scope, base diffusion.Model) (htransform.Learned, error) {
	h := htransform.RewardFree{NN1: f.Net(s, 2), Tuned: f.Tuned}
	if !f.Tuned {
		return h, nil
	}
	return h, nn.Copy(h.NN1, base.(diffusion.Network).Velocity)
}

// selfName begins the names of base models' own fits among the networks.
const selfName = "self"

// OwnFitOf is the name among the networks of the own fit of a task's base model.
func OwnFitOf(task string) string { return strings.TrimSuffix(selfName+"_"+task, "_") }

// WithSelf adds to a problem's networks the base model's own fit, if the run is to have one: by the loss (15), weighted and at noise levels
// as h is fitted, to samples of the base model that are simulated as those of the run.
func (c *Common) WithSelf(networks []Network, f OwnFit) []Network {
	if !c.Self.On() {
		return networks
	}
	p := diffusion.Pretraining{Training: c.Self.Training, Denoising: c.Denoising}
	settings := append([]any{c.Self, c.Denoising, c.Process}, f.Settings...)
	for _, n := range networks {
		if n.Name == baseName {
			settings = append(settings, n.Steps, n.Settings)
		}
	}
	name := OwnFitOf(f.Task)
	return append(networks, Network{Name: name, EachSeed: f.EachSeed, Steps: p.Steps, Settings: settings,
		Calls: float64(max(1, f.Evaluations) * (c.Self.Paths*c.Process.Steps + 2*p.Steps*p.Batch)), Paths: c.Self.Paths,
		Init: f.Fits.Init,
		Draw: func(ctx context.Context, trained *engine.Engine, key noise.Key) ([]float32, error) {
			base, err := f.Base(trained)
			if err != nil {
				return nil, err
			}
			fitted, err := c.analytic(ctx, trained.Fork(), base, f.Shape, key, f.Data)
			if err != nil {
				return nil, err
			}
			s := &diffusion.Sampler{Engine: trained.Fork(), Process: c.Process.Process(), Steps: c.Process.Table(fitted)(0), Shape: f.Shape, Base: base, Batch: p.Batch}
			return endpoints(ctx, s, key.Sub(name).Sub("samples"), c.Self.Paths, 16*p.Batch)
		},
		Train: func(g Ground, key noise.Key) (*nn.Trainer, func(step int) []any, error) {
			base, err := f.Base(g.Trained)
			if err != nil {
				return nil, nil, err
			}
			h, err := f.Fits.H(g.Scope, base)
			if err != nil {
				return nil, nil, err
			}
			trainer, err := htransform.OwnFit(g.Engine, c.Process.Process(), base, h, p)
			key = key.Sub(name)
			dim := engine.Size(f.Shape)
			next := data.StepBatches(key.Sub("batches"), c.Self.Paths, p.Batch)
			return trainer, p.Inputs(key, c.Process.Process(), f.Shape, func(rows []float32, step int) {
				for i, j := range next(step) {
					if g.Samples != nil {
						copy(rows[i*dim:], g.Samples[j*dim:(j+1)*dim])
					}
				}
			}), err
		}})
}

// Own returns the base model's own fit in a lab, as a part of h; nil if the run has none.
func (c *Common) Own(e *engine.Engine, nn1 func(s *model.Scope, inputs int) nn.Network) nn.Network {
	if !c.Self.On() {
		return nil
	}
	return nn1(e.Scope(nn.Averaged("/"+selfName)), 2)
}

// endpoints simulates n paths, so many at a time: only their ends are kept in memory.
func endpoints(ctx context.Context, s *diffusion.Sampler, key noise.Key, n, each int) ([]float32, error) {
	var out []float32
	for from := 0; from < n; from += each {
		paths, err := s.Run(ctx, key, from, min(each, n-from), nil)
		if err != nil {
			return nil, err
		}
		out = append(out, paths.X...)
	}
	return out, nil
}
