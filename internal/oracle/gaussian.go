package oracle

import "math"

// The setting of the tests: data of the law Prior, tilted by exp Reward. By the product rule of Gaussians Tilted is
// N(0.923, 0.499²), and Reward.LogZ(Prior) is −0.935.
var (
	Prior  = Gaussian{Mean: 0.3, SD: 0.9}
	Reward = Quadratic{Goal: 1.2, Width: 0.6}
	Tilted = Reward.Tilt(Prior)
)

// Gaussian is the law N(Mean, SD²) in one dimension.
type Gaussian struct{ Mean, SD float64 }

// LogDensity returns log p(x).
func (g Gaussian) LogDensity(x float64) float64 {
	z := (x - g.Mean) / g.SD
	return -z*z/2 - math.Log(g.SD) - math.Log(2*math.Pi)/2
}

// Score returns d log p(x)/dx.
func (g Gaussian) Score(x float64) float64 { return (g.Mean - x) / (g.SD * g.SD) }

// Diffuse returns the law of γX + νZ for X of this law and Z of the standard one.
func (g Gaussian) Diffuse(gamma, nu float64) Gaussian {
	return Gaussian{Mean: gamma * g.Mean, SD: math.Hypot(gamma*g.SD, nu)}
}

// Quadratic is the reward r(x) = −(x − Goal)²/(2 Width²).
type Quadratic struct{ Goal, Width float64 }

// At returns r(x).
func (q Quadratic) At(x float64) float64 {
	z := (x - q.Goal) / q.Width
	return -z * z / 2
}

// Density returns N(Goal, Width²). Its log density is r but for a constant, −log(Width √2π), which then is in log Z too:
// for the setting of the tests, −1.344.
func (q Quadratic) Density() Gaussian { return Gaussian{Mean: q.Goal, SD: q.Width} }

// LogZ returns log E exp r(X) for X of law g.
func (q Quadratic) LogZ(g Gaussian) float64 {
	sum := Gaussian{Mean: g.Mean, SD: math.Hypot(g.SD, q.Width)}
	return sum.LogDensity(q.Goal) - q.Density().LogDensity(q.Goal)
}

// Tilt returns the law ∝ p·exp r for p of g: precisions add, and means by their precisions.
func (q Quadratic) Tilt(g Gaussian) Gaussian {
	a, b := 1/(g.SD*g.SD), 1/(q.Width*q.Width)
	return Gaussian{Mean: (a*g.Mean + b*q.Goal) / (a + b), SD: 1 / math.Sqrt(a+b)}
}
