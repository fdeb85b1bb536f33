package diffusion

import "math"

// DDPM is ancestral sampling (Ho et al. 2020): the law of X_Next given X_T = x and X_0 = x̂₀. With X_T given X_Next of the law
// N(c·X_Next, v·I), σ at T and σ' at Next,
//
//	x' = (x − v/σ·ε)/c + s·z,  s² = λ² + (v/(cσ))²·u,  λ² = v·σ'²/σ²
//
// with u of its [Variance]. The posterior variance is zero on the last step, which would leave no density ratio (44): there s² = v with
// [Posterior], and at least v/100 with others, whose u may be zero too. In the terms of the variance-preserving process, c = √α and v = β.
type DDPM struct {
	Variance Variance // nil means Posterior{}
}

var _ Kernel = DDPM{}

// Steps implements [Kernel].
func (k DDPM) Steps(p Process, times []float64) []Step {
	p = orVP(p)
	v := orPosterior(k.Variance)
	steps := make([]Step, len(times)-1)
	for i := range steps {
		t, next := times[i], times[i+1]
		scale, added := p.Transition(next, t)
		slope := -added / (scale * p.Sigma(t))
		variance := added*square(p.Sigma(next)/p.Sigma(t)) + square(slope)*v.Unexplained(p, t)
		switch last := i == len(steps)-1; {
		case last && v == Variance(Posterior{}):
			variance = added
		case last:
			variance = max(variance, added/100)
		}
		steps[i] = Step{T: t, Next: next, A: 1 / scale, K: slope, S: math.Sqrt(variance)}
	}
	return steps
}

func square(x float64) float64 { return x * x }
