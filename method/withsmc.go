package method

import (
	"context"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/steer"
)

// WithSMC is sequential Monte Carlo from a learned h as proposal: exact as the particles grow, whatever was learned. It is called by the
// name of the method that has learned h and the ending _smc.
type WithSMC struct {
	another   `yaml:"-"`
	Particles `yaml:",inline"`
	Twist     bool `yaml:"twist"` // resample on the way by r(x̂₀); if not, by the twist that h itself implies: at the end
}

var _ = combine("_smc", func(of string) Method {
	return &WithSMC{another: another{of}, Particles: Particles{Threshold: 0.5, Particles: 2}}
})

// About implements [Method].
func (s *WithSMC) About() About { return s.about("_smc", "%s + SMC", 0) }

// Cost implements [Method].
func (s *WithSMC) Cost(w Work) Cost {
	n := s.Particles.of(w)
	return Cost{Paths: n, Networks: w.learned(), Rows: n}
}

// Sample implements [Method].
func (s *WithSMC) Sample(ctx context.Context, t *Target, h diffusion.Control) (*Samples, error) {
	if r, ok := t.Reward.(reward.Differentiable); ok && s.Twist {
		return s.run(ctx, t, h, steer.LogTwist(r, t.Anneal))
	}
	return s.run(ctx, t, h, nil)
}
