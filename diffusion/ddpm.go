package diffusion

import "math"

// DDPM is ancestral sampling (Ho et al. 2020), with ᾱ = γ² at T, ᾱ' at Next, α = ᾱ/ᾱ' and β = 1−α:
//
//	x' = (x − β/√(1−ᾱ)·ε)/√α + s·z,  s² = β(1−ᾱ')/(1−ᾱ)
//
// The posterior variance is zero on the last step, which would leave no density ratio (44): there s² = β.
type DDPM struct{}

var _ Kernel = DDPM{}

// Steps implements [Kernel].
func (DDPM) Steps(s Schedule, times []float64) []Step {
	steps := make([]Step, len(times)-1)
	for i := range steps {
		t, next := times[i], times[i+1]
		beta := -math.Expm1(s.integral(next) - s.integral(t))
		variance := beta
		if i < len(steps)-1 {
			variance *= square(s.Nu(next) / s.Nu(t))
		}
		rootAlpha := math.Sqrt(1 - beta)
		steps[i] = Step{T: t, Next: next, A: 1 / rootAlpha, K: -beta / (rootAlpha * s.Nu(t)), S: math.Sqrt(variance)}
	}
	return steps
}

func square(x float64) float64 { return x * x }
