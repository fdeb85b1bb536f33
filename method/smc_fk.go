package method

import (
	"context"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/steer"
)

// SMCFK is Feynman–Kac steering (Singhal et al. 2025): particles of the base model, resampled by how the reward at x̂₀ changes.
type SMCFK struct {
	Particles `yaml:",inline"`
	noFit     `yaml:"-"`
}

var _ = register(func() Method { return &SMCFK{Particles: Particles{Threshold: 0.5, Particles: 1}} })

// About implements [Method].
func (*SMCFK) About() About {
	return About{Name: "smc_fk", Title: "SMC, Feynman–Kac", Needs: Gradient}
}

// Cost implements [Method].
func (s *SMCFK) Cost(w Work) Cost {
	n := s.Particles.of(w)
	return Cost{Base: n, Rows: n}
}

// Sample implements [Method].
func (s *SMCFK) Sample(ctx context.Context, t *Target, _ diffusion.Control) (*Samples, error) {
	return s.run(ctx, t, nil, steer.LogTwist(t.Reward.(reward.Differentiable), t.Anneal))
}
