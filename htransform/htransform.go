// Package htransform holds the parametrisations of Doob's h-transform h_t(x) = ∇ₓ log E[exp r(X_0) | X_t = x] (6):
// learned ones, with or without the gradient of the reward, and the exact one where prior and reward are Gaussian
// mixtures. All are controls, that is, noise predictions ε_h = −ν·h.
package htransform

import (
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/op"
	"github.com/doob-diffusion/doob/reward"
)

// control turns h, shaped like s.X, into the noise prediction ε_h = −ν·h.
func control(s diffusion.State, h *graph.Node) *graph.Node {
	_, nu := s.GammaNu()
	return graph.Neg(graph.Mul(nu, h))
}

// RewardInformed is (16): h_t(x) = NN1(x, x̂₀, g, t) + NN2(t)·g, with g = ∇ r(x̂₀) at Tweedie's estimate x̂₀. The gradient
// is with respect to x̂₀ only and detached, so the base model is never differentiated.
//
// NN1 starts at zero. NN2(t) = (1−t)·SiLU(MLP(t)) is scalar and starts as a constant times (1−t).
type RewardInformed struct {
	Reward reward.Differentiable
	NN1    nn.MLP // 3·dim inputs, dim outputs, timed
	NN2    nn.MLP // time embedding to 1 output
}

var _ diffusion.Control = RewardInformed{}

// Network says where the parameters of an h-transform live and how large its networks are.
type Network struct {
	Scope      *model.Scope
	Width      int // of NN1
	Depth      int // of NN1
	Octaves    int // of NN1's inputs
	ScaleWidth int // of NN2, which has three hidden layers
	// Start is the last bias of NN2: h starts as (1−t)·SiLU(Start)·g. 0 means 0.02, nearly no control.
	Start float64
}

// NewRewardInformed creates the parameters of both networks, for samples of dim coordinates.
func NewRewardInformed(net Network, r reward.Differentiable, dim int, key noise.Key) RewardInformed {
	if net.Start == 0 {
		net.Start = 0.02
	}
	return RewardInformed{Reward: r,
		NN1: nn.MLP{Scope: net.Scope.At("nn1"), In: 3 * dim, Out: dim, Width: net.Width, Depth: net.Depth, Octaves: net.Octaves, Timed: true}.Init(key, 0, 0),
		NN2: nn.MLP{Scope: net.Scope.At("nn2"), In: nn.TimeFeatures, Out: 1, Width: net.ScaleWidth, Depth: 3}.Init(key, 0, net.Start)}
}

// Noise implements [diffusion.Control].
func (h RewardInformed) Noise(s diffusion.State) *graph.Node {
	x0 := s.X0()
	g := reward.Gradient(h.Reward, x0)
	// Reward gradients span orders of magnitude; NN1 sees them compressed per coordinate, NN2 multiplies the real ones.
	return control(s, graph.Add(
		vector(h.NN1, s, s.X, x0, graph.MirroredLog1p(g)),
		graph.Mul(diffusion.Column(h.scale(s.T), g), g)))
}

// scale returns NN2(t), [batch] or [1] like t.
func (h RewardInformed) scale(t *graph.Node) *graph.Node {
	value := h.NN2.Apply(op.Sinusoids(t, nn.TimeFeatures), nil)
	return graph.Mul(graph.OneMinus(t), op.SiLU(graph.Squeeze(value, -1)))
}

// RewardFree is h_t(x) = NN1(x, x̂₀, t), for rewards without a gradient. It starts at zero.
type RewardFree struct{ NN1 nn.MLP }

var _ diffusion.Control = RewardFree{}

// NewRewardFree creates the parameters of NN1.
func NewRewardFree(net Network, dim int, key noise.Key) RewardFree {
	return RewardFree{NN1: nn.MLP{Scope: net.Scope.At("nn1"), In: 2 * dim, Out: dim, Width: net.Width, Depth: net.Depth, Octaves: net.Octaves, Timed: true}.Init(key, 0, 0)}
}

// Noise implements [diffusion.Control].
func (h RewardFree) Noise(s diffusion.State) *graph.Node {
	return control(s, vector(h.NN1, s, s.X, s.X0()))
}

// Exact is the h-transform of a Gaussian-mixture prior and its exact tilted law, h* = ∇log p^tilted_t − ∇log p_t, both
// diffused to time t in closed form.
type Exact struct{ Prior, Tilted *gmm.Mixture }

var _ diffusion.Control = Exact{}

// Noise implements [diffusion.Control].
func (h Exact) Noise(s diffusion.State) *graph.Node {
	gamma, nu := s.GammaNu()
	return control(s, graph.Sub(h.Tilted.ScoreGraph(s.X, gamma, nu), h.Prior.ScoreGraph(s.X, gamma, nu)))
}

// vector applies a network to the flattened, concatenated inputs and shapes its output like s.X.
func vector(net nn.MLP, s diffusion.State, inputs ...*graph.Node) *graph.Node {
	flat := make([]*graph.Node, len(inputs))
	for i, in := range inputs {
		flat[i] = graph.Reshape(in, in.Shape().Dimensions[0], -1)
	}
	return graph.Reshape(net.Apply(graph.Concatenate(flat, -1), s.T), s.X.Shape().Dimensions...)
}
