package diffusion

import (
	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
)

// Model predicts the noise in a diffused sample: ε_θ(x,t) = −σ_t ∇log p_t(x), shaped like X. It sees a state whose Eps is
// nil, and may be conditioned on Given.
type Model interface {
	Noise(s State) *graph.Node
}

// Control is a guidance term h of the guided SDE (5) as a noise prediction ε_h = −σ_t·h_t(x), shaped like X. One that evaluates a network counts
// that ([engine.CountCall]); a gradient through the base model is no evaluation of it.
type Control interface {
	Noise(s State) *graph.Node
}

// Guided is implemented by models under guidance, such as classifier-free guidance, which are another model without it.
type Guided interface {
	Model
	Unguided() Model
}

// State is what a model or a control may look at: a batch of diffused samples and, for controls, what the base model says of
// them. X and T are required.
type State struct {
	Process Process     // nil means VP{}, as which Evaluate writes it
	X       *graph.Node // [batch, …]
	T       *graph.Node // [batch], or [1] when all rows share one time
	Given   *graph.Node // what every row is conditioned on [batch, …], such as a measurement y of (56); nil for nothing
	Eps     *graph.Node // ε_θ(X,T), like X; nil before Evaluate
}

// Evaluate returns the state with what the base model says of it. Every evaluation of a base model goes through here and is
// counted.
func (s State) Evaluate(base Model) State {
	engine.CountCall(s.X)
	s.Process, s.Eps = orVP(s.Process), nil
	s.Eps = base.Noise(s)
	return s
}

// Noise returns ε_h of a control at s; zero for a nil control.
func (s State) Noise(h Control) *graph.Node {
	if h == nil {
		return graph.ZerosLike(s.X)
	}
	return h.Noise(s)
}

// AlphaSigma returns α_t and σ_t in a shape that broadcasts against X.
func (s State) AlphaSigma() (alpha, sigma *graph.Node) {
	alpha, sigma = orVP(s.Process).AlphaSigmaGraph(s.T)
	return Column(alpha, s.X), Column(sigma, s.X)
}

// X0 returns Tweedie's estimate E[X_0 | X_t = x] of the base process, x̂₀ = (x + σ²s_θ)/α = (x − σ·ε_θ)/α.
func (s State) X0() *graph.Node {
	alpha, sigma := s.AlphaSigma()
	return graph.Div(graph.Sub(s.X, graph.Mul(sigma, s.Eps)), alpha)
}

// Column reshapes v [batch] to [batch, 1, …], of the rank of x, so that it broadcasts against x.
func Column(v, x *graph.Node) *graph.Node {
	dims := make([]int, x.Rank())
	for i := range dims {
		dims[i] = 1
	}
	dims[0] = v.Shape().Dimensions[0]
	return graph.Reshape(v, dims...)
}
