package diffusion

import "math"

// EulerMaruyama is the Euler–Maruyama scheme of the reverse SDE (4), weak order 1. With d = T − Next,
//
//	x' = x − (f·x − g²(s+h))·d + g√d·z,  s+h = −ε/σ
type EulerMaruyama struct{}

var _ Kernel = EulerMaruyama{}

// Steps implements [Kernel].
func (EulerMaruyama) Steps(p Process, times []float64) []Step {
	p = orVP(p)
	steps := make([]Step, len(times)-1)
	for i := range steps {
		t, next := times[i], times[i+1]
		variance := p.Diffusion(t) * (t - next)
		steps[i] = Step{T: t, Next: next, A: 1 - p.Drift(t)*(t-next), K: -variance / p.Sigma(t), S: math.Sqrt(variance)}
	}
	return steps
}
