package method

import (
	"context"

	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/internal/config"
)

// RewardOnly is Algorithm 1 with rejection by the reward alone, see [finetune.RewardOnly].
type RewardOnly struct {
	Supervised `yaml:",inline"`
	Acceptance finetune.Rate `yaml:"acceptance"` // in stages of equal length
	draws      `yaml:"-"`
}

var _ = register(func() Method { return &RewardOnly{} })

// About implements [Method].
func (*RewardOnly) About() About {
	return About{Name: "reward_only", Title: "Reward-only", Needs: Learning}
}

// Check implements [Method].
func (m *RewardOnly) Check(c *config.Check, key string) {
	m.Supervised.Check(c, key)
	checkRates(c, key, m.Acceptance)
}

// Fit implements [Method].
func (m *RewardOnly) Fit(ctx context.Context, t *Target) (Fitted, error) {
	return m.fit(ctx, t, finetune.RewardOnly{Rate: m.Acceptance})
}
