package method

import (
	"context"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/config"
)

// DDPO is clipped policy gradient of the mean reward, see [finetune.DDPO].
type DDPO struct {
	Loop                  `yaml:",inline"`
	finetune.DDPOSettings `yaml:",inline"`
	draws                 `yaml:"-"`
}

var _ = register(func() Method { return &DDPO{DDPOSettings: finetune.DDPOSettings{Clip: 1e-4}} })

// About implements [Method].
func (*DDPO) About() About {
	return About{Name: "ddpo", Title: "DDPO", Needs: Learning | Unconditional}
}

// Check implements [Method].
func (m *DDPO) Check(c *config.Check, key string) {
	m.Loop.Check(c, key)
	m.onPolicy(c, key, "its gradient is of the steps that the h in training has taken, and its ratio is clipped near 1")
	c.That(m.Paths > 1, "%s.paths is %d, want at least 2: advantages are in standard deviations", key, m.Paths)
	checkClip(c, key, m.Clip)
	c.That(m.Window >= 0 && m.Window != 1, "%s.window is %d, want at least 2 rewards, or 0 for those of an iteration", key, m.Window)
}

// Cost implements [Method].
func (m *DDPO) Cost(w Work) Cost {
	c := m.cost(w, float64(m.Iterations*m.Updates), float64(m.Batch))
	c.Kept += transition * (min(float64(m.Updates)*float64(m.Batch), float64(m.Paths)*w.Steps) + float64(m.Batch))
	return c
}

// Fit implements [Method].
func (m *DDPO) Fit(ctx context.Context, t *Target) (Fitted, error) {
	return m.run(ctx, t, finetune.Relaxed{}, false, func(s *diffusion.Sampler, h htransform.Learned) (finetune.Objective, error) {
		return finetune.NewDDPO(s, h, m.training(t), m.DDPOSettings)
	})
}
