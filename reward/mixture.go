package reward

import (
	"context"
	"fmt"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/gmm"
)

// Mixture is the log-likelihood of a Gaussian mixture, r(x) = log Σ ρ_j N(x; n_j, T_j). With a mixture as prior, the
// tilted law is prior.Times(m.Density).
type Mixture struct{ Density *gmm.Mixture }

var _ Differentiable = Mixture{}

// Rewards implements [Reward], in float64 on the host.
func (m Mixture) Rewards(_ context.Context, x []float32, n int) ([]float64, error) {
	dim := m.Density.Dim()
	if len(x) != n*dim {
		return nil, fmt.Errorf("reward: %d numbers for %d samples of dimension %d", len(x), n, dim)
	}
	out, point := make([]float64, n), make([]float64, dim)
	for i := range out {
		for a := range point {
			point[a] = float64(x[i*dim+a])
		}
		out[i] = m.Density.LogDensity(point)
	}
	return out, nil
}

// Graph implements [Differentiable].
func (m Mixture) Graph(x *graph.Node) *graph.Node { return m.Density.LogDensityGraph(x) }
