package method

import (
	"context"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/config"
)

// Supervised are the settings of methods that fit h to selected endpoints by the loss (15).
type Supervised struct {
	Loop `yaml:",inline"`
	KL   float64 `yaml:"kl"` // weight of the regulariser (17)
}

// Check implements [Method].
func (s *Supervised) Check(c *config.Check, key string) {
	s.Loop.Check(c, key)
	c.That(s.KL >= 0, "%s.kl is %g, want at least 0", key, s.KL)
}

// Cost implements [Method]. Where there is a pool, it takes the place of the first iteration.
func (s *Supervised) Cost(w Work) Cost {
	c := s.cost(w, float64(s.Iterations*s.Updates), float64(s.Batch))
	if s.KL == 0 { // (15) has no use for what h is relative to
		c.Further = 0
	}
	if w.Pool > 0 {
		c.Base, c.Shared, c.Paths = c.Base+w.Pool, w.Pool, c.Paths-float64(s.Paths)
		c.Rows = max(c.Rows, w.Pool)
	}
	return c
}

// fit is Algorithm 1 with a selector.
func (s *Supervised) fit(ctx context.Context, t *Target, selector finetune.Selector) (Fitted, error) {
	return s.run(ctx, t, selector, true, func(sampler *diffusion.Sampler, h htransform.Learned) (finetune.Objective, error) {
		return finetune.NewSupervised(sampler, h, s.training(t), s.KL)
	})
}

// Shared returns the settings that all methods of this kind have: what is said of them in common is read over each.
func (s *Supervised) Shared() *Supervised { return s }

func checkRates(c *config.Check, key string, rates finetune.Rate) {
	for _, r := range rates {
		c.That(r > 0 && r <= 1, "%s.acceptance has %g, want numbers in (0, 1]", key, r)
	}
}
