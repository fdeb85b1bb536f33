package diffusion

import "math"

// DDIM is the implicit sampler of Song et al. (2021), with ᾱ = γ² at T and ᾱ' at Next:
//
//	x' = √(ᾱ'/ᾱ)·x + (√(1−ᾱ'−s²) − √(ᾱ'(1−ᾱ)/ᾱ))·ε + s·z,  s² = η²(1−ᾱ')/(1−ᾱ)·(1−ᾱ/ᾱ')
//
// Eta = 1 has the mean and variance of [DDPM]; Eta = 0 is deterministic and has no path weight. The last step, to
// ᾱ' = 1, is noise-free for every Eta and so uncontrolled.
type DDIM struct{ Eta float64 }

var _ Kernel = DDIM{}

// Steps implements [Kernel].
func (k DDIM) Steps(s Schedule, times []float64) []Step {
	steps := make([]Step, len(times)-1)
	for i := range steps {
		t, next := times[i], times[i+1]
		nu, nu1 := s.Nu(t), s.Nu(next)
		ratio := s.Gamma(next) / s.Gamma(t)
		variance := square(k.Eta*nu1/nu) * -math.Expm1(s.integral(next)-s.integral(t))
		steps[i] = Step{T: t, Next: next, A: ratio, K: math.Sqrt(max(0, nu1*nu1-variance)) - ratio*nu,
			S: math.Sqrt(variance), Uncontrolled: i == len(steps)-1}
	}
	return steps
}
