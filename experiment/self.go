package experiment

import (
	"context"

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

func (s Self) on() bool { return s.Paths > 0 }

func (s Self) check(c *config.Check) {
	c.That(s.Paths >= 0, "self.paths is %d, want at least 0", s.Paths)
	if s.on() {
		c.Training("self", s.Training)
		c.Fits("self.paths", 2*float64(s.Paths)) // the order in which they are learned from
		c.That(s.Paths >= s.Batch, "self.paths is %d, want at least a batch, %d", s.Paths, s.Batch)
	}
}

// OwnFit says what a base model's own fit is made of, in a problem.
type OwnFit struct {
	Shape    []int
	Base     func(trained *engine.Engine) diffusion.Model             // with the averages of the networks before
	Data     func(key noise.Key, n int) func(dst []float32, step int) // see [method.Target]
	NN1      func(s *model.Scope, inputs int) nn.Network              // as of h
	Tuned    bool                                                     // it begins as a copy of the base model's network, as h does
	EachSeed bool
	Settings []any // that NN1, and a base model without training, depend on
}

// selfName is the name of the base model's own fit among the networks.
const selfName = "self"

// WithSelf adds to a problem's networks the base model's own fit, if the run is to have one: by the loss (15), weighted and at noise levels
// as h is fitted, to samples of the base model that are simulated as those of the run.
func (c *Common) WithSelf(networks []Network, f OwnFit) []Network {
	if !c.Self.on() {
		return networks
	}
	p := diffusion.Pretraining{Training: c.Self.Training, Denoising: c.Denoising}
	settings := []any{c.Self, c.Denoising, c.Process, f.Tuned, f.Settings}
	for _, n := range networks {
		if n.Name == baseName {
			settings = append(settings, n.Steps, n.Settings)
		}
	}
	return append(networks, Network{Name: selfName, EachSeed: f.EachSeed, Steps: p.Steps, Settings: settings,
		Calls: float64(c.Self.Paths*c.Process.Steps + 2*p.Steps*p.Batch), Paths: c.Self.Paths,
		Net: func(s *model.Scope) nn.Network { return f.NN1(s, 2) },
		Draw: func(ctx context.Context, trained *engine.Engine, key noise.Key) ([]float32, error) {
			base := f.Base(trained)
			fitted, err := c.analytic(ctx, trained.Fork(), base, f.Shape, key, f.Data)
			if err != nil {
				return nil, err
			}
			s := &diffusion.Sampler{Engine: trained.Fork(), Process: c.Process.Process(), Steps: c.Process.Table(fitted)(0), Shape: f.Shape, Base: base, Batch: p.Batch}
			return endpoints(ctx, s, key.Sub(selfName).Sub("samples"), c.Self.Paths, 16*p.Batch)
		},
		Train: func(g Ground, net nn.Network, key noise.Key) (*nn.Trainer, func(step int) []any, error) {
			base := f.Base(g.Trained)
			if f.Tuned {
				if err := nn.Copy(net, base.(diffusion.Network).Velocity); err != nil {
					return nil, nil, err
				}
			}
			trainer, err := htransform.OwnFit(g.Engine, c.Process.Process(), base, htransform.RewardFree{NN1: net, Tuned: f.Tuned}, p)
			key = key.Sub(selfName)
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
	if !c.Self.on() {
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
