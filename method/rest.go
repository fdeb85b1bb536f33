package method

import (
	"context"

	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/internal/config"
)

// ReST is Algorithm 1 with a hard threshold at a quantile of the reward that rises over the iterations, see [finetune.Threshold].
type ReST struct {
	Supervised `yaml:",inline"`
	Low        float64 `yaml:"low"`  // quantile at the first iteration
	High       float64 `yaml:"high"` // quantile that the iterations rise to
	draws      `yaml:"-"`
}

var _ = register(func() Method { return &ReST{Low: 0.5, High: 0.9} })

// About implements [Method].
func (*ReST) About() About {
	return About{Name: "rest", Title: "ReST (rising threshold)", Needs: Learning}
}

// Check implements [Method].
func (m *ReST) Check(c *config.Check, key string) {
	m.Supervised.Check(c, key)
	c.That(m.Low >= 0 && m.Low <= m.High && m.High <= 1, "%s.low and high are %g and %g, want 0 ≤ low ≤ high ≤ 1", key, m.Low, m.High)
}

// Fit implements [Method].
func (m *ReST) Fit(ctx context.Context, t *Target) (Fitted, error) {
	return m.fit(ctx, t, finetune.Threshold{Low: m.Low, High: m.High})
}
