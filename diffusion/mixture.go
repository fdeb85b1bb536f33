package diffusion

import (
	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/gmm"
)

// Mixture is the exact noise prediction of Gaussian-mixture data, ε(x,t) = −σ_t ∇log p_t(x).
type Mixture struct{ Density *gmm.Mixture }

var _ Model = Mixture{}

// Noise implements [Model], for X [batch, …] of as many numbers as the density has dimensions.
func (m Mixture) Noise(s State) *graph.Node {
	flat := graph.Reshape(s.X, s.X.Shape().Dimensions[0], -1)
	alpha, sigma := s.Process.AlphaSigmaGraph(s.T)
	alpha, sigma = Column(alpha, flat), Column(sigma, flat)
	return graph.Reshape(graph.Neg(graph.Mul(sigma, m.Density.ScoreGraph(flat, alpha, sigma))), s.X.Shape().Dimensions...)
}
