package diffusion

import (
	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/gmm"
)

// Mixture is the exact noise prediction of Gaussian-mixture data, ε(x,t) = −ν_t ∇log p_t(x).
type Mixture struct {
	Schedule Schedule
	Density  *gmm.Mixture
}

var _ Model = Mixture{}

// Noise implements [Model], for x [batch, …] of as many numbers as the density has dimensions.
func (m Mixture) Noise(x, t *graph.Node) *graph.Node {
	flat := graph.Reshape(x, x.Shape().Dimensions[0], -1)
	gamma, nu := m.Schedule.GammaNuGraph(t)
	gamma, nu = Column(gamma, flat), Column(nu, flat)
	return graph.Reshape(graph.Neg(graph.Mul(nu, m.Density.ScoreGraph(flat, gamma, nu))), x.Shape().Dimensions...)
}
