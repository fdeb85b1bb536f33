package diffusion

import "math"

// DDIM is the implicit sampler of Song et al. (2021). With α, σ at T, α', σ' at Next, and v the variance of X_T given X_Next,
//
//	x' = α'/α·x + (√(σ'²−s²) − α'/α·σ)·ε + s·z,  s² = η²·σ'²/σ²·v
//
// Eta = 1 has the mean and variance of [DDPM]; Eta = 0 is deterministic and has no path weight. The last step, to
// σ' = 0, is noise-free for every Eta and so uncontrolled.
type DDIM struct{ Eta float64 }

var _ Kernel = DDIM{}

// Steps implements [Kernel].
func (k DDIM) Steps(p Process, times []float64) []Step {
	p = orVP(p)
	steps := make([]Step, len(times)-1)
	for i := range steps {
		t, next := times[i], times[i+1]
		sigma, sigma1 := p.Sigma(t), p.Sigma(next)
		ratio := p.Alpha(next) / p.Alpha(t)
		_, added := p.Transition(next, t)
		variance := square(k.Eta*sigma1/sigma) * added
		steps[i] = Step{T: t, Next: next, A: ratio, K: math.Sqrt(max(0, sigma1*sigma1-variance)) - ratio*sigma,
			S: math.Sqrt(variance), Uncontrolled: i == len(steps)-1}
	}
	return steps
}
