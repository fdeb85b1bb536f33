package steer

import (
	"context"
	"math"
	"slices"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// Polish finds the numbers of [Staged] with which KL(P^h‖P_tilted) is least: it is −E log w up to the constant log Z. No data are needed.
//
// On paths of P^h the law of c·h is known for all c. With A_k = Σ‖D‖²/s² and M_k = Σ⟨D,z⟩/s over the steps of stage k,
//
//	ℓ(c) = log dP^{ch}/dP^h = Σ_k (c_k−1)·M_k − ½(c_k−1)²·A_k,   log w_c = log w − ℓ(c)
//
// So one set of paths gives the KL at all c by weights e^ℓ, as far as these are even. Every round moves c to the least KL within that reach
// and simulates anew, with the same noise. The best of the c that were simulated is taken, which may be 1. What the KL falls by counts less its
// standard error: a few paths shall not be followed into their own noise.
type Polish struct {
	Sampler func(h diffusion.Control) *diffusion.Sampler
	Reward  reward.Reward
	Stages  int
	Paths   int // simulated in a round
	Group   int // consecutive paths that share a condition, and so log Z; 0 means all
	Rounds  int // the last one only judges
}

// Run polishes h. Every round has the noise of the key.
func (p Polish) Run(ctx context.Context, key noise.Key, h diffusion.Control) (Staged, error) {
	current := Staged{Control: h, Scales: slices.Repeat([]float64{1}, p.Stages)}
	best, least := current, math.Inf(1)
	var first *tally
	for range p.Rounds {
		s := p.Sampler(nil)
		current.Until = Stages(s.Steps, p.Stages)
		if err := s.Guide(current); err != nil {
			return Staged{}, err
		}
		t := &tally{stages: p.Stages, until: current.Until}
		paths, err := s.Run(ctx, key, 0, p.Paths, t.visit)
		if err != nil {
			return Staged{}, err
		}
		rewards, err := reward.Evaluate(ctx, p.Reward, paths.X, paths.Given, paths.N)
		if err != nil {
			return Staged{}, err
		}
		t.weigh(rewards, paths.LogRatio, p.Group)
		if first == nil {
			first = t
		}
		if kl := t.above(first); kl < least {
			best, least = current, kl
		}
		factors := t.search()
		current.Scales = slices.Clone(current.Scales)
		for k, f := range factors {
			current.Scales[k] *= f
		}
	}
	return best, nil
}
