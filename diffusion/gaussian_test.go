package diffusion_test

import (
	"context"
	"math"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
)

// gaussian is a law in one dimension and, as a model, the exact prediction of its noise:
//
//	ε(x,t) = −σ·∇log p_t(x) = σ(x − α·mean)/(α²sd² + σ²)
//
// It is linear in x, so the law of every simulated chain is known exactly, discretisation included: see [chain].
type gaussian oracle.Gaussian

var prior, tilted = gaussian(oracle.Prior), gaussian(oracle.Tilted)

// Noise implements [diffusion.Model].
func (g gaussian) Noise(s diffusion.State) *graph.Node {
	alpha, sigma := s.Process.AlphaSigmaGraph(s.T)
	variance := graph.Add(graph.MulScalar(graph.Square(alpha), g.SD*g.SD), graph.Square(sigma))
	slope := graph.Div(sigma, variance)
	return graph.Sub(graph.Mul(diffusion.Column(slope, s.X), s.X),
		diffusion.Column(graph.MulScalar(graph.Mul(slope, alpha), g.Mean), s.X))
}

// line is the same in float64, in VP{}: ε(x,t) = slope·x + offset.
func (g gaussian) line(t float64) (slope, offset float64) { return g.lineOf(diffusion.VP{}, t) }

// lineOf is the same in any process.
func (g gaussian) lineOf(p diffusion.Process, t float64) (slope, offset float64) {
	at := oracle.Gaussian(g).Diffuse(p.Alpha(t), p.Sigma(t))
	return p.Sigma(t) / square(at.SD), -p.Sigma(t) * at.Score(0)
}

// logZ is log E exp(r) for X of the law g.
func (g gaussian) logZ() float64 { return oracle.Reward.LogZ(oracle.Gaussian(g)) }

func reward(x float32) float64 { return oracle.Reward.At(float64(x)) }

func square(x float64) float64 { return x * x }

// pull is the control scale·h*, h* = ∇log p^tilted_t − ∇log p_t.
type pull struct{ scale float64 }

// Noise implements [diffusion.Control].
func (p pull) Noise(s diffusion.State) *graph.Node {
	return graph.MulScalar(graph.Sub(tilted.Noise(s), prior.Noise(s)), p.scale)
}

// chain is the exact law of x_0 on paths of P^h in VP{}, h = scale·h*: a Gaussian stays one under x' = A·x + K·ε + S·z.
func chain(steps []diffusion.Step, scale float64) gaussian {
	return chainOf(diffusion.VP{}, steps, scale)
}

// chainOf is the same in any process.
func chainOf(p diffusion.Process, steps []diffusion.Step, scale float64) gaussian {
	mean, variance := 0.0, 1.0
	for _, st := range steps {
		slope, offset := prior.lineOf(p, st.T)
		if !st.Uncontrolled {
			a, b := tilted.lineOf(p, st.T)
			slope, offset = slope+scale*(a-slope), offset+scale*(b-offset)
		}
		mean = (st.A+st.K*slope)*mean + st.K*offset
		variance = square(st.A+st.K*slope)*variance + st.S*st.S
	}
	return gaussian{mean, math.Sqrt(variance)}
}

// simulate runs n paths of the prior under a control, driven by another if drive is not nil.
func simulate(t *testing.T, steps []diffusion.Step, n int, control, drive diffusion.Control) diffusion.Paths {
	t.Helper()
	s := &diffusion.Sampler{Engine: oracle.Open(t), Steps: steps, Shape: []int{1}, Base: prior, Control: control, Drive: drive, Batch: 4096}
	paths, err := s.Run(context.Background(), noise.New(17), 0, n, nil)
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// estimate is a weighted mean with its standard error.
type estimate struct{ value, se float64 }

// mean estimates E[f] by self-normalised importance sampling with log weights logW; nil means equal weights.
func mean(n int, logW func(i int) float64, f func(i int) float64) estimate {
	w, top := make([]float64, n), math.Inf(-1)
	for i := range w {
		if logW != nil {
			w[i] = logW(i)
		}
		top = max(top, w[i])
	}
	var sum, value, square float64
	for i := range w {
		w[i] = math.Exp(w[i] - top)
		sum, value = sum+w[i], value+w[i]*f(i)
	}
	value /= sum
	for i := range w {
		square += w[i] * w[i] * (f(i) - value) * (f(i) - value)
	}
	return estimate{value, math.Sqrt(square) / sum}
}

// law estimates the weighted mean and standard deviation of endpoints and compares them with an exact law, within four
// standard errors. It fails also where the errors are too large to tell anything.
func (g gaussian) law(t *testing.T, name string, x []float32, logW func(i int) float64) {
	t.Helper()
	m := mean(len(x), logW, func(i int) float64 { return float64(x[i]) })
	v := mean(len(x), logW, func(i int) float64 { return square(float64(x[i]) - m.value) })
	sd := estimate{math.Sqrt(v.value), v.se / (2 * math.Sqrt(v.value))}
	m.near(t, name+": mean", g.Mean, 0.02)
	sd.near(t, name+": sd", g.SD, 0.02)
}

// near wants the value within four standard errors, none of which may be above limit.
func (e estimate) near(t *testing.T, name string, want, limit float64) {
	t.Helper()
	if !(math.Abs(e.value-want) <= 4*e.se) || !(e.se < limit) {
		t.Errorf("%s = %.4f ± %.4f, want %.4f (standard error below %g)", name, e.value, e.se, want, limit)
	}
}

// logWeight is the exact mean and standard deviation of log w = r(x_0) + log dP/dP^h on paths of P^h, h = scale·h*. Backwards
// in time, what is still to come has an expectation p·x² + q·x + c; what a step adds to it by chance is
//
//	(2pμs + qs − D/s)·z + ps²·(z² − 1),  x' = μ + s·z
//
// whose second moments add up (law of total variance).
func logWeight(steps []diffusion.Step, scale float64) gaussian {
	type law struct{ mean, variance float64 }
	laws := []law{{0, 1}}
	type affine struct{ slope, offset float64 }
	var drifts, shifts []affine // μ and D as functions of x
	for i, st := range steps {
		slope, offset := prior.line(st.T)
		var d affine
		if !st.Uncontrolled {
			a, b := tilted.line(st.T)
			d = affine{st.K * scale * (a - slope), st.K * scale * (b - offset)}
		}
		m := affine{st.A + st.K*slope + d.slope, st.K*offset + d.offset}
		drifts, shifts = append(drifts, m), append(shifts, d)
		laws = append(laws, law{m.slope*laws[i].mean + m.offset, square(m.slope)*laws[i].variance + square(st.S)})
	}
	r := oracle.Reward
	p, q, c := -1/(2*square(r.Width)), r.Goal/square(r.Width), r.At(0)
	var variance float64
	for i := len(steps) - 1; i >= 0; i-- {
		m, d, s, x := drifts[i], shifts[i], steps[i].S, laws[i]
		if s > 0 {
			slope := 2*p*s*m.slope - d.slope/s
			offset := 2*p*s*m.offset + q*s - d.offset/s
			variance += square(slope*x.mean+offset) + square(slope)*x.variance + 2*square(p*s*s)
		}
		var price affine // of D, −D²/(2s²)
		if s > 0 {
			price = affine{d.slope / s, d.offset / s}
		}
		c += q*m.offset + p*(square(m.offset)+s*s) - square(price.offset)/2
		q = q*m.slope + 2*p*m.slope*m.offset - price.slope*price.offset
		p = p*square(m.slope) - square(price.slope)/2
	}
	variance += q*q + 2*p*p // x_1 ~ N(0, 1)
	return gaussian{c + p, math.Sqrt(variance)}
}
