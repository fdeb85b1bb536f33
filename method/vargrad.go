package method

import (
	"context"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/config"
)

// VarGrad is online fine-tuning by the log-variance loss (57), see [finetune.VarGrad].
type VarGrad struct {
	Loop  `yaml:",inline"`
	Steps int `yaml:"steps"` // time steps used in an iteration; 0 means all
	draws `yaml:"-"`
}

var _ = register(func() Method { return &VarGrad{} })

// About implements [Method].
func (*VarGrad) About() About { return About{Name: "vargrad", Title: "VarGrad", Needs: Learning} }

// Check implements [Method].
func (m *VarGrad) Check(c *config.Check, key string) {
	m.Loop.Check(c, key)
	m.onPolicy(c, key, "its gradient, of the variance of log w, is right on the paths of the h that is trained only")
	c.That(m.Steps >= 0, "%s.steps is %d, want at least 0", key, m.Steps)
	c.That(m.Paths > 1, "%s.paths is %d, want at least 2: its loss is a variance", key, m.Paths)
}

// Cost implements [Method]: every iteration takes one gradient step, on all of its paths at some of their times.
func (m *VarGrad) Cost(w Work) Cost {
	steps := float64(m.Steps)
	if steps == 0 || steps > w.Steps {
		steps = w.Steps
	}
	return m.cost(w, float64(m.Iterations), steps*float64(m.Paths))
}

// Fit implements [Method].
func (m *VarGrad) Fit(ctx context.Context, t *Target) (Fitted, error) {
	return m.run(ctx, t, finetune.Relaxed{}, false, func(s *diffusion.Sampler, h htransform.Learned) (finetune.Objective, error) {
		return finetune.NewVarGrad(s, h, m.Optimizer, m.Steps)
	})
}
