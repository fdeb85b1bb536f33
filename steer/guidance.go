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

// Twisted is h_t(x) = Scale·∇ₓ Weight·r(x̂₀(x)), backpropagated through the base model: with Scale 1, the proposal of the
// twisted diffusion sampler (Wu et al. 2023) for the twist of [LogTwist].
type Twisted struct {
	Reward reward.Differentiable
	Scale  float64
	Weight func(diffusion.State) *graph.Node // of r by time, such as [reward.Anneal]; nil means 1
}

// DPS is diffusion posterior sampling (Chung et al. 2023) for likelihoods r = −‖Ax−y‖²/(2σ²): a pull of constant strength in the
// direction in which the misfit falls, backpropagated through the base model,
//
//	h_t(x) = −Scale·∇ₓ √(−2r(x̂₀(x))) = −Scale/σ·∇ₓ ‖Ax̂₀(x) − y‖
//
// It is ∇ₓ r(x̂₀(x)) where the misfit ‖Ax̂₀ − y‖/σ is Scale; of n measured values, the truth's is √n. The paper adds steps of constant
// length to a sampler of a thousand steps. With a few dozen these do not settle; a score, whose steps shrink with the noise, does.
type DPS struct {
	Reward reward.Differentiable
	Scale  float64
}

// Amplified is Scale·h for a learned h. Above 1 it extrapolates from the base model through the fine-tuned one, as classifier-free
// guidance does from the unconditional through the conditional model (Ho & Salimans 2022): less variety, and fewer samples between
// the modes, where a network that approximates h leaves some.
type Amplified struct {
	Control diffusion.Control
	Scale   float64
}

var (
	_ diffusion.Control = Amplified{}
	_ diffusion.Control = Guidance{}
	_ diffusion.Control = Twisted{}
	_ diffusion.Control = DPS{}
)

// Noise implements [diffusion.Control].
func (c Amplified) Noise(s diffusion.State) *graph.Node {
	return graph.MulScalar(c.Control.Noise(s), c.Scale)
}

// Noise implements [diffusion.Control].
func (c Guidance) Noise(s diffusion.State) *graph.Node {
	return scaled(s, reward.Gradient(c.Reward, s.X0(), s.Given), c.Scale)
}

// Noise implements [diffusion.Control].
func (c Twisted) Noise(s diffusion.State) *graph.Node {
	return scaled(s, through(s, LogTwist(c.Reward, c.Weight)(s)), c.Scale)
}

// Noise implements [diffusion.Control].
func (c DPS) Noise(s diffusion.State) *graph.Node {
	misfit := graph.Sqrt(graph.AddScalar(graph.MulScalar(reward.Graph(c.Reward, s.X0(), s.Given), -2), 1e-12))
	return scaled(s, through(s, misfit), -c.Scale)
}

// through returns the gradient of values [batch] of the base model's prediction at s, as a constant.
func through(s diffusion.State, values *graph.Node) *graph.Node {
	return graph.StopGradient(graph.Gradient(graph.ReduceAllSum(values), s.X)[0])
}

// scaled returns ε_h = −σ·scale·gradient.
func scaled(s diffusion.State, gradient *graph.Node, scale float64) *graph.Node {
	_, sigma := s.AlphaSigma()
	return graph.Mul(graph.MulScalar(sigma, -scale), gradient)
}

// LogTwist returns the twist log ψ_t(x) = weight·r(x̂₀(x)) for [diffusion.Sampler.Twist]; a nil weight is 1.
func LogTwist(r reward.Differentiable, weight func(diffusion.State) *graph.Node) func(diffusion.State) *graph.Node {
	return func(s diffusion.State) *graph.Node {
		value := reward.Graph(r, s.X0(), s.Given)
		if weight != nil {
			value = graph.Mul(value, graph.Reshape(weight(s), -1)) // weight [batch, 1, …] or [1, …]
		}
		return value
	}
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
