package diffusion

import (
	"math"

	"github.com/gomlx/gomlx/core/graph"
)

// Schedule is the VP-SDE (3), dX = −½β(t)X dt + √β(t) dW with β(t) = β₀ + t(β₁−β₀), so that X_t = γ_t X_0 + ν_t ε.
// The zero value has β₀ = 0.1 and β₁ = 20.
type Schedule struct {
	Beta0 float64 `yaml:"beta0"`
	Beta1 float64 `yaml:"beta1"`
}

func (s Schedule) betas() (b0, b1 float64) {
	if s == (Schedule{}) {
		return 0.1, 20
	}
	return s.Beta0, s.Beta1
}

// Beta returns β(t) = σ_t².
func (s Schedule) Beta(t float64) float64 {
	b0, b1 := s.betas()
	return b0 + t*(b1-b0)
}

// integral returns ∫₀ᵗ β = −log γ_t².
func (s Schedule) integral(t float64) float64 {
	b0, b1 := s.betas()
	return 0.5*t*t*(b1-b0) + t*b0
}

// Gamma returns γ_t = exp(−¼t²(β₁−β₀) − ½tβ₀).
func (s Schedule) Gamma(t float64) float64 { return math.Exp(-0.5 * s.integral(t)) }

// Nu returns ν_t = √(1−γ_t²).
func (s Schedule) Nu(t float64) float64 { return math.Sqrt(-math.Expm1(-s.integral(t))) }

// timeAt returns the time at which log γ_t²/ν_t² has a value; beyond 1 if it is lower at no time.
func (s Schedule) timeAt(logSNR float64) float64 {
	b0, b1 := s.betas()
	integral := math.Log1p(math.Exp(-logSNR)) // γ² = 1/(1 + exp(−logSNR)) = exp(−integral)
	return 2 * integral / (b0 + math.Sqrt(b0*b0+2*(b1-b0)*integral))
}

// BetaGraph returns β(t), elementwise.
func (s Schedule) BetaGraph(t *graph.Node) *graph.Node {
	b0, b1 := s.betas()
	return graph.AddScalar(graph.MulScalar(t, b1-b0), b0)
}

// GammaNuGraph returns γ_t and ν_t, elementwise.
func (s Schedule) GammaNuGraph(t *graph.Node) (gamma, nu *graph.Node) {
	b0, b1 := s.betas()
	integral := graph.Mul(t, graph.AddScalar(graph.MulScalar(t, 0.5*(b1-b0)), b0))
	return graph.Exp(graph.MulScalar(integral, -0.5)), graph.Sqrt(graph.Neg(graph.Expm1(graph.Neg(integral))))
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
