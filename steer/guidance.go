package steer

import (
	"fmt"
	"math"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/reward"
)

// Guidance is classifier guidance, h_t(x) = Scale·∇_{x̂₀} r(x̂₀) with Tweedie's estimate x̂₀ (Dhariwal & Nichol 2021). It
// finds the right modes with the wrong weights.
type Guidance struct {
	Reward reward.Differentiable
	Scale  float64
}

// Twisted is h_t(x) = Scale·∇ₓ r(x̂₀(x)), backpropagated through the base model: diffusion posterior sampling (Chung et
// al. 2023) and, with Scale 1, the proposal of the twisted diffusion sampler (Wu et al. 2023).
type Twisted struct {
	Reward reward.Differentiable
	Scale  float64
}

var (
	_ diffusion.Control = Guidance{}
	_ diffusion.Control = Twisted{}
)

// Noise implements [diffusion.Control].
func (c Guidance) Noise(s diffusion.State) *graph.Node {
	return scaled(s, reward.Gradient(c.Reward, s.X0()), c.Scale)
}

// Noise implements [diffusion.Control].
func (c Twisted) Noise(s diffusion.State) *graph.Node {
	return scaled(s, graph.StopGradient(graph.Gradient(graph.ReduceAllSum(c.Reward.Graph(s.X0())), s.X)[0]), c.Scale)
}

// scaled returns ε_h = −ν·scale·gradient.
func scaled(s diffusion.State, gradient *graph.Node, scale float64) *graph.Node {
	_, nu := s.GammaNu()
	return graph.Mul(graph.MulScalar(nu, -scale), gradient)
}

// LogTwist returns the twist log ψ_t(x) = r(x̂₀(x)) for [diffusion.Sampler.Twist].
func LogTwist(r reward.Differentiable) func(diffusion.State) *graph.Node {
	return func(s diffusion.State) *graph.Node { return r.Graph(s.X0()) }
}

// TuneScale returns the candidate with the highest value, such as the mean reward of samples guided at that scale.
// Candidates whose value is NaN lose.
func TuneScale(candidates []float64, value func(scale float64) (float64, error)) (float64, error) {
	best, top := math.NaN(), math.Inf(-1)
	for _, c := range candidates {
		v, err := value(c)
		if err != nil {
			return 0, fmt.Errorf("steer: guidance scale %g: %w", c, err)
		}
		if v > top {
			best, top = c, v
		}
	}
	if math.IsNaN(best) {
		return 0, fmt.Errorf("steer: no guidance scale of %v has a finite value", candidates)
	}
	return best, nil
}
