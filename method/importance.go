package method

import (
	"context"

	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/internal/config"
)

// Importance is iterative importance fine-tuning, the method of the paper: Algorithm 1 with relaxed rejection (14) by path weights.
type Importance struct {
	Supervised `yaml:",inline"`
	Acceptance finetune.Rate `yaml:"acceptance"` // in stages of equal length
	draws      `yaml:"-"`
}

var _ = register(func() Method { return &Importance{} })

// About implements [Method].
func (*Importance) About() About {
	return About{Name: "importance", Title: "Importance (this method)", Needs: Learning}
}

// Check implements [Method].
func (m *Importance) Check(c *config.Check, key string) {
	m.Supervised.Check(c, key)
	checkRates(c, key, m.Acceptance)
}

// Fit implements [Method].
func (m *Importance) Fit(ctx context.Context, t *Target) (Fitted, error) {
	return m.fit(ctx, t, finetune.Relaxed{Rate: m.Acceptance})
}
