package method

import (
	"context"

	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/internal/config"
)

// CEM is the cross-entropy method: Algorithm 1 with the share of highest reward, see [finetune.Elite].
type CEM struct {
	Supervised `yaml:",inline"`
	Acceptance finetune.Rate `yaml:"acceptance"` // in stages of equal length
	draws      `yaml:"-"`
}

var _ = register(func() Method { return &CEM{} })

// About implements [Method].
func (*CEM) About() About {
	return About{Name: "cem", Title: "CEM (elite)", Needs: Learning}
}

// Check implements [Method].
func (m *CEM) Check(c *config.Check, key string) {
	m.Supervised.Check(c, key)
	checkRates(c, key, m.Acceptance)
}

// Fit implements [Method].
func (m *CEM) Fit(ctx context.Context, t *Target) (Fitted, error) {
	return m.fit(ctx, t, finetune.Elite{Rate: m.Acceptance})
}
