package reward

import (
	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
)

// Anneal returns the factor by which the likelihood of a measurement Ax + σξ flattens with noise, [batch, 1, …]:
//
//	σ² / (σ² + spread·σ_t²),  AAᵀ ≈ spread·I
//
// With it −‖Ax̂₀−y‖²/(2σ²) becomes the log-likelihood of y given X_t, without its constant, if X_0 has the variance σ_t² about
// x̂₀: so it is for standard normal data (as in ΠGDM, Song et al. 2023).
func Anneal(sigma, spread float64) func(diffusion.State) *graph.Node {
	return func(s diffusion.State) *graph.Node {
		_, level := s.AlphaSigma()
		v := sigma * sigma
		return graph.Div(graph.Scalar(level.Graph(), level.DType(), v), graph.AddScalar(graph.MulScalar(graph.Square(level), spread), v))
	}
}
