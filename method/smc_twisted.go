package method

import (
	"context"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/steer"
)

// SMCTwisted is the twisted diffusion sampler (Wu et al. 2023), see [steer.SMC].
type SMCTwisted struct {
	Particles `yaml:",inline"`
	noFit     `yaml:"-"`
}

var _ = register(func() Method { return &SMCTwisted{Particles: Particles{Threshold: 0.5, Particles: 1}} })

// About implements [Method].
func (*SMCTwisted) About() About {
	return About{Name: "smc_twisted", Title: "SMC, twisted", Needs: Gradient}
}

// Cost implements [Method]: every prediction is differentiated.
func (s *SMCTwisted) Cost(w Work) Cost {
	n := s.Particles.of(w)
	return Cost{Paths: n, Through: 1, Rows: n}
}

// Sample implements [Method].
func (s *SMCTwisted) Sample(ctx context.Context, t *Target, _ diffusion.Control) (*Samples, error) {
	r := t.Reward.(reward.Differentiable)
	return s.run(ctx, t, steer.Twisted{Reward: r, Scale: 1, Weight: t.Anneal}, steer.LogTwist(r, t.Anneal))
}
