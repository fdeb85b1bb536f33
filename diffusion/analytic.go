package diffusion

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/noise"
)

// Analytic is the variance of Analytic-DPM (Bao, Li, Zhu, Zhang 2022): u is that of a base model, estimated on noised data at some times.
// Between them it is linear in the log signal-to-noise ratio ℓ, beyond them constant. Of Gaussian data with covariance eigenvalues ρ, u is the
// mean of 1/(1 + exp(−ℓ)/ρ), whose second derivative is below 0.1: at spacings of 0.38, those of [NewAnalytic], the error is below 0.002.
type Analytic struct {
	LogSNR []float64 // rising
	Left   []float64 // u there
}

// Unexplained implements [Variance].
func (a *Analytic) Unexplained(p Process, t float64) float64 {
	snr := 2 * math.Log(p.Alpha(t)/p.Sigma(t))
	i, _ := slices.BinarySearch(a.LogSNR, snr)
	if i == 0 || i == len(a.LogSNR) {
		return a.Left[min(i, len(a.Left)-1)]
	}
	w := (snr - a.LogSNR[i-1]) / (a.LogSNR[i] - a.LogSNR[i-1])
	return a.Left[i-1] + w*(a.Left[i]-a.Left[i-1])
}

// The times of NewAnalytic are as many, of evenly spaced log signal-to-noise ratios, from t = 1 to one before the last steps of samplers. At each
// it takes so many numbers at least, of so many samples at least.
const (
	analyticTimes   = 64
	analyticFirst   = 1e-5
	analyticNumbers = 1 << 16
	analyticSamples = 64
)

// AnalyticCalls returns how many network evaluations [NewAnalytic] takes for samples of so many numbers, in batches.
func AnalyticCalls(dim, batch int) int {
	batches := (max(analyticSamples, analyticNumbers/dim) + batch - 1) / batch
	return analyticTimes * batches * batch
}

// NewAnalytic estimates the variance for a base model of samples of a shape. Data fills in the samples [batch, shape…] of every step, each
// step new ones. What is averaged is (ε−ε_θ)(ε+ε_θ), of mean 1 − ‖ε_θ‖²: where nearly all noise is known and u is small, so is its error. Of a model
// that is not exact this is not its own error: what its mean adds in variance is not added again.
func NewAnalytic(ctx context.Context, e *engine.Engine, p Process, base Model, shape []int, batch int, key noise.Key, data func(rows []float32, step int)) (*Analytic, error) {
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
		d := Diffuse(p, base, in[0], in[1], in[2], nil)
		return []*graph.Node{graph.ReduceAllMean(graph.Mul(graph.Sub(d.Target, d.Eps), graph.Add(d.Target, d.Eps)))}
	})
	if err != nil {
		return nil, err
	}
	p = orVP(p)
	ratio := func(t float64) float64 { return 2 * math.Log(p.Alpha(t)/p.Sigma(t)) }
	lo, hi := ratio(1), ratio(analyticFirst)
	if math.IsInf(lo, -1) { // there is no signal at t = 1
		lo = ratio(1 - analyticFirst)
	}
	dim := engine.Size(shape)
	batches := AnalyticCalls(dim, batch) / batch / analyticTimes
	x0, eps, mean := make([]float32, batch*dim), make([]float32, batch*dim), make([]float32, 1)
	a := &Analytic{LogSNR: make([]float64, analyticTimes), Left: make([]float64, analyticTimes)}
	for i := range a.Left {
		a.LogSNR[i] = lo + (hi-lo)*float64(i)/(analyticTimes-1)
		t := min(1, p.Time(a.LogSNR[i]))
		for step := i * batches; step < (i+1)*batches; step++ {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			data(x0, step)
			key.Normal(eps, uint64(step), 0)
			out, err := program.Run(engine.Rows(x0, shape...), []float32{float32(t)}, engine.Rows(eps, shape...))
			if err != nil {
				return nil, fmt.Errorf("diffusion: analytic variance at time %.3g: %w", t, err)
			}
			if err := engine.Floats(mean, out[0]); err != nil {
				return nil, err
			}
			a.Left[i] += float64(mean[0]) / float64(batches)
		}
		if v := a.Left[i]; v-v != 0 {
			return nil, fmt.Errorf("diffusion: analytic variance: the base model's noise at time %.3g is not finite", t)
		}
		a.Left[i] = min(1, max(0, a.Left[i]))
	}
	return a, nil
}
