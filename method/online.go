package method

import (
	"context"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/reward"
)

// Online is online fine-tuning by backpropagation through the whole chain (10), see [finetune.Online]. Its memory grows with the steps.
type Online struct {
	Loop  `yaml:",inline"`
	Steps int `yaml:"steps"` // of the chain that is unrolled; 0 means all
	draws `yaml:"-"`
}

var _ = register(func() Method { return &Online{} })

// About implements [Method].
func (*Online) About() About {
	return About{Name: "online", Title: "Online (backpropagation)", Needs: Learning | Gradient | Unconditional}
}

// Check implements [Method].
func (m *Online) Check(c *config.Check, key string) {
	m.Loop.Check(c, key)
	m.onPolicy(c, key, "its gradient steps simulate their own paths, with the h that is trained")
	c.That(m.Steps >= 0, "%s.steps is %d, want at least 0", key, m.Steps)
}

// Cost implements [Method]: gradient steps simulate paths of their own.
func (m *Online) Cost(w Work) Cost {
	steps := float64(m.Steps)
	if steps == 0 {
		steps = w.Steps
	}
	updates := float64(m.Iterations * m.Updates)
	c := m.cost(w, updates*steps, float64(m.Batch))
	c.Own = updates * float64(m.Batch)
	c.Rows = max(c.Rows, float64(m.Batch)*steps)
	return c
}

// Fit implements [Method].
func (m *Online) Fit(ctx context.Context, t *Target) (Fitted, error) {
	return m.run(ctx, t, finetune.Relaxed{}, false, func(s *diffusion.Sampler, h htransform.Learned) (finetune.Objective, error) {
		return finetune.NewOnline(s, h, m.training(t), t.Steps(m.Steps), t.Reward.(reward.Differentiable))
	})
}
