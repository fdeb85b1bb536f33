package diffusion

import "math"

// EulerMaruyama is the Euler–Maruyama scheme of the reverse SDE (4), weak order 1. With d = T − Next,
//
//	x' = x + (½βx + β(s+h))·d + √(βd)·z,  s+h = −ε/ν
type EulerMaruyama struct{}

var _ Kernel = EulerMaruyama{}

// Steps implements [Kernel].
func (EulerMaruyama) Steps(s Schedule, times []float64) []Step {
	steps := make([]Step, len(times)-1)
	for i := range steps {
		t, next := times[i], times[i+1]
		bd := s.Beta(t) * (t - next)
		steps[i] = Step{T: t, Next: next, A: 1 + bd/2, K: -bd / s.Nu(t), S: math.Sqrt(bd)}
	}
	return steps
}
