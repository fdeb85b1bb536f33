package diffusion

import (
	"math"

	"github.com/gomlx/gomlx/core/graph"
)

// Process is a Gaussian path from data X_0 to noise, X_t = α_t X_0 + σ_t ε with ε ~ N(0, I): the law of X_t in the forward SDE
//
//	dX = f(t) X dt + g(t) dW
//
// at times from 0, data, to 1, noise. The paper writes γ_t for α_t, ν_t for σ_t, and σ_t for g(t). A process is stated once,
// by [Sampler.Process]; models and controls find it in their [State]. Where one may be nil, that means VP{}.
type Process interface {
	// Alpha returns α_t.
	Alpha(t float64) float64
	// Sigma returns σ_t.
	Sigma(t float64) float64
	// Transition returns the law of X_t given X_s, s ≤ t, N(scale·X_s, variance·I): scale = α_t/α_s and, without the
	// cancellation of this difference, variance = σ_t² − scale²σ_s².
	Transition(s, t float64) (scale, variance float64)
	// Drift returns f(t) = d log α_t/dt.
	Drift(t float64) float64
	// Diffusion returns g(t)² = dσ_t²/dt − 2f(t)σ_t².
	Diffusion(t float64) float64
	// Time returns the time at which log α_t²/σ_t² has a value; beyond 1 if it is lower at no time.
	Time(logSNR float64) float64
	// AlphaSigmaGraph returns α_t and σ_t, elementwise.
	AlphaSigmaGraph(t *graph.Node) (alpha, sigma *graph.Node)
	// DiffusionGraph returns g(t)², elementwise.
	DiffusionGraph(t *graph.Node) *graph.Node
}

// orVP returns the process that is meant where it may be nil.
func orVP(p Process) Process {
	if p == nil {
		return VP{}
	}
	return p
}

// Times returns the n+1 times of a simulation from 1 to 0, t_i = (1−i/n)^power: power 1 is uniform, 2 puts more steps
// near the data, where the score changes fastest.
func Times(n int, power float64) []float64 {
	times := make([]float64, n+1)
	for i := range times {
		times[i] = math.Pow(1-float64(i)/float64(n), power)
	}
	return times
}
