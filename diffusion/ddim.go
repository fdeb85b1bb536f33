package diffusion

import "math"

// DDIM is the implicit sampler of Song et al. (2021). With α, σ at T, α', σ' at Next, and v the variance of X_T given X_Next,
//
//	x' = α'/α·x + K·ε + s·z,  K = √(σ'²−λ²) − α'/α·σ,  s² = λ² + K²·u,  λ² = η²·σ'²/σ²·v
//
// with u of its [Variance]. Eta = 1 has the mean and variance of [DDPM]; Eta = 0 is deterministic with [Posterior], and has no path weight
// then. With the variances of other kinds it is not, that is Analytic-DDIM; but its noise falls with the number of steps where the pull of a
// control does not, so that path weights, exact as ever, are of the less use the more steps there are. The last step, to σ' = 0, is noise-free
// for all of them, and so uncontrolled.
type DDIM struct {
	Eta      float64
	Variance Variance // nil means Posterior{}
}

var _ Kernel = DDIM{}

// Steps implements [Kernel].
func (k DDIM) Steps(p Process, times []float64) []Step {
	p = orVP(p)
	v := orPosterior(k.Variance)
	steps := make([]Step, len(times)-1)
	for i := range steps {
		t, next := times[i], times[i+1]
		sigma, sigma1 := p.Sigma(t), p.Sigma(next)
		ratio := p.Alpha(next) / p.Alpha(t)
		_, added := p.Transition(next, t)
		variance := square(k.Eta*sigma1/sigma) * added
		slope := math.Sqrt(max(0, sigma1*sigma1-variance)) - ratio*sigma
		last := i == len(steps)-1
		if !last {
			variance += square(slope) * v.Unexplained(p, t)
		}
		steps[i] = Step{T: t, Next: next, A: ratio, K: slope, S: math.Sqrt(variance), Uncontrolled: last}
	}
	return steps
}
