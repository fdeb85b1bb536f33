package method

import (
	"context"

	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/internal/config"
)

// RAFT is Algorithm 1 with the best of every K paths, see [finetune.BestOf].
type RAFT struct {
	Supervised `yaml:",inline"`
	BestOf     int `yaml:"best_of"` // K
	draws      `yaml:"-"`
}

var _ = register(func() Method { return &RAFT{BestOf: 4} })

// About implements [Method].
func (*RAFT) About() About {
	return About{Name: "raft", Title: "RAFT (best of K)", Needs: Learning}
}

// Check implements [Method].
func (m *RAFT) Check(c *config.Check, key string) {
	m.Supervised.Check(c, key)
	c.Positive(key+".best_of", m.BestOf)
}

// Fit implements [Method].
func (m *RAFT) Fit(ctx context.Context, t *Target) (Fitted, error) {
	return m.fit(ctx, t, finetune.BestOf{K: m.BestOf})
}
