package diffusion

import (
	"math"

	"github.com/gomlx/gomlx/core/graph"
)

// VP is the variance-preserving SDE (3), dX = −½β(t)X dt + √β(t) dW with β(t) = β₀ + t(β₁−β₀), so that α_t² + σ_t² = 1.
// The zero value has β₀ = 0.1 and β₁ = 20.
type VP struct {
	Beta0 float64 `yaml:"beta0,omitempty"`
	Beta1 float64 `yaml:"beta1,omitempty"`
}

var _ Process = VP{}

func (p VP) betas() (b0, b1 float64) {
	if p == (VP{}) {
		return 0.1, 20
	}
	return p.Beta0, p.Beta1
}

// integral returns ∫₀ᵗ β = −log α_t².
func (p VP) integral(t float64) float64 {
	b0, b1 := p.betas()
	return 0.5*t*t*(b1-b0) + t*b0
}

// Alpha returns α_t = exp(−¼t²(β₁−β₀) − ½tβ₀).
func (p VP) Alpha(t float64) float64 { return math.Exp(-0.5 * p.integral(t)) }

// Sigma returns σ_t = √(1−α_t²).
func (p VP) Sigma(t float64) float64 { return math.Sqrt(-math.Expm1(-p.integral(t))) }

// Transition implements [Process], with variance = 1 − α_t²/α_s².
func (p VP) Transition(s, t float64) (scale, variance float64) {
	variance = -math.Expm1(p.integral(s) - p.integral(t))
	return math.Sqrt(1 - variance), variance
}

// Drift returns −½β(t).
func (p VP) Drift(t float64) float64 { return -p.Diffusion(t) / 2 }

// Diffusion returns β(t).
func (p VP) Diffusion(t float64) float64 {
	b0, b1 := p.betas()
	return b0 + t*(b1-b0)
}

// Time implements [Process].
func (p VP) Time(logSNR float64) float64 {
	b0, b1 := p.betas()
	integral := math.Log1p(math.Exp(-logSNR)) // α² = 1/(1 + exp(−logSNR)) = exp(−integral)
	return 2 * integral / (b0 + math.Sqrt(b0*b0+2*(b1-b0)*integral))
}

// AlphaSigmaGraph implements [Process].
func (p VP) AlphaSigmaGraph(t *graph.Node) (alpha, sigma *graph.Node) {
	b0, b1 := p.betas()
	integral := graph.Mul(t, graph.AddScalar(graph.MulScalar(t, 0.5*(b1-b0)), b0))
	return graph.Exp(graph.MulScalar(integral, -0.5)), graph.Sqrt(graph.Neg(graph.Expm1(graph.Neg(integral))))
}

// DiffusionGraph implements [Process].
func (p VP) DiffusionGraph(t *graph.Node) *graph.Node {
	b0, b1 := p.betas()
	return graph.AddScalar(graph.MulScalar(t, b1-b0), b0)
}
