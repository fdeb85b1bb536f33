// Package htransform holds the parametrisations of Doob's h-transform h_t(x) = ∇ₓ log E[exp r(X_0) | X_t = x] (6):
// learned ones, with or without the gradient of the reward or as a low-rank adapter of the base model, and the exact one where prior and reward are Gaussian
// mixtures. All are controls, that is, noise predictions ε_h = −σ·h.
package htransform

import (
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/op"
	"github.com/doob-diffusion/doob/reward"
)

// Learned is an h with parameters, to be fitted.
type Learned interface {
	diffusion.Control
	// Parameters returns the parameters, sorted by path.
	Parameters() []*model.Variable
	// Within returns the same h with its parameters in other scopes, such as those of their averages, see [nn.Averages].
	Within(place func(*model.Scope) *model.Scope) Learned
}

// Guided is implemented by an h that changes a model under guidance. Unguided is what it changes of [diffusion.Guided.Unguided], with the same
// parameters.
type Guided interface {
	Learned
	Unguided() Learned
}

var (
	_ Learned = RewardInformed{}
	_ Learned = RewardFree{}
)

// control turns h, shaped like s.X, into the noise prediction ε_h = −σ·h.
func control(s diffusion.State, h *graph.Node) *graph.Node {
	_, sigma := s.AlphaSigma()
	return graph.Neg(graph.Mul(sigma, h))
}

// velocity is h = −α·v for a change v of the velocity αε − σx_0, or, if v is the velocity itself and no change of it, for
// what it adds to that of the base model. So what a network has to learn is of the size of a change of x_0 at every noise
// level, where h falls with α; and h stays bounded where σ → 0, where errors of ε_h, which is σ·h, would cost the most energy.
func velocity(s diffusion.State, v *graph.Node, whole bool) *graph.Node {
	alpha, sigma := s.AlphaSigma()
	change := graph.Mul(alpha, v)
	if whole {
		change = graph.Sub(graph.Add(graph.Mul(sigma, s.X), change), s.Eps)
	}
	return graph.Neg(change)
}

// RewardInformed is (16): h_t(x) = NN1(x, x̂₀, g, t) + NN2(t)·g, with g = ∇ r(x̂₀) at Tweedie's estimate x̂₀. The gradient
// is with respect to x̂₀ only, so that fitting h to samples never differentiates the base model.
//
// NN1 should start at zero. NN2(t) = (1−t)·SiLU(MLP(t)) is scalar, see [Scale].
type RewardInformed struct {
	Reward reward.Differentiable
	NN1    nn.Network // of x, x̂₀ and g
	NN2    nn.MLP     // time embedding to 1 output
	// Tuned says that NN1 predicts a whole velocity and no change of it, and so should start as a copy of the base model's
	// network: what it has learned since is its part of h, as with low-rank updates of large networks.
	Tuned bool
	// Weight, if set, multiplies g: what is known of the size of h before anything is learned, see [Likelihood].
	Weight func(diffusion.State) *graph.Node
	// Show, if set, amortises h over what samples are conditioned on (56): it makes a sample's shape of s.Given, which is
	// then the last input of NN1, h_t(x) = NN1(x, x̂₀, g, y, t) + NN2(t)·g.
	Show func(given *graph.Node) *graph.Node
}

// Likelihood returns a weight for the likelihood of a measurement Ax + σξ with AAᵀ ≈ spread·I: with it, and NN2 = 1, h is exact
// for standard normal data, where x̂₀ = αx and x leaves the variance σ² of X_0 open:
//
//	∇ₓ log N(y; Ax̂₀, σ²I + σ_t²AAᵀ) = α·σ²/(σ² + spread·σ_t²)·∇_{x̂₀} r(x̂₀)
func Likelihood(sigma, spread float64) func(diffusion.State) *graph.Node {
	anneal := reward.Anneal(sigma, spread)
	return func(s diffusion.State) *graph.Node {
		alpha, _ := s.AlphaSigma()
		return graph.Mul(alpha, anneal(s))
	}
}

// Parameters implements [Learned].
func (h RewardInformed) Parameters() []*model.Variable {
	return nn.Sorted(append(h.NN1.Parameters(), h.NN2.Parameters()...))
}

// Within implements [Learned].
func (h RewardInformed) Within(place func(*model.Scope) *model.Scope) Learned {
	h.NN1, h.NN2 = h.NN1.Within(place), h.NN2.At(place(h.NN2.Scope))
	return h
}

// Scale creates NN2, with three hidden layers: h starts as (1−t)·SiLU(start)·g. A start of 0 means 0.02, nearly no control.
func Scale(s *model.Scope, width int, start float64, key noise.Key) nn.MLP {
	if start == 0 {
		start = 0.02
	}
	nn2 := nn.MLP{Scope: s, In: nn.TimeFeatures, Out: 1, Width: width, Depth: 3}
	nn2.Init(key, 0, start)
	return nn2
}

// Noise implements [diffusion.Control].
func (h RewardInformed) Noise(s diffusion.State) *graph.Node {
	engine.CountCall(s.X)
	x0 := s.X0()
	g := reward.Gradient(h.Reward, x0, s.Given)
	if h.Weight != nil {
		g = graph.Mul(h.Weight(s), g)
	}
	// Reward gradients span orders of magnitude; NN1 sees them compressed per coordinate, NN2 multiplies the real ones.
	inputs := []*graph.Node{s.X, x0, graph.MirroredLog1p(g)}
	if h.Show != nil {
		inputs = append(inputs, h.Show(s.Given))
	}
	return control(s, graph.Add(
		velocity(s, h.NN1.Apply(s.T, inputs...), h.Tuned),
		graph.Mul(diffusion.Column(h.scale(s.T), g), g)))
}

// scale returns NN2(t), [batch] or [1] like t.
func (h RewardInformed) scale(t *graph.Node) *graph.Node {
	value := h.NN2.Dense(nil, op.Sinusoids(t, nn.TimeFeatures))
	return graph.Mul(graph.OneMinus(t), op.SiLU(graph.Squeeze(value, -1)))
}

// RewardFree is h_t(x) = NN1(x, x̂₀, t), for rewards without a gradient.
type RewardFree struct {
	NN1   nn.Network // of x and x̂₀
	Tuned bool       // see [RewardInformed]
}

// Parameters implements [Learned].
func (h RewardFree) Parameters() []*model.Variable { return h.NN1.Parameters() }

// Within implements [Learned].
func (h RewardFree) Within(place func(*model.Scope) *model.Scope) Learned {
	h.NN1 = h.NN1.Within(place)
	return h
}

// Noise implements [diffusion.Control].
func (h RewardFree) Noise(s diffusion.State) *graph.Node {
	engine.CountCall(s.X)
	return control(s, velocity(s, h.NN1.Apply(s.T, s.X, s.X0()), h.Tuned))
}

// Exact is the h-transform of a Gaussian-mixture prior and its exact tilted law, h* = ∇log p^tilted_t − ∇log p_t, both
// diffused to time t in closed form.
type Exact struct{ Prior, Tilted *gmm.Mixture }

var _ diffusion.Control = Exact{}

// Noise implements [diffusion.Control].
func (h Exact) Noise(s diffusion.State) *graph.Node {
	alpha, sigma := s.AlphaSigma()
	return control(s, graph.Sub(h.Tilted.ScoreGraph(s.X, alpha, sigma), h.Prior.ScoreGraph(s.X, alpha, sigma)))
}
