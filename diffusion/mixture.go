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

// Noise implements [Model], for x [batch, dim].
func (m Mixture) Noise(x, t *graph.Node) *graph.Node {
	gamma, nu := m.Schedule.GammaNuGraph(t)
	gamma, nu = Column(gamma, x), Column(nu, x)
	return graph.Neg(graph.Mul(nu, m.Density.ScoreGraph(x, gamma, nu)))
}
