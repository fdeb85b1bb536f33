package diffusion

import (
	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
)

// Model predicts the noise in a diffused sample: ε_θ(x,t) = −ν_t ∇log p_t(x), shaped like x.
// x is [batch, …]; t is [batch], or [1] when all rows share one time.
type Model interface {
	Noise(x, t *graph.Node) *graph.Node
}

// Control is a guidance term h of the guided SDE (5) as a noise prediction ε_h = −ν_t·h_t(x), shaped like x.
type Control interface {
	Noise(s State) *graph.Node
}

// State is what a control may look at: a batch of diffused samples and what the base model says of them.
type State struct {
	Schedule Schedule
	X        *graph.Node // [batch, …]
	T        *graph.Node // [batch] or [1]
	Eps      *graph.Node // ε_θ(X,T), like X
	Given    *graph.Node // what every row is conditioned on [batch, …], such as a measurement y of (56); nil for nothing
}

// NewState evaluates the base model at x, t. Every evaluation of a base model goes through here and is counted.
func NewState(schedule Schedule, base Model, x, t *graph.Node) State {
	engine.CountCall(x)
	return State{Schedule: schedule, X: x, T: t, Eps: base.Noise(x, t)}
}

// Noise returns ε_h of a control at s, counted; zero for a nil control.
func (s State) Noise(h Control) *graph.Node {
	if h == nil {
		return graph.ZerosLike(s.X)
	}
	engine.CountCall(s.X)
	return h.Noise(s)
}

// GammaNu returns γ_t and ν_t in a shape that broadcasts against X.
func (s State) GammaNu() (gamma, nu *graph.Node) {
	gamma, nu = s.Schedule.GammaNuGraph(s.T)
	return Column(gamma, s.X), Column(nu, s.X)
}

// X0 returns Tweedie's estimate E[X_0 | X_t = x] of the base process, x̂₀ = (x + ν²s_θ)/γ = (x − ν·ε_θ)/γ.
func (s State) X0() *graph.Node {
	gamma, nu := s.GammaNu()
	return graph.Div(graph.Sub(s.X, graph.Mul(nu, s.Eps)), gamma)
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
