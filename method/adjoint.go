package method

import (
	"context"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/reward"
)

// AdjointMatching is online fine-tuning by a regression to lean adjoints (Domingo-Enrich et al. 2024), see [finetune.AdjointMatching].
// Its authors' multiplier of the reward is the scale that the target's reward has already.
type AdjointMatching struct {
	Loop              `yaml:",inline"`
	finetune.Matching `yaml:",inline"`
	// Memoryless trains on paths with all the noise of the process, as theory wants it, whatever is sampled with in the end.
	Memoryless bool `yaml:"memoryless"`
	draws      `yaml:"-"`
}

var _ = register(func() Method { return &AdjointMatching{Matching: finetune.Matching{Steps: 4, Quantile: 0.9}} })

// About implements [Method].
func (*AdjointMatching) About() About {
	return About{Name: "adjoint_matching", Title: "Adjoint matching", Needs: Learning | Gradient | Unconditional}
}

// Check implements [Method].
func (m *AdjointMatching) Check(c *config.Check, key string) {
	m.Loop.Check(c, key)
	m.onPolicy(c, key, "its adjoints are right on the paths of the h that is trained only")
	c.That(m.Steps >= 0, "%s.steps is %d, want at least 0", key, m.Steps)
	c.That(m.Quantile > 0 && m.Quantile <= 1, "%s.quantile is %g, want a number in (0, 1]; at 1 no sample is left out", key, m.Quantile)
}

// Cost implements [Method]: the base model is evaluated at every step of every path once more, and differentiated there. All of the
// paths are kept meanwhile, with the adjoints that are fitted.
func (m *AdjointMatching) Cost(w Work) Cost {
	fitted := float64(m.Steps)
	if m.Steps == 0 || fitted > w.Steps {
		fitted = w.Steps
	}
	paths := float64(m.Paths)
	c := m.cost(w, float64(m.Iterations*m.Updates), float64(m.Batch))
	c.Adjoint = float64(m.Iterations) * paths * w.Steps
	c.Unguided = !m.Guided
	c.Kept += paths * (w.Steps + fitted)
	return c
}

// Fit implements [Method].
func (m *AdjointMatching) Fit(ctx context.Context, t *Target) (Fitted, error) {
	fitted, err := m.run(ctx, t, finetune.Relaxed{}, false, func(s *diffusion.Sampler, h htransform.Learned) (finetune.Objective, error) {
		if m.Memoryless {
			s.Steps = t.Memoryless(len(s.Steps))
		}
		return finetune.NewAdjointMatching(s, h, m.training(t), m.Matching, t.Reward.(reward.Differentiable))
	})
	if m.Memoryless {
		t.Evidence = finetune.Pool{} // it is of another chain than the samples
	}
	return fitted, err
}
